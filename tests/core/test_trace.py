"""What a trace says of its kind: the same for the same fault, another for another."""

from __future__ import annotations

import re
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enricher.core.block import CONTINUES, SKIPPED
from enricher.core.extract import compile_extractor
from enricher.core.merge import Merger
from enricher.core.multiline.lines import Lines
from enricher.core.naming import Traces, kind_of
from enricher.core.skeleton import message_start
from enricher.core.timestamp_columns import line_starts

FIRST = b"2026-11-22 10:00:00 ERROR request 17 failed"


def said(rest, first=FIRST):
    shape = kind_of(first, rest.strip("\n").encode() + b"\n")
    return None if shape is None else shape.template.partition("\0 ")[2]


JAVA = """
java.lang.IllegalStateException: no session 12
\tat org.springframework.web.Filter.doFilter(Filter.java:77)
\tat com.shop.Cart.lambda$add$0(Cart.java:12)
\tat com.shop.Cart$$EnhancerBySpringCGLIB$$1a2b.add(<generated>)
\tat jdk.internal.reflect.GeneratedMethodAccessor12.invoke(Unknown Source)
\tat com.shop.Main.run(Main.java:7)
Caused by: java.io.IOException: Broken pipe
\tat java.base/sun.nio.ch.Write(Native Method)
\t... 12 more
"""

SAID = {
    "java": (
        JAVA,
        (
            "java.lang.IllegalStateException, caused by java.io.IOException"
            " at com.shop.Cart.lambda$add, com.shop.Cart$$.add, com.shop.Main.run"
        ),
    ),
    "java suppressed": (
        """
java.lang.IllegalStateException: no
\tat com.shop.Main.run(Main.java:7)
\tSuppressed: java.lang.RuntimeException: close
\t\tat com.shop.Pool.close(Pool.java:7)
\tCaused by: java.io.IOException: of the suppressed one
Caused by: java.sql.SQLException: down
\tat com.shop.Store.read(Store.java:3)
""",
        "java.lang.IllegalStateException, caused by java.sql.SQLException at com.shop.Store.read",
    ),
    "python": (
        """
Traceback (most recent call last):
  File "/srv/shop/cart.py", line 12, in add
    self.items[key] += 1
  File "/usr/lib/python3.11/json/decoder.py", line 337, in decode
    obj, end = self.raw_decode(s)
json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/srv/venv/lib/python3.11/site-packages/flask/app.py", line 1, in wsgi
  File "/srv/shop/main.py", line 3, in main
shop.errors.CartError: no apple
""",
        "shop.errors.CartError, caused by json.decoder.JSONDecodeError at add (cart.py)",
    ),
    "group": (
        """
  + Exception Group Traceback (most recent call last):
  |   File "/srv/shop/main.py", line 3, in fill
  | ExceptionGroup: several (2 sub-exceptions)
  +-+---------------- 1 ----------------
    | Traceback (most recent call last):
    |   File "/srv/shop/cart.py", line 9, in add
    | KeyError: 'two'
    +---------------- 2 ----------------
    | ValueError: one
    +------------------------------------
""",
        "ExceptionGroup, caused by KeyError at add (cart.py)",
    ),
    "javascript": (
        """
Error: boom
    at Object.<anonymous> (/srv/shop/node_modules/express/lib/router.js:1:2)
    at async Cart.add [as put] (/srv/shop/cart.js:12:5)
    at /srv/shop/index.js:3:1
    at node:internal/main/run_main_module:23:47 {
  [cause]: TypeError: x is not a function
      at inner (/srv/shop/lib.js:3:1)
}
""",
        "Error, caused by TypeError at inner (lib.js)",
    ),
    "dotnet": (
        """
System.InvalidOperationException: no cart
 ---> System.IO.IOException: disk full
   at System.IO.FileStream.Flush()
   at Shop.Store.<Write>d__5.MoveNext() in /src/Store.cs:line 12
   --- End of inner exception stack trace ---
   at Microsoft.AspNetCore.Mvc.Invoke(String a)
""",
        "System.InvalidOperationException, caused by System.IO.IOException at Shop.Store.Write.MoveNext",
    ),
    "php": (
        """
Stack trace:
#0 /srv/shop/vendor/laravel/app.php(9): Illuminate\\App->handle()
#1 /srv/shop/shop.php(9): Cart->add()
#2 [internal function]: Cart->fill(1, 2)
#3 {main}
""",
        "at Cart->add",
    ),
    "go": (
        """
goroutine 18 [running]:
runtime.gopanic({0x1, 0x2})
\t/usr/local/go/src/runtime/panic.go:838 +0x207
github.com/acme/shop/cart.(*Cart).Add(0xc000)
\t/srv/shop/cart.go:5 +0x1d
main.main.func1.2()
\t/srv/shop/main.go:5 +0x1d

goroutine 3 [select]:
main.other()
\t/srv/shop/main.go:50 +0x1d
""",
        "panic at github.com/acme/shop/cart.(*Cart).Add, main.main.func",
    ),
    "frames of others alone": (
        """
java.lang.OutOfMemoryError: Java heap space
\tat java.util.Arrays.copyOf(Arrays.java:1)
\tat java.util.ArrayList.grow(ArrayList.java:2)
\tat java.lang.Thread.run(Thread.java:3)
\tat java.lang.Never.shown(Never.java:3)
""",
        "java.lang.OutOfMemoryError at java.util.Arrays.copyOf, java.util.ArrayList.grow, java.lang.Thread.run",
    ),
}


