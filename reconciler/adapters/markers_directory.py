"""Markers dropped as files into a directory. Whoever can write there can bring markers, and approve nothing.

Drop a file under another name that starts with a dot, then rename it: dotfiles are not looked at. Nothing is removed
here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from reconciler.adapters.marker_files import newest
from state.oci import Digest


class DirectoryMarkers:
    """Implements `ports.Markers`; the directory is read anew each time."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def pending(self) -> Sequence[bytes]:
        """The newest `marker_files.FILES_MAX` files, oldest first. Raises ConfigError if there is no such directory."""
        return tuple(file.raw for file in newest(self._directory, lambda name: not name.startswith(".")))

    def done(self, markers: Iterable[Digest]) -> None:
        """Nothing: the files are whoever's dropped them."""
        del markers
