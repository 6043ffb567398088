"""The servers of a run as processes of their own, on a fixed port, with what they know on disk before they answer.

`python -m tests.chaos.parts forge|git|lease PORT ROOT`: a Gitea with one repository, a git host, the Lease API.
What was answered survives kill -9.
"""

from __future__ import annotations

import http
import json
import os
import pickle
import sys
import threading
from collections.abc import Callable, Iterable
from itertools import count
from pathlib import Path
from typing import Any, Final

import waitress

from tests.fixtures.git_http import GitServer
from tests.fixtures.gitea_server import Gitea
from tests.fixtures.kubernetes_api import Simulated
from tests.fixtures.lease_api import LeaseApi
from tests.fixtures.registry_stub import Reply, Seen

_API: Final = "/api/v1"
_KEPT: Final = ("pulls", "comments", "activity", "statuses", "labels", "users")


class Kept:
    """A value in a file that is exchanged whole: the old one is there, or the new one."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def read(self) -> Any:
        """None where nothing was kept yet."""
        return pickle.loads(self._file.read_bytes()) if self._file.exists() else None  # noqa: S301  # our own file

    def write(self, value: object) -> None:
        fresh = self._file.with_suffix(".new")
        fresh.write_bytes(pickle.dumps(value))
        fresh.replace(self._file)


class ForgeHost:
    """The simulated Gitea: its API, git on the same origin, and `/hands/<deed>` for what people do in its pages."""

    def __init__(self, root: Path) -> None:
        about = json.loads((root / "forge.json").read_text())
        self._git = GitServer(root / "git")
        self._forge = Gitea(root / "git" / f"{about['name']}.git")
        self._forge.id, self._forge.name = about["id"], about["name"]
        self._kept = Kept(root / "forge.pickle")
        self._lock = threading.Lock()
        if (found := self._kept.read()) is not None:
            serial = found.pop("serial")
            vars(self._forge).update(found)
            self._forge._serial = count(serial)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path.startswith(f"{_API}/"):
            return _answered(self._api, environ, start_response, strip=_API)
        if path.startswith("/hands/"):
            return _answered(self._hands, environ, start_response)
        return self._git(environ, start_response)

    def _api(self, seen: Seen) -> Reply:
        with self._lock:
            reply = self._forge.answer(seen)
            if seen.method != "GET":
                self._keep()
        return reply

    def _hands(self, seen: Seen) -> Reply:
        told: Any = json.loads(seen.body or b"{}")
        forge = self._forge
        answer: object = None
        with self._lock:
            match seen.path.rpartition("/")[2]:
                case "open":
                    answer = forge.open(told["head"], branch=told["branch"], author_id=told["author"])
                case "push":
                    pull = forge.pulls[told["number"]]
                    pull["head"]["sha"] = told["head"]
                    forge.pushed(pull["head"]["ref"], told["head"], told["by"])
                    forge.git.references.create(f"refs/pull/{told['number']}/head", told["head"], force=True)
                case "close":
                    forge.pulls[told["number"]]["state"] = "closed"
                case "see":
                    shown = [
                        {"number": n, "state": p["state"], "branch": p["head"]["ref"], "head": p["head"]["sha"]}
                        for n, p in forge.pulls.items()
                    ]
                    statuses = {sha: s["state"] for (sha, _), s in forge.statuses.items()}
                    answer = {"pulls": shown, "statuses": statuses, "strays": forge.held.strays}
            if seen.path != "/hands/see":
                self._keep()
        return Reply(200, {"Content-Type": "application/json"}, json.dumps(answer).encode())

    def _keep(self) -> None:
        serial = next(self._forge._serial)
        self._kept.write({**{name: vars(self._forge)[name] for name in _KEPT}, "serial": serial + 1})


class LeaseHost:
    """The Lease API."""

    def __init__(self, root: Path) -> None:
        self._kept = Kept(root / "lease.pickle")
        simulated = Simulated()
        self._api = LeaseApi(simulated, "")
        if (found := self._kept.read()) is not None:
            simulated.revision, self._api.leases = found

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        return _answered(self._answer, environ, start_response)

    def _answer(self, seen: Seen) -> Reply:
        with self._api.simulated.lock:
            reply = self._api.answer(seen) or Reply(404)
            self._api.seen.clear()
            if seen.method != "GET":
                self._kept.write((self._api.simulated.revision, self._api.leases))
        return reply


def _answered(
    answer: Callable[[Seen], Reply], environ: dict[str, Any], start_response: Callable[..., Any], strip: str = ""
) -> Iterable[bytes]:
    headers = {k[5:].replace("_", "-").lower(): v for k, v in environ.items() if k.startswith("HTTP_")}
    path, query = environ["PATH_INFO"].removeprefix(strip), environ.get("QUERY_STRING", "")
    reply = answer(Seen(environ["REQUEST_METHOD"], path, query, headers, environ["wsgi.input"].read()))
    sent = {"Content-Length": str(len(reply.body))} if reply.status not in {204, 304} else {}
    start_response(f"{reply.status} {http.HTTPStatus(reply.status).phrase}", [*({**reply.headers, **sent}).items()])
    return [reply.body]


HOSTS: Final[dict[str, Callable[[Path], Any]]] = {"forge": ForgeHost, "git": GitServer, "lease": LeaseHost}


def main(kind: str, port: str, root: str) -> None:
    os.environ.pop("GIT_DIR", None)
    waitress.serve(HOSTS[kind](Path(root)), host="127.0.0.1", port=int(port), threads=8, _quiet=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
