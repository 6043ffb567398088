"""Unknown is not absent (design invariant 2).

A registry answers 404 for a tag that is missing, and also for a repository that the credential may not see, a wrong
host, or a proxy's mood. So a 404 counts as absence only if the same credential could read something else in that
repository in the same pass.
"""

from __future__ import annotations

import threading

from reconciler.ports import RegistryReader
from state.errors import ReconcilerError, Terminal, Transient
from state.observed import Absent, Present, TagState, Unknown
from state.oci import Manifest, Repository, Tag

MAIN = Tag("main")


class PassReads:
    """The tag reads of one pass, and which repositories have shown something in it. Safe to call from many threads."""

    def __init__(self, registry: RegistryReader) -> None:
        self._registry = registry
        self._lock = threading.Lock()
        self._shown: dict[Repository, bool] = {}
        self.problems: dict[Repository, ReconcilerError] = {}
        """The first error that each repository answered with in this pass."""

    def tag(self, repository: Repository, tag: Tag) -> TagState:
        """Present, absent with a positive control, or unknown. Raises nothing but IntegrityError and its like."""
        try:
            digest = self._registry.resolve(repository, tag)
        except (Transient, Terminal) as error:
            return self._unknown(repository, error)
        if digest is not None:
            self._note(repository, shown=True)
            return Present(digest)
        if self._can_read(repository):
            return Absent()
        return Unknown(f"{repository}: 404 for {tag}, and nothing else there can be read either")

    def manifest(self, repository: Repository, tag: Tag) -> Manifest | Absent | Unknown:
        """The manifest behind a tag, which is also the positive control of its repository."""
        try:
            manifest = self._registry.manifest(repository, tag)
            if manifest is not None:
                self._note(repository, shown=True)
                return manifest
            # The control for a missing `:main` is any tag at all; an empty repository and an unreadable one look alike.
            self._note(repository, shown=bool(self._registry.tags(repository)))
        except (Transient, Terminal) as error:
            return self._unknown(repository, error)
        return Absent() if self._shown[repository] else Unknown(f"{repository}: 404, and no tag there can be read")

    def _can_read(self, repository: Repository) -> bool:
        """The positive control, read after the 404 that it is to back; once per repository."""
        with self._lock:
            known = self._shown.get(repository)
        if known is None:
            try:
                shown = self._registry.resolve(repository, MAIN) is not None or bool(self._registry.tags(repository))
            except (Transient, Terminal) as error:
                self._unknown(repository, error)
                return False
            self._note(repository, shown=shown)
            known = shown
        return known

    def _note(self, repository: Repository, *, shown: bool) -> None:
        with self._lock:
            self._shown[repository] = shown or self._shown.get(repository, False)

    def _unknown(self, repository: Repository, error: ReconcilerError) -> Unknown:
        with self._lock:
            self.problems.setdefault(repository, error)
        return Unknown(f"{type(error).__name__}: {error}")
