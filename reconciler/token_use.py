"""What a forge credential is for, which says what it has to be allowed and what is too much."""

from __future__ import annotations

from typing import NamedTuple


class TokenUse(NamedTuple):
    """One credential's work.

    Args:
        writes: it shows a status on each head, or proposes.
        labels: it sets the preview label.
        proposes: it pushes branches and opens pull requests; how far git lets it is asked elsewhere.
        pushes: it pushes branches and does nothing else, as the log's.
    """

    writes: bool
    labels: bool = False
    proposes: bool = False
    pushes: bool = False
