"""The commits that accepted evidence says an image was built from."""

from __future__ import annotations

from reconciler.evidence import finding, provenance
from reconciler.evidence.authority import Authority
from reconciler.evidence.carrying import handed_over
from reconciler.evidence.found import Refused
from reconciler.ports import ArtifactReader, HandOver
from state import statement
from state.errors import InvalidValue
from state.git import CommitId
from state.oci import Digest, Repository
from state.verdict import Verdict


def built_from(
    reader: ArtifactReader,
    authority: Authority,
    repository: Repository,
    digest: Digest,
    verdict: Verdict,
    *,
    source_repository: str,
    hand_over: HandOver | None,
) -> frozenset[CommitId]:
    """The revisions of `source_repository` that the evidence accepted by `verdict` names.

    Several, where builds of several commits came to the same bytes.

    Raises Transient or Denied where the registry cannot be asked.
    """
    beside = [] if hand_over is None else handed_over(hand_over, reader, repository, digest)
    ours = provenance.normalised(source_repository)
    named: set[CommitId] = set()
    for found in finding.find(reader, repository, digest, cosign_v2=False, beside=lambda: beside).found:
        if found.manifest not in verdict.evidence:
            continue
        try:
            proven = authority.prove(found)
            said = statement.parse(proven.payload)
            if said.predicate_type in provenance.PROVENANCE_TYPES:
                source = provenance.read(said)
                named |= {CommitId(m.revision) for m in source.materials if m.repository == ours and m.revision}
        except (Refused, InvalidValue):
            continue  # it counted a moment ago; whatever it is now names nothing
    return frozenset(named)
