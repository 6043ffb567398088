"""The file of one machine that is not the daemon's: read whole, every problem at once, nothing of the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Self

from reconciler.declared import Reading
from reconciler.settings import environment_problems
from reconciler.settings.model import RegistrySettings
from reconciler.strict_yaml import Location, read_regular
from state.errors import ConfigError
from state.oci import Repository

_FILE_MAX_BYTES: Final = 64 * 1024


class MachineFile(Reading):
    """Places as the file has them, and no text shown that stands where the name of a secret's file is expected."""

    @classmethod
    def open(cls, path: Path, environ: Mapping[str, str] | None = None) -> Self:
        """Raises ConfigError for a file that cannot be read, or a variable that looks like a setting."""
        stray = environment_problems(os.environ if environ is None else environ)
        if stray:
            raise ConfigError(f"{path}: not read", stray)
        return cls(read_regular(path, max_bytes=_FILE_MAX_BYTES), str(path))

    @property
    def value(self) -> object:
        return self._document.value

    def note(self, at: Location, problem: str) -> None:
        place: Location = ()
        for n, step in enumerate(at):
            # The library also names the kind that was chosen, which is no place in the file.
            if (*place, step) in self._document.lines or n == len(at) - 1:
                place = (*place, step)
        if str(at[-1:] and at[-1]).endswith("_file"):
            problem = problem.partition(", got ")[0]
        super().note(place, problem)

    def check_hosts(self, registries: Sequence[RegistrySettings], repository: Repository | None, at: Location) -> None:
        """Each host once, and that of `repository`, which stands at `at`, among them."""
        known = [registry.host for registry in registries]
        if repository is not None and repository.host not in known:
            self.note(at, f"its registry is not declared; there are {', '.join(sorted(known))}")
        for n, name in enumerate(known):
            if name in known[:n]:
                self.note(("registries", n, "host"), f"{name} is already there; name each host once")
