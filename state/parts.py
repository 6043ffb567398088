"""A snapshot as parts: small canonical JSON blobs that the log keeps, so that only what changed is stored.

What the log itself says (decisions, records) is left out: a reader folds it from the entries before. `join` of the
parts and that fold gives the snapshot back, so a recorded pass can be planned again (design invariant 12).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from state import canonical
from state.canonical import Json, reading, texts
from state.change import ChangeRecord
from state.errors import InvalidValue
from state.git import CommitId, RefName
from state.history import History
from state.observed import (
    Absent,
    Baseline,
    BaselinePolicy,
    BaselineState,
    Catalogue,
    Image,
    Inventory,
    Listing,
    Mode,
    Pin,
    Policy,
    Present,
    PullRequest,
    Snapshot,
    TagState,
    Unknown,
)
from state.oci import Digest, Repository
from state.verdict import Outcome, Verdict

PART_MAX_BYTES: Final = 16 * 1024 * 1024
_ALWAYS: Final = frozenset({"bases", "inventory", "listing", "main", "pass", "policy"})
"""The parts that every snapshot has; the others are one for each pull request, commit or head."""


def split(seen: Snapshot) -> dict[str, bytes]:
    """Part name → canonical JSON. Names are plain file names."""
    parts: dict[str, Json] = {
        "pass": {
            "backing_off": texts(sorted(seen.backing_off)),
            "mode": seen.mode.value,
            "overdue": [[r, h] for r, h in sorted(seen.overdue)],
            "repository_id": seen.repository_id,
            "suspended": seen.suspended,
            "writes_left": seen.writes_left,
        },
        "policy": _policy_to_json(seen),
        "listing": {
            "complete": seen.listing.complete,
            "numbers": [pr.number for pr in seen.listing.pull_requests],
        },
        "bases": [{"commit": _known_or_null(tip), "ref": ref} for ref, tip in sorted(seen.bases.items())],
        "inventory": _inventory_to_json(seen.inventory),
        "main": [{"repository": r, **_baseline_to_json(b)} for r, b in sorted(seen.main.items())],
    }
    for pr in seen.listing.pull_requests:
        parts[f"pr.{pr.number}"] = _pull_request_to_json(pr)
    for commit, catalogue in seen.catalogues.items():
        parts[f"catalogue.{commit}"] = _catalogue_to_json(catalogue)
    for (base, head), record in seen.changes.items():
        parts[f"change.{base}.{head}"] = record.to_json() if isinstance(record, ChangeRecord) else None
    by_head: dict[CommitId, dict[str, list[Json]]] = {}
    for (repository, head), state in sorted(seen.tags.items()):
        row: dict[str, Json] = {"repository": repository, **_tag_to_json(state)}
        by_head.setdefault(head, {}).setdefault("tags", []).append(row)
    for (repository, head), state in sorted(seen.swept.items()):
        row = {"repository": repository, **_tag_to_json(state)}
        by_head.setdefault(head, {}).setdefault("swept", []).append(row)
    for (repository, head), baseline in sorted(seen.faithful.items()):
        row = {"repository": repository, **_baseline_to_json(baseline)}
        by_head.setdefault(head, {}).setdefault("faithful", []).append(row)
    for (repository, head), proof in sorted(seen.proofs.items()):
        verdict = _verdict_to_json(proof) if isinstance(proof, Verdict) else None
        by_head.setdefault(head, {}).setdefault("proofs", []).append({"repository": repository, "verdict": verdict})
    for head, rows in by_head.items():
        for name, values in rows.items():
            parts[f"{name}.{head}"] = values
    return {name: canonical.dumps(value) for name, value in parts.items()}


def blob_id(raw: bytes) -> str:
    """The git object id of a part's bytes, to see whether the log has it already. Source: gitformat-blob."""
    return hashlib.sha1(b"blob %d\x00" % len(raw) + raw, usedforsecurity=False).hexdigest()


