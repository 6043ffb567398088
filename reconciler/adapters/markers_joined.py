"""Several channels as one: a channel that fails takes nothing from the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, zip_longest

from reconciler.ports import Markers
from state.errors import ReconcilerError
from state.oci import Digest


class JoinedMarkers:
    """Implements `ports.Markers`.

    Args:
        channels: by the name that `failed` is told.
        failed: called with name and error of a channel that could not be read now.
    """

    def __init__(self, channels: Mapping[str, Markers], failed: Callable[[str, ReconcilerError], None]) -> None:
        self._channels = dict(channels)
        self._failed = failed

    def pending(self) -> Sequence[bytes]:
        """What all channels have, each envelope once, in turns: a channel full of junk holds up itself alone."""
        found: list[Sequence[bytes]] = []
        for name, channel in self._channels.items():
            try:
                found.append(channel.pending())
            except ReconcilerError as error:
                self._failed(name, error)
        return tuple(dict.fromkeys(raw for raw in chain.from_iterable(zip_longest(*found)) if raw is not None))

    def done(self, markers: Iterable[Digest]) -> None:
        """Tells every channel."""
        told = tuple(markers)
        for channel in self._channels.values():
            channel.done(told)
