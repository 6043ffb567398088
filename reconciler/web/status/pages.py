"""Which address is which page. Only GET and HEAD come here (`web.apps`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from werkzeug.exceptions import HTTPException, NotFound, ServiceUnavailable
from werkzeug.utils import redirect
from werkzeug.wrappers import Request, Response

from reconciler.explain import pick
from reconciler.matrix import State
from reconciler.shown import Shown
from reconciler.web.status import heads, logbook, matrix, publishing
from reconciler.web.status.access import Access, Refused
from reconciler.web.status.health import health_of
from reconciler.web.status.logbook import LogBook
from reconciler.web.status.params import BadParameter, Params
from reconciler.web.status.site import Process, Site
from reconciler.web.status.views import ASSETS, Built, Frame, Page, Views, wants_json
from state.canonical import Json
from state.entry import Entry, Kind, Logged, subject
from state.errors import IntegrityError, InvalidValue, ReconcilerError
from state.git import CommitId
from state.hold import Reason
from state.log_branch import Role

_NUMBER_MAX_DIGITS: Final = 16
_REPOSITORIES: Final = "repositories"


class _Asked(NamedTuple):
    """One request for a page of a repository."""

    site: Site
    shown: Shown | None
    request: Request
    rest: tuple[str, ...]
    """The parts of the path behind the page's name."""


