"""Blocking calls side by side on a pool of threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Self, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class ThreadExecutor:
    """Implements `ports.Executor`. A `map` inside a mapped call runs in place: waiting for its own pool would hang.

    Each call runs in a copy of the caller's context (contextvars), so that its log lines carry the pass's id.
    """

    def __init__(self, workers: int, after_each: Callable[[], None] = lambda: None) -> None:
        """`after_each` is called in the thread of each call that has ended, however it has."""
        self._after_each = after_each
        self._pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="call")
        self._inside = threading.local()

    def map(self, call: Callable[[T], R], items: Iterable[T]) -> list[R | Exception]:
        def one(item: T) -> R | Exception:
            try:
                return call(item)
            except Exception as error:  # noqa: BLE001 - the contract: an error is the item's result, for the caller to judge
                return error
            finally:
                self._after_each()

        def pooled(item: T) -> R | Exception:
            self._inside.pool = True
            return one(item)

        if getattr(self._inside, "pool", False):
            return [one(item) for item in items]
        return [future.result() for future in [self._pool.submit(copy_context().run, pooled, item) for item in items]]

    def close(self) -> None:
        """Wait for running calls and end the threads; a `map` after this is an error."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
