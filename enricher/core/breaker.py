"""The breaker: a source that makes every line a new kind of event is not paid for, and loses nothing.

Opens  when of a source's last `WINDOW_LINES` lines more than `OPEN_SHARE` made new signatures, more than `OPEN_NEW`:
       new shapes that merged count as one, since a log full of names is no garbage and costs one request.
       What it made in these lines is skipped (nothing is paid for it), and what it would still make gets a coarse
       shape: level, program, first word and number of words; beyond `COARSE_SHAPES` of them, its format alone.
Closes by itself, when of its last `WINDOW_LINES` lines at most `CLOSE_SHARE` would have made new shapes, or when in
       `CALM_SECONDS` at most `CALM_NEW` lines would have.

Invariant: a shape that is stored keeps its row id, open or not, so that events of kinds that are known are enriched all
the time. `Breaker` is a value; `Gate` applies it to the shapes of one source, through functions that it is given.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from enricher.core.skeleton import HOLE, TOKEN, Shape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from enricher.core.merge import Merge

WINDOW_LINES: Final = 20_000
OPEN_SHARE: Final = 0.25
OPEN_NEW: Final = 1_000
CLOSE_SHARE: Final = 0.05
CALM_SECONDS: Final = 3600.0
CALM_NEW: Final = 100
COARSE_FORMAT: Final = "coarse"
"""Format of a coarse shape: never merged, never asked about."""
COARSE_SHAPES: Final = 200
"""Of one source while its breaker is open: the first words of garbage are garbage, too."""

_PIECE: Final = 250
"""New shapes that are numbered before the breaker is looked at again."""
_BUCKET_LINES: Final = WINDOW_LINES // 100
_MAX_WORDS: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """Where the breaker of a source stands."""

    is_open: bool = False
    changed_at: float = 0.0
    trips: int = 0
    recent: tuple[tuple[int, int], ...] = ()
    """(lines, new signatures) of the lines that count, oldest first."""
    calm_since: float = 0.0
    calm_new: int = 0

    @property
    def lines(self) -> int:
        """Lines that count."""
        return sum(lines for lines, _ in self.recent)

    @property
    def new(self) -> int:
        """Of these, how many made a new signature, or, while it is open, would have made a new shape."""
        return sum(new for _, new in self.recent)


def observed(breaker: Breaker, *, lines: int, new: int, now: float) -> Breaker:
    """Take in what some lines made, and open or close. A breaker that changes starts to count anew."""
    seen = replace(breaker, recent=_recent(breaker.recent, lines, new))
    if not breaker.is_open:
        if seen.new > OPEN_NEW and seen.new > OPEN_SHARE * seen.lines:
            return Breaker(is_open=True, changed_at=now, trips=breaker.trips + 1, calm_since=now)
        return seen
    if seen.lines >= WINDOW_LINES and seen.new <= CLOSE_SHARE * seen.lines:
        return Breaker(changed_at=now, trips=breaker.trips)
    if now - seen.calm_since < CALM_SECONDS:
        return replace(seen, calm_new=seen.calm_new + new)
    if seen.calm_new + new <= CALM_NEW:
        return Breaker(changed_at=now, trips=breaker.trips)
    return replace(seen, calm_since=now, calm_new=0)


def _recent(recent: tuple[tuple[int, int], ...], lines: int, new: int) -> tuple[tuple[int, int], ...]:
    kept = list(recent)
    if kept and kept[-1][0] < _BUCKET_LINES:
        last = kept.pop()
        kept.append((last[0] + lines, last[1] + new))
    else:
        kept.append((lines, new))
    total = sum(bucket for bucket, _ in kept)
    while total - kept[0][0] >= WINDOW_LINES:
        total -= kept.pop(0)[0]
    return tuple(kept)


def signatures_made(made: Sequence[int], merges: Iterable[Merge]) -> int:
    """How many signatures the shapes with these new row ids came to; none where they joined one that was there."""
    joined: dict[int, int] = {}

    def first(row_id: int) -> int:
        while (parent := joined.get(row_id, row_id)) != row_id:
            row_id = parent
        return row_id

    for merge in merges:
        oldest, *others = sorted({first(member) for member in merge.members})
        joined.update(dict.fromkeys(others, oldest))
    new = set(made)
    return len(new & {first(row_id) for row_id in new})


def coarse_shape(shape: Shape) -> Shape:
    """Reduce a shape to level, program, first word and number of words."""
    words = TOKEN.findall(shape.skeleton)
    first = f"{words[0]} " if words and words[0].isalpha() else ""
    return Shape(
        format=COARSE_FORMAT,
        level=shape.level,
        program=shape.program,
        skeleton=f"{first}{HOLE}\0{min(len(words), _MAX_WORDS)}",
    )


def coarsest_shape(shape: Shape) -> Shape:
    """Reduce a shape to its format."""
    return Shape(format=COARSE_FORMAT, level="", program="", skeleton=f"{HOLE}\0{shape.format}")


class Gate:
    """Numbers the shapes of one source as its breaker allows; `begin` before lines of a file, `finish` after them."""

    def __init__(self, breaker: Breaker) -> None:
        self.breaker = breaker
        self.skipped: list[int] = []
        """Row ids that nothing is to be paid for, since the breaker opened; for the caller to take away."""
        self.coarse_ids: set[int] = set()
        self._coarse: set[Shape] = set()
        self._lines = 0
        self._left = 0
        self._made: deque[tuple[int, int]] = deque()

    def begin(self, lines: int) -> None:
        """So many lines come now."""
        self._left = lines

    def finish(self, now: float) -> None:
        """The lines are named: those that made nothing new count as well."""
        self._account(self._left, 0, now)

    def number(
        self,
        shapes: list[Shape],
        *,
        find: Callable[[list[Shape]], list[int | None]],
        intern: Callable[[list[Shape]], list[int]],
        merged: Callable[[], Sequence[Merge]],
        now: float,
    ) -> list[int]:
        """Row ids of distinct shapes, in their order; those of coarse ones for what may not be numbered.

        `merged` gives the merges that `intern` has caused since it was last asked.
        """
        found = dict(zip(shapes, find(shapes), strict=True))
        fresh = [shape for shape, row_id in found.items() if row_id is None]
        ids = {shape: row_id for shape, row_id in found.items() if row_id is not None}
        if ids and not self.breaker.is_open:
            intern(list(ids))
            merged()
        at, lines = 0, self._left
        while at < len(fresh) and not self.breaker.is_open:
            piece = fresh[at : at + _PIECE]
            made = intern(piece)
            ids.update(zip(piece, made, strict=True))
            self._made += ((self._lines, row_id) for row_id in made)
            at += len(piece)
            self._account(lines * len(piece) // len(fresh), signatures_made(made, merged()), now)
        if at < len(fresh):
            ids.update(self._coarsen(fresh[at:], intern))
            self._account(lines * (len(fresh) - at) // len(fresh), len(fresh) - at, now)
        return [ids[shape] for shape in shapes]

    def _coarsen(self, shapes: Sequence[Shape], intern: Callable[[list[Shape]], list[int]]) -> dict[Shape, int]:
        reduced: dict[Shape, Shape] = {}
        for shape in shapes:
            coarse = coarse_shape(shape)
            if coarse not in self._coarse and len(self._coarse) >= COARSE_SHAPES:
                coarse = coarsest_shape(shape)
            else:
                self._coarse.add(coarse)
            reduced[shape] = coarse
        wanted = list(dict.fromkeys(reduced.values()))
        ids = dict(zip(wanted, intern(wanted), strict=True))
        self.coarse_ids.update(ids.values())
        return {shape: ids[coarse] for shape, coarse in reduced.items()}

    def _account(self, lines: int, new: int, now: float) -> None:
        lines = min(lines, self._left)
        self._left -= lines
        self._lines += lines
        while self._made and self._made[0][0] < self._lines - WINDOW_LINES:
            self._made.popleft()
        was_open = self.breaker.is_open
        self.breaker = observed(self.breaker, lines=lines, new=new, now=now)
        if self.breaker.is_open and not was_open:
            self.skipped += [row_id for _, row_id in self._made]
            self._made.clear()
        elif was_open and not self.breaker.is_open:
            self._coarse.clear()
