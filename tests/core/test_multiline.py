"""Lines that continue the event before them: what is joined, what is not, and what is still open."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enricher.core.multiline import FirstLineRule, UserRule, continuation_lines, held_from, learn
from enricher.core.timestamp_columns import line_starts

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
    assert learn([b"server of the shop, version 7", b"2026-11-22 10:00:00 begin"]).learned
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


# ---------------------------------------------------------------- traces in files with and without times

GO = r"""
    :{time}listening on :8080
    :panic: runtime error: index out of range [5] with length 3
    |
    |goroutine 1 [running]:
    |main.pick({0xc000012345, 0x3}, 0x5)
    |	/srv/shop/main.go:12 +0x1d
    |main.main()
    |	/srv/shop/main.go:7 +0x2a
    |created by main.start in goroutine 5
    |	/srv/shop/main.go:3 +0x45
    |
    |goroutine 18 [select, 5 minutes]:
    |net/http.(*Server).Serve(0xc0000b2000)
    |	/usr/local/go/src/net/http/server.go:3086 +0x5cb
    |exit status 2
    :{time}started again
"""
GO_SIGNAL = r"""
    :panic: runtime error: invalid memory address or nil pointer dereference
    |[signal SIGSEGV: segmentation violation code=0x1 addr=0x0 pc=0x47e4c1]
    |
    |goroutine 7 [running]:
    |main.(*Cart).Add(...)
    |	/srv/shop/cart.go:5
    :{time}up
"""
GO_SERVED = r"""
    :{time}http: panic serving 10.0.0.1:5: boom
    |goroutine 18 [running]:
    |net/http.(*conn).serve.func1()
    |	/usr/local/go/src/net/http/server.go:1825 +0xbf
    :{time}up
"""
NODE = r"""
    :{time}up
    :/srv/shop/index.js:10
    |    throw new Error("boom");
    |    ^
    |
    |Error: boom
    |    at main (/srv/shop/index.js:10:9)
    |    at node:internal/main/run_main_module:23:47 {
    |  code: 'EBOOM',
    |  [cause]: TypeError: x is not a function
    |      at inner (/srv/shop/lib.js:3:1)
    |}
    :
    :Node.js v20.1.0
"""
DOTNET = r"""
    :{time}up
    :Unhandled exception. System.InvalidOperationException: no cart
    | ---> System.IO.IOException: disk full
    |   at Shop.Store.Write(String path) in /src/Store.cs:line 12
    |   --- End of inner exception stack trace ---
    |   at Shop.Cart.Save() in /src/Cart.cs:line 40
    |--- End of stack trace from previous location ---
    |   at Shop.Program.Main(String[] args) in /src/Program.cs:line 5
    :{time}down
"""
RUBY = r"""
    :{time}up
    :cart.rb:3:in 'Cart#add': no apple (ArgumentError)
    |	from cart.rb:9:in 'block in Cart#fill'
    |	from shop.rb:2:in '<main>'
    :{time}down
"""
PHP = r"""
    :{time}up
    :PHP Fatal error:  Uncaught InvalidArgumentException: no apple in /srv/shop/cart.php:3
    |Stack trace:
    |#0 /srv/shop/shop.php(9): Cart->add()
    |#1 {main}
    |
    |Next RuntimeException: no cart in /srv/shop/shop.php:11
    |Stack trace:
    |#0 {main}
    |  thrown in /srv/shop/shop.php on line 11
    :{time}down
"""
MYSQL = r"""
    :/usr/sbin/mysqld, Version: 8.0.35 (MySQL Community Server - GPL). started with:
    :Tcp port: 3306  Unix socket: /run/mysqld/mysqld.sock
    :Time                 Id Command    Argument
    :# Time: 2026-11-22T10:00:00.123456Z
    |# User@Host: shop[shop] @ localhost []  Id:    12
    |# Query_time: 2.000213  Lock_time: 0.000010 Rows_sent: 1  Rows_examined: 100000
    |use shop;
    |SET timestamp=1795341600;
    |SELECT *
    |FROM orders
    |WHERE customer = 12;
    :# User@Host: shop[shop] @ localhost []  Id:    13
    |# Query_time: 3.000213  Lock_time: 0.000010 Rows_sent: 1  Rows_examined: 100000
    |SELECT 1;
    :# Time: 2026-11-22T10:00:09.123456Z
    |# User@Host: shop[shop] @ localhost []  Id:    12
    |# Query_time: 2.5  Lock_time: 0.0 Rows_sent: 0  Rows_examined: 1
    |# administrator command: Ping;
    :2026-11-22 10:00:10 a line of another program
