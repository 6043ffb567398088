"""Settings → `ameide tags gc` for one repository."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from reconciler import wiring
from reconciler.adapters.registry_oras import OrasRegistry
from reconciler.adapters.registry_router import Registries
from reconciler.role_log import open_role_log, operator_key, pushed_log
from reconciler.settings import RepositorySettings
from reconciler.settings.janitor import TagGcSettings
from reconciler.tag_gc.deciding import Policy
from reconciler.tag_gc.looking import Looker
from reconciler.tag_gc.records import Given
from reconciler.tag_gc.running import TagGc
from reconciler.tag_gc.untagging import measured_refusal, refused_by_name
from reconciler.wiring import Shared
from state.entry import Entry, Logged
from state.errors import ConfigError, IntegrityError
from state.git import CommitId, RefName
from state.log_branch import LogName, Role
from state.oci import Repository, Tag


def section_of(repository: RepositorySettings) -> TagGcSettings:
    """Raises ConfigError where it is missing."""
    if repository.tag_gc is None:
        raise ConfigError(f"{repository.name}: has no section tag_gc; see docs/janitor.md")
    return repository.tag_gc


@contextmanager
def tag_gc_of(common: Shared, repository: RepositorySettings, *, last_tags: bool = False) -> Iterator[TagGc]:
    """Everything that a run needs, open for the block. The signing key is opened only when something is written."""
    section, settings = section_of(repository), common.settings
    refusing = {r.host: why for r in settings.registries if (why := refused_by_name(r)) is not None}
    with wiring.code_forge(common, repository) as forge, forge.mirror() as mirror:
        own, operator = (LogName(forge.identity.id, role) for role in (Role.RECONCILER, Role.OPERATOR))

        def given() -> Given:
            log = pushed_log(settings.state_dir, repository.log, own)

            def read(entry: CommitId) -> Entry:
                if log is None:
                    raise IntegrityError(f"log entry {entry}: the log is not there")
                return log.read(entry).entry

            return Given(() if log is None else log.entries(), read)

        def peek() -> Iterable[Logged]:
            log = pushed_log(settings.state_dir, repository.log, operator)
            return () if log is None else log.entries()

        looker = Looker(
            forge.reader,
            mirror,
            common.registries,
            common.executor,
            tuple(RefName.branch(b) for b in sorted(repository.admission.base_branches)),
            refusing,
        )
        yield TagGc(
            looker=looker,
            forge=forge.reader,
            registry=_Removing(common.registries),
            policy=Policy(section.grace_s, section.max_deletes, last_tags),
            clock=common.clock,
            given=given,
            peek=peek,
            open_log=lambda: open_role_log(
                settings,
                repository,
                operator,
                key_file=operator_key(repository),
                clock=common.clock,
                emit=common.emit,
            ),
            measure=lambda host: _measure(common, host),
            emit=common.emit,
        )


def _measure(common: Shared, host: str) -> str | None:
    found = next((r for r in common.settings.registries if r.host == host), None)
    if found is None or found.scratch_repository is None:
        return "its registry is not configured, or has no scratch_repository"
    scratch = Repository(found.scratch_repository)
    return measured_refusal(_client(common.registries, scratch), scratch, common.clock, common.random)


def _client(registries: Registries, repository: Repository) -> OrasRegistry:
    client = registries.client(repository)
    if not isinstance(client, OrasRegistry):
        raise ConfigError(f"{repository}: its client cannot remove tags")
    return client


class _Removing:
    """The registries as the run uses them: reads, and the removal of one tag."""

    def __init__(self, registries: Registries) -> None:
        self.resolve = registries.resolve
        self.manifest = registries.manifest
        self.tags = registries.tags
        self._registries = registries

    def untag(self, repository: Repository, tag: Tag, confirm: Callable[[], None] | None = None) -> bool:
        return _client(self._registries, repository).untag(repository, tag, confirm)
