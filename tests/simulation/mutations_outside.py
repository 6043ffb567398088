"""More of the product broken on purpose: its HTTP adapters, its publishing and its janitor.

Rows as in `mutations`; those of a publish are the ones of `tests.publishing`, here to be found by chance.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest
from requests.utils import get_environ_proxies, get_netrc_auth

from reconciler.adapters import (
    forge_client,
    forge_pages,
    http_transport,
    kubernetes_client,
    registry_credential,
    registry_errors,
    registry_retry,
)
from reconciler.adapters.kubernetes_api import KubernetesApi
from reconciler.approval.evaluate import Granted
from reconciler.gitops import difference, edits
from reconciler.janitor import deciding, running
from reconciler.publishing import planning, proposing, wording
from state.errors import Terminal
from state.oci import Digest
from state.pin_plan import PinPlan
from tests.publishing.mutations import MUTATIONS as PUBLISHING

Patch = pytest.MonkeyPatch
Transport = http_transport.Transport


# --- adapters


def _an_empty_last_page_does_not_count(patch: Patch) -> None:
    real = forge_pages._sweep

    def sweep(*args: Any, **options: Any) -> Any:
        made = real(*args, **options)
        return made and made._replace(pages=tuple(p for n, p in enumerate(made.pages) if p or n == 0))

    patch.setattr(forge_pages, "_sweep", sweep)


def _a_listing_is_read_once(patch: Patch) -> None:
    real = forge_pages._sweep

    def sweep(*args: Any, **options: Any) -> Any:
        made = real(*args, **options)
        return made and made._replace(unchanged=True)

    patch.setattr(forge_pages, "_sweep", sweep)


def _what_looks_unchanged_is_not_looked_at_again(patch: Patch) -> None:
    patch.setattr(forge_pages, "_stood", lambda *_: True)


def _a_write_that_is_refused_later_never_happened(patch: Patch) -> None:
    class Refused(Terminal):
        def __init__(self, where: str, response: Any) -> None:
            super().__init__(where)
            self.response = response

    patch.setattr(registry_retry, "RefusedLater", Refused)


def _answers_are_read_without_bound(patch: Patch) -> None:
    real = Transport._body
    patch.setattr(Transport, "_body", lambda self, call, *rest: real(self, call._replace(max_bytes=1 << 50), *rest))


def _a_read_may_take_for_ever(patch: Patch) -> None:
    real = Transport.__init__

    def init(self: Any, session: Any, origin: Any, limits: Any, *rest: Any) -> None:
        real(self, session, origin, replace(limits, read_timeout_s=86_400.0), *rest)

    patch.setattr(Transport, "__init__", init)


def _the_credential_follows_a_redirect(patch: Patch) -> None:
    real, sent = Transport.once, dict[int, str | None]()

    def once(self: Any, call: Any, authorization: str | None, until: float) -> Any:
        sent[id(self)] = authorization or sent.get(id(self))
        return real(self, call, sent[id(self)], until)

    patch.setattr(Transport, "once", once)


def _what_a_server_says_is_told_as_it_is(patch: Patch) -> None:
    for module in (registry_errors, forge_client, kubernetes_client):
        patch.setattr(module, "shown_text", lambda text, _request: text[:200])


def _netrc_is_read(patch: Patch) -> None:
    real = http_transport._prepared

    def prepared(call: Any, authorization: str | None) -> Any:
        request = real(call, authorization)
        found = get_netrc_auth(call.url)
        return requests_auth(request, found) if authorization is None and found else request

    def requests_auth(request: Any, found: tuple[str, str]) -> Any:
        from requests.auth import HTTPBasicAuth

        return HTTPBasicAuth(*found)(request)

    patch.setattr(http_transport, "_prepared", prepared)


def _the_docker_configuration_is_read(patch: Patch) -> None:
    real = registry_credential.Credential.__init__

    def init(self: Any, _path: Path, host: str) -> None:
        real(self, Path(os.environ["DOCKER_CONFIG"], "config.json"), host)

    patch.setattr(registry_credential.Credential, "__init__", init)


def _proxies_of_the_environment_are_used(patch: Patch) -> None:
    real = Transport._once

    def once(self: Any, call: Any, *rest: Any) -> Any:
        adapter, proxies = self._adapter, get_environ_proxies(call.url)
        self._adapter = SimpleNamespace(send=partial(adapter.send, proxies=proxies))
        try:
            return real(self, call, *rest)
        finally:
            self._adapter = adapter

    patch.setattr(Transport, "_once", once)


# --- publishing


def _the_branch_of_the_author_is_in_the_title(patch: Patch) -> None:
    from reconciler.adapters.forge_github import PullRecord
    from reconciler.adapters.forge_gitlab import MergeRequest

    seen: list[str] = []
    for record in (PullRecord, MergeRequest):
        real = record.value

        def value(self: Any, real: Any = real) -> Any:
            seen[:] = [self.head_branch]
            return real(self)

        patch.setattr(record, "value", value)
    title = wording.title
    patch.setattr(wording, "title", lambda plan: f"{title(plan)} {''.join(seen)}")


def _a_plan_has_other_digests_than_the_release_set(patch: Patch) -> None:
    real = planning.of_release

    def of_release(*args: Any) -> Any:
        made = real(*args)
        if not isinstance(made, PinPlan):
            return made
        return made._replace(edits=tuple(e._replace(digest=Digest.of(b"other")) for e in made.edits))

    patch.setattr(planning, "of_release", of_release)


def _pins_go_by_a_tag_and_are_not_compared(patch: Patch) -> None:
    """Both, since what was edited is compared with what was approved before it is pushed."""
    real = edits._placed
    patch.setattr(edits, "_placed", lambda finder, edit: (real(finder, edit)[0], f"{edit.repository}:main"))
    patch.setattr(difference, "verify", lambda *_: None)


def _other_approvals_stand_in_for_one_that_was_consumed(patch: Patch) -> None:
    real = proposing.evaluate

    def evaluate(*args: Any) -> Any:
        judged = real(*args)
        return judged._replace(refused=()) if isinstance(judged, Granted) else judged

    patch.setattr(proposing, "evaluate", evaluate)


# --- janitor


def _no_grace_is_given(patch: Patch) -> None:
    patch.setattr(deciding, "_aged", lambda *_: True)


def _a_part_of_a_listing_is_believed(patch: Patch) -> None:
    real = deciding.decide
    patch.setattr(
        running,
        "decide",
        lambda namespaces, applications, *rest: real(
            replace(namespaces, complete=True), replace(applications, complete=True), *rest
        ),
    )


def _all_that_is_due_is_deleted_at_once(patch: Patch) -> None:
    patch.setattr(deciding, "_turn", lambda ours, *_: frozenset(ours))


def _applications_are_not_looked_at_again(patch: Patch) -> None:
    real, known = KubernetesApi.applications, dict[int, Any]()
    look = KubernetesApi.look

    def looked(self: Any) -> Any:
        known.pop(id(self), None)
        return look(self)

    def applications(self: Any) -> Any:
        if id(self) not in known:
            known[id(self)] = real(self)
        return known[id(self)]

    patch.setattr(KubernetesApi, "look", looked)
    patch.setattr(KubernetesApi, "applications", applications)


_PUBLISHING: Final = {mutation.name: mutation.break_it for mutation in PUBLISHING}


def _publishing(name: str) -> Callable[[Patch], None]:
    def break_it(patch: Patch) -> None:
        _PUBLISHING[name](patch)

    break_it.__name__ = name.replace(" ", "_")
    return break_it


OUTSIDE: Final[tuple[tuple[Callable[[Patch], None], int], ...]] = (
    (_an_empty_last_page_does_not_count, 2),
    (_a_listing_is_read_once, 2),
    (_what_looks_unchanged_is_not_looked_at_again, 2),
    (_the_branch_of_the_author_is_in_the_title, 5),
    (_publishing("no second look before opening"), 6),
    # What is seen of it are reads that do not end.
    (_publishing("consumed approvals count"), 0),
    (_publishing("one person suffices"), 6),
    (_publishing("what a person closed is opened again"), 6),
    (_publishing("a person's commit on the branch is opened"), 6),
    (_other_approvals_stand_in_for_one_that_was_consumed, 6),
    (_publishing("the hold label does not count"), 6),
    (_publishing("a moved tag does not count"), 6),
    (_publishing("the policy may have changed"), 6),
    (_publishing("a revocation that came meanwhile is not read"), 6),
    (_publishing("an approval that has ended counts"), 6),
    (_publishing("a new head closes nothing"), 0),
    (_publishing("closes and updates are left open"), 0),
    (_publishing("what was begun is not gone on with"), 0),
    (_a_write_that_is_refused_later_never_happened, 7),
    (_a_plan_has_other_digests_than_the_release_set, 9),
    (_pins_go_by_a_tag_and_are_not_compared, 9),
    (_no_grace_is_given, 10),
    (_a_part_of_a_listing_is_believed, 10),
    (_all_that_is_due_is_deleted_at_once, 10),
    (_applications_are_not_looked_at_again, 10),
    (_netrc_is_read, 11),
    (_the_docker_configuration_is_read, 11),
    (_proxies_of_the_environment_are_used, 11),
    (_answers_are_read_without_bound, 13),
    (_a_read_may_take_for_ever, 13),
    (_the_credential_follows_a_redirect, 14),
    (_what_a_server_says_is_told_as_it_is, 14),
)
