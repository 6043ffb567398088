"""No channel for markers: nothing ever waits."""

from __future__ import annotations

from collections.abc import Sequence


class NoMarkers:
    """Implements `ports.Markers` where no channel is configured."""

    def pending(self) -> Sequence[bytes]:
        return ()