class StatusPages:
    """Answers for every repository of the process. Called by several threads."""

    def __init__(self, sites: Sequence[Site], process: Process, access: Access) -> None:
        self._sites = {site.name: site for site in sites}
        self._process = process
        self._access = access
        self._views = Views()
        self._pages: Mapping[str, Callable[[_Asked], Page]] = {
            "": self._matrix,
            "pull-requests": self._pull_request,
            "heads": self._release,
            "approvals": self._approvals,
            "gitops": self._gitops,
            "log": self._log,
        }

    def handle(self, request: Request) -> Response:
        """200, 302, 304, 400 a bad parameter, 403 not for this reader, 404, 503 cannot be read now."""
        as_json, frame = wants_json(request), Frame()
        try:
            if request.path.startswith(ASSETS):
                return self._views.asset(request)
            frame = self._frame(request, self._access.user(request))
            if request.path == "/" and len(self._sites) == 1 and not as_json:
                return redirect(f"/{_REPOSITORIES}/{next(iter(self._sites))}")
            params = Params.of(request, (), ["format", *request.args])  # its bounds hold on every page
            params.choice("format", ["html", "json"])
            frame = frame._replace(json_query=params.query(format="json"))
            return self._views.answer(request, self._page(request), frame, as_json=as_json)
        except BadParameter as error:
            return self._views.error(400, str(error), frame, as_json=as_json)
        except Refused as error:
            return self._views.error(403, str(error), frame, as_json=as_json)
        except ReconcilerError as error:
            return self._views.error(503, f"The log cannot be read now: {error}", frame, as_json=as_json)
        except HTTPException as error:
            response = self._views.error(error.code or 500, error.description or error.name, frame, as_json=as_json)
            if isinstance(error, ServiceUnavailable):
                response.headers["Retry-After"] = "1"
            return response

    def _frame(self, request: Request, user: str | None) -> Frame:
        """What stands around a page, for somebody who may read it."""
        parts = request.path.split("/")
        site = self._sites.get(parts[2]) if len(parts) > 2 and parts[1] == _REPOSITORIES else None
        shown = None if site is None else site.shown()
        ready, why = self._process.ready()
        return Frame(
            sites=tuple(self._sites),
            site=None if site is None else site.name,
            page=parts[3] if site is not None and len(parts) > 3 else parts[1],
            ready=ready,
            why=why,
            mode=None if shown is None else shown.mode.value,
            user=user,
        )

    def _page(self, request: Request) -> Page:
        parts = request.path.split("/")[1:]
        if parts in ([""], ["health"]):
            Params.of(request, ())
            return self._overview(parts[0] or "overview")
        site = self._sites.get(parts[1]) if len(parts) > 1 and parts[0] == _REPOSITORIES else None
        if site is None:
            raise NotFound("There is no such page.")
        page = self._pages.get(parts[2] if len(parts) > 2 else "")
        rest = tuple(parts[3:])
        if page is None or "" in rest or (len(parts) > 2 and not parts[2]):
            raise NotFound("There is no such page.")
        return page(_Asked(site, site.shown(), request, rest))

    # --- every repository

    def _overview(self, name: str) -> Page:
        def build() -> Built:
            found = [health_of(site, self._process) for site in self._sites.values()]
            digest, (ready, why) = self._process.config_digest(), self._process.ready()
            value: dict[str, Json] = {
                "config_digest": digest,
                "live": self._process.live(),
                "ready": ready,
                "repositories": [h.to_json() for h in found],
                "why": why,
            }
            context = {"repositories": found, "live": self._process.live(), "config_digest": digest}
            return Built(f"{name}.html", context, value)

        return Page(None, build)

    # --- one repository

    def _matrix(self, asked: _Asked) -> Page:
        params = Params.of(asked.request, matrix.PARAMETERS, ["state"])
        filters, page = matrix.Filters.of(params), params.number("page") or 1

        def build() -> Built:
            shown, index = _passed(asked)
            found = matrix.find(index, filters, page)
            context = {
                "shown": shown,
                "index": index,
                "found": found,
                "filters": filters,
                "params": params,
                "reasons": [r.value for r in Reason],
                "states": list(State),
                "condition": self._process.condition(asked.site.name),
            }
            return Built("matrix.html", context, {**_about(asked.site, shown), **matrix.to_json(found, index)})

        return self._of_the_pass(asked, build)

    def _pull_request(self, asked: _Asked) -> Page:
        Params.of(asked.request, ())
        if not asked.rest:
            raise NotFound("There is no such page.")
        number, component = _number(asked.rest[0]), "/".join(asked.rest[1:])

        def build() -> Built:
            shown, index = _passed(asked)
            row = index.by_number.get(number)
            if row is None:
                raise NotFound(f"No open pull request #{number} was seen by the last pass.")
            url = asked.site.pull_request_url(number)
            if component:
                return self._cell(asked, shown, row, component, url)
            head = heads.head_of(shown, row)
            context = {"shown": shown, "head": head, "url": url, **_publishing_context(asked.site, shown)}
            return Built("pull_request.html", context, {**_about(asked.site, shown), **head.to_json()})

        return self._of_the_pass(asked, build)

    def _cell(self, asked: _Asked, shown: Shown, row: matrix.Row, component: str, url: str | None) -> Built:
        cell = pick(tuple(row.every()), row.pr, component)
        if cell is None or cell.component is None:
            raise NotFound(f"The pull request #{row.pr} has no component {component[:100]}.")
        problem = None
        try:
            found = heads.chain(shown, cell, self._book(asked.site, Role.RECONCILER).read)
        except ReconcilerError as error:
            problem = str(error)
            found = heads.chain(shown._replace(traces={}, seen_in={}), cell, _nothing)
        value = {**_about(asked.site, shown), **found.to_json(), "log_problem": problem}
        context = {"shown": shown, "cell": cell, "chain": found, "problem": problem, "url": url}
        return Built("cell.html", context, value)

    def _release(self, asked: _Asked) -> Page:
        Params.of(asked.request, ())
        if len(asked.rest) != 1:
            raise NotFound("There is no such page.")
        head = _commit(asked.rest[0])

        def build() -> Built:
            shown, index = _passed(asked)
            found = heads.release_of(shown, index, head)
            if found is None:
                raise NotFound(f"No open pull request that the last pass saw has the head {head.short}.")
            value = {**_about(asked.site, shown), **found.to_json()}
            return Built("release.html", {"shown": shown, "release": found}, value)

        return self._of_the_pass(asked, build)

    def _approvals(self, asked: _Asked) -> Page:
        params = Params.of(asked.request, ("page",))
        page = params.number("page") or 1
        if asked.rest:
            raise NotFound("There is no such page.")

        def build() -> Built:
            shown, _ = _passed(asked)
            plans, of_plans = publishing.cut(shown.published.plans, page)
            approvals, of_approvals = publishing.cut(shown.published.approvals, page)
            pages = max(of_plans, of_approvals)
            context = {"plans": plans, "approvals": approvals, "params": params, "at": page, "pages": pages}
            value = {**_about(asked.site, shown), "page": page, "pages": pages}
            value |= publishing.approvals_json(plans, approvals, shown.published)
            return Built("approvals.html", {"shown": shown, **context, **_publishing_context(asked.site, shown)}, value)

        return self._of_the_pass(asked, build)

    def _gitops(self, asked: _Asked) -> Page:
        params = Params.of(asked.request, ("page",))
        page = params.number("page") or 1
        if asked.rest:
            raise NotFound("There is no such page.")

        def build() -> Built:
            shown, _ = _passed(asked)
            every = publishing.live_first(shown.published.proposals)
            rows, pages = publishing.cut(every, page)
            counts = publishing.counts(every)
            context = {"proposals": rows, "counts": counts, "params": params, "at": page, "pages": pages}
            value: dict[str, Json] = {"page": page, "pages": pages, "proposals": publishing.proposals_json(rows)}
            context |= {"shown": shown, **_publishing_context(asked.site, shown)}
            return Built("gitops.html", context, {**_about(asked.site, shown), **value})

        return self._of_the_pass(asked, build)

    # --- the log

    def _log(self, asked: _Asked) -> Page:
        if len(asked.rest) > 1:
            raise NotFound("There is no such page.")
        if asked.rest:
            return self._entry(asked, _commit(asked.rest[0]))
        params = Params.of(asked.request, logbook.PARAMETERS)
        role = Role(params.choice("role", list(Role)) or Role.RECONCILER)
        wanted = logbook.Wanted.of(params)
        start = params.digits("start", 40)
        known = () if (number := asked.site.repository_id()) is None else logbook.roles(asked.site.log_path, number)
        context = {"params": params, "role": role, "roles": known, "kinds": list(Kind), "wanted": wanted, "what": _what}
        if role not in known:
            empty = logbook.LogPage((), None, 0, None)
            return Page((), lambda: Built("log.html", {**context, "log": empty}, _log_json(asked.site, role, empty)))
        book = self._book(asked.site, role)

        def build() -> Built:
            try:
                found = book.page(wanted, None if start is None else CommitId(start))
            except IntegrityError as error:
                if start is None:
                    raise
                raise NotFound(f"The log cannot be read from start={start[:12]} on: {error}") from error
            return Built("log.html", {**context, "log": found}, _log_json(asked.site, role, found))

        return Page((book.tip(), role.value), build)

    def _entry(self, asked: _Asked, entry: CommitId) -> Page:
        Params.of(asked.request, ())

        def build() -> Built:
            try:
                logged = Logged(entry, self._book(asked.site, Role.RECONCILER).read(entry))
            except IntegrityError as error:
                raise NotFound(f"No entry of the log can be read under this id: {error}") from error
            text, cut = logbook.body_text(logged.entry)
            value = logbook.entry_json(logged)
            return Built("entry.html", {"entry": value, "text": text, "cut": cut}, value)

        return Page((), build)  # an entry never changes

    def _book(self, site: Site, role: Role) -> LogBook:
        """Raises Terminal where there is no log, NotFound where the repository was not opened yet."""
        number = site.repository_id()
        if number is None:
            raise NotFound("The repository could not be opened yet, so that its log is not known.")
        return LogBook(site.log_path, number, role)

    def _of_the_pass(self, asked: _Asked, build: Callable[[], Built]) -> Page:
        """A page that depends on the last pass alone; before the first one, a page that says so."""
        condition = self._process.condition(asked.site.name)
        if asked.shown is None:
            value: dict[str, Json] = {"pass": None, "repository": asked.site.name, "why": condition.why}
            return Page((condition,), partial(Built, "waiting.html", {"condition": condition}, value))
        return Page((asked.shown.pass_id, condition), build)