"""
ANYWHERE = {
    "go": GO, "go signal": GO_SIGNAL, "go served": GO_SERVED, "node": NODE, "dotnet": DOTNET, "ruby": RUBY, "php": PHP,
    "mysql": MYSQL,
}  # fmt: skip


@pytest.mark.parametrize("name", ANYWHERE)
@pytest.mark.parametrize("is_timed", [True, False])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_trace_is_one_event_with_times_and_without(name, is_timed, end):
    text = ANYWHERE[name].replace("{time}", "2026-11-22 10:00:00 " if is_timed else "")
    data = block(text).replace(b"\n", end.encode())
    found = continuation_lines(data, FirstLineRule(learned=is_timed))
    assert found is not None
    assert drawn(text) == found.tolist()


UNTIMED = {
    "java": r"""
    :starting
    :Exception in thread "main" java.lang.IllegalStateException: no session
    |	at com.shop.Cart.add(Cart.java:12)
    |	at java.base/java.lang.Thread.run(Thread.java:840)
    |	Suppressed: java.lang.RuntimeException: close
    |		at com.shop.Cart.close(Cart.java:40)
    |Caused by: java.io.IOException: Broken pipe
    |	... 12 more
    :stopped
    """,
    "python": r"""
    :starting
    :Traceback (most recent call last):
    |  File "/srv/shop/cart.py", line 12, in add
    |    self.items[key] += 1
    |    ~~~~~~~~~~^^^^^
    |KeyError: 'apple'
    |
    |During handling of the above exception, another exception occurred:
    |
    |Traceback (most recent call last):
    |  File "/srv/shop/main.py", line 3, in main
    |    [Previous line repeated 996 more times]
    |RecursionError
    :Traceback (most recent call last):
    |  File "/srv/shop/main.py", line 3, in main
    |KeyboardInterrupt
    :stopped
    """,
    "group": r"""
    :starting
    :  + Exception Group Traceback (most recent call last):
    |  |   File "/srv/shop/main.py", line 3, in <module>
    |  |     raise ExceptionGroup("several", faults)
    |  | ExceptionGroup: several (2 sub-exceptions)
    |  +-+---------------- 1 ----------------
    |    | ValueError: one
    |    +---------------- 2 ----------------
    |    | Traceback (most recent call last):
    |    |   File "/srv/shop/cart.py", line 9, in add
    |    | KeyError: 'two'
    |    +------------------------------------
    :stopped
    """,
    "javascript": r"""
    :starting
    :TypeError: Cannot read properties of undefined (reading 'id')
    |    at Cart.add (/srv/shop/cart.js:12:5)
    |    at async Promise.all (index 0)
    :stopped
    """,
}


@pytest.mark.parametrize("name", UNTIMED)
def test_an_unmistakable_trace_is_joined_where_no_times_tell(name):
    found = continuation_lines(block(UNTIMED[name]), FirstLineRule(learned=False))
    assert found is not None
    assert drawn(UNTIMED[name]) == found.tolist()


@pytest.mark.parametrize(
    "text",
    [
        "a list:\n  one\n  two",
        "menu\n    at noon (or later)\n    at home",
        "Caused by: nobody knows",
        "... 3 more",
        "panic: not here",
        "goroutines are cheap",
        "exit status 1",
        "Stack trace off",
        "# Time: is money\nand more",
        "# User@Host: nobody\nand more",
        "#0 is the first",
        "{\n  'a': 1\n}",
        "The above exception was the direct cause of the following exception:",
        "done\nKeyError: 'apple'",
        "  File is missing\n  from here: on",
        "--- End of the day",
    ],
)
def test_lines_that_only_look_like_parts_of_a_trace_stay_events_where_no_times_tell(text):
    assert continuation_lines(f"hello\n\n{text}\nbye\n".encode(), FirstLineRule(learned=False)) is None


def test_a_line_with_a_time_ends_whatever_is_open():
    for text in (*ANYWHERE.values(), *UNTIMED.values()):
        lines = block(text.replace("{time}", "")).splitlines(keepends=True)
        for cut in range(1, len(lines)):
            data = b"".join([*lines[:cut], b"2026-11-22 10:00:00 up\n", *lines[cut:]])
            for learned in (True, False):
                found = continuation_lines(data, FirstLineRule(learned=learned))
                assert found is None or not found[cut]


# ---------------------------------------------------------------- records of databases


def test_text_below_a_line_that_is_only_a_time_belongs_to_it():
    for moment in ("Sun Nov 22 10:00:0{} 2026", "2026-11-22T10:00:0{}.123456+00:00"):
        text = f"""
        :{moment.format(1)}
        |Thread 1 advanced to log sequence 42
        |  Current log# 3 seq# 42
        |Errors in file /u01/trace/orcl_ora_1.trc:
        |ORA-00600: internal error code, arguments: [1], [2]
        :{moment.format(2)}
        |Completed checkpoint
        :{moment.format(3)} a line with its text behind the time
        :a note
        """
        assert drawn(text) == joined(text)


POSTGRES = """
    :2026-11-22 10:00:00.123 UTC [71] shop@shop ERROR:  relation "carts" does not exist at character 15
    |2026-11-22 10:00:00.123 UTC [71] shop@shop HINT:  Perhaps you meant "cart".
    |2026-11-22 10:00:00.123 UTC [71] shop@shop STATEMENT:  select *
    |	from carts
    |	where id = 1
    :2026-11-22 10:00:00.123 UTC [72] shop@shop LOG:  duration: 2000.1 ms  statement: select 1
    :2026-11-22 10:00:00.124 UTC [71] shop@shop DETAIL:  of another process
    :2026-11-22 10:00:00.125 UTC [72] shop@shop LOG:  connection received
