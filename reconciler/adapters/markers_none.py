"""No channel for markers: nothing ever waits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from state.oci import Digest


class NoMarkers:
    """Implements `ports.Markers` where no channel is configured."""

    def pending(self) -> Sequence[bytes]:
        return ()

    def done(self, markers: Iterable[Digest]) -> None:
        del markers
