"""The list of a lane's files, kept beside them: which ones a rendering wrote, and with which bytes (pure).

It has the form of `sha256sum`, so `sha256sum -c ameide-lane.sha256` tells what was edited since. A file is taken away
only if a list names it with exactly the bytes that it has: whatever else is there is somebody else's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from reconciler.declared import check_path
from reconciler.preview.render import HEADER, is_rendered
from state.errors import ConfigError
from state.oci import Digest

PATH: Final = "ameide-lane.sha256"
FILES_MAX: Final = 2_000
_LINE: Final = re.compile(r"([0-9a-f]{64})  (\S.*)")

Listed = Mapping[str, Digest]
"""Path → digest of the bytes that were written there."""


def listed(files: Mapping[str, bytes]) -> bytes:
    """The list of these files."""
    lines = [f"# {HEADER}", *(f"{Digest.of(files[path]).hex}  {path}" for path in sorted(files))]
    return ("\n".join(lines) + "\n").encode()


def with_list(files: Mapping[str, bytes]) -> Mapping[str, bytes]:
    """The files of a rendering and their list, sorted by path."""
    return dict(sorted({**files, PATH: listed(files)}.items()))


def read_list(raw: bytes, what: str) -> Listed:
    """What an earlier rendering wrote. Raises ConfigError where this is no such list."""
    if not is_rendered(raw):
        raise ConfigError(f"{what}: expected the list of a rendered lane, found another file; it is not overwritten")
    found: dict[str, Digest] = {}
    for number, line in enumerate(raw.decode(errors="replace").splitlines()[1:], start=2):
        read = _LINE.fullmatch(line)
        try:
            if read is None or read[2] in found or len(found) >= FILES_MAX:
                raise ValueError(f"expected `<sha256>  <path>`, each path once and at most {FILES_MAX}")
            found[check_path(read[2])] = Digest(f"sha256:{read[1]}")
        except ValueError as error:
            raise ConfigError(f"{what}: line {number}: {error}; render the lane anew and commit the list") from error
    return found


class Difference(NamedTuple):
    """What a rendering would change, and what it leaves alone."""

    files: Mapping[str, bytes | None]
    """Path → new bytes; None for a file that goes. Sorted by path."""
    edited: tuple[str, ...]
    """Listed and not rendered any more, but edited since: they stay, as a person's."""
    in_the_way: tuple[str, ...]
    """Files that no rendering wrote where one would be written; they are never overwritten."""


def difference(rendered: Mapping[str, bytes], there: Mapping[str, bytes], before: Listed) -> Difference:
    """How to get from `there`, the bytes at every rendered and every listed path, to `rendered`."""
    gone = {path: raw for path, raw in there.items() if path in before and path not in rendered}
    ours = {path for path, raw in gone.items() if Digest.of(raw) == before[path]}
    new = {path: raw for path, raw in rendered.items() if there.get(path) != raw}
    return Difference(
        files=dict(sorted({**new, **dict.fromkeys(ours)}.items())),
        edited=tuple(sorted(gone.keys() - ours)),
        in_the_way=tuple(sorted(path for path in new if path in there and not is_rendered(there[path]))),
    )
