"""The invariants of design §2, checked at every step that could break one.

The truth comes from the world and from what each process was told by it; from the log only what its entries say.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import NoReturn

from reconciler.ports import Purpose
from state.canonical import Json
from state.entry import Entry, Kind, Logged
from state.git import CommitId, RefName
from state.observed import BaselinePolicy, Listing, Mode, PullRequest
from state.oci import Digest, Manifest, Repository, Tag
from state.release_set import ReleaseSet, layer_of
from state.verdict import Outcome
from tests.simulation.check_publishing import PublishChecks
from tests.simulation.check_wire import WireChecks
from tests.simulation.content import IMAGES, RELEASES, repository
from tests.simulation.told import Chain, View, Violation, admitted
from tests.simulation.world import HOLD, Cell, World

IMAGE_OF = {repository(i): i for i in IMAGES}


class Checker:
    """Listens to every answer and every effect."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.views: dict[str, View] = {}
        self.epoch = -1
        self.entries: list[Logged] = []
        self.chains: dict[CommitId, Chain] = {}
        self.open_intents: dict[CommitId, dict[Cell, Digest]] = {}
        self.unwritten: dict[str, dict[Cell, Digest]] = {}
        """By process: writes of its newest intent that it has not begun."""
        self.recorded: dict[Cell, tuple[Digest, str]] = {}
        self.quarantined: dict[CommitId, dict[Repository, tuple[Digest, Digest | None]]] = {}
        """Head → its breached tags: what was recorded, and what was found."""
        self.ended: set[CommitId] = set()
        self.registry_calls: list[tuple[Repository, str]] = []
        self.landed: dict[str, set[Cell]] = {}
        """By process: tags of its newest intent that it has made."""
        self.puts = 0
        self.groups = 0
        """Requests with several tags that made at least two."""
        self.intended: dict[str, dict[Cell, Digest]] = {}
        """By process: writes of its newest intent, begun or not."""
        self.listings: dict[str, tuple[set[int], set[int]]] = {}
        """By process that lists: pull requests that were open all the time since it began, and at any time."""
        self.wire = WireChecks()
        self.publishing = PublishChecks(world, self.recorded)
        self.publications: dict[str, dict[CommitId, tuple[Digest, Digest | None]]] = {}
        """By process: release sets of its newest intent, and what each may replace."""
        self.releases = 0
        self.adopts = 0

    # --- a process begins

    def activated(self, process: str, epoch: int) -> None:
        if epoch <= self.epoch:
            self._broken(8, f"{process} begins epoch {epoch} after epoch {self.epoch}")
        self.epoch = epoch
        self.views[process] = View(epoch)
        self.unwritten[process], self.intended[process] = {}, {}
        self.landed[process] = set()
        self.world.watched[process] = set()

    def pass_begins(self, process: str) -> None:
        before = self.views[process]
        self._remember_absent(before)
        self.views[process] = View(before.epoch, self.world.mode, self.world.suspended, absent=before.absent)
        self.world.watched[process] = set()

    def gone(self, process: str) -> None:
        """The process is dead, or its step is over."""
        self.world.watched[process] = set()
        self.unwritten[process] = {}
        self.listings.pop(process, None)

    def world_moved(self) -> None:
        """After each event."""
        now = {pr.number for pr in self.world.open_prs()}
        for always, ever in self.listings.values():
            always.intersection_update(now)
            ever.update(now)
        self.publishing.world_moved()

    # --- what a process is told

    def listing_begins(self, process: str) -> None:
        now = {pr.number for pr in self.world.open_prs()}
        self.listings[process] = (set(now), set(now))

    def listed(self, process: str, listing: Listing) -> None:
        always, ever = self.listings.pop(process)
        told = {pr.number for pr in listing.pull_requests}
        if listing.complete and (lost := always - told):
            self._broken(2, f"a listing without {sorted(lost)}, which were open all the time, is taken for complete")
        if made_up := told - ever:
            self._broken(2, f"a listing has {sorted(made_up)}, which were never open meanwhile")
        self.views[process].listing = listing

    def pull_request_read(self, process: str, number: int, found: PullRequest | None) -> None:
        self.views[process].pulls[number] = found

    def tip_read(self, process: str, branch: RefName, tip: CommitId) -> None:
        self.views[process].tips[branch] = tip

    def tag_read(self, process: str, at: Repository, tag: Tag, found: Digest | None) -> None:
        self.registry_calls.append((at, tag))
        view = self.views[process]
        if found is not None:
            view.shown.add(at)
            view.present.add((at, tag, found))
        elif len(tag) == 40:
            view.missing.add((at, CommitId(tag)))
            view.asked.add((at, CommitId(tag)))
            self.world.watched[process].add((at, CommitId(tag)))

    def manifest_read(self, process: str, at: Repository, reference: Tag | Digest, found: Manifest | None) -> None:
        self.registry_calls.append((at, reference))
        if found is not None:
            self.views[process].shown.add(at)
            if reference == "main" or len(reference) == 40:
                self.views[process].mains.add((at, found.digest))

    def tags_read(self, process: str, at: Repository, found: object) -> None:
        self.registry_calls.append((at, ""))
        if found:
            self.views[process].shown.add(at)

    def verdict(self, purpose: Purpose, digest: Digest, revision: CommitId | None) -> Outcome:
        """The truth about a digest: a build of a head is no baseline, and of no other head."""
        if not self.world.checked:
            return Outcome.UNCHECKED
        of_head = self.world.made_of.get(digest, "").removeprefix("head ")
        fits = of_head == revision if purpose is Purpose.PULL_REQUEST else len(of_head) != 40
        return Outcome.ACCEPTED if fits and digest in self.world.accepted else Outcome.REFUSED

    def verified(self, process: str, purpose: Purpose, at: Repository, digest: Digest, outcome: Outcome) -> None:
        view = self.views[process]
        view.verdicts[purpose, at, digest] = outcome
        if purpose is Purpose.BASELINE and outcome is not Outcome.REFUSED:
            view.verified_now.add((at, digest))

    # --- what a process does

    def status_set(self, process: str, body: bytes) -> None:
        self.wire.told("a status", body.decode())
        if self.views[process].mode is Mode.OBSERVE:
            self._broken(7, "a status was set in mode observe")

    def put(self, process: str, at: Repository, tag: Tag, manifest: Manifest) -> None:
        """A tag write is about to be sent."""
        view, cell = self.views[process], (at, CommitId(tag))
        named, digest = self.unwritten[process].pop(cell, None), manifest.digest
        if named != digest:
            late = f" (epoch {view.epoch}, the log is at {self.epoch})" if view.epoch < self.epoch else ""
            self._broken(8 if late else 7, f"no open intent of {process} names {at.path}:{tag} {digest.short}{late}")
        # Hashed here and not by the product's code, which is what is on trial.
        sent = "sha256:" + hashlib.sha256(manifest.raw).hexdigest()
        if sent != named:
            self._broken(13, f"{at.path}:{tag[:12]} is to be {named}, the bytes that are sent have {sent[:19]}")
        if at not in view.shown:
            self._broken(2, f"{at.path} was written although nothing there could be read in this pass")
        self.puts += 1

    def not_confirmed(self, process: str, at: Repository, tags: Iterable[Tag], digest: Digest) -> None:
        """A request for several tags was answered without these: each may be put once more, by itself."""
        for tag in tags:
            self.unwritten[process][at, CommitId(tag)] = digest
            self.world.watched[process].add((at, CommitId(tag)))

    def about_to_land(self, process: str, at: Repository, tag: Tag, manifest: Manifest) -> None:
        """A request to write a tag has reached the registry, perhaps once more."""
        digest = manifest.digest
        if at == RELEASES and len(tag) == 40:
            self._release_lands(process, CommitId(tag), manifest)
            return
        if at == RELEASES or tag.startswith("sha256-"):
            return  # the list of what is attached to a digest
        if self.intended[process].get((at, CommitId(tag))) != digest:
            self._broken(7, f"{process} makes {at.path}:{tag} {digest.short}, which its newest intent does not name")
        there = self.world.registry.now(at, tag)
        if there is not None and there != digest:
            self._broken(1, f"{process} moves {at.path}:{tag} from {there.short} to {digest.short}")
        self.world.watched[process].discard((at, CommitId(tag)))
        self.landed[process].add((at, CommitId(tag)))

    def _release_lands(self, process: str, head: CommitId, manifest: Manifest) -> None:
        there, registry = self.world.registry.now(RELEASES, head), self.world.registry
        named, replaces = self.publications.get(process, {}).get(head, (None, None))
        if there is not None and there not in {manifest.digest, replaces}:
            self._broken(1, f"{process} moves the release set of {head.short} from {there.short}")
        if named is None:
            self._broken(7, f"{process} releases {head.short}, which its newest intent does not name")
        raw = registry.blobs.get((RELEASES, layer_of(manifest)))
        if raw is None or not registry.has_referrer(RELEASES, manifest.digest):
            self._broken(3, f"the release set of {head.short} is not whole, or not signed yet")
        release = ReleaseSet.parse(raw)
        wrong = [
            i.repository for i in release.images if self.recorded.get((i.repository, head), (None,))[0] != i.digest
        ]
        if wrong or head in self.quarantined:
            self._broken(
                3, f"the release set of {head.short} has {wrong} as never recorded, or is of a quarantined head"
            )

    def appended(self, process: str, logged: Logged, blobs: Mapping[str, bytes]) -> None:
        view, entry = self.views[process], logged.entry
        if entry.epoch != self.epoch or view.epoch != self.epoch:
            self._broken(8, f"{process} (epoch {view.epoch}) appended {entry.kind.value} while epoch {self.epoch} runs")
        self.entries.append(logged)
        self.publishing.appended(process, logged)
        match entry.kind:
            case Kind.OBSERVATION:
                self._observation(view, blobs)
            case Kind.DECISION:
                self._decision(view, entry.body)
            case Kind.INTENT:
                self._intent(process, logged)
            case Kind.OUTCOME:
                self._outcome(process, entry)
            case Kind.QUARANTINE:
                self._quarantine(process, logged)
            case Kind.TOMBSTONE:
                self._tombstone(view, CommitId(str(entry.body["head"])))
                self._forget(CommitId(str(entry.body["head"])))
            case _:
                pass
        if entry.kind is not Kind.INTENT:
            self.world.watched[process] = set()
        view.missing, view.pulls, view.verified_now = set(), {}, set()

    # --- the kinds of entries

    def _observation(self, view: View, blobs: Mapping[str, bytes]) -> None:
        self._remember_absent(view)
        for name, raw in blobs.items():
            kind, _, head = name.partition(".")
            for row in json.loads(raw) if kind == "tags" else ():
                cell = (Repository(row["repository"]), CommitId(head))
                if row["state"] == "absent" and cell not in view.absent:
                    self._broken(2, f"{cell[0].path}:{cell[1].short} is taken for absent, nothing there could be read")

    def _remember_absent(self, view: View) -> None:
        view.absent |= {cell for cell in view.asked if cell[0] in view.shown}

    def _decision(self, view: View, body: Mapping[str, Json]) -> None:
        head = CommitId(str(body["head"]))
        self._may_work_on(view, head)
        chain = self.chains.get(head)
        if (chain is None) != ("bases" in body):
            self._broken(4, f"{head.short}: {'resolved before' if chain is None else 'pinned again after'} its pin")
        if chain is None:
            chain = self.chains[head] = Chain(pinned_bases=frozenset(pr.base for pr in self._at(view, head)))
        for record in _rows(body, "changes"):
            images = [Repository(str(row["repository"])) for row in _rows(record, "images")]
            tips = [(branch, tip) for branch, tip in view.tips.items() if tip == record["base"]]
            chain.considered |= {(at, branch, tip) for at in images for branch, tip in tips}
        for row in _rows(body, "images"):
            at, do = Repository(str(row["repository"])), str(row["do"])
            before = chain.images.get(at)
            if before is not None and before[0] != "unresolved":
                self._broken(4, f"{head.short}: {at.path} was {before} and is decided again")
            digest = Digest(str(row["digest"])) if do == "retag" else None
            chain.images[at] = (do, digest, str(row.get("reason", "")))
            if digest is not None:
                self._unchanged(view, head, at)
                self._baseline(view, head, at, digest)
            elif do == "await-build" and not any(
                self.world.code.changed(tip, head, IMAGE_OF[at]) for of, _, tip in chain.considered if of == at
            ):
                self._broken(3, f"{head.short}: {at.path} is to be built although it is unchanged")

    def _unchanged(self, view: View, head: CommitId, at: Repository) -> None:
        """Unchanged against every base that an admitted pull request of the last listing has."""
        chain = self.chains[head]
        for branch in sorted({pr.base for pr in self._at(view, head)}):
            tips = {tip for of, base, tip in chain.considered if (of, base) == (at, branch)}
            compared: list[CommitId | None] = [*sorted(tips)]
            for tip in compared or [view.tips.get(branch)]:
                if tip is not None and IMAGE_OF[at] not in self.world.code.commits[tip].images:
                    continue  # this base's catalogue does not know the image, so it is not built from there
                if tip is None or self.world.code.changed(tip, head, IMAGE_OF[at]):
                    self._broken(3, f"{at.path} is changed by {head.short} against {branch.short} {tip}")

    def _baseline(self, view: View, head: CommitId, at: Repository, digest: Digest) -> None:
        if (at, digest) not in view.mains:
            self._broken(3, f"{at.path}@{digest.short} was not read as a baseline in the pass that pins it")
        if view.verdicts.get((Purpose.BASELINE, at, digest)) not in (Outcome.ACCEPTED, Outcome.UNCHECKED):
            self._broken(3, f"{at.path}@{digest.short} was pinned without a verdict for it")
        if self.world.baseline is BaselinePolicy.MAIN:
            fits = digest in self.world.registry.tags.get((at, "main"), ())
        else:
            code, image = self.world.code, IMAGE_OF[at]
            fits = any(
                digest in was and code.fingerprint(CommitId(tag), image) == code.fingerprint(head, image)
                for (where, tag), was in self.world.registry.tags.items()
                if where == at and tag in code.commits
            )
        if not fits:
            self._broken(3, f"{at.path}@{digest.short} is no baseline of {head.short} under {self.world.baseline}")

    def _intent(self, process: str, logged: Logged) -> None:
        view, writes = self.views[process], {}
        for row in _rows(logged.entry.body, "writes"):
            at, head, digest = (
                Repository(str(row["repository"])),
                CommitId(str(row["head"])),
                Digest(str(row["digest"])),
            )
            self._may_work_on(view, head)
            chain = self.chains.get(head)
            if chain is None:
                self._broken(4, f"{head.short} is to be written before its decision is pinned")
            if chain.images.get(at, ("",))[:2] != ("retag", digest):
                self._broken(3, f"{head.short}: {at.path} is to be {digest.short}, pinned is {chain.images.get(at)}")
            self._unchanged(view, head, at)
            if head in self.quarantined:
                self._broken(1, f"{head.short} is to be written although it is in quarantine")
            if (at, head) not in view.missing:
                self._broken(1, f"{at.path}:{head.short}: not looked at again before its intent")
            if (at, digest) not in view.verified_now:
                self._broken(3, f"{at.path}@{digest.short}: not verified again before its intent")
            again = [pr for pr in view.pulls.values() if pr is not None and pr.head == head]
            if not again or any(HOLD in pr.labels for pr in again):
                self._broken(1, f"{head.short}: no open pull request without the hold label was seen before its intent")
            writes[at, head] = digest
        self.publications[process] = {
            CommitId(str(row["head"])): (
                Digest(str(row["digest"])),
                Digest(str(row["replaces"])) if row["replaces"] is not None else None,
            )
            for row in _rows(logged.entry.body, "publications")
        }
        self.open_intents[logged.id] = writes
        self.unwritten[process], self.intended[process] = dict(writes), dict(writes)
        self.landed[process] = set()

    def _outcome(self, process: str, entry: Entry) -> None:
        intent = entry.body["intent"]
        rows = {(Repository(str(r["repository"])), CommitId(str(r["head"]))): r for r in _rows(entry.body, "writes")}
        if intent is not None:
            writes = self.open_intents.pop(CommitId(str(intent)), None)
            if writes is None:
                self._broken(7, f"a second outcome of intent {str(intent)[:12]}")
            if writes != {cell: row["digest"] for cell, row in rows.items()}:
                self._broken(7, f"the outcome of intent {str(intent)[:12]} lists other writes than the intent")
        for row in _rows(entry.body, "publications"):
            head, digest = CommitId(str(row["head"])), Digest(str(row["digest"]))
            if row["result"] == "written":
                if digest not in self.world.registry.tags.get((RELEASES, head), ()):
                    self._broken(
                        7, f"the release set of {head.short} is recorded as {digest.short}, which it never was"
                    )
                self.releases += 1
        for cell, row in rows.items():
            digest, result, before = Digest(str(row["digest"])), row["result"], self.recorded.get(cell)
            view = self.views[process]
            if result == "failed" and cell in self.landed[process]:
                self._broken(7, f"{cell[0].path}:{cell[1].short} is recorded as refused, and it was written")
            if result == "dropped" and not (cell in view.asked and cell[0] in view.shown):
                self._broken(2, f"{cell[0].path}:{cell[1].short} is recorded as never written, nothing could be read")
            if result in ("written", "adopted"):
                if digest not in self.world.registry.tags.get((cell[0], cell[1]), ()):
                    self._broken(7, f"{cell[0].path}:{cell[1].short} is recorded as {digest.short}, which it never was")
                self.recorded[cell] = (digest, str(row["how"]))
            if result == "adopted":
                self._adopted(process, cell, digest, str(row["how"]), before)

    def _adopted(self, process: str, cell: Cell, digest: Digest, how: str, before: object) -> None:
        at, head = cell
        if (at, head, digest) not in self.views[process].present:
            self._broken(3, f"{at.path}:{head.short} was adopted unseen")
        do, pinned, _ = self.chains[head].images.get(at, ("", None, "")) if head in self.chains else ("", None, "")
        if how == "retagged":
            proof = self.verdict(Purpose.BASELINE, digest, None) is Outcome.ACCEPTED
            fine = do == "retag" and (digest == pinned or proof)
        else:
            fine = do == "await-build" and self.verdict(Purpose.PULL_REQUEST, digest, head) is not Outcome.REFUSED
        # What was recorded, or accepted by an operator, was only waiting to be seen.
        if not fine and before != (digest, how):
            self._broken(3, f"{at.path}:{head.short} {digest.short} was adopted as {how}, decided is {do} {pinned}")
        self.adopts += 1

    def _quarantine(self, process: str, logged: Logged) -> None:
        body, view = logged.entry.body, self.views[process]
        head = CommitId(str(body["head"]))
        if "accepted" in body:
            accepted = body["accepted"]
            assert isinstance(accepted, dict)
            if head not in self.quarantined or accepted["quarantine"] != self.world.quarantined.get(head):
                self._broken(1, f"{head.short} was accepted by a word about something else")
            for at, (_, found) in self.quarantined.pop(head).items():
                how = self.recorded.pop((at, head))[1]
                if found is not None:
                    self.recorded[at, head] = (found, how)
            del self.world.quarantined[head]
            return
        self._may_work_on(view, head)
        for row in _rows(body, "breaches"):
            at, recorded = Repository(str(row["repository"])), Digest(str(row["recorded"]))
            found = Digest(str(row["found"])) if row["found"] is not None else None
            if self.recorded.get((at, head), (None,))[0] != recorded:
                self._broken(7, f"{at.path}:{head.short} was never recorded as {recorded.short}")
            seen = (at, head) in view.asked if found is None else (at, head, found) in view.present
            if not seen or (found is None and at not in view.shown):
                self._broken(2, f"{at.path}:{head.short} is said to read {found}, which this pass did not see")
            self.quarantined.setdefault(head, {})[at] = (recorded, found)
        self.world.quarantined[head] = logged.id

    def _forget(self, head: CommitId) -> None:
        """Custody ended: with it the quarantine, which is found anew if the head returns."""
        self.quarantined.pop(head, None)
        self.world.quarantined.pop(head, None)

    def _tombstone(self, view: View, head: CommitId) -> None:
        if view.listing is None or not view.listing.complete:
            self._broken(2, f"{head.short} was ended on an incomplete listing")
        if any(pr.head == head for pr in view.listing.pull_requests):
            self._broken(2, f"{head.short} was ended although the listing shows it")

    # --- shared

    def _at(self, view: View, head: CommitId) -> list[PullRequest]:
        return [pr for pr in view.listing.pull_requests if pr.head == head and admitted(pr)] if view.listing else []

    def _may_work_on(self, view: View, head: CommitId) -> None:
        if view.mode is Mode.OBSERVE or view.suspended:
            self._broken(7, f"{head.short} was worked on in mode {view.mode.value}, suspended {view.suspended}")
        if view.listing is None or not view.listing.complete:
            self._broken(2, f"{head.short} was worked on without a complete listing")
        prs = self._at(view, head)
        if not prs or any(HOLD in pr.labels for pr in prs):
            self._broken(3, f"{head.short} was worked on although no admitted pull request without hold has it")

    def _broken(self, invariant: int, what: str) -> NoReturn:
        raise Violation(invariant, what)


def _rows(body: Mapping[str, Json], key: str) -> list[dict[str, Json]]:
    rows = body.get(key, [])
    assert isinstance(rows, list)
    return [row for row in rows if isinstance(row, dict)]
