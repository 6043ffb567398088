"""Reads that take long, in a process of their own: libgit2 holds the interpreter lock, and with it every other thread.

One request at a time, canonical JSON both ways over a pipe: what comes back from a process that reads hostile objects
is parsed, never unpickled. A worker that takes too long, dies or says too much is replaced by a new one.

The process is a fresh interpreter that imports this module and nothing of the program that started it (which
`multiprocessing` would run again), in a session of its own and with an environment made from nothing.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

import pygit2
from pygit2.enums import RepositoryOpenFlag

from reconciler.adapters.git_changes import Comparer
from reconciler.adapters.git_difference import AtBase, Difference, Images, difference_from_json, difference_to_json
from reconciler.adapters.git_open_packs import bound_open_packs
from reconciler.adapters.git_tree import MissingObjects
from reconciler.adapters.recent import Recent
from state import canonical
from state.canonical import Json, Reader, reading
from state.change import ChangeRecord
from state.errors import IntegrityError, ReconcilerError, StaleObservation, Terminal, Unavailable
from state.git import CommitId
from state.observed import Catalogue, Image
from state.oci import Digest, Repository

MESSAGE_MAX_BYTES: Final = 64 * 1024 * 1024
_PROGRAM: Final = "from reconciler.adapters.git_worker import serve; serve()"
_CATALOGUES_KEPT: Final = 64
_END_WAIT_S: Final = 2.0
_FAMILIES: Final[dict[str, type[ReconcilerError]]] = {
    "integrity": IntegrityError,
    "stale": StaleObservation,
    "terminal": Terminal,
    "transient": Unavailable,
}


class Worker:
    """The comparisons of one mirror, in another process. Started at the first call; calls wait for each other."""

    def __init__(self, path: Path, *, timeout_s: float) -> None:
        self._path = path
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None
        self._end: weakref.finalize[..., Worker] | None = None
        self._at_base: Recent[tuple[CommitId, CommitId], AtBase] = Recent(_CATALOGUES_KEPT)

    @property
    def pid(self) -> int | None:
        """The process's id, while there is one."""
        process = self._process
        return None if process is None else process.pid

    def changes(self, base: CommitId, head: CommitId, catalogue: Catalogue) -> ChangeRecord:
        """See `git_changes.Comparer.changes`. Raises Unavailable if the worker took too long or died."""
        at_base = self._at_base.get((base, catalogue.commit))
        answer = None if at_base is None else self._difference(base, head, catalogue)
        if at_base is None or answer is None:
            at_base = self._at_base_of(base, catalogue)
            answer = self._difference(base, head, catalogue)
        if answer is None:
            raise Unavailable(f"{self._path}: the git worker was replaced meanwhile; it is asked again")
        try:
            return at_base.record(head, answer)
        except LookupError:
            raise Unavailable(f"{self._path}: the git worker gave no usable answer") from None

    def _at_base_of(self, base: CommitId, catalogue: Catalogue) -> AtBase:
        """What is common to all heads of a base, for which the worker is told the catalogue."""
        images = Images(catalogue.images.values())
        told: list[Json] = [_image_to_json(image) for image in images.ordered]
        answer = self._call({"call": "at_base", "base": base, "catalogue": catalogue.commit, "images": told})
        fingerprints = [Digest(f) for f in reading(answer, "git worker").texts("fingerprints")]
        if len(fingerprints) != len(told):
            raise Unavailable(f"{self._path}: the git worker gave no usable answer")
        found = AtBase(base, catalogue.commit, images, fingerprints)
        self._at_base.put((base, catalogue.commit), found)
        return found

    def _difference(self, base: CommitId, head: CommitId, catalogue: Catalogue) -> Difference | None:
        """None if this worker was not told the catalogue, or forgot it."""
        answer = self._call({"call": "difference", "base": base, "head": head, "catalogue": catalogue.commit})
        return None if "unknown" in answer else difference_from_json(answer)

    def faithful(
        self, image: Image, base: CommitId, merge_base: CommitId, wanted: Digest, limit: int
    ) -> tuple[CommitId, ...]:
        """See `git_changes.Comparer.faithful`. Raises Unavailable if the worker took too long or died."""
        answer = self._call(
            {
                "call": "faithful",
                "images": [_image_to_json(image)],
                "base": base,
                "merge_base": merge_base,
                "wanted": wanted,
                "limit": limit,
            }
        )
        return tuple(CommitId(c) for c in reading(answer, "git worker").texts("commits"))

    def close(self) -> None:
        """End the process and wait for it."""
        with self._lock:
            self._stop(wait_s=_END_WAIT_S)

    def _call(self, request: Mapping[str, Json]) -> Mapping[str, Json]:
        with self._lock:
            try:
                answer = self._exchange(canonical.dumps(dict(request)))
            except BaseException as error:
                self._stop(wait_s=0)  # Whatever comes now would be taken for the answer to the next request.
                if isinstance(error, (EOFError, OSError)):
                    raise Unavailable(
                        f"{self._path}: the git worker ended unexpectedly; it is started again"
                    ) from error
                raise
        read = reading(answer, "git worker")
        if "missing" in answer:
            raise MissingObjects(frozenset(read.texts("missing")))
        if (family := answer.get("error")) is not None:
            raise _FAMILIES[str(family)](read.text("message"))
        return answer

    def _exchange(self, request: bytes) -> Mapping[str, Json]:
        pipe = self._pipe or self._start()
        pipe.send_bytes(request)
        if not pipe.poll(self._timeout_s):
            raise Unavailable(f"{self._path}: the git worker did not answer within {self._timeout_s:g} s")
        answer = canonical.loads(pipe.recv_bytes(MESSAGE_MAX_BYTES), what="git worker", max_bytes=MESSAGE_MAX_BYTES)
        if not isinstance(answer, dict):
            raise Unavailable(f"{self._path}: the git worker gave no usable answer")
        return answer

    def _start(self) -> Connection:
        ours, theirs = socket.socketpair()
        with theirs:
            self._pipe = Connection(ours.detach())
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _PROGRAM, str(theirs.fileno()), str(self._path), str(self._timeout_s)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,  # A Ctrl-C is for the parent, which then closes the pipe.
                env={
                    "PATH": os.environ.get("PATH", os.defpath),
                    "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
                    "HOME": str(self._path),
                    "LC_ALL": "C.UTF-8",
                },
            )
        # Also at the end of the program, and where nobody called `close`.
        self._end = weakref.finalize(self, _end, self._process, self._pipe, _END_WAIT_S)
        return self._pipe

    def _stop(self, *, wait_s: float) -> None:
        if self._process is not None and self._pipe is not None:
            if self._end is not None:
                self._end.detach()
            _end(self._process, self._pipe, wait_s)
        self._process = self._pipe = None


