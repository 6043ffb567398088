"""Two replicas that publish, and a clock that jumps in one of them: what one does is never done again by the other."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

from reconciler.demo.ci import publisher
from state.entry import Kind
from state.git import RefName
from state.log_read import LogReader
from state.log_verify import verify
from tests.e2e.test_standby import WITHIN_S, leads
from tests.fixtures.approving import Approving
from tests.fixtures.jumping_clock import Jumping
from tests.fixtures.lease_api import run_lease_api
from tests.fixtures.log_remote import GitServer
from tests.fixtures.proving import Proving
from tests.fixtures.shop import LOG_REF, changes, eventually, open_shop
from tests.fixtures.standby import Replicas

HOUR_S = 3600.0
YEAR_S = 366 * 24 * HOUR_S
HEADS_MAX = 20
"""So many heads are given to two that both believe to lead; one or two are enough to part them."""


class Jump(StrEnum):
    """Whose clock does what, while `a` leads and `b` stands by."""

    LEADER_STANDS = "the leader's stands still, and it is cut off from the lease"
    LEADER_LEAPS = "the leader's leaps ahead"
    STANDBY_LEAPS = "the standby's leaps ahead, while the leader is cut off from the lease and counts its own time"
    WALLS_PART = "wall clocks part by an hour and a year"


class Supervised:
    """Both replicas; one that ends because it lost the log or the lease is started again, with its clocks right."""

    def __init__(self, replicas: Replicas) -> None:
        self._replicas = replicas
        self.ended: Counter[str] = Counter()
        self.running: dict[str, Jumping] = {}

    def __enter__(self) -> Self:
        self._start("a")
        self.until("a leads", lambda: leads(self.running["a"]))
        self._start("b")
        self.until("b stands by", lambda: self.running["b"].events("standing_by"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self.running.values():
            process.popen.kill()
            process.popen.communicate()

    def until(self, what: str, there: Callable[[], object]) -> None:
        eventually(what, lambda: self._supervised() and there(), within_s=WITHIN_S)

    def stop(self) -> None:
        """Both end in peace."""
        self.until("both listen", lambda: all(p.events("listening") for p in self.running.values()))
        while self.running:
            _, process = self.running.popitem()
            assert process.ends(signal.SIGTERM) == 0, process.log

    def _supervised(self) -> bool:
        for name, process in list(self.running.items()):
            if process.popen.poll() is not None:
                assert process.ends() == 3, process.log
                assert "Traceback" not in process.log
                self.ended[name] += 1
                self._start(name)
        return True

    def _start(self, name: str) -> None:
        self.running[name] = Jumping(self._replicas.shop, self._replicas.config(name))


def every_jump(root: Path) -> Iterator[Jump]:
    """Each of them, in a world of its own."""
    for n, jump in enumerate(Jump):
        home = root / str(n)
        (home / "served").mkdir(parents=True)
        remote = GitServer(home / "served")
        try:
            with run_lease_api() as lease_api, open_shop(home / "shop") as shop, publisher(shop.host) as ci:
                proving = Proving(shop, ci)
                proving.attests_mains()
                jumped(Replicas(shop, *lease_api, remote), Approving(shop, proving), jump)
        finally:
            remote.close()
        yield jump


def jumped(replicas: Replicas, approving: Approving, jump: Jump) -> None:
    """Publish across the jump, and hold both replicas to what may be done once."""
    shop = replicas.shop
    shop.log = replicas.remote
    number, head = shop.opens("orders", changes("orders"), author_id=21)
    shop.world.ci_builds("orders", head)
    approving.proving.attests("orders", head, head, ref=RefName.branch("orders"))
    with Supervised(replicas) as pair:
        pair.until("the plan", approving.plans)
        approving.approves(number, "alice")  # both see it: the directory is shared
        _jump(replicas, pair, jump)
        _, other = shop.opens("words", {"README.md": "words\n"})
        pair.until("every tag of the next head", lambda: None not in shop.tags(other).values())
        pair.until("the GitOps pull request", lambda: [r.state.value for r in approving.opened()] == ["open"])
        pair.until("one leads", lambda: [leads(p) for p in pair.running.values()].count(True) == 1)
        if jump is Jump.WALLS_PART:
            assert leads(pair.running["a"]), "no lease goes by the wall clock"
            assert not pair.ended
        else:
            assert pair.ended["a"], "who led before is not the leader any more"
        pair.until("each intent has an outcome there", lambda: not _open_intents(replicas))
        pair.stop()
    _adds_up(replicas, approving)


def _jump(replicas: Replicas, pair: Supervised, jump: Jump) -> None:
    first, second = pair.running["a"], pair.running["b"]
    match jump:
        case Jump.LEADER_STANDS:
            first.moves(stands=True)
            with replicas.api.simulated.lock:
                replicas.api.cut_off.add(replicas.token("a"))
            # It knows nothing of it, and goes on: only the log can tell it, which has one newest epoch.
            pair.until("the lease is another's", lambda: second.events("leadership_taken"))
            for n in range(HEADS_MAX):
                if pair.ended["a"]:
                    break
                _, head = replicas.shop.opens(f"both-{n}", {f"{n}.md": "of both\n"})
                pair.until("its tags", lambda head=head: None not in replicas.shop.tags(head).values())  # type: ignore[misc]
            assert pair.ended["a"], "the log has not told it"
        case Jump.LEADER_LEAPS:
            first.moves(forward_s=HOUR_S)
            pair.until("it ends", lambda: pair.ended["a"])
        case Jump.STANDBY_LEAPS:
            with replicas.api.simulated.lock:
                replicas.api.cut_off.add(replicas.token("a"))
            looks = replicas.api.requests(replicas.token("b"), "GET")
            pair.until("two looks", lambda: replicas.api.requests(replicas.token("b"), "GET") >= looks + 2)
            second.moves(forward_s=HOUR_S)  # long before the lease is over
            pair.until("it ends", lambda: pair.ended["a"])
        case Jump.WALLS_PART:
            first.moves(wall_s=-HOUR_S)
            second.moves(wall_s=YEAR_S)
            _next_pass(pair, first)
            first.moves(wall_s=YEAR_S)
            replicas.shop.opens("a-year-later", {"NOTES.md": "later\n"})
            _next_pass(pair, first)
            first.moves()


def _next_pass(pair: Supervised, process: Jumping) -> None:
    """A pass that began after this call has ended."""
    before = len(process.events("pass_finished"))
    pair.until("two passes", lambda: len(process.events("pass_finished")) >= before + 2)


def _open_intents(replicas: Replicas) -> set[str]:
    entries = list(LogReader(replicas.remote, LOG_REF).entries())
    closed = {str(e.entry.body["intent"]) for e in entries if e.entry.kind is Kind.OUTCOME}
    return {str(e.id) for e in entries if e.entry.kind is Kind.INTENT} - closed


def _adds_up(replicas: Replicas, approving: Approving) -> None:
    """One decision a head, one outcome an intent, one use of the approval, one GitOps pull request."""
    report = verify(replicas.remote, allowed_signers_file=replicas.shop.allowed_signers)
    assert report.clean, report.problems
    entries = list(LogReader(replicas.remote, LOG_REF).entries())
    decided = Counter(str(e.entry.body["head"]) for e in entries if e.entry.kind is Kind.DECISION)
    assert set(decided.values()) == {1}
    outcomes = Counter(str(e.entry.body["intent"]) for e in entries if e.entry.kind is Kind.OUTCOME)
    outcomes.pop("None", None)
    intents = [e for e in entries if e.entry.kind is Kind.INTENT]
    assert outcomes == Counter(str(e.id) for e in intents)
    opened = [row for e in intents for row in e.entry.body.get("proposals", [])]  # type: ignore[union-attr]
    used = {(row["step"], row["branch"], *row["approvals"]) for row in opened}  # type: ignore[index,call-overload,misc]
    assert len(used) == 1, "one approval, for one pull request"
    assert len(approving.opened()) == 1
