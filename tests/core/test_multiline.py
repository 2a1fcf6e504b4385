"""Lines that continue the event before them: what is joined, what is not, and what is still open."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enricher.core.multiline import FirstLineRule, continuation_lines, learn

LEARNED = FirstLineRule(learned=True)


def block(text: str) -> bytes:
    """The lines of a drawing: those after `|` continue, those after `:` are events of their own."""
    return "".join(line.lstrip()[1:] + "\n" for line in text.strip().splitlines()).encode()


def joined(text: str) -> list[bool]:
    found = continuation_lines(block(text), LEARNED)
    return [False] * len(text.strip().splitlines()) if found is None else found.tolist()


def drawn(text: str) -> list[bool]:
    return [line.lstrip()[0] == "|" for line in text.strip().splitlines()]


JAVA = r"""
    :2026-11-22 10:00:00 ERROR request failed
    |java.lang.IllegalStateException: no session
    |	at com.shop.Cart.add(Cart.java:12)
    |	at com.shop.Main.run(Main.java:7)
    |Caused by: java.io.IOException: Broken pipe
    |	at java.base/sun.nio.ch.Write(Native Method)
    |	... 12 more
    |	Suppressed: java.lang.RuntimeException
    |		at com.shop.Cart.close(Cart.java:40)
    :2026-11-22 10:00:01 INFO up
"""
THREAD = r"""
    :2026-11-22 10:00:00 INFO up
    |Exception in thread "main" java.lang.NullPointerException
    |	at com.shop.Main.main(Main.java:3)
    |... 3 common frames omitted
    :stopped by the operator
"""
PYTHON = r"""
    :2026-11-22 10:00:00 ERROR request failed
    |Traceback (most recent call last):
    |  File "/srv/shop/cart.py", line 12, in add
    |    self.items[key] += 1
    |    ~~~~~~~~~~^^^^^
    |KeyError: 'apple'
    |
    |During handling of the above exception, another exception occurred:
    |
    |Traceback (most recent call last):
    |  File "/srv/shop/main.py", line 3, in main
    |    add("apple")
    |shop.errors.CartError: no apple
    |
    |The above exception was the direct cause of the following exception:
    |
    |Traceback (most recent call last):
    |  File "/srv/shop/main.py", line 9, in <module>
    |KeyboardInterrupt
    :
    :restarting in 5 s
    :2026-11-22 10:00:01 INFO up
"""
TIMED_TRACEBACK = r"""
    :2026-11-22 10:00:00 ERROR Traceback (most recent call last):
    |  File "/srv/shop/cart.py", line 12, in add
    |    raise ValueError
    |ValueError
    :2026-11-22 10:00:01 INFO up
"""
INDENTED = r"""
    :2026-11-22 10:00:00 INFO settings
    |  colour: red
    |	size: 3
    :note without a time
    :2026-11-22 10:00:01 INFO up
"""


@pytest.mark.parametrize("text", [JAVA, THREAD, PYTHON, TIMED_TRACEBACK, INDENTED])
def test_a_trace_is_joined_to_the_event_before_it_and_nothing_else_is(text):
    assert drawn(text) == joined(text)


@pytest.mark.parametrize("text", [JAVA, THREAD, PYTHON, TIMED_TRACEBACK, INDENTED])
def test_windows_line_ends_change_nothing(text):
    found = continuation_lines(block(text).replace(b"\n", b"\r\n"), LEARNED)
    assert found is not None
    assert drawn(text) == found.tolist()


def test_the_first_line_of_a_block_may_continue_the_event_before_it():
    found = continuation_lines(b"\tat com.shop.Main.main(Main.java:3)\n2026-11-22 10:00:01 INFO up\n", LEARNED)
    assert found is not None
    assert [True, False] == found.tolist()


@pytest.mark.parametrize(
    "line",
    [
        "a note",
        "The server is up",
        "During the night",
        "Supper is ready",
        "Traces are off",
        "Caused by",
        "... and so on",
    ],
)
def test_a_line_that_only_begins_like_a_trace_stays_an_event(line):
    assert continuation_lines(f"2026-11-22 10:00:00 up\n{line}\n2026-11-22 10:00:01 up\n".encode(), LEARNED) is None


def test_a_sentence_above_frames_is_not_taken_for_an_exception():
    text = r"""
    :2026-11-22 10:00:00 ERROR up
    :it went wrong here
    |	at com.shop.Main.main(Main.java:3)
    """
    assert drawn(text) == joined(text)


def test_a_block_of_events_alone_has_no_continuations():
    assert continuation_lines(b"2026-11-22 10:00:00 up\n" * 100, LEARNED) is None
    assert continuation_lines(b"Sep  3 10:00:00 host up\nThu Dec 04 04:47:44 2005 up\n" * 100, LEARNED) is None
    assert continuation_lines(b"", LEARNED) is None


def test_the_rule_is_learned_from_the_lines_that_can_start_an_event():
    assert learn(block(JAVA).split(b"\n")).learned
    assert learn(block(PYTHON).split(b"\n")).learned
    assert learn([b"Nov 22 10:00:00 host up"]).learned
    assert not learn([]).learned
    assert not learn([b"  indented", b"", b"Traceback (most recent call last):"]).learned
    assert not learn([b"2026-11-22 10:00:00 begin", b"a note", b"another", b"  text"]).learned
    assert not learn([b'{"time":"2026-11-22T10:00:00Z"}'] * 9).learned


PIECES = [
    b"2026-11-22 10:00:00 up", b"note", b"", b"  indented", b"Traceback (most recent call last):", b"KeyError: 1",
    b'  File "x.py", line 1', b"java.lang.Error: x", b"\tat a.B(C.java:1)", b"Caused by: a.B: c",
    b"During handling of the above exception, another exception occurred:",
]  # fmt: skip


@settings(max_examples=200, derandomize=True)
@given(lines=st.lists(st.sampled_from(PIECES), min_size=1, max_size=12))
def test_a_line_with_a_time_never_continues_and_an_indented_one_always_does(lines):
    data = b"".join(line + b"\n" for line in lines)
    found = continuation_lines(data, LEARNED)
    continues = [False] * len(lines) if found is None else found.tolist()
    assert len(lines) == len(continues)
    for line, does in zip(lines, continues, strict=True):
        if line.startswith(b"2026") or line == b"note":
            assert not does
        if line[:1] in {b" ", b"\t"}:
            assert does
