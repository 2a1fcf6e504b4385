"""The records of a part, a chunk at a time, and the sums of what they hold.

Must never: hold more than a chunk of records.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from enricher.core.record import Page, Rendered

CHUNK_EVENTS: Final = 2_048
"""Events rendered at once: about 2 MB of output, which stays near the cache however short lines are."""


@dataclass(slots=True)
class PartBooks:
    """What was rendered of a part."""

    events: int = 0
    lines: int = 0
    filtered: int = 0
    statuses: Counter[str] = field(default_factory=Counter)

    def add(self, rendered: Rendered) -> None:
        """Enter one more chunk."""
        self.events += rendered.events
        self.lines += rendered.lines
        self.filtered += rendered.filtered
        self.statuses.update(rendered.statuses)


def chunks(page: Page, first: int, end: int, books: PartBooks) -> Iterator[bytes]:
    """The records of a page's events, a chunk at a time; rendered by whoever asks for them, in a thread of his."""
    for at in range(first, end, CHUNK_EVENTS):
        rendered = page.render(at, min(CHUNK_EVENTS, end - at))
        books.add(rendered)
        if rendered.data:
            yield rendered.data
