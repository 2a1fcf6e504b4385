"""Where enriched events go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from enricher.core.ledger import (
        Part,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What a sink says of a part that it has taken."""

    sha256: str
    """Of the bytes as they lie there."""
    size_bytes: int


class Sink(Protocol):
    """Where enriched events go. Delivery is at least once; `event.id` is the upsert key."""

    id: str
    min_severity: str

    async def deliver(self, window: str, part: Part, batches: AsyncIterator[Iterable[bytes]]) -> Taken:
        """Take a whole part: NDJSON in batches of chunks of whole lines. All or nothing; again, it replaces itself.

        The chunks of a batch are made while they are taken, which is work for a worker thread: each batch is run
        through, to its end, before the next one is asked for. SinkError: try again later; nothing of the part counts.
        """

    async def manifest(self, window: str, manifest: bytes) -> None:
        """Take the window's manifest as it is now (JSON); replaces the one before. SinkError: try again."""

    async def digest(self, window: str, as_json: bytes, as_markdown: str) -> None:
        """Take the window's digest as it is now; replaces the one before. SinkError: try again."""

    async def retain(self, now: float) -> int:
        """Delete what is older than the sink's retention; returns how many windows went."""

    async def check(self) -> None:
        """Whether it could take a part now (`validate`, readiness). SinkError says why not."""

    async def close(self) -> None:
        """Release what it holds."""
