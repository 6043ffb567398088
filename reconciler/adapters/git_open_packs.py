"""How many packs libgit2 holds open in one process."""

from __future__ import annotations

from typing import Final

import pygit2

OPEN_PACKS_MAX: Final = 128
"""Each fetch leaves a pack, and each that was read from stays open, even one that is not there any more. Beyond this
many the one that was used longest ago is closed. A process may have 1024 handles where nobody raised that."""


def bound_open_packs() -> None:
    """For every repository of this process."""
    pygit2.settings.mwindow_file_limit = OPEN_PACKS_MAX
