"""The books: what was read, delivered and paid, of one window and of everything. Values only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from enricher.core.block import Pane
    from enricher.core.ledger import LedgerBatch, Part


HeldBy = Literal["disk", "spool"]
"""What holds reading back: a disk without room, or the spool, which holds as much as it may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A part as a sink has it."""

    part: Part
    sha256: str
    size_bytes: int
    events: int
    lines: int
    filtered: int
    """Events of the part that `min_severity` left out."""
    delivered_at: float
    is_dead: bool = False
    """Whether it lies among the dead letters instead, since the sink had refused too much for too long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRange:
    """What a window holds of a file under one path."""

    path: bytes
    """Where it was when it was read; one that was renamed meanwhile has a range for each path, as its events have.
    Empty for the sum over those of an old window that are not kept apart any more."""
    identity: str
    """As in `FileState`: files that bore one path in turn are told apart by it."""
    generation: int
    first_byte: int
    last_byte: int
    """One past the end of the last segment with events of the window."""
    lines: int
    events: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowReport:
    """The books of a window, kept beyond the life of its spool."""

    start: int
    panes: tuple[Pane, ...]
    files: tuple[FileRange, ...]
    signatures: int
    requests: int
    """Requests counted to this window (the earliest that needed them)."""
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    cost_usd: float
    batches: tuple[str, ...]
    dead_letters: Mapping[str, int]
    """Lines by reason."""
    statuses: Mapping[str, int]
    """Events by `enrichment.status`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkTrouble:
    """Why a sink takes nothing."""

    error: str
    hint: str
    since: float
    """Epoch seconds of the first refusal in a row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchTrouble:
    """Why batches do not go on that are under way."""

    error: str
    hint: str
    since: float
    """Epoch seconds from which on the first of them has come no further."""
    batches: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSummary:
    """Counts for status, metrics and the books."""

    windows: Mapping[str, int]
    """Panes by state."""
    oldest_open_window: int | None
    batches: Mapping[str, int]
    """By state."""
    open_batches: tuple[LedgerBatch, ...]
    """Those under way."""
    waiting_batches: tuple[LedgerBatch, ...]
    """Those that cannot be sent yet: for want of money, or of room in the provider's queue."""
    requests: Mapping[str, int]
    signatures: int
    answers: Mapping[str, int]
    """By status."""
    read_lines: int
    read_events: int
    blank_lines: int
    dropped_lines: int
    lost_bytes: int
    written_events: int
    """Events that every sink has (delivered or filtered)."""
    pending_events: int
    dead_events: int
    """Events that no sink has and none will get."""
    dead_letters: Mapping[str, int]
    """Events that were put among the dead letters, by reason: for some sink, even if another has them."""
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    cost_usd: float
    """Of events and records, as `booked_usd` has it by purpose."""
    booked_usd: Mapping[str, float]
    store_bytes: int
    spool_bytes: int
    pending_by_sink: Mapping[str, int]
    free_bytes: int
    """Room left on the disk of the store."""
    sink_troubles: Mapping[str, SinkTrouble]
    """By sink, of those that refused what they were offered last."""
    open_breakers: Mapping[str, float] = field(default_factory=dict)
    """By source: when its breaker opened."""

    @property
    def batch_troubles(self) -> tuple[BatchTrouble, ...]:
        """What stands in the way of batches under way, what has done so for longest first."""
        found: dict[str, BatchTrouble] = {}
        for batch in self.open_batches:
            if batch.error is None or batch.failing_since is None:
                continue
            before = found.get(batch.error)
            since = batch.failing_since if before is None else min(before.since, batch.failing_since)
            number = 1 if before is None else before.batches + 1
            found[batch.error] = BatchTrouble(error=batch.error, hint=batch.hint, since=since, batches=number)
        return tuple(sorted(found.values(), key=lambda one: one.since))
