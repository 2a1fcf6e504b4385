"""Shapes that differ only in words that vary, joined into one signature, online, without a threshold (level L4).

hole   Two shapes that differ in exactly one word are neighbours. When `HOLE_WORDS` different words were seen in one
       place, the place is a hole and the shapes are one signature (`FIRST_WORDS` for the first word of a message,
       which mostly names what happened, `PAIR_WORDS` behind "=", `STATE_WORDS` behind the name of a state). A value
       masked by its look counts for `VALUE_WEIGHT`.
burst  Shapes that are alike once their free words are blanked: when `BURST_SHAPES` of them are open, the columns in
       which more than half of the words differ become holes, if `TELLING_WORDS` and half of all words stay. This
       catches messages with two or more free words, which are never neighbours.
guard  A word that changes what an operator does, an ALL-CAPS state or the name of a method never makes a hole, and
       at least one word stays (`TELLING_WORDS` where the first is a hole).

Invariants: the state is a function of the order of `add` calls alone, so that replaying all shapes in row-id order
rebuilds it; shapes of different format or level are never joined, nor are those of different programs while the message
is of less than `TELLING_WORDS`. A wrong join gives a wrong answer to every
later event, a wrong split costs one request: in doubt, split.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from enricher.core.skeleton import GUARDED_WORDS, HOLE, HOLE_TEXT, TOKEN, TOLD, Shape

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

HOLE_WORDS = 3
FIRST_WORDS = 8
PAIR_WORDS = 4  # behind "=", where the key says what the word is, and the word may say what happened
STATE_WORDS = 12  # behind what names a state, as in "status half-installed": states are few, names are not
VALUE_WEIGHT = 2  # how many words a value that is masked by its look counts for
BURST_SHAPES = 8
TELLING_WORDS = 3  # words with which a message says by itself what happened, whatever program it comes from
_TEXT_FORMAT = "text"
MAX_TOKENS = 60  # longer messages stay as they are: one place in them says little
MOST_FRAMES = 20_000  # that are remembered; without them nothing but time is lost
_FALLS = 6  # how many holes a new shape may fall into at once
_FREE = "\x02"  # a blanked free word
_STATES = frozenset(("state", "status", "phase", "stage", "mode", "result", "outcome", "verdict"))
_ENDS = frozenset(".:!?")
_ARTICLES = frozenset(("The", "A", "An"))
_BETWEEN = frozenset(",:;/|._=+-#@")  # what may stand between two holes that are one

_SPACED_TOKEN = re.compile(rf"( ?)({TOKEN.pattern})")

Tokens = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """Shapes that became one signature: a row id of each group that was joined, ascending, and their template."""

    members: tuple[int, ...]
    template: str


@dataclass(slots=True, kw_only=True)
class _Node:
    """A shape, or what several have in common. `tokens[0]` is the context; `spaced` says which follow a blank."""

    parent: _Node | None = None
    oldest: int
    tokens: Tokens
    spaced: tuple[bool, ...]


@dataclass(slots=True)
class _Burst:
    """Shapes with one pattern of free words: those still on their own, and the holes that earlier bursts made."""

    live: list[_Node] = field(default_factory=list)
    cuts: list[tuple[frozenset[int], dict[Tokens, _Node]]] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class _Frame:
    """Shapes that differ in one word alone, which for most is one that nothing was made of yet (`core.frame`).

    `node` is where a shape with such a word falls, found when there were `holes` holes; `covered` is what tokens its
    signature had when they covered such a shape, and `template` how they read.
    """

    before: Tokens
    after: Tokens
    spaced: tuple[bool, ...]
    node: _Node | None = None
    holes: int = -1
    covered: Tokens | None = None
    template: str = ""


class Merger:
    """Joins shapes as they come. Feed it every shape once, in row-id order."""

    def __init__(self) -> None:
        self._rows: dict[int, _Node] = {}
        self._exact: dict[Tokens, _Node] = {}
        # One entry per word of each shape: the shape alone, or its neighbours by their word once there are two.
        self._neighbours: dict[bytes, tuple[str, _Node] | dict[str, _Node]] = {}
        self._holes: dict[bytes, _Node] = {}
        self._bursts: dict[Tokens, _Burst] = {}
        # Words beside a hole: with any other, a shape of a frame falls where the frame's others fall. And how many
        # holes were made, which says whether that is still so.
        self._beside: set[str] = set()
        self._made = 0
        self._frames: dict[tuple[str, ...], _Frame] = {}

    def add(self, row_id: int, shape: Shape) -> list[Merge]:
        """Take in one shape and give the merges that it caused, in order; a row id seen before causes none."""
        if row_id in self._rows:
            return []
        frame, word = self._frame(shape) if shape.around else (None, "")
        tokens, spaced = ((*frame.before, word, *frame.after), frame.spaced) if frame else _tokens(shape)
        node = self._exact.get(tokens) or (self._fall_beside(frame, tokens, word) if frame else self._fall(tokens))
        if node is None:
            node = _Node(oldest=row_id, tokens=tokens, spaced=spaced)
            self._rows[row_id] = self._exact[tokens] = node
            merges: list[Merge] = []
            self._register(tokens, node, merges)
            return merges
        root = node if node.parent is None else _root(node)
        self._rows[row_id] = self._exact[tokens] = root
        members = (root.oldest, row_id) if root.oldest < row_id else (row_id, root.oldest)
        if frame is None or frame.covered is not root.tokens:
            before = root.tokens
            _absorb(root, _Node(oldest=row_id, tokens=tokens, spaced=spaced))
            template = _template(root)
            if frame and before is root.tokens:
                frame.covered, frame.template = root.tokens, template
        else:
            root.oldest, template = members[0], frame.template
        return [Merge(members=members, template=template)]

    def _frame(self, shape: Shape) -> tuple[_Frame | None, str]:
        """The frame of a shape and the shape's word in it."""
        assert shape.around is not None
        before, after = shape.around
        word = shape.skeleton[len(before) : len(shape.skeleton) - len(after)]
        key = (shape.format, shape.level, shape.program, before, after)
        frame = self._frames.get(key)
        if frame is None:
            tokens, spaced = _tokens(shape)
            if tokens.count(word) != 1:
                return None, word
            if len(self._frames) >= MOST_FRAMES:
                self._frames.clear()
            at = tokens.index(word)
            frame = self._frames[key] = _Frame(before=tokens[:at], after=tokens[at + 1 :], spaced=spaced)
        return frame, word

    def _fall_beside(self, frame: _Frame, tokens: Tokens, word: str) -> _Node | None:
        """`_fall`, found once for all words that no hole has beside it.

        A hole takes in a shape that has all the words beside it: with one that stands beside no hole, only a hole in
        the place of that word can, whatever the word is.
        """
        if word in self._beside:
            return self._fall(tokens)
        if frame.holes != self._made:
            frame.node, frame.holes = self._fall(tokens), self._made
        return frame.node

    def resolve(self, row_id: int) -> int:
        """Give the oldest row id of the signature that this shape belongs to; a shape never added stands for itself."""
        node = self._rows.get(row_id)
        return row_id if node is None else _root(node).oldest

    def _fall(self, tokens: Tokens) -> _Node | None:
        """Find the signature whose holes take this shape in."""
        if len(tokens) > MAX_TOKENS:
            return None
        node = None
        for _ in range(_FALLS):
            found = next(((key, at) for at, key in _openings(tokens, making=False) if key in self._holes), None)
            if found is None:
                break
            node = self._holes[found[0]]
            tokens = _cut(tokens, (found[1],))
        if node is not None:
            return node
        burst = self._bursts.get(_pattern(tokens))
        cuts = burst.cuts if burst else []
        return next((node for columns, nodes in cuts if (node := nodes.get(_cut(tokens, columns)))), None)

    def _register(self, tokens: Tokens, node: _Node, merges: list[Merge]) -> None:
        if len(tokens) > MAX_TOKENS:
            return
        self._register_hole(tokens, merges)
        for at, key in _openings(tokens, making=True):
            seen = self._neighbours.get(key)
            if seen is None:
                seen = self._neighbours[key] = (tokens[at], node)
            else:
                if isinstance(seen, tuple):
                    seen = self._neighbours[key] = dict((seen,))
                seen[tokens[at]] = node
            if key in self._holes or not _tells(tokens, at):
                continue
            cut = _cut(tokens, (at,))
            words = len(seen) if isinstance(seen, dict) else 1
            is_value = cut in self._exact or (tokens[at + 1 : at + 3] == (":", HOLE) and _together(cut) in self._exact)
            if words + (VALUE_WEIGHT if is_value else 0) >= _enough(tokens, at):
                self._make_hole(key, cut, merges)
        self._register_burst(tokens, node, merges)

    def _register_hole(self, tokens: Tokens, merges: list[Merge]) -> None:
        """Let a shape with a value in a place take in those with words there."""
        if HOLE not in tokens:
            return
        key = _digest(tokens)
        seen = self._neighbours.get(key)
        if seen is None or key in self._holes:
            return
        words = len(seen) if isinstance(seen, dict) else 1
        at = min(at for at, token in enumerate(tokens) if token == HOLE)
        if words + VALUE_WEIGHT >= _enough(tokens, at) and _tells(tokens, at, words=0):
            self._make_hole(key, tokens, merges)

    def _make_hole(self, key: bytes, cut: Tokens, merges: list[Merge]) -> None:
        seen = self._neighbours[key]
        self._beside.update(cut)
        self._made += 1
        self._holes[key] = self._join(seen.values() if isinstance(seen, dict) else (seen[1],), cut, merges)
        self._register(cut, self._holes[key], merges)

    def _register_burst(self, tokens: Tokens, node: _Node, merges: list[Merge]) -> None:
        burst = self._bursts.setdefault(_pattern(tokens), _Burst())
        if burst.live and all(_root(node) is _root(other) for other in burst.live):
            return
        burst.live.append(node)
        if len(burst.live) < BURST_SHAPES:
            return
        # A signature that took in a shape of another length may have a shorter template by now.
        burst.live = [node for node in _distinct(burst.live) if len(node.tokens) == len(tokens)]
        if len(burst.live) >= BURST_SHAPES:
            self._cut_burst(burst, merges)
            # The younger half stays open, so that a pattern with nothing in common is not looked at with every shape.
            burst.live = [node for node in _distinct(burst.live) if len(node.tokens) == len(tokens)]
            burst.live = burst.live[-(BURST_SHAPES // 2) :]

    def _cut_burst(self, burst: _Burst, merges: list[Merge]) -> None:
        rows = [node.tokens for node in burst.live]
        columns = frozenset(
            at
            for at, words in enumerate(zip(*rows, strict=True))
            if at
            and len(set(words)) > len(rows) / 2
            and not any(_is_state(row, at) for row in rows)
            and all(word == HOLE or _is_free(word, making=True) for word in words)
        )
        if not columns:
            return
        groups: dict[Tokens, list[_Node]] = {}
        for node in burst.live:
            groups.setdefault(_cut(node.tokens, columns), []).append(node)
        nodes: dict[Tokens, _Node] = {}
        for cut, members in groups.items():
            constant = sum(word != HOLE and _is_word(word) for word in cut[1:])
            holes = cut.count(HOLE) if (short := _together(cut)) is None else short.count(HOLE)
            if len(members) >= HOLE_WORDS and constant >= max(TELLING_WORDS, min(holes, len(columns))):
                self._beside.update(cut)
                self._made += 1
                nodes[cut] = self._join(members, cut, merges)
        if nodes:
            burst.cuts.append((columns, nodes))

    def _join(self, members: Collection[_Node], cut: Tokens, merges: list[Merge]) -> _Node:
        """Make one signature of the members; `cut` is what they have in common."""
        roots, spaced = _distinct(members), (True,) * len(cut)
        spaced = next((node.spaced for node in members if len(node.spaced) == len(cut)), spaced)
        target = self._exact.get(cut)
        if target is None:
            root = _Node(oldest=roots[0].oldest, tokens=cut, spaced=spaced)
        else:
            root = _root(target)
            roots = _distinct([*roots, root])
        oldest = sorted(node.oldest for node in roots)
        for node in roots:
            if node is not root:
                _absorb(root, node)
                node.parent = root
        self._exact[cut] = root
        if len(oldest) > 1:
            merges.append(Merge(members=tuple(oldest), template=_template(root)))
        short = _together(cut)
        if short is not None and _root(self._exact.setdefault(short, root)) is not root:
            return self._join((root, self._exact[short]), short, merges)
        return root


def _tokens(shape: Shape) -> tuple[Tokens, tuple[bool, ...]]:
    spaced = _names_joined(_SPACED_TOKEN.findall(shape.skeleton))
    words = sum(_is_word(token) for _, token in spaced)
    # A value may be a word another time, of which the context must not depend.
    words += sum(token == HOLE for _, token in spaced) if words >= TELLING_WORDS - 1 else 0
    program = "" if words >= TELLING_WORDS and shape.format.partition(TOLD)[0] == _TEXT_FORMAT else shape.program
    context = f"{shape.format}\x00{shape.level}\x00{program}"
    return (context, *(token for _, token in spaced)), (False, *(bool(space) for space, _ in spaced))


def _names_joined(spaced: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Make one token of the words of a name, which begin with capitals: names vary in how many words they have."""
    joined: list[tuple[str, str]] = []
    is_open, is_begun = False, True
    for space, token in spaced:
        is_part = token[0].isupper() and (len(token) > 1) and token.lower() not in GUARDED_WORDS
        if is_open and is_part and space:
            joined[-1] = (joined[-1][0], f"{joined[-1][1]} {token}")
        else:
            joined.append((space, token))
        # What begins a sentence has a capital whatever it is, and so may all words of a title.
        is_begun = token in _ENDS or (is_begun and is_part and token not in _ARTICLES)
        is_open = is_part and not is_begun and token not in _ARTICLES
    return joined


def _together(tokens: Tokens) -> Tokens | None:
    """The same with each run of neighbouring holes made one, as in the skeleton of a shape; None if there is none."""
    kept = _kept(tokens)
    return None if len(kept) == len(tokens) else tuple(tokens[at] for at in kept)


def _kept(tokens: Tokens) -> list[int]:
    """The places that stay where neighbouring holes become one."""
    kept: list[int] = []
    for at, token in enumerate(tokens):
        if token == HOLE:
            last = next((back for back in range(len(kept) - 1, -1, -1) if tokens[kept[back]] not in _BETWEEN), 0)
            if last and tokens[kept[last]] == HOLE:
                del kept[last + 1 :]
                continue
        kept.append(at)
    return kept


def _enough(tokens: Tokens, at: int) -> int:
    """How many different words make a hole of this place."""
    if at == 1:
        return FIRST_WORDS
    if _is_state(tokens, at):
        return STATE_WORDS
    return PAIR_WORDS if tokens[at - 1] == "=" else HOLE_WORDS


def _is_state(tokens: Tokens, at: int) -> bool:
    """Whether the word before this place says that a state follows."""
    name = tokens[at - 2] if at > 1 and tokens[at - 1] in "=:" else tokens[at - 1]
    return at > 1 and name.lower() in _STATES


def _tells(tokens: Tokens, at: int, *, words: int = 1) -> bool:
    """Whether what stays without this place says what happened: a message that is all hole would take in any other."""
    others = sum(token != HOLE and _is_word(token) for token in tokens[1:]) - words
    return others >= (TELLING_WORDS if at == 1 else 1)


def _template(node: _Node) -> str:
    words = zip(node.tokens[1:], node.spaced[1:], strict=True)
    return "".join(f" {word}" if space else word for word, space in words).strip().replace(HOLE, HOLE_TEXT)


def _root(node: _Node) -> _Node:
    root = node
    while root.parent is not None:
        root = root.parent
    while node.parent is not None and node.parent is not root:
        node.parent, node = root, node.parent
    return root


def _distinct(nodes: Iterable[_Node]) -> list[_Node]:
    return list({id(root): root for root in map(_root, nodes)}.values())


def _absorb(root: _Node, other: _Node) -> None:
    """Widen the root's template so that it covers the other's too. If it does, its tokens stay the very same object."""
    root.oldest = min(root.oldest, other.oldest)
    own, of_own, tokens, spaced = root.tokens, root.spaced, other.tokens, other.spaced
    if len(own) != len(tokens):
        own, of_own = _shortened(own, of_own)
        tokens, spaced = _shortened(tokens, spaced)
    if len(own) == len(tokens):
        own = tuple(a if a == b else HOLE for a, b in zip(own, tokens, strict=True))
        of_own = tuple(a or b for a, b in zip(of_own, spaced, strict=True))
    if (own, of_own) != (root.tokens, root.spaced):
        root.tokens, root.spaced = own, of_own


def _shortened(tokens: Tokens, spaced: tuple[bool, ...]) -> tuple[Tokens, tuple[bool, ...]]:
    kept = _kept(tokens)
    return tuple(tokens[at] for at in kept), tuple(spaced[at] for at in kept)


def _is_word(token: str) -> bool:
    return token[0].isalnum() or token[0] == "_"


@lru_cache(maxsize=4096)
def _is_free(token: str, *, making: bool) -> bool:
    """Whether the word may stand in a hole. An ALL-CAPS word may be a state: it falls into holes but makes none."""
    if not _is_word(token) or token.lower() in GUARDED_WORDS:
        return False
    return not (making and len(token) > 2 and token.isupper() and "\\" not in token)


def _openings(tokens: Tokens, *, making: bool) -> Iterator[tuple[int, bytes]]:
    """Each place where a hole may be, with a key for "these words, this place left out"."""
    # A digest, since the words themselves, once for each place, would take memory by the square of their number.
    for at in range(1, len(tokens)):
        if _is_free(tokens[at], making=making) and not (making and _is_member(tokens, at)):
            yield at, _digest(_cut(tokens, (at,)))


def _is_member(tokens: Tokens, at: int) -> bool:
    """Whether this is the name of a class or of what it does, as in ``Class::method``: it says what happened."""
    return tokens[at - 2 : at] == (":", ":") or tokens[at + 1 : at + 3] == (":", ":")


def _digest(tokens: Tokens) -> bytes:
    return hashlib.blake2b("\0".join(tokens).encode(), digest_size=16).digest()


def _cut(tokens: Tokens, places: Iterable[int]) -> Tokens:
    cut = list(tokens)
    for at in places:
        cut[at] = HOLE
    return tuple(cut)


def _pattern(tokens: Tokens) -> Tokens:
    return tokens[0], *(_FREE if token == HOLE or _is_free(token, making=True) else token for token in tokens[1:])