def join(parts: Mapping[str, bytes], history: History) -> Snapshot:
    """The snapshot of these parts and of the log up to and with the entry that names them. Raises InvalidValue."""
    values = {name: canonical.loads(raw, what=name, max_bytes=PART_MAX_BYTES) for name, raw in parts.items()}
    if missing := _ALWAYS - values.keys():
        raise InvalidValue(f"snapshot: the parts {', '.join(sorted(missing))} are missing")
    state = reading(_object(values, "pass"), "pass")
    listing = reading(_object(values, "listing"), "listing")
    seen = Snapshot(
        repository_id=state.integer("repository_id"),
        mode=state.one_of("mode", Mode),
        suspended=state.flag("suspended"),
        policy=_policy_from_json(_object(values, "policy")),
        listing=Listing(
            listing.flag("complete"),
            tuple(_pull_request_from_json(_object(values, f"pr.{n}")) for n in listing.integers("numbers")),
        ),
        bases=dict(_base_from_json(row) for row in _rows(values["bases"])),
        inventory=_inventory_from_json(values["inventory"]),
        main={
            Repository(reading(row, "main").text("repository")): _baseline_from_json(row)
            for row in _rows(values["main"])
        },
        decisions=dict(history.decisions),
        recorded=dict(history.recorded),
        quarantined={head: q.breaches for head, q in history.quarantined.items()},
        released=dict(history.released),
        unreleasable=frozenset(history.unreleasable),
        admitted_forks=frozenset(
            _fork_from_json(row) for row in reading(_object(values, "policy"), "policy").objects("forks")
        ),
        backing_off=frozenset(CommitId(h) for h in state.texts("backing_off")),
        overdue=frozenset(_cell(pair) for pair in _list(_object(values, "pass").get("overdue"))),
        writes_left=state.integer("writes_left"),
    )
    catalogues: dict[CommitId, Catalogue | Unknown] = {}
    changes: dict[tuple[CommitId, CommitId], ChangeRecord | Unknown] = {}
    tags: dict[tuple[Repository, CommitId], TagState] = {}
    swept: dict[tuple[Repository, CommitId], TagState] = {}
    faithful: dict[tuple[Repository, CommitId], BaselineState] = {}
    proofs: dict[tuple[Repository, CommitId], Verdict | Unknown] = {}
    for name, value in values.items():
        kind, _, rest = name.partition(".")
        if kind == "catalogue":
            catalogues[CommitId(rest)] = _catalogue_from_json(CommitId(rest), value)
        elif kind == "change":
            base, _, head = rest.partition(".")
            if value is None:
                changes[CommitId(base), CommitId(head)] = _unread()
            else:
                record = ChangeRecord.from_json(_object(values, name))
                changes[record.base, record.head] = record
        elif kind == "tags":
            for row in _rows(value):
                tags[Repository(reading(row, name).text("repository")), CommitId(rest)] = _tag_from_json(row)
        elif kind == "swept":
            for row in _rows(value):
                swept[Repository(reading(row, name).text("repository")), CommitId(rest)] = _tag_from_json(row)
        elif kind == "faithful":
            for row in _rows(value):
                faithful[Repository(reading(row, name).text("repository")), CommitId(rest)] = _baseline_from_json(row)
        elif kind == "proofs":
            for row in _rows(value):
                read = reading(row, name)
                known = None if row.get("verdict") is None else _verdict_from_json(read.object("verdict"))
                proofs[Repository(read.text("repository")), CommitId(rest)] = _unread() if known is None else known
    made = replace(
        seen, catalogues=catalogues, changes=changes, tags=tags, swept=swept, faithful=faithful, proofs=proofs
    )
    if wrong := sorted({name for name, _ in split(made).items() ^ parts.items()}):
        raise InvalidValue(f"snapshot: these parts are not as `split` writes them: {', '.join(wrong)[:200]}")
    return made


# --- one codec a value -----------------------------------------------------------------------------------------------


