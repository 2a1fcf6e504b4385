"""What is remembered of the closed panes: how far each is decided, delivered and told.

All of it saves look-ups and can be forgotten at any time; the store knows it, too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from enricher.core.block import Pane

Key = tuple[int, int]
"""A pane: (window start, number)."""


def key_of(pane: Pane) -> Key:
    """The key of a pane."""
    return pane.start, pane.number


@dataclass(slots=True)
class PaneState:
    """Of one pane."""

    decided: bool = False
    due_at: float | None = None
    """When, by the monotonic clock, it is written whatever the answers: setting the wall clock does not move it."""
    rounds: int = 0
    """How many rounds were fixed since the start of the process."""
    settled: dict[str, int] = field(default_factory=dict)
    """Per sink: `rounds` as it was when nothing of the pane was left to deliver."""
    told: dict[str, tuple[int, bool]] = field(default_factory=dict)
    """Per sink: `rounds` and `decided` as they were when the window's manifest was written."""

    def is_settled(self, sink: str) -> bool:
        """Whether a sink has all that there will be of it."""
        return self.decided and self.settled.get(sink) == self.rounds

    def is_over(self, sink: str) -> bool:
        """Whether that was told in the sink's manifest, too."""
        return self.told.get(sink) == (self.rounds, True)
