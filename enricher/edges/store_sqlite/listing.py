"""The catalogue of an open store: `ports.Catalogue` over its connection.

Never here: what the methods do (`catalogue`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from enricher.edges.store_sqlite import catalogue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from enricher.core.catalogue import Detail, Entry, ExportedAnswer, Imported, Listing, Selection
    from enricher.edges.store_sqlite.connection import Connection


class SqliteCatalogue:
    """What is known of each signature, listed, exported, imported, forgotten, refreshed."""

    _db: Connection

    async def entries(self, listing: Listing, task: str, model: str) -> list[Entry]:
        """Signatures, in the order asked for."""
        return await self._db.read(catalogue.entries, listing, task, model)

    async def resolve(self, prefix: str, limit: int) -> list[str]:
        """Ids that begin so."""
        return await self._db.read(catalogue.resolve, prefix, limit)

    async def neighbours(self, wanted: str) -> list[str]:
        """Ids that sort just before and just behind it."""
        return await self._db.read(catalogue.neighbours, wanted)

    async def detail(self, signature: str, task: str, model: str) -> Detail | None:
        """All about the signature that this id belongs to; None where nothing is known under it."""
        return await self._db.read(catalogue.detail, signature, task, model)

    async def answered_page(self, after: str, limit: int, task: str, model: str) -> list[Entry]:
        """Signatures with a good answer, by id, behind `after`."""
        return await self._db.read(catalogue.answered_page, after, limit, task, model)

    async def count_answered(self) -> int:
        """How many signatures have a good answer."""
        return await self._db.read(catalogue.count_answered)

    async def import_answers(self, given: Sequence[ExportedAnswer], *, keep: bool, now: float) -> Imported:
        """Take answers in: of two under the same key the newer, or the one that is there where `keep`."""
        return await self._db.write(catalogue.import_answers, given, keep=keep, now=now)

    async def forget(self, selection: Selection) -> int:
        """Answers that are not used any more; returns of how many signatures."""
        return await self._db.write(catalogue.forget, selection)

    async def refresh(self, selection: Selection) -> int:
        """Have kinds asked again when they are seen next; returns how many."""
        return await self._db.write(catalogue.refresh, selection)