def _passed(asked: _Asked) -> tuple[Shown, matrix.Index]:
    if asked.shown is None:
        raise NotFound("No pass has ended yet.")
    return asked.shown, asked.site.index(asked.shown)


def _about(site: Site, shown: Shown) -> dict[str, Json]:
    """What the JSON of every page of a repository says first."""
    return {
        "at": shown.at.isoformat(),
        "complete": shown.complete,
        "mode": shown.mode.value,
        "pass": shown.pass_id,
        "repository": site.name,
    }


def _publishing_context(site: Site, shown: Shown) -> dict[str, Any]:
    def change_url(target: str, number: int) -> str | None:
        made = site.change_urls.get(target)
        return None if made is None else made(number)

    published = shown.published
    return {
        "published": published,
        "became": lambda approval: publishing.became(approval, published).value,
        "remedy": publishing.remedy,
        "standings": publishing.by_plan(published),
        "change_url": change_url,
        "publishes": bool(site.change_urls),
    }


def _log_json(site: Site, role: Role, found: logbook.LogPage) -> dict[str, Json]:
    return {"repository": site.name, "role": role.value, **found.to_json()}


def _what(entry: Entry) -> str:
    """Its subject line without the kind and number that stand before the colon."""
    return subject(entry).partition(": ")[2]


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _NUMBER_MAX_DIGITS):
        raise NotFound("A pull request is named by its number.")
    return int(text)


def _commit(text: str) -> CommitId:
    try:
        return CommitId(text)
    except InvalidValue as error:
        raise NotFound("A commit is named by all its 40 digits.") from error


def _nothing(entry: CommitId) -> Any:
    raise NotFound(f"no entry {entry}")
