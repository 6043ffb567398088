"""The GitOps port: the inventory at the trusted ref's tip, over a bare mirror."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Self

from reconciler.adapters.git_files import read_file
from reconciler.adapters.git_mirror import BareMirror
from reconciler.adapters.git_remote import Remote
from reconciler.inventory import DEFAULT_PATH, parse_inventory
from state.errors import ConfigError
from state.git import RefName
from state.observed import Inventory


class GitOpsRepository:
    """The GitOps repository, for reading (`ports.GitOps`). Arguments are those of `git_pygit2.Mirror`."""

    def __init__(
        self,
        path: Path,
        source: Remote,
        *,
        ref: RefName | str,
        timeout_s: float,
        inventory_path: str = DEFAULT_PATH,
    ) -> None:
        self._ref = RefName(ref)
        self._inventory_path = inventory_path
        self._mirror = BareMirror(path, source, timeout_s=timeout_s)
        self._last: Inventory | None = None

    def close(self) -> None:
        """Let go of the mirror."""
        self._mirror.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def inventory(self) -> Inventory:
        tip = self._mirror.tip(self._ref)
        if tip is None:
            raise ConfigError(
                f"{self._mirror.name}: no ref {self._ref}; expected the trusted ref of the GitOps repository"
            )
        if self._last is None or self._last.commit != tip:
            raw = self._mirror.with_objects(partial(read_file, commit=tip, path=self._inventory_path))
            self._last = parse_inventory(raw, tip, what=f"{self._inventory_path} at {tip.short}")
        self._mirror.drop(self._mirror.kept() - {tip})
        return self._last

    def ref_name(self) -> str:
        return self._ref
