"""The log lines of a process that runs for long: one form for all of them, and no flood."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from reconciler.events import Emitter, LibraryHandler, sink_to
from reconciler.ports import Clock
from reconciler.quieting import Quietened


@contextmanager
def process_log(stream: TextIO, clock: Clock) -> Iterator[Emitter]:
    """An emitter to `stream` whose repeated lines are bounded; for the block, libraries' warnings go there, too."""
    emitter = Emitter(Quietened(sink_to(stream), clock), clock)
    handler, root = LibraryHandler(emitter), logging.getLogger()
    root.addHandler(handler)
    try:
        yield emitter
    finally:
        root.removeHandler(handler)