@pytest.mark.parametrize("name", SAID)
def test_a_trace_is_told_by_its_exceptions_and_the_first_frames_of_the_users_own_code(name):
    rest, text = SAID[name]
    assert text == said(rest)
    assert text == said(rest.replace("\n", "\r\n"))


def test_the_class_in_the_first_line_belongs_to_the_trace():
    ruby = "\tfrom /usr/lib/ruby/gems/3.2/gems/rack/rack.rb:2:in 'call'\n\tfrom cart.rb:9:in 'block in Cart#fill'"
    assert said(ruby, b"cart.rb:3:in 'Cart#add': no apple (ArgumentError)") == "ArgumentError at Cart#fill (cart.rb)"
    php = "Stack trace:\n#0 {main}\n  thrown in /x.php on line 3"
    assert said(php, b"PHP Fatal error:  Uncaught App\\Bad: no in /x.php:3") == "App\\Bad"
    dotnet = "   at Shop.Cart.Save() in /src/Cart.cs:line 40"
    assert said(dotnet, b"Unhandled exception. System.Exception: no") == "System.Exception at Shop.Cart.Save"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Cart.java:12", "Cart.java:13"),
        ("no session 12", "no session for somebody else"),
        ("$$1a2b", "$$77ff"),
        ("Accessor12", "Accessor1"),
        ("lambda$add$0", "lambda$add$3"),
        ("\t... 12 more", "\tat java.lang.Thread.run(Thread.java:3)\n\t... 9 more"),
        ("org.springframework.web.Filter.doFilter(Filter.java:77)", "org.apache.catalina.Valve.invoke(Valve.java:1)"),
    ],
)
def test_what_differs_from_run_to_run_makes_no_other_kind(old, new):
    assert old in JAVA
    assert kind_of(FIRST, JAVA.strip().encode()) == kind_of(FIRST, JAVA.replace(old, new).strip().encode())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("IllegalStateException", "IllegalArgumentException"),
        ("java.io.IOException", "java.sql.SQLException"),
        ("com.shop.Main.run", "com.shop.Main.stop"),
    ],
)
def test_another_exception_or_another_place_behind_the_same_line_is_another_kind(old, new):
    one, other = (kind_of(FIRST, text.strip().encode()) for text in (JAVA, JAVA.replace(old, new)))
    assert one.id != other.id
    assert one.template.partition("\0")[0] == other.template.partition("\0")[0]


def test_the_same_trace_behind_another_line_is_another_kind():
    assert kind_of(FIRST, JAVA.strip().encode()) != kind_of(FIRST.replace(b"failed", b"refused"), JAVA.strip().encode())


@pytest.mark.parametrize("rest", ["  colour: red\n  size: 3", "\n\n", "\tselect *\n\tfrom carts"])
def test_lines_that_are_no_trace_change_nothing(rest):
    assert said(rest) is None


def test_a_first_line_that_is_only_a_time_is_told_by_the_next():
    first = b"2026-11-22T10:00:01.123456+00:00"
    assert said("Thread 1 advanced to log sequence 42\n  Current log# 3", first).startswith(
        "Thread ... advanced to log"
    )
    faults = [said(f"Errors in file /u01/x_{code}.trc:\nORA-{code}: no", first) for code in ("00600", "01555", "00600")]
    assert faults[0] == faults[2] != faults[1]
    assert faults[0].endswith(" ORA-00600")


def test_a_slow_query_is_told_by_what_it_does_with_which_tables():
    head = "# User@Host: a[a] @ localhost []\n# Query_time: 2.0  Lock_time: 0.1\nuse shop;\nSET timestamp=17;\n"
    first = b"# Time: 2026-11-22T10:00:00.123456Z"
    queries = [
        "SELECT a\nFROM `orders` o JOIN shop.customers c\nWHERE o.id = 12;",
        "SELECT b FROM orders JOIN shop.customers WHERE name = 'x';",
        "update orders set a = 1;",
        "",
    ]
    assert [said(head + query, first) for query in queries] == [
        "slow query: SELECT orders shop.customers",
        "slow query: SELECT orders shop.customers",
        "slow query: UPDATE orders",
        "slow query",
    ]


