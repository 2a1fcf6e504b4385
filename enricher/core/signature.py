"""Lines to shape ids, a block at a time: memos in front of one pure function.

| level | looks at | cost per line |
|---|---|---|
| L1 | the line with its digits collapsed | a dict look-up, no Python bytecode |
| L2 | the same with hexadecimal words collapsed | missed lines only |
| frames | the line without its one new word | lines never seen in this form |
| L3 | header split, message masked: the shape | the first line of a frame |
| L0 | numbers that carry meaning, as they are | lines of shapes in which L3 has met one |

Invariant: an id is a function of the line and of the store that numbers shapes; the memos never change an answer, so
that they are bounded by forgetting everything. Must never: run Python code for a line whose shape is known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from enricher.core.collapse import collapse, collapse_hex
from enricher.core.frame import Frames
from enricher.core.meaning import Rules, Words, told_apart, words_of
from enricher.core.skeleton import KEY_BYTES, Shape
from enricher.core.structured.fold import fold_objects
from enricher.core.structured.key import cut
from enricher.core.timestamp_columns import line_starts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

BLANK_ID: Final = 0

# Hexadecimal words are collapsed up front for so many blocks once the keys new to L1 are more than one line in five,
# and collapsing them makes one of every two; JSON lines are folded up front by the same rule.
_HEX_BLOCKS = 64
_NEW_SHARE = 5
_FOLDED_SHARE = 2


# Ids from here on are no rows of the store: they stand for shapes of which each line is looked at.
_TELLING = 0x80000000

# Numbers from here on stand for lines whose ids are not known yet.
_NEW = 0xC0000000

# Text that is taken apart at once: what is made of it on the way stays in the processor's cache.
_PIECE_BYTES = 64 * 1024


class _Memo(dict[bytes, int]):
    """Key of a line → shape id; a key that it does not hold is numbered from `_NEW` on, so that it is missed once."""

    __slots__ = ("_new", "key_bytes")

    def __init__(self) -> None:
        super().__init__()
        self.key_bytes = 0
        self._new: list[bytes] = []

    def __missing__(self, key: bytes) -> int:
        number = self[key] = _NEW + len(self._new)
        self._new.append(key)
        return number

    def take_new(self) -> list[bytes]:
        """The keys that were numbered, in the order of their numbers; they are forgotten until they have ids."""
        new, self._new = self._new, []
        for key in new:
            del self[key]
        return new


class ShapeIndex:
    """The shape ids of one source's lines.

    `memo_lines` and `memo_bytes` bound each memo; a full one is emptied and fills again from the level behind it.
    """

    def __init__(self, *, memo_lines: int = 200_000, memo_bytes: int = 16 << 20) -> None:
        self._memo_lines = memo_lines
        self._memo_bytes = memo_bytes
        self._hex_blocks = self._object_blocks = 0
        self.forget()

    def forget(self) -> None:
        """Drop what is remembered. No answer changes, the next lines only cost more."""
        self._lines = _Memo()
        self._folded = _Memo()
        self._shapes: dict[Shape, int] = {}
        self._telling: dict[tuple[Shape, Rules], int] = {}
        self._told: list[dict[Words, int]] = []
        self._frames = Frames(self._memo_bytes)

    def load(self, shapes: Iterable[tuple[int, Shape]]) -> None:
        """Learn the ids of shapes that are stored already."""
        self._shapes.update((shape, row_id) for row_id, shape in shapes)

    def resolve(
        self,
        data: bytes,
        intern: Callable[[list[Shape]], list[int]],
        *,
        starts: npt.NDArray[np.bool_] | None = None,
    ) -> npt.NDArray[np.uint32]:
        r"""Give the shape id of each line of `data`, in order; `BLANK_ID` for a line of white space.

        Lines end with ``\n``; the last one may lack it. `intern` is called with the distinct shapes not seen before, at
        most once for lines that are looked at no further and once for those whose numbers carry meaning, and gives
        their row ids (1 to 0x7FFFFFFF). Where `starts` is given (one flag per line), a line
        that starts no event gets `BLANK_ID` or an id it already had, and no shape is made for it.
        """
        if len(self._telling) + sum(map(len, self._told)) > self._memo_lines:
            self.forget()
        find = self._lines.__getitem__
        keys = map(self._keys, _pieces(data))
        parts = [np.fromiter(map(find, lines), np.uint32, len(lines)) for lines in keys]
        ids = np.concatenate(parts) if parts else np.empty(0, np.uint32)
        self._hex_blocks = max(0, self._hex_blocks - 1)
        self._object_blocks = max(0, self._object_blocks - 1)
        new = self._lines.take_new()
        if new:
            self._name_new(new, ids, intern, starts)
        if self._telling:
            self._tell_apart(data, ids, intern, starts)
        return ids

    def _name_new(
        self,
        new: list[bytes],
        ids: npt.NDArray[np.uint32],
        intern: Callable[[list[Shape]], list[int]],
        starts: npt.NDArray[np.bool_] | None,
    ) -> None:
        """Put ids in the place of the numbers that L1 gave to lines that it did not hold."""
        rows = np.flatnonzero(ids >= _NEW)
        if starts is not None:
            ids[rows[~starts[rows]]] = BLANK_ID
            rows = rows[starts[rows]]
        numbers = (ids[rows] - _NEW).tolist()
        if not numbers:
            return
        found, folded = self._resolve_missed([new[number] for number in dict.fromkeys(numbers)], intern)
        if len(found) * _NEW_SHARE > ids.size and folded * _FOLDED_SHARE < len(found):
            self._hex_blocks = _HEX_BLOCKS
            if any(line[:1] == b"{" for line in found):
                self._object_blocks = _HEX_BLOCKS
        ids[rows] = [found[new[number]] for number in numbers]

    def _tell_apart(
        self,
        data: bytes,
        ids: npt.NDArray[np.uint32],
        intern: Callable[[list[Shape]], list[int]],
        starts: npt.NDArray[np.bool_] | None,
    ) -> None:
        """Put row ids in the place of those that stand for shapes whose lines' numbers carry meaning."""
        rows = np.flatnonzero(ids >= _TELLING)
        if starts is not None:
            ids[rows[~starts[rows]]] = BLANK_ID
            rows = rows[starts[rows]]
        if not rows.size:
            return
        data = data if data.endswith(b"\n") else data + b"\n"
        begins, which = line_starts(data), ids[rows] - _TELLING
        telling = list(self._telling)
        fresh: list[tuple[int, int, Words]] = []
        found: list[tuple[int, npt.NDArray[np.intp], list[Words]]] = []
        for at in np.unique(which).tolist():
            own = rows[which == at]
            words = words_of(telling[at][1], data, begins[own].tolist(), (begins[own + 1] - 1).tolist())
            found.append((at, own, words))
            fresh += ((int(own[words.index(new)]), at, new) for new in set(words) - self._told[at].keys())
        # In the order of the lines, since the order of new ids decides which shape is the oldest.
        made = {(at, new): told_apart(*telling[at], new) for _, at, new in sorted(fresh)}
        self._number(list(dict.fromkeys(made.values())), intern)
        for (at, new), shape in made.items():
            self._told[at][new] = self._shapes[shape]
        for at, own, words in found:
            ids[own] = np.fromiter(map(self._told[at].__getitem__, words), np.uint32, len(words))

    def _keys(self, piece: bytes) -> list[bytes]:
        """What L1 knows the lines of a piece by."""
        keys = collapse(piece)
        if self._object_blocks:
            keys = fold_objects(keys)
        lines = (collapse_hex(keys) if self._hex_blocks else keys).split(b"\n")
        if not lines[-1]:
            lines.pop()
        return lines

    def _resolve_missed(
        self, lines: list[bytes], intern: Callable[[list[Shape]], list[int]]
    ) -> tuple[dict[bytes, int], int]:
        """Ids of distinct lines that L1 does not hold, and how many of these are left without hexadecimal words."""
        folded = [cut(line) for line in fold_objects(collapse_hex(b"\n".join(lines))).split(b"\n")]
        known = list(map(self._folded.get, folded))
        # In the order of the lines, since the order of new ids decides which shape is the oldest.
        fresh = list(dict.fromkeys([line for line, row_id in zip(folded, known, strict=True) if row_id is None]))
        shaped = self._resolve_fresh(fresh, intern) if fresh else {}
        found = {
            line: shaped[key] if row_id is None else row_id
            for line, key, row_id in zip(lines, folded, known, strict=True)
        }
        self._remember(self._folded, shaped)
        self._remember(self._lines, found)
        return found, len(set(folded))

    def _resolve_fresh(self, lines: list[bytes], intern: Callable[[list[Shape]], list[int]]) -> dict[bytes, int]:
        """Ids of distinct lines that L2 does not hold either."""
        shapes = {line: self._frames.shape_of(line) for line in lines if not line.isspace() and line}
        self._number(list(dict.fromkeys([shape for shape, rules in shapes.values() if not rules])), intern)
        found = dict.fromkeys(lines, BLANK_ID)
        for line, (shape, rules) in shapes.items():
            if rules:
                at = self._telling.setdefault((shape, rules), len(self._telling))
                if at == len(self._told):
                    self._told.append({})
                found[line] = _TELLING + at
            else:
                found[line] = self._shapes[shape]
        return found

    def _number(self, shapes: list[Shape], intern: Callable[[list[Shape]], list[int]]) -> None:
        """Learn the ids of distinct shapes."""
        new = [shape for shape in shapes if shape not in self._shapes]
        if len(self._shapes) + len(new) > self._memo_lines:
            self._shapes = {shape: self._shapes[shape] for shape in shapes if shape in self._shapes}
        if new:
            self._shapes.update(zip(new, intern(new), strict=True))

    def _remember(self, memo: _Memo, found: dict[bytes, int]) -> None:
        # A key of many kilobytes is not worth its room: such a line is found by the next level.
        if max(map(len, found), default=0) > KEY_BYTES + 1:
            found = {line: row_id for line, row_id in found.items() if len(line) <= KEY_BYTES + 1}
        memo.key_bytes += sum(map(len, found))
        memo.update(found)
        if len(memo) > self._memo_lines or memo.key_bytes > self._memo_bytes:
            memo.clear()
            memo.key_bytes = 0


def _pieces(data: bytes) -> Iterator[bytes]:
    """The data in whole lines, some `_PIECE_BYTES` at a time."""
    at = 0
    while at < len(data):
        end = data.find(b"\n", at + _PIECE_BYTES - 1) + 1 or len(data)
        yield data[at:end]
        at = end
