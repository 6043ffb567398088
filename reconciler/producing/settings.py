"""`producer.yaml`: what the machine that publishes images needs, and nothing of the daemon's configuration.

Strict like that one: one file, no environment, every problem at once with its path and line, secrets as paths. Which
images there are, where they go and how they are built is the catalogue's word, at a trusted commit.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple, Self

from pydantic import Field, model_validator

from reconciler.machine_file import MachineFile
from reconciler.settings.model import RegistrySettings, SignerSettings, SyftSettings, VerificationSettings
from reconciler.settings.types import AbsolutePath, FullRef, InsidePath, Section
from state.errors import ConfigError
from state.verdict import Level


class BuildahSettings(Section):
    """The program buildah, and what the steps of a build may do."""

    kind: Literal["buildah"]
    program: AbsolutePath
    """The program itself. It is not looked for anywhere else."""
    storage_dir: AbsolutePath
    """Directory for its images and layers; nobody else's, and it can be lost."""
    storage_driver: Literal["overlay", "vfs"]
    """`overlay` where the kernel lets this user mount one, `vfs` anywhere, by whole copies."""
    isolation: Literal["oci", "rootless", "chroot"]
    """How RUN steps are kept apart: `oci` and `rootless` by a container runtime, `chroot` by a changed root alone,
    which a hostile step leaves."""
    network: Literal["none", "host"] = "none"
    """Whether RUN steps reach the network; `chroot` cannot keep them from it and needs `host`, said."""
    timeout_s: int = Field(default=1800, ge=1, le=24 * 3600)
    """Seconds for one platform of an image."""
    base_credential_file: AbsolutePath | None = None
    """File as containers-auth.json(5) has it, for base images; null pulls them without a credential."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.isolation == "chroot" and self.network != "host":
            raise ValueError("isolation chroot cannot keep steps from the network: say network: host, or use oci")
        return self


class ProducerSettings(Section):
    """The whole file."""

    version: Literal[1]
    catalogue: InsidePath
    """Path of the catalogue in the code repository, as the reconciler's configuration has it."""
    state_dir: AbsolutePath
    """Directory for what was built and not pushed yet, and the status files; it can be lost."""
    registries: tuple[RegistrySettings, ...] = Field(min_length=1, max_length=20)
    """Every registry host that the catalogue names."""
    request_timeout_s: int = Field(default=30, ge=1, le=600)
    """Seconds after which an outside call without an answer is given up."""
    builder: BuildahSettings
    verification: VerificationSettings
    """The same as in the reconciler's configuration: what is published is proven by it before it gets a tag. Provenance
    names its `source_repository` and `builder`."""
    signer: SignerSettings
    """Who signs provenance, signatures and SBOMs: one that `verification.authority` believes."""
    workflow: InsidePath
    """Path of the workflow that runs this, in the code repository; provenance names it."""
    main_ref: FullRef = "refs/heads/main"
    """The branch that `--channel main` publishes; one of `verification.baseline_refs`."""
    sbom: Literal["syft", "files", "sources"]
    """Where SBOMs come from: `syft` has them made of the image, `files` takes those in `sbom_dir`, `sources` states
    base images and source alone, and says so."""
    syft: SyftSettings | None = None
    """Required for `sbom: syft`, else null."""
    sbom_dir: AbsolutePath | None = None
    """Required for `sbom: files`, else null: the directory with `<image>.spdx.json` or `<image>.cdx.json`, by the names
    of the catalogue."""
    handed_over_dir: AbsolutePath | None = None
    """Directory in which provenance and SBOM are handed over to the reconciler (its `evidence.handed_over_dir`), in
    place of being attached; null attaches them."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if Level.NONE in (self.verification.baseline, self.verification.pull_request):
            raise ValueError(
                "verification: what is published is always proven; both levels are provenance or signature"
            )
        if self.verification.builder is None:
            raise ValueError("verification: builder is required here, since provenance has to name it")
        if self.main_ref not in self.verification.baseline_refs:
            raise ValueError(f"main_ref: {self.main_ref} is none of verification.baseline_refs")
        if (self.sbom == "syft") != (self.syft is not None):
            raise ValueError("syft is required for sbom: syft, and has no meaning for any other")
        if (self.sbom == "files") != (self.sbom_dir is not None):
            raise ValueError("sbom_dir is required for sbom: files, and has no meaning for any other")
        return self


class LoadedProducer(NamedTuple):
    """A valid file."""

    settings: ProducerSettings
    path: Path


def load_producer(path: Path, environ: Mapping[str, str] | None = None) -> LoadedProducer:
    """Read and check the file. Raises ConfigError with every problem found."""
    file = MachineFile.open(path, environ)
    settings = file.model(ProducerSettings, (), file.value, {})
    if settings is not None:
        file.check_hosts(settings.registries, None, ())
    file.finish()
    if settings is None:
        raise ConfigError(f"{path}: refused")
    return LoadedProducer(settings, path)