# ---------------------------------------------------------------- shapes


def test_the_template_of_a_trace_matches_its_first_line_once_what_is_for_readers_is_left_off():
    shape = kind_of(FIRST, JAVA.strip().encode())
    found = compile_extractor(shape.template.partition("\0")[0]).match(FIRST, message_start(FIRST))
    assert found is not None
    assert found.groups() == (b"17",)
    assert "<*>" not in shape.template.partition("\0")[2]


def test_traces_are_merged_only_with_the_same_trace():
    merger = Merger()
    merges = []
    row = 0
    for word in ("apple", "pear", "plum", "peach"):
        for rest in (JAVA, JAVA.replace("IOException", "SQLException")):
            row += 1
            merges += merger.add(row, kind_of(f"2026-11-22 10:00:00 ERROR the {word} is gone".encode(), rest.encode()))
    assert {merger.resolve(at) for at in (1, 3, 5, 7)} == {1}
    assert {merger.resolve(at) for at in (2, 4, 6, 8)} == {2}
    assert all(re.fullmatch(r"the <\*> is gone\0 java\.lang\..* at com\.shop.*", merge.template) for merge in merges)


def test_a_trace_that_was_seen_is_not_looked_at_again(monkeypatch):
    event = FIRST + b"\n" + JAVA.strip().encode() + b"\n"
    data = event * 3 + b"calm\n" + event.replace(b"Cart.java:12", b"Cart.java:99") + event.replace(b"java.io", b"a.io")
    starts = line_starts(data)
    size = event.count(b"\n")
    shapes = np.full(len(starts) - 1, CONTINUES, np.uint32)
    calm = 3 * size
    shapes[[0, size, 2 * size, calm + 1, calm + 1 + size]] = 7
    shapes[calm] = 8
    traces, asked = Traces(), []

    def intern(made):
        asked.extend(made)
        return [100 + at for at in range(len(made))]

    traces.name(Lines(data, starts), shapes, intern)
    assert shapes[shapes != CONTINUES].tolist() == [100, 100, 100, 8, 100, 101]
    assert len(asked) == 2
    monkeypatch.setattr("enricher.core.naming.kind_of", None)
    shapes[shapes >= 100] = CONTINUES
    shapes[[0, size, 2 * size, calm + 1, calm + 1 + size]] = 7
    traces.name(Lines(data, starts), shapes, intern)
    assert shapes[shapes != CONTINUES].tolist() == [100, 100, 100, 8, 100, 101]
    assert len(asked) == 2


def test_dropped_events_are_not_named():
    data = FIRST + b"\n" + JAVA.strip().encode() + b"\n"
    starts = line_starts(data)
    shapes = np.full(len(starts) - 1, SKIPPED, np.uint32)
    Traces().name(Lines(data, starts), shapes, lambda made: pytest.fail(str(made)))
    assert set(shapes.tolist()) == {SKIPPED}


# ---------------------------------------------------------------- hostile text


@settings(max_examples=300, derandomize=True, deadline=None)
@given(
    first=st.binary(max_size=60).map(lambda text: text.replace(b"\n", b" ")),
    pieces=st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.sampled_from([line.encode() for rest, _ in SAID.values() for line in rest.split("\n")]),
            st.sampled_from([b"\tat <*>.\x1b[31m\x00(x:1:2)", b"Caused by: \xe2\x80\xae", b"Caused by: a<*>b: x"]),
        ),
        max_size=12,
    ),
)
def test_what_is_said_is_one_short_line_of_plain_characters(first, pieces):
    shape = kind_of(first, b"\n".join(pieces))
    if shape is not None:
        text = shape.skeleton.partition("\0")[2]
        assert text.isascii()
        assert text.isprintable()
        assert len(text) < 800
        assert "<*>" not in text
        assert shape == kind_of(first, b"\n".join(pieces))


def test_hostile_traces_take_time_in_proportion_to_their_length():
    for piece in (
        b"\tat a.b(",
        b"Caused by: ",
        b'File "',
        b"#0 /x(1): ",
        b"a.",
        b"from a:1:in '",
        b"| ",
        b"  +-",
        b" at ",
    ):
        for rest in (piece * 30_000, (piece + b"\n") * 20_000, b"\t" * 100_000 + piece):
            begin = time.process_time()
            kind_of(FIRST, rest)
            assert time.process_time() - begin < 1.0, (piece, rest[:20])
