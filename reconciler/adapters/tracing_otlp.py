"""Spans to an OpenTelemetry collector: OTLP/HTTP 1.x in its JSON encoding, from a bounded queue, by a thread.

Traces are a convenience: what cannot be sent is dropped and counted, and nothing waits for it. The SDK is not used,
since its exporter, resource and processors read some eighty environment variables (ADR 23).
Sources: opentelemetry.io, "OTLP Specification 1.x" (JSON Protobuf encoding: ids in hex, 64-bit integers as strings),
opentelemetry-proto `trace.proto`; attribute names from the semantic conventions where they have one.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import requests

from reconciler import __version__
from reconciler.adapters.forge_access import SecretFile
from reconciler.adapters.forge_limits import ForgeLimits
from reconciler.adapters.http_errors import printable
from reconciler.adapters.http_transport import Call, Origin, Transport
from reconciler.ports import Clock, Metrics
from reconciler.tracing import Attribute
from state.errors import ReconcilerError

QUEUE_MAX: Final = 4096
_BATCH_MAX: Final = 512
_EXPORT_EVERY_S: Final = 5.0
_JOIN_S: Final = 5.0
_LIMITS: Final = ForgeLimits(connections=1, read_timeout_s=5, call_timeout_s=10, redirects=0)
_INTERNAL, _CLIENT = 1, 3
_ERROR: Final = 2
_VALUE_MAX_CHARS: Final = 200


class _Context(NamedTuple):
    trace_id: str
    span_id: str


_CURRENT: ContextVar[_Context | None] = ContextVar("span", default=None)
_EXPORTING: ContextVar[bool] = ContextVar("exporting", default=False)


class _Span:
    def __init__(self, attributes: dict[str, Attribute]) -> None:
        self.attributes = attributes

    def set(self, name: str, value: Attribute) -> None:
        self.attributes[name] = value


class OtlpTracer:
    """Implements `tracing.Tracer`. As a context manager it exports until the block ends, and what is left then."""

    def __init__(
        self,
        endpoint: str,
        *,
        clock: Clock,
        metrics: Metrics,
        bearer_token_file: Path | None = None,
        ca_file: Path | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._clock = clock
        self._metrics = metrics
        self._token = None if bearer_token_file is None else SecretFile(bearer_token_file, "tracing token file")
        verify: bool | str = True if ca_file is None else str(ca_file)
        self._transport = Transport(requests.Session(), Origin.of(endpoint), _LIMITS, clock, verify)
        self._queue: deque[dict[str, Any]] = deque(maxlen=QUEUE_MAX)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tracing", daemon=True)

    @contextmanager
    def span(self, name: str, attributes: dict[str, Attribute], *, client: bool) -> Iterator[_Span]:
        made = _Span(attributes)
        if _EXPORTING.get():  # an export is no news
            yield made
            return
        parent = _CURRENT.get()
        own = _Context(parent.trace_id if parent is not None else os.urandom(16).hex(), os.urandom(8).hex())
        token = _CURRENT.set(own)
        began_ns, began = time.time_ns(), time.perf_counter_ns()
        failed: BaseException | None = None
        try:
            yield made
        except BaseException as error:
            failed = error
            raise
        finally:
            _CURRENT.reset(token)
            self._put(
                {
                    "traceId": own.trace_id,
                    "spanId": own.span_id,
                    **({} if parent is None else {"parentSpanId": parent.span_id}),
                    "name": name,
                    "kind": _CLIENT if client else _INTERNAL,
                    "startTimeUnixNano": str(began_ns),
                    "endTimeUnixNano": str(began_ns + time.perf_counter_ns() - began),
                    "attributes": _attributes(made.attributes, failed),
                    # The error's kind alone: its text may quote what a stranger wrote.
                    "status": {} if failed is None else {"code": _ERROR},
                }
            )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(_JOIN_S)
        self._transport.close()

    def export(self) -> None:
        """Send what is in the queue, batch by batch; a batch that is not taken is dropped."""
        while batch := self._take():
            self._metrics.count("spans", len(batch), result="exported" if self._sent(batch) else "dropped")

    def _put(self, span: dict[str, Any]) -> None:
        with self._lock:
            full = len(self._queue) == QUEUE_MAX
            self._queue.append(span)
        if full:
            self._metrics.count("spans", result="dropped")

    def _take(self) -> list[dict[str, Any]]:
        with self._lock:
            return [self._queue.popleft() for _ in range(min(_BATCH_MAX, len(self._queue)))]

    def _run(self) -> None:
        _EXPORTING.set(True)
        while not self._stop.wait(_EXPORT_EVERY_S):
            self.export()
        self.export()

    def _sent(self, batch: list[dict[str, Any]]) -> bool:
        scope = {"name": "ameide", "version": __version__}
        resource = {"attributes": _attributes({"service.name": "ameide", "service.version": __version__}, None)}
        body = {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": scope, "spans": batch}]}]}
        raw = json.dumps(body, separators=(",", ":")).encode()
        where = f"POST {printable(self._endpoint)}"
        call = Call("POST", self._endpoint, where, {"Content-Type": "application/json"}, raw)
        try:
            authorization = None if self._token is None else f"Bearer {self._token.lines()[0]}"
            until = self._clock.monotonic_s() + _LIMITS.call_timeout_s
            return self._transport.once(call, authorization, until).status_code == 200
        except ReconcilerError:
            return False


def _attributes(found: dict[str, Attribute], failed: BaseException | None) -> list[dict[str, Any]]:
    named = found if failed is None else {**found, "error.type": type(failed).__name__}
    return [{"key": key, "value": _value(value)} for key, value in named.items()]


def _value(value: Attribute) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    return {"stringValue": value[:_VALUE_MAX_CHARS]}
