"""A listing over several pages that is known to be whole.

Pages are cut from a list that changes while it is read: a pull request closed on page one moves the first of page two
out of sight, and no count shows it. So a listing of several pages counts only once two readings in a row agree on what
is where, and on when each record was changed last: one that was opened again and closed again meanwhile hides the same
record twice. Where records change for another reason, three readings that agree on what is where suffice. With ETags
reading again costs nothing, and an unchanged listing is one conditional request a page.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from reconciler.adapters.forge_client import Answer, ForgeClient
from state.canonical import Json
from state.errors import Terminal, Unavailable

SWEEPS_MAX: Final = 4
AGREEING: Final = 3
"""So many readings in a row that agree on what is where, whatever changed in the records."""
_UPDATED: Final = "updated_at"
"""The member in which GitHub, GitLab and Gitea tell when a record was changed last, closing and opening included."""
_NEXT: Final = re.compile(r';\s*rel="?next"?')


class Paged(NamedTuple):
    """The records of all pages; unless `complete`, one that is not in it must not be taken for gone."""

    records: tuple[dict[str, Json], ...]
    complete: bool


class _Sweep(NamedTuple):
    pages: tuple[tuple[dict[str, Json], ...], ...]
    unchanged: bool
    """Every page was answered 304: it is as the sweep before it, of an earlier call."""
    whole: bool

    def order(self, key: str) -> list[list[Json]]:
        return [[record.get(key) for record in page] for page in self.pages]

    def stands_as(self, before: _Sweep) -> bool:
        """Whether no record was changed since; False where one does not tell."""
        mine, theirs = self.order(_UPDATED), before.order(_UPDATED)
        return mine == theirs and all(isinstance(time, str) and time for page in mine for time in page)


def listing(
    client: ForgeClient,
    path: str,
    query: Mapping[str, str | int],
    *,
    what: str,
    key: str,
    page_size: int,
    pages_max: int,
    reduce: Callable[[dict[str, Json]], dict[str, Json]] = dict,
    only_grows: bool = False,
) -> Paged | None:
    """Every record, oldest first as the query asks for; None on a 404.

    Args:
        what: the list's name in messages.
        key: the member that tells one record from another.
        reduce: makes of a record what is kept of it; `key` has to stay.
        page_size: as the query asks for it, under the forge's own name.
        only_grows: no record leaves the list, whatever becomes of it: then none can hide another one twice.

    Raises Transient or Denied as soon as any page cannot be read.
    """

    def kept(body: Json) -> Json:
        if not isinstance(body, list):
            return body
        # A record that is none is kept as an empty one, which its reader refuses: it must not vanish from the count.
        return [
            {**reduce(record), _UPDATED: record.get(_UPDATED)} if isinstance(record, dict) else {} for record in body
        ]

    def ask(page: int) -> Answer:
        return client.get(path, {**query, "page": page}, conditional=True, reduce=kept)

    before: _Sweep | None = None
    agreeing = 1
    for _ in range(SWEEPS_MAX):
        sweep = _sweep(ask, what, page_size=page_size, pages_max=pages_max)
        if sweep is None:
            return None
        agreeing = agreeing + 1 if before is not None and sweep.order(key) == before.order(key) else 1
        agrees = agreeing == AGREEING or (
            agreeing > 1 and before is not None and (only_grows or sweep.stands_as(before))
        )
        if not sweep.whole or len(sweep.pages) == 1 or agrees or (sweep.unchanged and _stood(ask, sweep)):
            return Paged(tuple(record for page in sweep.pages for record in page), sweep.whole)
        before = sweep
    assert before is not None  # noqa: S101 - the loop ran
    return Paged(tuple(record for page in before.pages for record in page), complete=False)


def _sweep(ask: Callable[[int], Answer], what: str, *, page_size: int, pages_max: int) -> _Sweep | None:
    pages: list[tuple[dict[str, Json], ...]] = []
    unchanged = True
    for number in range(1, pages_max + 1):
        answer = ask(number)
        if not answer.found:
            if number > 1:
                raise Unavailable(f"{what}: page {number} is gone while the list was read")
            return None
        page = _records(answer, what)
        unchanged = unchanged and answer.unchanged
        # An empty one counts, too: a list that shrank to the pages before it lost a record from their middle.
        pages.append(page)
        if not page or not (_NEXT.search(answer.headers.get("link", "")) or len(page) >= page_size):
            return _Sweep(tuple(pages), unchanged, _as_many_as_told(answer, sum(map(len, pages))))
    return _Sweep(tuple(pages), unchanged, whole=False)


def _stood(ask: Callable[[int], Answer], sweep: _Sweep) -> bool:
    """Whether nothing left the list while unchanged pages were read: that moves the last record.

    A new record that came before is else not seen, where the list is as long as at the earlier call once the last page
    is read.
    """
    return ask(max(number for number, page in enumerate(sweep.pages, 1) if page)).unchanged


def _as_many_as_told(answer: Answer, count: int) -> bool:
    """`X-Total-Count` (Gitea, Forgejo) or `X-Total` (GitLab, up to 10,000), where the forge tells it."""
    told = answer.headers.get("x-total-count") or answer.headers.get("x-total") or ""
    return not (told.isascii() and told.isdigit()) or int(told[:9]) == count


def _records(answer: Answer, what: str) -> tuple[dict[str, Json], ...]:
    if not isinstance(answer.body, list):
        raise Terminal(f"{what}: expected a list, got {type(answer.body).__name__}; check the API's address")
    return tuple(record for record in answer.body if isinstance(record, dict))
