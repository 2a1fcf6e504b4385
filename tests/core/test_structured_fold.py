"""What is folded out of blocks of JSON lines changes no line's shape, whatever stands in the block."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from enricher.core.collapse import collapse, collapse_hex
from enricher.core.signature import ShapeIndex
from enricher.core.skeleton import shape_of
from enricher.core.structured.fold import fold_objects
from tests.core.structured_lines import audit_events

_PIECES = st.sampled_from(
    [
        *(
            b"{",
            b"}",
            b'"',
            b'\\"',
            b"\\",
            b"\\\\",
            b":",
            b": ",
            b",",
            b" ",
            b"[",
            b"]",
            b"\n",
            b"\n{",
            b'{"',
            b'":"',
            b'","',
        ),
        *(b"msg", b"user", b"ann", b"level", b"event", b"stream", b"log", b"0", b"12", b"\\u00e9", b"\xff", b"k" * 30),
    ]
)
_BLOCKS = st.lists(_PIECES, max_size=40).map(b"".join)


def test_values_go_and_what_a_key_looks_at_stays():
    line = b'{"level":"info","msg":"job \\"x\\" done","user":"ann","n":0,"l":["a","b"],"o":{"type": "t", "id" : "a b"}}'
    folded = b'{"level":"info","msg":"job \\"x\\" done","user":"0","n":0,"l":["0","0"],"o":{"type": "t", "id" : "0"}}'
    assert folded == fold_objects(line)


def test_lines_that_are_no_objects_stay_as_they_are():
    for text in (b'said {"user":"ann"}', b'{"user":"ann"', b"", b"\n\n", b'x\n{"user":"ann\n'):
        assert text.count(b"\n") == fold_objects(text).count(b"\n")
    assert b'said {"user":"ann"}' == fold_objects(b'said {"user":"ann"}')
    assert b'{"user":"ann\n{"user":"0"}' == fold_objects(b'{"user":"ann\n{"user":"bob"}')


@settings(max_examples=200, derandomize=True, deadline=None)
@given(_BLOCKS)
def test_a_block_is_folded_as_its_lines_are(block):
    assert b"\n".join(map(fold_objects, block.split(b"\n"))) == fold_objects(block)
    assert fold_objects(block) == fold_objects(fold_objects(block))


@settings(max_examples=150, derandomize=True, deadline=None)
@given(_BLOCKS)
def test_folding_before_hexadecimal_words_are_collapsed_changes_nothing(block):
    collapsed = collapse(block)
    assert fold_objects(collapse_hex(collapsed)) == fold_objects(collapse_hex(fold_objects(collapsed)))


def test_lines_get_the_ids_of_their_shapes_whether_blocks_are_folded_or_not():
    lines = [*audit_events(400), b"just text", *audit_events(400, seed=3), b'{"msg":"free words here","user":"x"}']
    shapes: dict = {}

    def intern(wanted):
        return [shapes.setdefault(shape, len(shapes) + 1) for shape in wanted]

    index = ShapeIndex()
    for at in range(0, len(lines), 100):
        block = lines[at : at + 100]
        found = index.resolve(b"\n".join(block), intern).tolist()
        assert [shapes[shape_of(line)] for line in block] == found


def test_a_known_kind_is_found_without_taking_its_lines_apart(monkeypatch):
    def lines(word: str) -> bytes:
        made = [json.dumps({"event": "login", "user": f"{word}{chr(97 + at % 26)}{'x' * at}"}) for at in range(200)]
        return "\n".join(made).encode()

    known: dict = {}
    index = ShapeIndex()

    def intern(wanted):
        return [known.setdefault(shape, len(known) + 1) for shape in wanted]

    index.resolve(lines("ann"), intern)
    index.resolve(lines("bob"), intern)
    monkeypatch.setattr("enricher.core.frame.Frames.shape_of", None)
    assert {1} == set(index.resolve(lines("cyd"), intern).tolist())
