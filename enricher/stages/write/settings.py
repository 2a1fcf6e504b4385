"""What write needs of the configuration and the task."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from enricher.core.record_form import Scalar

EVENTS_PER_PART: Final = 250_000


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteSettings:
    """Of the configuration and the task."""

    host: str
    length_seconds: int
    max_wait_seconds: float
    fields: Mapping[str, Mapping[str, Scalar]]
    """Static fields by source id."""
    quality: Mapping[str, str]
    """Caution to go out with the answers of a task, by its hash."""
    compress: Mapping[str, str]
    """How a sink packs its parts, by sink id: its manifest names the files."""
    task: str
    """Hash of the task whose answers a digest shows."""
    model: str
    digest: bool
    """Whether windows get a digest."""
    max_backlog_events: Mapping[str, int] = field(default_factory=dict)
    """Events that may wait for a sink that refuses them, by sink id; no limit where there is none."""
    events_per_part: int = EVENTS_PER_PART
