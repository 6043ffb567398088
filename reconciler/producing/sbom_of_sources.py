"""The SBOM that can be made honestly without looking into an image: its source, its base images, and itself (pure).

It does not say which packages are in the image, and says that it does not. Source: SPDX 2.3.
"""

from __future__ import annotations

from typing import Final

from reconciler.evidence import normalising
from reconciler.evidence.slsa import Build
from state.canonical import Json
from state.oci import Digest, Repository

_IMAGE: Final = "SPDXRef-image"
_SOURCE: Final = "SPDXRef-source"
COMMENT: Final = (
    "Made from what the build took: source and base images. The packages inside the image were not looked at, and are"
    " not listed."
)


def document(repository: Repository, digest: Digest, build: Build) -> dict[str, Json]:
    """The SPDX 2.3 document about `digest`: equal facts give an equal document."""
    packages = [
        _package(_IMAGE, repository, f"oci://{repository}@{digest}", digest.hex, "SHA256"),
        _package(
            _SOURCE, build.source_repository, f"git+{build.source_repository}@{build.revision}", build.revision, "SHA1"
        ),
    ]
    related = [("SPDXRef-DOCUMENT", "DESCRIBES", _IMAGE), (_IMAGE, "GENERATED_FROM", _SOURCE)]
    for at, (name, base) in enumerate(build.bases):
        packages.append(_package(f"SPDXRef-base-{at}", name.partition("@")[0], f"oci://{name}", base.hex, "SHA256"))
        related.append((_IMAGE, "DEPENDS_ON", f"SPDXRef-base-{at}"))
    return normalising.spdx(
        {
            "spdxVersion": "SPDX-2.3",
            "dataLicense": "CC0-1.0",
            "SPDXID": "SPDXRef-DOCUMENT",
            "comment": COMMENT,
            "creationInfo": {"creators": ["Tool: ameide"]},
            "packages": packages,
            "relationships": [
                {"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other}
                for one, kind, other in related
            ],
        },
        repository,
        digest,
    )


def _package(identity: str, name: str, location: str, value: str, algorithm: str) -> dict[str, Json]:
    return {
        "SPDXID": identity,
        "name": name,
        "downloadLocation": location,
        "filesAnalyzed": False,
        "checksums": [{"algorithm": algorithm, "checksumValue": value}],
    }
