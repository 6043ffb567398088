"""The seams to everything outside: one Protocol per capability, readers and writers apart.

`forge`, `git`, `registry`, `evidence`; `memory` (what is remembered and told); `work` (time, chance, side by side).

The docstrings are the contract; `tests/contract` holds every implementation to them. All calls block. Absence is None,
never an error. Errors are the families of `state.errors`:

* Transient    no usable answer in time, 429, 5xx: the same call may succeed later
* Denied       the credential does not allow it
* IntegrityError   bytes do not have the digest that names them
* Terminal     anything else that the same input will meet again
"""

from reconciler.ports.evidence import (
    BuildRequest,
    EvidenceSigner,
    HandedFile,
    HandOver,
    ImageBuilder,
    Markers,
    Purpose,
    Releases,
    SbomMaker,
    Signer,
    Verifier,
)
from reconciler.ports.forge import (
    LAST_PUSHES_MAX,
    Change,
    ForgePeople,
    ForgeReader,
    ForgeWriter,
    LabelWriter,
    Permission,
    PreviewRefresh,
    RepositoryIdentity,
    StatusReporter,
    StatusState,
)
from reconciler.ports.git import Git, GitOps, GitOpsWriter, LaneWriter
from reconciler.ports.memory import Acceptances, LogStore, Metrics
from reconciler.ports.registry import (
    REFERRERS_MAX,
    TAGS_PER_PUT,
    ArtifactReader,
    ArtifactWriter,
    BlobReader,
    ImageWriter,
    Referrer,
    RegistryReader,
    RegistryWriter,
    TagRemover,
)
from reconciler.ports.work import Clock, Executor, Random

__all__ = [
    "LAST_PUSHES_MAX",
    "REFERRERS_MAX",
    "TAGS_PER_PUT",
    "Acceptances",
    "ArtifactReader",
    "ArtifactWriter",
    "BlobReader",
    "BuildRequest",
    "Change",
    "Clock",
    "EvidenceSigner",
    "Executor",
    "ForgePeople",
    "ForgeReader",
    "ForgeWriter",
    "Git",
    "GitOps",
    "GitOpsWriter",
    "HandOver",
    "HandedFile",
    "ImageBuilder",
    "ImageWriter",
    "LabelWriter",
    "LaneWriter",
    "LogStore",
    "Markers",
    "Metrics",
    "Permission",
    "PreviewRefresh",
    "Purpose",
    "Random",
    "Referrer",
    "RegistryReader",
    "RegistryWriter",
    "Releases",
    "RepositoryIdentity",
    "SbomMaker",
    "Signer",
    "StatusReporter",
    "StatusState",
    "TagRemover",
    "Verifier",
]
