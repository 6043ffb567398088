"""Running the tests of a primitive with the runner of its language."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from reconciler.primitive import runner_output
from reconciler.primitive.bounded_run import Ended, Ran, run
from reconciler.primitive.names import Language

_TAIL_CHARS: Final = 6_000
# What toolchains need of the environment. Everything else stays out: credentials of the caller are not for tests.
_KEPT: Final = frozenset(
    {
        "CC", "CGO_ENABLED", "HOME", "HTTPS_PROXY", "HTTP_PROXY", "LANG", "LC_ALL", "LOGNAME", "NODE_EXTRA_CA_CERTS",
        "NO_PROXY", "PATH", "SSL_CERT_DIR", "SSL_CERT_FILE", "TMPDIR", "TZ", "USER", "VIRTUAL_ENV", "XDG_CACHE_HOME",
        "GOARCH", "GOCACHE", "GOFLAGS", "GOINSECURE", "GOMODCACHE", "GONOPROXY", "GONOSUMDB", "GOOS", "GOPATH",
        "GOPRIVATE", "GOPROXY", "GOROOT", "GOSUMDB", "GOTMPDIR", "GOTOOLCHAIN", "GOWORK",
    }
)  # fmt: skip
_SET: Final = {"PYTHONDONTWRITEBYTECODE": "1", "NO_COLOR": "1", "npm_config_update_notifier": "false"}
_TOOLS: Final = {
    Language.GO: (("go", "install Go 1.22 or newer"),),
    Language.PYTHON: (("python3", "install Python 3.11 or newer"),),
    Language.NODE: (("node", "install Node.js 20 or newer"), ("npm", "install npm, which comes with Node.js")),
}


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of one run of a tool."""

    timeout_s: float = 900
    output_max_bytes: int = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Outcome:
    """`missing` names the tool that is not there; then nothing was run. `ran` counts tests."""

    good: bool
    why: str
    missing: str | None = None
    ran: int = 0
    failed: tuple[str, ...] = ()
    details: str = ""


def run_tests(language: Language, folder: Path, limits: Limits, environment: Mapping[str, str]) -> Outcome:
    """Build where the language builds, then run all tests."""
    env = {name: value for name, value in environment.items() if name in _KEPT} | _SET
    path = env.get("PATH", os.defpath)
    for tool, remedy in _TOOLS[language]:
        if shutil.which(tool, path=path) is None:
            return Outcome(False, "not run", missing=f"{tool} is not on PATH: {remedy}")

    def do(*argv: str) -> Ran:
        return run(argv, cwd=folder, env=env, timeout_s=limits.timeout_s, output_max_bytes=limits.output_max_bytes)

    if language is Language.PYTHON and do("python3", "-c", "import pytest").code != 0:
        return Outcome(False, "not run", missing="pytest is not importable by python3: install it, or enter its venv")
    if language is Language.GO:
        built = do("go", "build", "-o", os.devnull, "./...")
        if built.ended is not Ended.BY_ITSELF or built.code != 0:
            how = "does not build" if built.ended is Ended.BY_ITSELF else f"go build {built.ended}"
            return Outcome(False, how, failed=("build",), details=_tail(built.output))
    return _judge(language, do(*_ARGV[language]), limits)


_ARGV: Final = {
    Language.GO: ("go", "test", "-json", "-count=1", "./..."),
    Language.PYTHON: ("python3", "-m", "pytest", "-q", "-rfE", "-p", "no:cacheprovider", "--color=no"),
    Language.NODE: ("npm", "test"),
}


def _judge(language: Language, ran: Ran, limits: Limits) -> Outcome:
    told = runner_output.read(language, ran.output)
    details = _tail(told.text)
    match ran.ended:
        case Ended.TOO_LONG:
            return Outcome(False, f"not done within {limits.timeout_s:g} s", failed=told.failed, details=details)
        case Ended.TOO_MUCH:
            return Outcome(False, f"printed more than {limits.output_max_bytes} bytes", details=details)
        case Ended.BY_ITSELF:
            pass
    if not told.ran and (ran.code == 0 or (language is Language.PYTHON and ran.code == 5)):
        return Outcome(False, "none found: the runner ran no test", details=details)
    count = told.ran or 0
    if ran.code != 0:
        names = ", ".join(told.failed[:5]) or f"exit code {ran.code}"
        return Outcome(False, f"failed: {names}", ran=count, failed=told.failed or ("runner",), details=details)
    return Outcome(True, f"{count} passed", ran=count)


def _tail(text: str) -> str:
    return text[-_TAIL_CHARS:]