def _policy_to_json(seen: Snapshot) -> Json:
    policy = seen.policy
    return {
        "base_branches": list(policy.base_branches),
        "baseline": policy.baseline.value,
        "digest": policy.digest,
        "forks": [{"fork": f, "head": h, "number": n} for f, n, h in sorted(seen.admitted_forks)],
        "hold_label": policy.hold_label,
        "max_heads": policy.max_heads,
        **({"release_sets": policy.release_sets} if policy.release_sets is not None else {}),
        # Only what is asked for, so that what was recorded before these rules were known reads as it did.
        **({"labels": list(policy.labels)} if policy.labels else {}),
        **({"drafts": False} if not policy.drafts else {}),
        **({"members": list(policy.members)} if policy.members is not None else {}),
        **({"agents": list(policy.agents)} if policy.agents else {}),
    }


def _policy_from_json(value: Mapping[str, Json]) -> Policy:
    read = reading(value, "policy")
    return Policy(
        digest=Digest(read.text("digest")),
        base_branches=tuple(RefName(b) for b in read.texts("base_branches")),
        hold_label=read.text_or_none("hold_label"),
        max_heads=read.integer("max_heads"),
        baseline=read.one_of("baseline", BaselinePolicy),
        release_sets=Repository(read.text("release_sets")) if "release_sets" in value else None,
        labels=tuple(read.texts("labels")) if "labels" in value else (),
        drafts=read.flag("drafts") if "drafts" in value else True,
        members=tuple(read.integers("members")) if "members" in value else None,
        agents=tuple(read.integers("agents")) if "agents" in value else (),
    )


def _pull_request_to_json(pr: PullRequest) -> Json:
    return {
        "author_id": pr.author_id,
        "base": pr.base,
        "draft": pr.draft,
        "head": pr.head,
        "head_repository_id": pr.head_repository_id,
        "labels": list(pr.labels),
        "number": pr.number,
    }


def _pull_request_from_json(value: Mapping[str, Json]) -> PullRequest:
    read = reading(value, "pull request")
    return PullRequest(
        number=read.integer("number"),
        head=CommitId(read.text("head")),
        base=RefName(read.text("base")),
        head_repository_id=None if value.get("head_repository_id") is None else read.integer("head_repository_id"),
        author_id=read.integer("author_id"),
        labels=tuple(read.texts("labels")),
        draft=read.flag("draft"),
    )


def _catalogue_to_json(catalogue: Catalogue | Unknown) -> Json:
    if isinstance(catalogue, Unknown):
        return None
    return {
        "components": dict(catalogue.components),
        "images": [
            {"inputs": list(i.inputs), "name": i.name, "platforms": list(i.platforms), "repository": i.repository}
            for _, i in sorted(catalogue.images.items())
        ],
    }


def _catalogue_from_json(commit: CommitId, value: Json) -> Catalogue | Unknown:
    if value is None:
        return _unread()
    images = {}
    catalogue = reading(_as_object(value, "catalogue"), "catalogue")
    for row in catalogue.objects("images"):
        read = reading(row, "image")
        images[read.text("name")] = Image(
            read.text("name"),
            Repository(read.text("repository")),
            tuple(read.texts("inputs")),
            tuple(read.texts("platforms")),
        )
    components = catalogue.object("components")
    named = reading(components, "catalogue components")
    made = Catalogue(commit, images, {name: named.text(name) for name in components})
    if unknown := sorted(set(made.components.values()) - images.keys()):
        raise InvalidValue(f"catalogue {commit}: components name images that are not there: {', '.join(unknown)}")
    return made


def _inventory_to_json(inventory: Inventory | Unknown) -> Json:
    if isinstance(inventory, Unknown):
        return None
    return {
        "commit": inventory.commit,
        "pins": {name: [_pin_to_json(p) for p in pins] for name, pins in inventory.pins.items()},
        "previewed": list(inventory.previewed),
    }


def _inventory_from_json(value: Json) -> Inventory | Unknown:
    if value is None:
        return _unread()
    read = reading(_as_object(value, "inventory"), "inventory")
    made = {name: tuple(_pin_from_json(p) for p in _rows(rows)) for name, rows in read.object("pins").items()}
    return Inventory(CommitId(read.text("commit")), tuple(read.texts("previewed")), made)


