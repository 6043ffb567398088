"""When a call is sent again, and after what wait: the only retry policy between us and a registry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import requests

from reconciler.adapters.http_errors import never_sent, retry_reason
from reconciler.adapters.http_transport import Call
from reconciler.adapters.registry_errors import is_rate_limit, refusal
from reconciler.adapters.registry_limits import Limits
from reconciler.adapters.registry_pacing import Pacer
from reconciler.ports import Clock, Random
from state.errors import WRITER_STOPS, RateLimited, Terminal, Transient, Unavailable

_TRANSIENT: Final = frozenset({408, 429, 500, 502, 503, 504})
_READS: Final = frozenset({"GET", "HEAD"})


@dataclass(slots=True)
class Attempt:
    """One try of a call; `sent` is set right before its request goes out."""

    sent: bool = False


class RefusedLater(Unavailable):
    """A write whose answer was lost was sent again and refused: the first one may have happened all the same."""

    def __init__(self, where: str, response: requests.Response) -> None:
        super().__init__(
            f"{where}: answered {response.status_code} when it was sent again; the write may have happened before"
        )
        self.response = response
        """The refusal."""


class Retrying:
    """Sends calls in their turn and repeats those that may be repeated: GET, HEAD and the PUT of a manifest."""

    def __init__(
        self,
        limits: Limits,
        clock: Clock,
        random: Random,
        sleep: Callable[[float], None],
        pacer: Pacer,
        *,
        again: Callable[[str], None] = lambda _reason: None,
    ) -> None:
        """`again` is told the reason of each call that is sent once more."""
        self._limits = limits
        self._clock = clock
        self._random = random
        self._sleep = sleep
        self._pacer = pacer
        self._again = again

    def run(
        self, call: Call, owner: str, send: Callable[[Attempt], requests.Response], *, until: float
    ) -> requests.Response:
        """The first answer that another try would not better.

        Raises RateLimited or Unavailable with `retry_after_s` after the last try, or as soon as the registry asks for
        a longer pause than `Limits.retry_after_cap_s`; RefusedLater, or Unavailable for whatever else ends a write that
        was sent again after its answer was lost.
        """
        write = call.method not in _READS
        repeatable = not write or (call.method == "PUT" and "/manifests/" in call.url)
        tries = self._limits.attempts if repeatable else 1
        unsure = False
        for number in range(1, tries + 1):
            attempt = Attempt()
            try:
                sent_at = self._pacer.admit(owner, write=write, until=until)
                response = send(attempt)
                if response.status_code in _TRANSIENT or is_rate_limit(response):
                    raise refusal(response, call.where, now=self._clock.now(), cooldown_s=self._limits.cooldown_s)
            except Transient as error:
                if not attempt.sent and isinstance(error, RateLimited):
                    raise  # held back by ourselves: the pause is the caller's
                unsure |= write and attempt.sent and isinstance(error, Unavailable) and not never_sent(error)
                delay_s = self._delay_s(number, error)
                too_long = delay_s > self._limits.retry_after_cap_s or self._clock.monotonic_s() + delay_s > until
                last = number == tries or too_long
                if isinstance(error, RateLimited):
                    if last and error.retry_after_s is None:
                        error.retry_after_s = self._limits.cooldown_s
                    self._pacer.limited(owner, sent_at=sent_at, pause_s=error.retry_after_s or delay_s)
                if last:
                    raise _final(error, number, unsure=unsure) from error
                self._again(retry_reason(error))
            except WRITER_STOPS:
                raise
            except Terminal as error:  # such as a redirect, or a token that is refused by now
                if unsure:
                    raise Unavailable(f"{error}; sent again: the write may have happened before") from error
                raise
            else:
                if write and response.ok:
                    self._pacer.wrote(owner)
                elif unsure:
                    raise RefusedLater(call.where, response)
                return response
            self._sleep(delay_s)
        raise AssertionError("unreachable: the last try returns or raises")

    def _delay_s(self, number: int, error: Transient) -> float:
        """Full jitter; on top of the registry's own pause, so that many threads do not come back at one instant."""
        cap_s = min(self._limits.backoff_cap_s, self._limits.backoff_base_s * 2.0 ** (number - 1))
        return (error.retry_after_s or 0) + self._random.uniform(0, cap_s)


def _final(error: Transient, tries: int, *, unsure: bool) -> Transient:
    text = f"{error}; tried {tries} times" if tries > 1 else str(error)
    if unsure:
        text += "; the write may have happened"
    return type(error)(text, retry_after_s=error.retry_after_s)
