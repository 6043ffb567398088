"""A shop whose reconciler is killed with kill -9 at chosen boundaries, and what must hold after the next pass."""

from __future__ import annotations

import os
import re
import shutil
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reconciler.adapters.status_local import LocalStatusReporter
from reconciler.demo.world import MAIN
from reconciler.ports import StatusState
from state.entry import Kind
from state.git import CommitId
from state.log_read import LogReader
from state.log_verify import verify
from tests.faults.forks import Forks, Ran, needs_linux
from tests.fixtures.log_remote import GitServer
from tests.fixtures.shop import DOCS, IMAGE_NAMES, LOG_REF, Shop, changes, open_shop

ANSWERS = (
    (r"(HEAD|PUT) \S+/manifests/[0-9a-f]{40}", r"\1 head tag"),
    (r"POST \S+/git-(\w+)-pack", r"\1 to log remote"),
)
"""What a server has just done → the kind of the boundary: the effect is there, the answer is not."""
_HEAD_TAG = re.compile(r"/v2/shop/([a-z]+)/manifests/([0-9a-f]{40})")


class Answers:
    """Kills the process once a server has done the n-th of what it was asked for, and has not answered yet."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._started = threading.Event()
        self._pid = 0
        self._aim: tuple[str, int] | None = None
        self.killed: str | None = None
        self.came_to: list[str] = []

    def expect(self, kind: str | None, nth: int) -> None:
        """Before the process starts: kill it at the n-th answer of this kind."""
        with self._lock:
            self._started.clear()
            self._aim, self.killed, self.came_to = (kind, nth) if kind else None, None, []

    def started(self, pid: int) -> None:
        self._pid = pid
        self._started.set()

    def ended(self) -> None:
        with self._lock:
            self._aim, self._pid = None, 0

    def done(self, request: str) -> None:
        kind = next((f.expand(name) for pattern, name in ANSWERS if (f := re.match(pattern, request))), None)
        if kind is None:
            return
        self._started.wait(20)
        with self._lock:
            if not self._pid:
                return
            self.came_to.append(kind)
            if self.killed is None and (kind, Counter(self.came_to)[kind]) == self._aim:
                self.killed = f"answer {kind} ({request})"
                os.kill(self._pid, signal.SIGKILL)


class Bench:
    """One shop with a log remote, and runs of the program over it. Whatever breaks an invariant is in `broken`."""

    def __init__(self, shop: Shop, remote: GitServer, answers: Answers) -> None:
        self.shop = shop
        self.answers = answers
        self.broken: list[str] = []
        self.wanted: dict[int, tuple[CommitId, dict[str, str]]] = {}
        """Open pull request → its head, and image → digest of the tag it must have."""
        self._remote = remote
        self._changed: dict[int, set[str]] = {}
        self._count = 0
        self._built: set[tuple[str, CommitId]] = set()
        self._deeds = threading.Lock()
        remote.told = lambda method, path: answers.done(f"{method} {path}")
        shop.configure(shop={"log": {**shop.repository_settings["log"], "remote": remote.url("log.git")}})
        self._forks: Forks | None = None
        self._said_by = shop.root / "stderr"
        self.renew()

    # --- developers and CI

    def opens(self, changed: str | None) -> int:
        """A new pull request that changes one image, which CI has built, or none."""
        with self._deeds:
            self._count += 1
            files = {**DOCS, "n": f"{self._count}\n"} if changed is None else changes(changed, f"{self._count}\n")
            head = self.shop.world.branch(f"pr-{self._count}", files, "Work")
            images = set() if changed is None else {changed}
            tags = self._ci(head, images)
            number = self.shop.pulls.open(head, MAIN).record.number
            self.wanted[number] = head, tags
            self._changed[number] = images
            return number

    @property
    def newest_branch(self) -> int:
        """The number in the name of the branch that was made last."""
        return self._count

    def pushes(self, number: int, branch: int) -> None:
        """A new head for an open pull request."""
        with self._deeds:
            self._count += 1
            changed = IMAGE_NAMES[self._count % len(IMAGE_NAMES)]
            head = self.shop.world.branch(f"pr-{branch}", changes(changed, f"{self._count}\n"), "More work")
            self._changed[number].add(changed)
            tags = self._ci(head, self._changed[number])
            self.shop.pulls.push(number, head)
            self.wanted[number] = head, tags

    def closes(self, number: int) -> None:
        with self._deeds:
            self.shop.pulls.close(number)
            del self.wanted[number]

    def _ci(self, head: CommitId, changed: set[str]) -> dict[str, str]:
        tags: dict[str, str] = {image: self._mains[image] for image in IMAGE_NAMES}
        for image in sorted(changed):
            self._built.add((image, head))
            tags[image] = self.shop.world.ci_builds(image, head)
        return tags

    # --- runs of the program

    def renew(self) -> None:
        """Forget log, remote and state, as before the very first start. Heads from before must be closed."""
        assert not self.wanted
        for path in (self.shop.log, self._remote.root / "log.git", self.shop.root / "state"):
            shutil.rmtree(path, ignore_errors=True)
        self._remote.bare("log.git")
        self._mains = {image: self.shop.main(image) for image in IMAGE_NAMES}

    def start(self, verb: str, **kill: Any) -> None:
        """Start `ameide reconciler VERB`; `kill`: see boundary_forks, or `answer` and `nth`."""
        if self._forks is None:
            self._forks = Forks(self.shop.environment(), self._said_by)
        self.answers.expect(kill.pop("answer", None), kill.get("nth", 0))
        arguments = ["reconciler", verb, "--config", str(self.shop.config)]
        self.answers.started(self._forks.start(arguments, self.shop.root, **kill))

    def ends_within(self, seconds: float) -> bool:
        """Whether the run ends so soon; returns at once when it does."""
        assert self._forks is not None
        return self._forks.ends_within(seconds)

    def ended(self) -> Ran:
        """How the run that was started has ended."""
        assert self._forks is not None
        ran = self._forks.ended()
        self.answers.ended()
        return ran._replace(killed=ran.killed or self.answers.killed)

    def runs(self, verb: str = "once", **kill: Any) -> Ran:
        self.start(verb, **kill)
        return self.ended()

    def close(self) -> None:
        if self._forks is not None:
            self._forks.close()

    # --- what must hold

    def answered(self, method: str, path: str, status: int) -> None:
        """Told of every answer of the registry before it is sent: a tag is only written behind its intent."""
        if (method, status) == ("PUT", 201) and (tag := _HEAD_TAG.fullmatch(path)):
            image, head = tag[1], CommitId(tag[2])
            if (image, head) not in self._built:
                newest = next(LogReader(self.shop.log, LOG_REF).newest_first()).entry
                rows: Any = newest.body.get("writes", ())
                named = {(row["repository"].rpartition("/")[2], row["head"]) for row in rows}
                if newest.kind is not Kind.INTENT or (image, head) not in named:
                    self.broken.append(f"{path} was written behind {newest.kind.value} {sorted(named)}")
        self.answers.done(f"{method} {path}")

    def heals(self) -> None:
        """The next pass brings about exactly what was decided, and every record adds up."""
        ran = self.runs()
        said = self._said_by.read_text()[-2000:]
        assert ran.code == 0, f"the next pass did not converge, exit {ran.code}:\n{said}"
        self.adds_up()

    def adds_up(self) -> None:
        shop = self.shop
        assert not self.broken, self.broken
        for number, (head, tags) in self.wanted.items():
            assert shop.tags(head) == tags, f"#{number}"
            status = LocalStatusReporter(shop.code).status_of(head)
            assert status is not None
            assert status.state is StatusState.SUCCESS, f"#{number}: {status}"
        assert {image: shop.main(image) for image in IMAGE_NAMES} == self._mains
        assert shop.registry is not None
        puts = Counter(path for method, path, status in shop.registry.answered if (method, status) == ("PUT", 201))
        again = {path: times for path, times in puts.items() if _HEAD_TAG.fullmatch(path) and times > 1}
        assert not again, "a tag was written more than once"

        report = shop.verified()
        entries = shop.entries()
        decided = Counter(e.entry.body["head"] for e in entries if e.entry.kind is Kind.DECISION)
        assert not [head for head, times in decided.items() if times > 1]
        assert {head for head, _ in self.wanted.values()} <= decided.keys()
        intents = [str(e.id) for e in entries if e.entry.kind is Kind.INTENT]
        outcomes = [e.entry.body["intent"] for e in entries if e.entry.kind is Kind.OUTCOME]
        assert Counter(o for o in outcomes if o is not None) == Counter(intents), "one outcome for each intent"
        served = verify(self._remote.root / "log.git", allowed_signers_file=shop.allowed_signers)
        assert served.clean, served.problems
        assert served.branches[0].last == report.branches[0].last == entries[-1].id, "the remote has everything"
        left = [str(p) for p in shop.root.rglob("*.lock")]
        assert not left, "lock files were left behind"


@contextmanager
def open_bench(root: Path) -> Iterator[Bench]:
    """A bench below `root`, which must not exist."""
    needs_linux()
    answers = Answers()
    made: list[Bench] = []

    lock = threading.Lock()
    seen = 0

    def told() -> None:
        nonlocal seen
        with lock:
            if made:
                assert made[0].shop.registry is not None
                news = made[0].shop.registry.answered[seen:]
                seen += len(news)
                for answer in news:
                    made[0].answered(*answer)

    with open_shop(root / "shop", told) as shop:
        (root / "served").mkdir()
        remote = GitServer(root / "served")
        try:
            made.append(Bench(shop, remote, answers))
            yield made[0]
        finally:
            for bench in made:
                bench.close()
            remote.close()
