"""What approvers are served before the first pass has ended."""

from __future__ import annotations

from reconciler.approval.served import Missing
from reconciler.publishing.board import Board


def test_before_the_first_pass_a_target_is_not_called_unknown() -> None:
    assert Board().newest(1, "dev") == Missing(("the process has just started: no pass has ended yet",))
