"""The answers of a store, for an operator: listed, shown, carried over, forgotten, renewed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from enricher.core.catalogue import Detail, Entry, ExportedAnswer, Imported, Listing, Selection


class Catalogue(Protocol):
    """The answers, for the operator. Reading works beside a running daemon, writing takes the lock. StoreError."""

    async def entries(self, listing: Listing, task: str, model: str) -> list[Entry]:
        """Signatures with events or an answer, with the answer that serves them under (task, model)."""

    async def resolve(self, prefix: str, limit: int) -> list[str]:
        """Ids, of signatures or of what was merged into them, that begin so; at most `limit`, in order."""

    async def neighbours(self, wanted: str) -> list[str]:
        """Some ids that sort just before and just behind it."""

    async def detail(self, signature: str, task: str, model: str) -> Detail | None:
        """All about the signature that this id belongs to; None where nothing is known under it."""

    async def answered_page(self, after: str, limit: int, task: str, model: str) -> list[Entry]:
        """Signatures with a good answer, by id, behind `after`: the one that serves, else the newest of any."""

    async def count_answered(self) -> int:
        """How many signatures have a good answer."""

    async def import_answers(self, given: Sequence[ExportedAnswer], *, keep: bool, now: float) -> Imported:
        """Take answers in: of two under the same key the newer, or the one that is there where `keep`."""

    async def forget(self, selection: Selection) -> int:
        """Answers that are not used any more: their kinds are asked when they are seen next. How many signatures."""

    async def refresh(self, selection: Selection) -> int:
        """Have kinds asked again when they are seen next; the old answers serve until then. How many signatures."""
