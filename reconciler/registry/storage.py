"""The directory tree of a registry: one OCI image layout per repository.

    ROOT/.ameide-registry/lock         held by the one process that serves this root
    ROOT/.ameide-registry/scratch/     uploads and half-written files; emptied at start
    ROOT/<name>/{oci-layout,index.json,blobs/<algorithm>/<hex>}

Repositories nest, so `a` and `a/b` share a directory, and a repository `a/blobs` would lie inside the layout of `a`.
Path components named like an entry of a layout therefore get an underscore: `a/blobs` is `ROOT/a/blobs_`. The grammar
of names allows no component that ends with `_` or starts with `.`, so no two names meet and none meets our own
directory. For any other name, `skopeo inspect oci:ROOT/<name>:<tag>` reads an OCI image (of Docker types skopeo finds
none in a layout).
"""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from reconciler.registry.disk import make_directory
from reconciler.registry.layout import Layout
from state.errors import ConfigError

_LAYOUT_ENTRIES: Final = frozenset({"blobs", "index.json", "oci-layout"})


class Storage:
    """The repositories under `root`, locked against other processes until `close`."""

    def __init__(self, root: Path) -> None:
        """Raises ConfigError if another process serves `root`, or it cannot be made or written."""
        self.root = root
        own = root / ".ameide-registry"
        self.scratch = own / "scratch"
        try:
            make_directory(self.scratch)
            self._lock_file = os.open(own / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(f"registry root {root}: expected a directory that can be written: {error}") from error
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock_file)
            raise ConfigError(
                f"registry root {root}: another process serves it; stop that one, or choose another --root"
            ) from error
        for left_over in self.scratch.iterdir():
            left_over.unlink()
        self._layouts: dict[str, Layout] = {}
        self._layouts_lock = threading.Lock()

    def directory(self, name: str) -> Path:
        """Where the repository `name`, which fits the grammar, has its layout."""
        return self.root.joinpath(*(f"{part}_" if part in _LAYOUT_ENTRIES else part for part in name.split("/")))

    def find(self, name: str) -> Layout | None:
        """The repository; None if nothing was ever pushed to it. Raises IntegrityError if it cannot be read."""
        with self._layouts_lock:
            if (known := self._layouts.get(name)) is not None:
                return known
            path = self.directory(name)
            if not (path / "oci-layout").is_file():
                return None
            return self._layouts.setdefault(name, Layout(path, self.scratch))

    def make(self, name: str) -> Layout:
        """The repository, made if it is not there."""
        if (found := self.find(name)) is not None:
            return found
        with self._layouts_lock:
            if name not in self._layouts:
                self._layouts[name] = Layout.create(self.directory(name), self.scratch)
            return self._layouts[name]

    def close(self) -> None:
        """Give up the lock. Nothing needs flushing: what was answered is durable."""
        os.close(self._lock_file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
