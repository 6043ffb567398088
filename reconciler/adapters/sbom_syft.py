"""SBOMs made by the Syft program, of the very bytes that the registry has under a digest.

Syft is given an OCI layout directory, which is written here with checked bytes: it needs no registry and no
credential, and gets neither, nor anything of this process's environment. Source: OCI image-layout.md; `syft scan -h`.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path
from threading import Lock
from typing import Final

from reconciler.adapters import bounded_process
from reconciler.evidence.finding import layers_of
from reconciler.evidence.found import BUNDLE_MAX_BYTES, Refused
from reconciler.ports import BlobReader
from state.errors import ConfigError, Terminal, Unavailable
from state.oci import OCI_INDEX, Descriptor, Manifest, Repository

FORMAT: Final = "spdx-json@2.3"
_IMAGE_MAX_BYTES: Final = 8 * 1024 * 1024 * 1024
_LAYERS_MAX: Final = 500


def check_program(program: Path) -> None:
    """Raises ConfigError if this is no program."""
    if not program.is_file() or not os.access(program, os.X_OK):
        raise ConfigError(f"{program}: expected the Syft program (evidence.syft.program), got no executable file")


class Syft:
    """Implements `ports.SbomMaker`. One run at a time: each takes all cores it finds."""

    def __init__(self, program: Path, blobs: BlobReader, work_dir: Path, *, timeout_s: float) -> None:
        """`work_dir` takes one image at a time. Raises ConfigError if `program` is no program."""
        check_program(program)
        self._program = program
        self._blobs = blobs
        self._work_dir = work_dir
        self._timeout_s = timeout_s
        self._lock = Lock()

    def make(self, repository: Repository, manifest: Manifest) -> bytes:
        """See SbomMaker."""
        try:
            wanted = layers_of(manifest)
        except Refused as refused:
            raise Terminal(f"{repository}@{manifest.digest.short}: {refused.text}") from refused
        if (
            len(wanted) > _LAYERS_MAX
            or any(one.size < 0 for one in wanted)
            or sum(one.size for one in wanted) > _IMAGE_MAX_BYTES
        ):
            raise Terminal(
                f"{repository}@{manifest.digest.short}: expected at most {_LAYERS_MAX} layers of"
                f" {_IMAGE_MAX_BYTES} bytes together; attach its SBOM in CI"
            )
        with self._lock:
            until_s = time.monotonic() + self._timeout_s
            self._work_dir.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix="syft-", dir=self._work_dir, ignore_cleanup_errors=True) as folder:
                layout = self._layout(Path(folder) / "image", repository, manifest, wanted, until_s)
                return self._run(Path(folder), layout, repository, manifest, until_s)

    def _layout(
        self, folder: Path, repository: Repository, manifest: Manifest, wanted: list[Descriptor], until_s: float
    ) -> Path:
        blobs = folder / "blobs" / "sha256"
        blobs.mkdir(parents=True)
        (folder / "oci-layout").write_bytes(b'{"imageLayoutVersion":"1.0.0"}')
        row = {"mediaType": manifest.media_type, "digest": manifest.digest, "size": len(manifest.raw)}
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [row]}
        (folder / "index.json").write_text(json.dumps(index))
        (blobs / manifest.digest.hex).write_bytes(manifest.raw)
        for one in {d.digest: d for d in wanted}.values():
            self._blobs.save_blob(repository, one, blobs / one.digest.hex, until_s)
        return folder

    def _run(self, folder: Path, layout: Path, repository: Repository, manifest: Manifest, until_s: float) -> bytes:
        home = folder / "home"
        home.mkdir()
        arguments = [
            "scan", f"oci-dir:{layout}", "--quiet", "--output", FORMAT,
            "--source-name", str(repository), "--source-version", str(manifest.digest),
        ]  # fmt: skip
        environment = {"HOME": str(home), "TMPDIR": str(home), "SYFT_CHECK_FOR_APP_UPDATE": "false"}
        where = f"{repository}@{manifest.digest.short}: {self._program}"
        try:
            code, output, errors = bounded_process.run(
                [str(self._program), *arguments],
                cwd=home,
                env=environment,
                until_s=until_s,
                output_max_bytes=BUNDLE_MAX_BYTES,
            )
        except TimeoutError:
            raise Unavailable(f"{where}: not done within {self._timeout_s:g} s (evidence.syft.timeout_s)") from None
        except OSError as error:
            raise ConfigError(f"{self._program}: cannot be started: {error.strerror}") from error
        if len(output) > BUNDLE_MAX_BYTES:
            raise Terminal(f"{where}: wrote more than {BUNDLE_MAX_BYTES} bytes; attach this image's SBOM in CI")
        if code != 0:
            told = " ".join(errors.decode(errors="replace").split())[-500:]
            raise Terminal(f"{where}: ended with {code}: {told or 'it said nothing'}")
        return output