def _end(process: subprocess.Popen[bytes], pipe: Connection, wait_s: float) -> None:
    pipe.close()  # An idle worker reads the end of its input and returns.
    try:
        process.wait(wait_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def serve() -> None:
    """The worker's program. Arguments: the pipe's file descriptor, the mirror, seconds for one call."""
    with Connection(int(sys.argv[1])) as pipe:
        _serve(pipe, sys.argv[2], float(sys.argv[3]))


def _serve(pipe: Connection, path: str, timeout_s: float) -> None:
    """The worker's side: answer until the other end is closed, which also happens when our parent is killed."""
    bound_open_packs()
    calls: _Calls | None = None
    while True:
        try:
            request = canonical.loads(pipe.recv_bytes(MESSAGE_MAX_BYTES), what="request", max_bytes=MESSAGE_MAX_BYTES)
        except (EOFError, OSError):
            return
        # The kernel ends us even while libgit2 holds the interpreter, so no orphan outlives its parent by long.
        signal.setitimer(signal.ITIMER_REAL, timeout_s + 5)
        try:
            if calls is None:
                flags = RepositoryOpenFlag.BARE | RepositoryOpenFlag.NO_SEARCH
                calls = _Calls(pygit2.Repository(path, flags))
            assert isinstance(request, dict)  # noqa: S101 - our own parent made it
            answer = calls.answer(request)
        except MissingObjects as missing:
            answer = {"missing": [*sorted(missing.ids)]}
        except (ReconcilerError, pygit2.GitError, KeyError, MemoryError, RecursionError) as error:
            answer = {"error": _family(error), "message": str(error)[:4000] or type(error).__name__}
        signal.setitimer(signal.ITIMER_REAL, 0)
        try:
            pipe.send_bytes(canonical.dumps(answer))
        except OSError:
            return


def _family(error: Exception) -> str:
    match error:
        case IntegrityError():
            return "integrity"
        case StaleObservation():
            return "stale"
        case Terminal():
            return "terminal"
        case _:
            return "transient"


class _Calls:
    """What the worker can be asked: one method for each `call`."""

    def __init__(self, repository: pygit2.Repository) -> None:
        self._comparer = Comparer(repository)
        self._images: Recent[CommitId, Images] = Recent(_CATALOGUES_KEPT)

    def answer(self, request: Mapping[str, Json]) -> dict[str, Json]:
        read = reading(request, "request")
        match read.text("call"):
            case "at_base":
                return self._at_base(read)
            case "difference":
                return self._difference(read)
            case "faithful":
                return self._faithful(read)
            case call:
                raise Terminal(f"the git worker knows no call {call!r}")

    def _at_base(self, read: Reader) -> dict[str, Json]:
        images = Images(_image_from_json(i) for i in read.objects("images"))
        fingerprints = self._comparer.fingerprints(CommitId(read.text("base")), images)
        self._images.put(CommitId(read.text("catalogue")), images)
        return {"fingerprints": [*fingerprints]}

    def _difference(self, read: Reader) -> dict[str, Json]:
        images = self._images.get(CommitId(read.text("catalogue")))
        if images is None:
            return {"unknown": "catalogue"}
        base, head = CommitId(read.text("base")), CommitId(read.text("head"))
        return difference_to_json(self._comparer.difference(base, head, images))

    def _faithful(self, read: Reader) -> dict[str, Json]:
        commits = self._comparer.faithful(
            _image_from_json(read.objects("images")[0]),
            CommitId(read.text("base")),
            CommitId(read.text("merge_base")),
            Digest(read.text("wanted")),
            read.integer("limit"),
        )
        return {"commits": [*commits]}


def _image_to_json(image: Image) -> dict[str, Json]:
    return {
        "name": image.name,
        "repository": image.repository,
        "inputs": [*image.inputs],
        "platforms": [*image.platforms],
    }


def _image_from_json(value: Mapping[str, Json]) -> Image:
    read = reading(value, "image")
    return Image(
        read.text("name"),
        Repository(read.text("repository")),
        tuple(read.texts("inputs")),
        tuple(read.texts("platforms")),
    )
