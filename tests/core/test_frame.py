"""Shapes of lines that are a known line but for one new word: the very ones that taking the lines apart gives."""

from __future__ import annotations

import importlib
import pkgutil
import random
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import enricher.core.structured
from enricher.core.collapse import collapse_line
from enricher.core.frame import Frames, is_plain
from enricher.core.meaning import rules_for
from enricher.core.merge import Merger
from enricher.core.skeleton import HOLE, Shape, collapsed_shape
from enricher.core.structured.key import MOST_BYTES, key_of
from tests.core.generated_systems import SYSTEMS, generate

# "@" is where the new word stands: in messages and headers, in pairs and lists, beside numbers, quotes and brackets.
CONTEXTS = [
    context.encode()
    for context in (
        "@",
        "@ is on fire",
        "the @ is on fire",
        "the engine is on @",
        "2026-11-22 10:00:00 @ the engine is on fire",
        "2026-11-22 10:00:00 @: the engine is on fire",
        "2026-11-22 10:00:00 INFO @ - the engine is on fire",
        "2026-11-22 10:00:00 [@] the engine is on fire",
        "2026-11-22 10:00:00 [pool of @ and others] WARN the engine is on fire",
        "2026-11-22T10:00:00Z ERROR the engine of @ is on fire",
        "Nov 22 10:00:00 @ kernel: the engine is on fire",
        "Nov 22 10:00:00 web1 @: the engine is on fire",
        "Nov 22 10:00:00 web1 @[17]: the engine is on fire",
        "Nov 22 10:00:00 web1 sshd[17]: @ the engine",
        "Nov 22 10:00:00 web1 sshd[17]: Invalid user @ from 10.0.0.7 port 22",
        "Nov 22 10:00:00 web1 sshd[17]: session opened for user @ by (uid=0)",
        "[Sun Dec 04 04:47:44 2005] [@] the engine is on fire",
        "[Sun Dec 04 04:47:44 2005] [error] [client @] the engine is on fire",
        "10:00:00 @ the engine is on fire",
        "10:00:00  @  the engine is on fire",
        "@ 2026-11-22 10:00:00 the engine is on fire",
        '@ 2026-11-22T10:00:00 web 10.0.0.1:80 10.0.0.2:80 0.1 0.2 0.3 200 200 1 2 "GET /a HTTP/1.1" "-" - -',
        '10.0.0.1 - @ [22/Nov/2026:10:00:00 +0000] "GET /a HTTP/1.1" 200 5',
        "authentication failure; logname= uid=0 euid=0 tty=ssh ruser=@ rhost=10.0.0.7  user=root",
        "authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=@  user=root",
        "login by user=@ at 7",
        "login by user = @ at 7",
        "a = @ b = 2 c = 3 d",
        "a=@ b=2 c=3",
        "a=1, @=2, c=3 of it",
        "a=1, @ = 2, c=3 of it",
        "from @=7 to 9",
        "level=@ msg=it",
        "took 5 @ to do",
        "took @ 5 to do",
        "exited with @ 5",
        "exited @ 5",
        "process exit @=5",
        "it returned @ -5",
        "it @ 5",
        "it @: 5",
        "it @ with 5",
        "@ code 5",
        "http @ 404",
        "response @: 500",
        'it said "@" to 7',
        'it said "the @ is here" to 7',
        "it said 'the @ is here' to 7",
        "it isn't @ of 7",
        "(@) of 7",
        "a (b @ c) of 7",
        "f(@, 7)",
        "@,7,7,7,7,7,7,7,7",
        "one;@;7;7;7;7;7;7;7",
        "list: @, other, 7",
        "one::@::two",
        "@://10.0.0.7/a",
        "host.@ is down",
        "a@b.c: @",
        "/var/@/log",
        "@-7",
        "7-@",
        "x@",
        "@x",
        "is it true? @! false: @",
        '{"message": "@ is down"}',
        "<14>1 2026-11-22T10:00:00Z web1 @ 7 - - on fire",
        "2026-11-22T10:00:00Z @ F the engine is on fire",
        "2026-11-22T10:00:00Z stdout F the @ is on fire",
        "CEF:0|a|b|1|2|@|5|src=1",
        "\u00e9t\u00e9 @ \u200b 7",
        # As long as what is in brackets of a header, a detail of a program or quotes may be.
        f"2026-11-22 10:00:00 [{'pool of ' * 18}@] WARN the engine is on fire",
        f"Nov 22 10:00:00 web1 sshd ({'pool of ' * 8}@): the engine is on fire",
        f'it said "{"so" * 35}@ and no more" to 7',
        f'it said "and no more {"so" * 50}@" to 7',
    )
]
NEW = st.text(alphabet="abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=26).map(str.encode)


def collapsed(line: bytes) -> bytes:
    return key_of(collapse_line(line, limit_bytes=MOST_BYTES))


def taken_apart(line: bytes):
    shape = collapsed_shape(collapsed(line))
    return shape, rules_for(shape, collapsed(line))


def literals() -> set[bytes]:
    """Every run of small letters in a pattern or a list of words of the rules that make a shape."""
    names = ["skeleton", "header", "meaning", "merge"]
    names += [f"structured.{one.name}" for one in pkgutil.iter_modules(enricher.core.structured.__path__)]
    found: set[bytes] = set()

    def look(value: object) -> None:
        if isinstance(value, re.Pattern):
            look(
                re.sub(
                    r"\\[A-Za-z]",
                    " ",
                    value.pattern if isinstance(value.pattern, str) else value.pattern.decode("latin-1"),
                )
            )
        elif isinstance(value, str):
            found.update(word.encode() for word in re.findall("[a-z]+", value.lower()))
        elif isinstance(value, tuple | list | set | frozenset):
            for one in value:
                look(one)
        elif hasattr(value, "pattern"):
            look(value.pattern)

    for name in names:
        for value in vars(importlib.import_module(f"enricher.core.{name}")).values():
            look(value)
    return found


LITERALS = sorted(filter(is_plain, literals()))


def with_word(context: bytes, word: bytes) -> bytes:
    return context.replace(b"@", word)


@pytest.mark.parametrize("context", CONTEXTS)
def test_no_word_that_a_rule_may_look_for_changes_what_comes_out(context):
    frames = Frames(1 << 20)
    for known in (b"zyxwvuts", b"qwzrtzui"):
        frames.shape_of(collapsed(with_word(context, known)))

    for word in LITERALS:
        line = with_word(context, word)
        assert taken_apart(line) == frames.shape_of(collapsed(line)), line


@given(st.sampled_from(CONTEXTS), st.lists(NEW, min_size=2, max_size=6))
@settings(max_examples=300, derandomize=True, deadline=None)
def test_words_of_any_length_change_nothing_but_themselves(context, words):
    frames = Frames(1 << 20)
    for word in words:
        line = with_word(context, word)
        assert taken_apart(line) == frames.shape_of(collapsed(line))


@pytest.mark.parametrize("system", SYSTEMS)
def test_lines_of_a_system_with_new_words_have_the_shapes_that_they_have_alone(system):
    dice = random.Random(11)
    frames = Frames(1 << 20)
    for line in generate(system, lines=300).lines:
        words = [match.span() for match in re.finditer(rb"[a-z0-9]{3,}", line)]
        if words:
            begin, end = dice.choice(words)
            word = "".join(dice.choices("abcdefghijklmnopqrstuvwxyz", k=dice.randint(3, 9))).encode()
            renamed = line[:begin] + word + line[end:]
            assert taken_apart(renamed) == frames.shape_of(collapsed(renamed))


def test_a_line_of_a_known_frame_is_not_taken_apart(monkeypatch):
    frames = Frames(1 << 20)
    frames.shape_of(b"Nov 0 0:0:0 web0 sshd[0]: Invalid user root from 0.0.0.0")
    known, _ = frames.shape_of(b"Nov 0 0:0:0 web0 sshd[0]: Invalid user friedrich from 0.0.0.0")
    monkeypatch.setattr("enricher.core.frame.collapsed_shape", None)

    shape, rules = frames.shape_of(b"Nov 0 0:0:0 web0 sshd[0]: Invalid user marianne from 0.0.0.0")

    assert (known.level, known.program) == (shape.level, shape.program)
    assert "Invalid user marianne from <*>" == shape.template
    assert () == rules


def test_a_word_that_stands_in_a_hole_gives_the_shape_of_the_frame(monkeypatch):
    frames = Frames(1 << 20)
    line = b"it broke; uid=0 tty=ssh rhost=@ of it"
    frames.shape_of(line.replace(b"@", b"root"))
    known, _ = frames.shape_of(line.replace(b"@", b"friedrich"))
    monkeypatch.setattr("enricher.core.frame.collapsed_shape", None)

    shape, _ = frames.shape_of(line.replace(b"@", b"marianne"))

    assert known is shape


def test_too_many_words_are_forgotten_and_nothing_comes_out_otherwise():
    frames = Frames(2_000)
    for number in range(200):
        line = b"shard %s of the %s pool" % (b"abcdefghij"[number % 10 :] + b"xyz", b"wide" if number % 3 else b"small")
        assert taken_apart(line) == frames.shape_of(collapsed(line))


@pytest.mark.parametrize("word", [b"failed", b"seconds", b"root", b"abc", b"facade", b"Peter", b"null", b"exitstatus"])
def test_a_word_that_a_rule_looks_for_is_not_plain(word):
    assert not is_plain(word)


# What a message says, where "1", "2" and "3" are words that vary, and which of them stands in a frame.
MESSAGES = (
    "painted the 1 door of 2",
    "painted the 1 door of 2 in 3",
    "1 shard 2 was moved to node 3 again",
    "state=1 of 2, 3 said",
    "the 1 2 pool is full",
    f"moved {HOLE} to 1 of 2",
)
NAMES = ("opal", "onyx", "jade", "ruby", "amber", "pearl", "agate", "topaz", "beryl", "garnet", "door", "shard", "pool")


def a_shape(dice: random.Random, names: list[str]) -> Shape:
    """A message with some of the names in it, of which one may stand in a frame."""
    text, framed = dice.choice(MESSAGES), dice.choice("12")
    words = dict(zip("123", dice.sample(names, 3), strict=True))
    new = words[framed]
    is_framed = dice.random() < 0.7 and new != HOLE and new not in text
    for number, word in words.items():
        text = text if is_framed and number == framed else text.replace(number, word)
    if not is_framed:
        return Shape(format="text", level="", program="", skeleton=text)
    before, after = text.split(framed)
    return Shape(format="text", level="", program="", skeleton=f"{before}{new}{after}", around=(before, after))


@pytest.mark.parametrize("seed", range(40))
def test_shapes_are_merged_as_they_are_without_their_frames(seed):
    dice = random.Random(seed)
    names = [*NAMES[: dice.randint(5, len(NAMES))], HOLE]
    made = dict.fromkeys(a_shape(dice, names) for _ in range(400))
    framed, plain = Merger(), Merger()

    for number, shape in enumerate(made, start=1):
        assert plain.add(number, replace(shape, around=None)) == framed.add(number, shape)
