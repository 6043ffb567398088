"""Settings → `ameide gitops propose` for one repository."""

from __future__ import annotations

import getpass
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from reconciler import wiring
from reconciler.adapters.gitops_writer import GitOpsBranches
from reconciler.adapters.signer_ssh import SshSigner
from reconciler.gitops_forge import opened_gitops
from reconciler.lane.file_list import with_list
from reconciler.lane.proposing import LaneProposer
from reconciler.preview.render import render
from reconciler.role_log import open_role_log, operator_key, pushed_log
from reconciler.settings import RepositorySettings
from reconciler.settings.model import CALL_TIMEOUT_FACTOR
from reconciler.wiring import Shared
from state.entry import Logged
from state.errors import ConfigError
from state.git import RefName
from state.log_branch import LogName, Role
from state.quarantine import printable


@contextmanager
def lane_proposer(common: Shared, repository: RepositorySettings) -> Iterator[LaneProposer]:
    """Everything that a run needs, open for the block. The log's key is opened only when something is written.

    Raises ConfigError for a section that is missing or a key that cannot be used; errors of the forge as they are.
    """
    lane, settings = repository.lane, common.settings
    if lane is None or lane.proposals is None:
        raise ConfigError(f"{repository.name}: has no section lane.proposals; add it, see docs/lane.md")
    rendered = with_list(render(settings, repository))
    signer, key = SshSigner.from_file(lane.proposals.commit_key_file), operator_key(repository)
    name = f"lane of {repository.name}"
    with (
        wiring.code_forge(common, repository) as code,
        opened_gitops(
            settings, lane.proposals.forge, name, clock=common.clock, random=common.random, metrics=common.metrics
        ) as gitops,
        GitOpsBranches(
            settings.state_dir / "lane-mirrors" / repository.name,
            gitops.remote,
            timeout_s=float(settings.request_timeout_s) * CALL_TIMEOUT_FACTOR,
            signer=signer,
        ) as writer,
    ):
        named = LogName(code.identity.id, Role.OPERATOR)

        def peek() -> Iterable[Logged]:
            log = pushed_log(settings.state_dir, repository.log, named)
            return () if log is None else log.entries()

        emit = common.emit.bind(repository=repository.name)
        yield LaneProposer(
            name=repository.name,
            repository_id=code.identity.id,
            base=RefName.branch(lane.gitops_branch),
            writer=writer,
            changes=gitops.changes,
            rendered=rendered,
            by=printable("the account that starts this", getpass.getuser()),
            peek=peek,
            open_log=lambda: open_role_log(settings, repository, named, key_file=key, clock=common.clock, emit=emit),
            emit=emit,
        )
