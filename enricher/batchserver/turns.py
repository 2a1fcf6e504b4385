"""Whose line is next: places in the backend go to the batch that came first.

Taken in turn, many small batches would all end late, at about the same time; one after the other, the first ends as
early as it can and no other later than it would have. A batch that has no line to ask leaves its turn to the next, so
that no place stays empty.
"""

from __future__ import annotations

import asyncio
import heapq
from itertools import count


class Turns:
    """So many places; who waits for one is served by rank, the lowest first, and within a rank in order."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._numbers = count()

    async def acquire(self, rank: int) -> None:
        """Take a place, as soon as there is one for this rank."""
        if self._free:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (rank, next(self._numbers), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                # The place was given in the moment in which nobody wanted it any more.
                self.release()
            raise

    def release(self) -> None:
        """Give a place back."""
        while self._waiting:
            _, _, turn = heapq.heappop(self._waiting)
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
