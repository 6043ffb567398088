"""One target with what reaches it: its GitOps repository's branches and pull requests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from reconciler.gitops import edits
from reconciler.ports import ForgeWriter, GitOpsWriter
from state.errors import ConfigError, Terminal
from state.git import CommitId
from state.pin_plan import Edit, PinPlan, Target


@dataclass(frozen=True, slots=True)
class Lane:
    """A target, its repository's branches, and its pull requests."""

    target: Target
    writer: GitOpsWriter
    changes: ForgeWriter
    after: str | None = None
    """The target that a promotion copies from."""

    def base(self) -> CommitId:
        """The tip of the base branch now. Raises Terminal if there is no such branch, Transient or Denied."""
        tip = self.writer.tip(self.target.base)
        if tip is None:
            raise Terminal(
                f"target {self.target.name}: the GitOps repository has no branch {self.target.base.short}; "
                "push it, or name another one as `base`"
            )
        return tip

    def files(self, commit: CommitId, wanted: Iterable[Edit]) -> Mapping[str, bytes]:
        """The files of these edits as they are at `commit`."""
        return self.writer.files(commit, sorted({e.file for e in wanted}))

    def in_place(self, commit: CommitId, plan: PinPlan) -> bool:
        """Whether `commit` holds every pin of `plan`; not where one of them is gone."""
        try:
            now = edits.current(self.files(commit, plan.edits), plan.edits)
        except ConfigError:
            return False
        return all(now.get((e.file, e.key)) == e.image for e in plan.edits)