def _pin_to_json(pin: Pin) -> Json:
    return {**({"environment": pin.environment} if pin.environment else {}), "file": pin.file, "key": pin.key}


def _pin_from_json(value: Mapping[str, Json]) -> Pin:
    read = reading(value, "pin")
    return Pin(read.text("file"), read.text("key"), read.text("environment") if "environment" in value else "")


def _baseline_to_json(state: BaselineState) -> dict[str, Json]:
    match state:
        case Baseline(digest, verdict, main):
            return {"digest": digest, "main": main, "state": "present", "verdict": _verdict_to_json(verdict)}
        case Absent():
            return {"state": "absent"}
        case Unknown():
            return {"state": "unknown"}


def _baseline_from_json(value: Mapping[str, Json]) -> BaselineState:
    read = reading(value, "baseline")
    match read.text("state"):
        case "present":
            main = read.text_or_none("main")
            verdict = _verdict_from_json(read.object("verdict"))
            return Baseline(Digest(read.text("digest")), verdict, Digest(main) if main is not None else None)
        case "absent":
            return Absent()
        case "unknown":
            return _unread()
        case other:
            raise InvalidValue(f"baseline: expected present, absent or unknown, got {other[:80]!r}")


def _tag_to_json(state: TagState) -> dict[str, Json]:
    match state:
        case Present(digest, verdict):
            return {"digest": digest, "state": "present", "verdict": _verdict_to_json(verdict)}
        case Absent():
            return {"state": "absent"}
        case Unknown():
            return {"state": "unknown"}


def _tag_from_json(value: Mapping[str, Json]) -> TagState:
    read = reading(value, "tag")
    match read.text("state"):
        case "present":
            verdict = None if value.get("verdict") is None else _verdict_from_json(read.object("verdict"))
            return Present(Digest(read.text("digest")), verdict)
        case "absent":
            return Absent()
        case "unknown":
            return _unread()
        case other:
            raise InvalidValue(f"tag: expected present, absent or unknown, got {other[:80]!r}")


def _verdict_to_json(verdict: Verdict | None) -> Json:
    if verdict is None:
        return None
    return {"outcome": verdict.outcome.value, "policy": verdict.policy, "reason": verdict.reason}


def _verdict_from_json(value: Mapping[str, Json]) -> Verdict:
    read = reading(value, "verdict")
    return Verdict(read.one_of("outcome", Outcome), Digest(read.text("policy")), read.text("reason"))


def _known_or_null(value: CommitId | Unknown) -> Json:
    return value if isinstance(value, CommitId) else None


def _base_from_json(value: Mapping[str, Json]) -> tuple[RefName, CommitId | Unknown]:
    read = reading(value, "base")
    tip = read.text_or_none("commit")
    return RefName(read.text("ref")), CommitId(tip) if tip is not None else _unread()


def _fork_from_json(value: Mapping[str, Json]) -> tuple[int, int, CommitId]:
    read = reading(value, "admitted fork")
    return read.integer("fork"), read.integer("number"), CommitId(read.text("head"))


def _unread() -> Unknown:
    """Why something could not be read is for people, and not kept: no plan depends on it."""
    return Unknown("recorded as unknown")


def _as_object(value: Json, what: str) -> Mapping[str, Json]:
    if not isinstance(value, dict):
        raise InvalidValue(f"snapshot part {what}: expected an object")
    return value


def _object(values: Mapping[str, Json], name: str) -> Mapping[str, Json]:
    return _as_object(values.get(name), name)


def _list(value: Json) -> list[Json]:
    if not isinstance(value, list):
        raise InvalidValue("snapshot: expected a list")
    return value


def _rows(value: Json) -> list[Mapping[str, Json]]:
    return [_as_object(row, "row") for row in _list(value)]


def _cell(pair: Json) -> tuple[Repository, CommitId]:
    match pair:
        case [str(repository), str(head)]:
            return Repository(repository), CommitId(head)
        case _:
            raise InvalidValue("snapshot: expected a pair of image repository and head")