"""


def test_details_of_postgresql_belong_to_the_message_before_them_of_the_same_process():
    assert drawn(POSTGRES) == joined(POSTGRES)


def test_details_stay_events_in_logs_of_others():
    text = """
    :2026-11-22 10:00:00 INFO order DETAIL:  none
    :2026-11-22 10:00:00 INFO order DETAIL:  some
    """
    assert drawn(text) == joined(text)


# ---------------------------------------------------------------- a pattern of the user's


def by_user(text, rule):
    found = continuation_lines(block(text), FirstLineRule(learned=True, user=rule))
    return [False] * len(text.strip().splitlines()) if found is None else found.tolist()


def test_a_pattern_for_first_lines_makes_every_other_line_continue():
    text = """
    :[1] begin
    |2026-11-22 10:00:00 a time decides nothing here
    |
    |text
    :[2] begin
    """
    assert drawn(text) == by_user(text, UserRule.from_text(r"^\[\d+\]", starts=True))


def test_a_pattern_for_further_lines_leaves_every_other_line_an_event():
    text = """
    :begin
    |> quoted
    |> more
    :	indented
    """
    assert drawn(text) == by_user(text, UserRule.from_text("^> ", starts=False))


def test_switched_off_nothing_is_joined():
    assert not any(by_user(JAVA, UserRule.from_text(None, starts=False)))


def test_a_costly_pattern_is_refused():
    with pytest.raises(ValueError, match="for ever"):
        UserRule.from_text("(a+)+$", starts=True)


# ---------------------------------------------------------------- reads cut anywhere

EVERY_LINE = sorted(
    {
        line
        for text in (*ANYWHERE.values(), *UNTIMED.values(), JAVA, PYTHON, POSTGRES)
        for line in block(text.replace("{time}", "")).splitlines()
    }
    | {b"\0\0", b"\xff\xfe bytes", b"Sun Nov 22 10:00:01 2026", b"}", b"word"}
)


def read_in_parts(lines, cuts, learned, user=None):
    """What `held_from` and `continuation_lines` make of lines that come a few at a time."""
    rule = FirstLineRule(learned=learned, user=user)
    events, held = [], b""
    for begin, end in zip([0, *cuts], [*cuts, len(lines)], strict=True):
        data = held + b"".join(line + b"\n" for line in lines[begin:end])
        is_last = end == len(lines)
        if not data:
            continue
        starts = line_starts(data)
        taken = len(data) if is_last else held_from(data, rule, starts, continuation_lines(data, rule, starts=starts))
        ready, held = data[:taken], data[taken:]
        found = continuation_lines(ready, rule)
        flags = [False] * ready.count(b"\n") if found is None else found.tolist()
        for line, does in zip(ready.split(b"\n")[:-1], flags, strict=True):
            if line.strip() or does:
                if does and events:
                    events[-1] += b"\n" + line
                else:
                    events.append(line)
    return [event.rstrip() for event in events]


@settings(max_examples=300, derandomize=True, deadline=None)
@given(
    lines=st.lists(st.sampled_from(EVERY_LINE), min_size=1, max_size=25),
    cuts=st.lists(st.integers(0, 25), max_size=4),
    learned=st.booleans(),
)
def test_how_the_lines_are_read_changes_no_event(lines, cuts, learned):
    # A log of PostgreSQL is told by its first line, and such logs hold nothing else.
    if learned:
        lines = [line for line in lines if b":  " not in line or b"Fatal" in line] or [b"x"]
        lines = [b"2026-11-22 10:00:00 begin", *lines]
    cuts = sorted(min(cut, len(lines)) for cut in cuts)
    assert read_in_parts(lines, [], learned) == read_in_parts(lines, cuts, learned)


@pytest.mark.parametrize("name", [*ANYWHERE, *UNTIMED])
def test_a_whole_trace_is_one_event_wherever_it_is_cut(name):
    text = {**ANYWHERE, **UNTIMED}[name]
    lines = block(text.replace("{time}", "")).split(b"\n")[:-1]
    for cut in range(len(lines) + 1):
        assert read_in_parts(lines, [], learned=False) == read_in_parts(lines, [cut], learned=False)


def test_details_of_postgresql_are_waited_for_wherever_they_are_cut():
    lines = block(POSTGRES).split(b"\n")[:-1]
    for cut in range(len(lines) + 1):
        assert read_in_parts(lines, [], learned=True) == read_in_parts(lines, [cut], learned=True)


def test_hostile_lines_take_time_in_proportion_to_their_number():
    pieces = [
        b"goroutine 1 [running]:\n", b"\n", b"Caused by: a\n", b"# User@Host: a\n", b"Stack trace:\n", b"#0 x\n",
        b"The above exception was the direct cause of the following exception:\n", b'  File "x", line 1\n',
        b"[signal x\n", b"exit status 1\n", b"a.b((((((((((\n", b"Sun Nov 22 10:00:01 2026\n", b"   at ((((\n",
        b"2026-11-22 10:00:00 [1] ERROR:  x\n", b"2026-11-22 10:00:00 [1] DETAIL:  x\n",
    ]  # fmt: skip
    for piece in pieces:
        for other in (piece, b"\n"):
            data = b"2026-11-22 10:00:00 [1] ERROR:  x\n" + (piece + other) * 3000
            for learned in (True, False):
                begin = time.process_time()
                continuation_lines(data, FirstLineRule(learned=learned))
                assert time.process_time() - begin < 2.0
    long = b" " * 200_000 + b"at " + b"(" * 200_000 + b"\n" + b"\t" + b"a." * 200_000 + b"\n"
    begin = time.process_time()
    continuation_lines(b"goroutine 1 [running]:\n" + long + b"f(" * 100_000 + b"\n", FirstLineRule(learned=False))
    assert time.process_time() - begin < 2.0
