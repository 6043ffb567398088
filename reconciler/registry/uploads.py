"""Upload sessions: a file in the scratch directory that grows, is hashed on the way, and becomes a blob or nothing.

Sessions live as long as the process: a restart forgets them and empties the scratch directory, so a client that was
cut off starts again, and no half blob is ever readable. Source: distribution-spec v1.1.1, Pushing blobs.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from reconciler.registry.digests import ContentDigest
from reconciler.registry.errors import Code, WireError
from reconciler.registry.layout import Layout
from state.errors import IntegrityError

if TYPE_CHECKING:
    from hashlib import _Hash

_CONTENT_RANGE: Final = re.compile(r"([0-9]{1,18})-([0-9]{1,18})")
_PIECE_BYTES: Final = 1024 * 1024


class Upload:
    """One session. `offset` is the number of bytes that are in."""

    def __init__(self, identity: str, path: Path, max_bytes: int, now_s: float) -> None:
        self.id = identity
        self.offset = 0
        self.lock = threading.Lock()
        self.touched_s = now_s
        self._path = path
        self._max_bytes = max_bytes
        self._hash = hashlib.sha256()
        path.touch(exist_ok=False)

    @property
    def range(self) -> str:
        """The Range header: both ends inclusive; `0-0` also when nothing is in, as registries answer it."""
        return f"0-{max(self.offset - 1, 0)}"

    def append(self, body: IO[bytes], content_range: str | None, content_length: int | None) -> None:
        """Add the body; all of it or, on any error, nothing.

        Raises WireError: BLOB_UPLOAD_INVALID (416 if the chunk does not begin where the last one ended, or the session
        is over), SIZE_INVALID if the range is not as long as the body, or the blob gets larger than allowed (413).
        """
        expected = self._expected(content_range, content_length)
        hashed = self._hash.copy()
        try:
            with self._path.open("r+b") as file:
                file.seek(self.offset)
                length = self._copy(body, file, hashed, expected)
        except FileNotFoundError:
            raise unknown_upload(self.id) from None
        except BaseException:
            os.truncate(self._path, self.offset)
            raise
        self.offset += length
        self._hash = hashed

    def finish(self, digest: ContentDigest, layout: Layout) -> None:
        """Make the bytes a blob of `layout`, durably. Raises WireError DIGEST_INVALID; the session is over anyway."""
        try:
            with self._path.open("rb") as file:
                hashed = self._hash if digest.algorithm == "sha256" else _hash_file(file, digest.hasher())
                if not hmac.compare_digest(hashed.hexdigest(), digest.hex):
                    raise WireError(
                        Code.DIGEST_INVALID, f"blob: expected {digest}, got {digest.algorithm}:{hashed.hexdigest()}"
                    )
                if (size := os.fstat(file.fileno()).st_size) != self.offset:
                    raise IntegrityError(f"{self._path}: expected {self.offset} bytes, the file has {size}")
                os.fsync(file.fileno())
            layout.adopt_blob(self._path, digest)
        except FileNotFoundError:
            raise unknown_upload(self.id) from None
        finally:
            self.discard()

    def discard(self) -> None:
        """Forget the bytes."""
        self._path.unlink(missing_ok=True)

    def _copy(self, body: IO[bytes], file: IO[bytes], hashed: _Hash, expected: int | None) -> int:
        length = 0
        while piece := body.read(_PIECE_BYTES):
            length += len(piece)
            if self.offset + length > self._max_bytes:
                raise WireError(Code.SIZE_INVALID, f"blob: expected at most {self._max_bytes} bytes", status=413)
            hashed.update(piece)
            file.write(piece)
        if expected is not None and length != expected:
            raise WireError(Code.SIZE_INVALID, f"chunk: expected {expected} bytes, got {length}")
        return length

    def _expected(self, content_range: str | None, content_length: int | None) -> int | None:
        if content_range is None:
            return content_length
        match = _CONTENT_RANGE.fullmatch(content_range)
        if match is None:
            raise WireError(Code.BLOB_UPLOAD_INVALID, f"Content-Range: expected start-end, got {content_range[:60]!r}")
        start, end = int(match[1]), int(match[2])
        if start != self.offset or end < start:
            raise WireError(
                Code.BLOB_UPLOAD_INVALID,
                f"Content-Range: expected to begin at {self.offset}, got {start}-{end}",
                status=416,
            )
        return end - start + 1


class Uploads:
    """The sessions of one registry, by repository and id."""

    def __init__(
        self, scratch: Path, *, max_bytes: int, max_open: int, idle_s: float, monotonic_s: Callable[[], float]
    ) -> None:
        """A session that nobody touched for `idle_s` seconds is forgotten when another one is started."""
        self._scratch = scratch
        self._max_bytes = max_bytes
        self._max_open = max_open
        self._idle_s = idle_s
        self._monotonic_s = monotonic_s
        self._open: dict[tuple[str, str], Upload] = {}
        self._lock = threading.Lock()

    def start(self, name: str) -> Upload:
        """A new session with a random id. Raises WireError TOOMANYREQUESTS if too many are open."""
        identity, now_s = str(uuid.uuid4()), self._monotonic_s()
        with self._lock:
            for key, upload in list(self._open.items()):
                if now_s - upload.touched_s > self._idle_s:
                    del self._open[key]
                    upload.discard()
            if len(self._open) >= self._max_open:
                raise WireError(Code.TOOMANYREQUESTS, f"expected at most {self._max_open} uploads at a time")
            made = Upload(identity, self._scratch / f"upload-{identity}", self._max_bytes, now_s)
            self._open[name, identity] = made
        return made

    def get(self, name: str, identity: str) -> Upload:
        """An open session of this repository. Raises WireError BLOB_UPLOAD_UNKNOWN."""
        with self._lock:
            upload = self._open.get((name, identity))
            if upload is None:
                raise unknown_upload(identity)
            upload.touched_s = self._monotonic_s()
            return upload

    def forget(self, name: str, upload: Upload) -> None:
        """End the session."""
        with self._lock:
            self._open.pop((name, upload.id), None)
        upload.discard()


def unknown_upload(identity: str) -> WireError:
    """What is answered for a session that is not there, or over."""
    return WireError(Code.BLOB_UPLOAD_UNKNOWN, f"upload {identity[:40]!r} is not open in this repository")


def _hash_file(file: IO[bytes], into: _Hash) -> _Hash:
    while piece := file.read(_PIECE_BYTES):
        into.update(piece)
    return into
