"""Shapes that differ only in words that vary, joined into one signature, online, without a threshold (level L4).

hole   Two shapes that differ in exactly one word are neighbours. When `HOLE_WORDS` different words were seen in one
       place, the place is a hole and the shapes are one signature (`FIRST_WORDS` for the first word of a message,
       which mostly names what happened).
burst  Shapes that are alike once their free words are blanked: when `BURST_SHAPES` of them are open, the columns in
       which more than half of the words differ become holes, if two words and half of all words stay. This catches
       messages with two or more free words, which are never neighbours.
guard  A word that changes what an operator does, or an ALL-CAPS state, never makes a hole.

Invariants: the state is a function of the order of `add` calls alone, so that replaying all shapes in row-id order
rebuilds it; shapes of different format, level or program are never joined. A wrong join gives a wrong answer to every
later event, a wrong split costs one request: in doubt, split.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from enricher.core.skeleton import HOLE, HOLE_TEXT, TOKEN, Shape

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

HOLE_WORDS = 3
FIRST_WORDS = 8
BURST_SHAPES = 16
MAX_TOKENS = 60  # longer messages stay as they are: one place in them says little
_FALLS = 6  # how many holes a new shape may fall into at once
_FREE = "\x02"  # a blanked free word

GUARDED_WORDS = frozenset(
    """
    accept accepted accepting deny denied reject rejected refused allow allowed block blocked permit permitted drop
    dropped fail failed failing failure error errors fatal success successful successfully succeeded ok passed pass
    invalid valid bad good start started starting stop stopped stopping begin end ended finish finished complete
    completed aborted abort kill killed cancel cancelled canceled up down on off open opened opening close closed
    closing connect connected connecting disconnect disconnected lost restored enable enabled disable disabled true
    false yes no not none null online offline active inactive running paused suspended resumed add added adding remove
    removed removing delete deleted create created creating destroyed update updated insert inserted register
    registered unregister unregistered attach attached detach detached mount mounted unmount unmounted load loaded
    unload unloaded lock locked unlock unlocked acquire acquired release released join joined leave left enter entered
    exit exited exiting send sent receive received recv read write written get set put post warn warning info debug
    critical emergency notice alert trace high low full empty normal abnormal healthy unhealthy ready timeout expired
    expiring renew in out to from src dst source destination local remote master slave primary secondary leader
    follower before after before with without granted revoked corrupt corrupted missing found dead alive degraded
    recovered crashed
    """.split()  # noqa: SIM905 - two hundred quoted words would not be readable
)

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


class Merger:
    """Joins shapes as they come. Feed it every shape once, in row-id order."""

    def __init__(self) -> None:
        self._rows: dict[int, _Node] = {}
        self._exact: dict[Tokens, _Node] = {}
        # One entry per word of each shape: the shape alone, or its neighbours by their word once there are two.
        self._neighbours: dict[bytes, tuple[str, _Node] | dict[str, _Node]] = {}
        self._holes: dict[bytes, _Node] = {}
        self._bursts: dict[Tokens, _Burst] = {}

    def add(self, row_id: int, shape: Shape) -> list[Merge]:
        """Take in one shape and give the merges that it caused, in order; a row id seen before causes none."""
        if row_id in self._rows:
            return []
        tokens, spaced = _tokens(shape)
        node = self._exact.get(tokens) or self._fall(tokens)
        if node is None:
            node = _Node(oldest=row_id, tokens=tokens, spaced=spaced)
            self._rows[row_id] = self._exact[tokens] = node
            merges: list[Merge] = []
            self._register(tokens, node, merges)
            return merges
        root = _root(node)
        self._rows[row_id] = self._exact[tokens] = root
        members = (min(root.oldest, row_id), max(root.oldest, row_id))
        _absorb(root, _Node(oldest=row_id, tokens=tokens, spaced=spaced))
        return [Merge(members=members, template=_template(root))]

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
        for at, key in _openings(tokens, making=True):
            seen = self._neighbours.get(key)
            if seen is None:
                self._neighbours[key] = (tokens[at], node)
                continue
            if isinstance(seen, tuple):
                seen = self._neighbours[key] = dict((seen,))
            seen[tokens[at]] = node
            if len(seen) >= (FIRST_WORDS if at == 1 else HOLE_WORDS) and key not in self._holes:
                cut = _cut(tokens, (at,))
                self._holes[key] = self._join(seen.values(), cut, merges)
                self._register(cut, self._holes[key], merges)
        self._register_burst(tokens, node, merges)

    def _register_burst(self, tokens: Tokens, node: _Node, merges: list[Merge]) -> None:
        burst = self._bursts.setdefault(_pattern(tokens), _Burst())
        if burst.live and all(_root(node) is _root(other) for other in burst.live):
            return
        burst.live.append(node)
        if len(burst.live) < BURST_SHAPES:
            return
        burst.live = _distinct(burst.live)
        if len(burst.live) >= BURST_SHAPES:
            self._cut_burst(burst, merges)
            # The younger half stays open, so that a pattern with nothing in common is not looked at with every shape.
            burst.live = _distinct(burst.live)[-(BURST_SHAPES // 2) :]

    def _cut_burst(self, burst: _Burst, merges: list[Merge]) -> None:
        rows = [node.tokens for node in burst.live]
        columns = frozenset(
            at
            for at, words in enumerate(zip(*rows, strict=True))
            if at
            and len(set(words)) > len(rows) / 2
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
            if len(members) >= HOLE_WORDS and constant >= max(2, len(columns)):
                nodes[cut] = self._join(members, cut, merges)
        if nodes:
            burst.cuts.append((columns, nodes))

    def _join(self, members: Iterable[_Node], cut: Tokens, merges: list[Merge]) -> _Node:
        """Make one signature of the members; `cut` is what they have in common."""
        roots = _distinct(members)
        target = self._exact.get(cut)
        if target is None:
            root = _Node(oldest=roots[0].oldest, tokens=cut, spaced=roots[0].spaced)
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
        return root


def _tokens(shape: Shape) -> tuple[Tokens, tuple[bool, ...]]:
    spaced = _SPACED_TOKEN.findall(shape.skeleton)
    context = f"{shape.format}\x00{shape.level}\x00{shape.program}"
    return (context, *(token for _, token in spaced)), (False, *(bool(space) for space, _ in spaced))


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
    """Widen the root's template so that it covers the other's too."""
    root.oldest = min(root.oldest, other.oldest)
    root.tokens = tuple(a if a == b else HOLE for a, b in zip(root.tokens, other.tokens, strict=True))
    root.spaced = tuple(a or b for a, b in zip(root.spaced, other.spaced, strict=True))


def _is_word(token: str) -> bool:
    return token[0].isalnum() or token[0] == "_"


@lru_cache(maxsize=4096)
def _is_free(token: str, *, making: bool) -> bool:
    """Whether the word may stand in a hole. An ALL-CAPS word may be a state: it falls into holes but makes none."""
    if not _is_word(token) or token.lower() in GUARDED_WORDS:
        return False
    return not (making and len(token) > 2 and token.isupper())


def _openings(tokens: Tokens, *, making: bool) -> Iterator[tuple[int, bytes]]:
    """Each place where a hole may be, with a key for "these words, this place left out"."""
    # A digest, since the words themselves, once for each place, would take memory by the square of their number.
    for at in range(1, len(tokens)):
        if _is_free(tokens[at], making=making):
            yield at, hashlib.blake2b("\0".join(_cut(tokens, (at,))).encode(), digest_size=16).digest()


def _cut(tokens: Tokens, places: Iterable[int]) -> Tokens:
    cut = list(tokens)
    for at in places:
        cut[at] = HOLE
    return tuple(cut)


def _pattern(tokens: Tokens) -> Tokens:
    return tokens[0], *(_FREE if token == HOLE or _is_free(token, making=True) else token for token in tokens[1:])
