"""Shapes of lines and the ids of a block's lines."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enricher.core.collapse import collapse, collapse_hex
from enricher.core.signature import BLANK_ID, ShapeIndex
from enricher.core.skeleton import (
    HOLE,
    HOLE_TEXT,
    KEY_BYTES,
    KEY_TOKENS,
    TOKEN,
    Shape,
    logged_level,
    message_start,
    shape_of,
)
from enricher.errors import StoreError
from tests.core.generated_systems import SYSTEMS, generate

HEADERS = st.sampled_from(
    [
        b"",
        b"2026-11-22T10:01:02.123Z INFO ",
        b"2026-11-22 10:01:02,123 [main-1] WARN  com.acme.Shop - ",
        b"Nov 22 10:01:02 web-3 sshd[4711]: ",
        b"Nov 22 10:01:02 a1b2c3d4 kernel: ",
        b"[Sun Dec 04 04:47:44 2005] [error] ",
        b"I1122 10:01:02.123456    77 server.go:42] ",
        b"10.0.0.1 - - [22/Nov/2026:10:01:02 +0000] ",
        b"\x1b[32mINFO\x1b[0m: ",
        b"2026-11-22 10:01:02 ",
        b"20171223-22:15:29:606|Step_A|30002312|",
        b"- 1117838570 2005.06.03 NULL 2005-06-03-15.42.50.6 NULL EVT APP FATAL ",
        b"134681 node-246 unix.hw state.lost 1077804742 1 ",
        b"[10.30 16:49:06] photo.exe *64 - ",
        b"Nov 22 10:00:00 web org.x.Daemon[1] (org.x.Agent[42]): ",
        b"[2026-11-22T10:00:00,123][INFO ][o.e.Index] [node-1] ",
    ]
)
WORDS = st.sampled_from(
    [
        b"user=root",
        b"10.0.0.7:443",
        b"0xdead1",
        b"failed",
        b"/var/log/a.log",
        b"\x1b[31mred\x1b[0m",
        b"<*>",
        b"a,b;c",
        b"5 ms",
    ]
) | st.text(alphabet="ab01xZ-_.:/[](){}=é\u200b \t", max_size=8).map(str.encode)
LINES = st.builds(lambda header, words: header + b" ".join(words), HEADERS, st.lists(WORDS, max_size=8)) | st.binary(
    max_size=80
).map(lambda line: line.replace(b"\n", b""))

HOSTILE = {
    "one letter": b"a" * 200_000,
    "digits": b"7" * 200_000,
    "spaces": b" " * 200_000,
    "time, then spaces": b"10:00:00" + b" " * 200_000 + b"x",
    "brackets": b"[" * 100_000 + b"]" * 100_000,
    "open brackets": b"[" * 200_000,
    "rules": b"-" * 200_000,
    "times that never end": b"0-:" * 70_000 + b"x",
    "colons": b"0" + b":" * 200_000 + b"x",
    "dots": b"a." * 100_000,
    "dashes": b"a-" * 100_000,
    "ats": b"a@" * 100_000,
    "slashes": b"/a" * 100_000,
    "pluses": b"+a" * 100_000,
    "schemes": b"http://" * 30_000,
    "assignments": b"user=" * 40_000,
    "months": b"Jan " * 50_000,
    "levels": b"INFO " * 40_000,
    "colours": b"\x1b[0m" * 50_000,
    "holes": b"<*>" * 70_000,
    "NULs": b"\0" * 200_000,
    "no UTF-8": b"\xff\xfe" * 100_000,
    "zero width": "\u200b".encode() * 70_000,
    "hex": b"0xdeadbeef" * 20_000,
    "open quotes": b'"x y ' * 40_000,
    "pairs": b"a=b " * 50_000,
    "open braces": b"a={" * 50_000,
    "addresses": b"ab:0:" * 40_000,
    "requests": b"GET /a" * 30_000,
    "bars": b"10:00:00 |" + b"a|" * 90_000,
    "capitals": b"10:00:00 " + b"AB " * 60_000,
    "comparisons": b"<1 " * 60_000,
}


def interning():
    """What a store does: row ids from 1, the same for the same shape; and the lists that it was called with."""
    rows: dict[Shape, int] = {}
    calls: list[list[Shape]] = []

    def intern(shapes: list[Shape]) -> list[int]:
        calls.append(shapes)
        return [rows.setdefault(shape, len(rows) + 1) for shape in shapes]

    return intern, rows, calls


@pytest.mark.parametrize(
    ("line", "level", "program", "template"),
    [
        ("2026-11-22T10:01:02.123Z ERROR disk sda1 is full", "ERROR", "", "disk <*> is full"),
        ("2026-11-22 10:01:02,123 - WARN  [Worker:1:Queue@42] - Slow sync: 31 ms", "WARN", "", "Slow sync: <*>"),
        ("Nov 22 10:01:02 web-3 sshd[4711]: Failed password for root from 10.0.0.9 port 22", "", "sshd", None),
        ("[Sun Dec 04 04:47:44 2005] [error] child 42 in state 6", "error", "", "child <*> in state <*>"),
        ("081109 203615 148 INFO dfs.DataNode: Received block blk_12 of size 9", "INFO", "dfs.DataNode", None),
        ("\x1b[32mINFO\x1b[0m: ready on port 8080", "INFO", "", "ready on port <*>"),
        ("no header: 3 of 4 done", "", "", "no header: <*> of <*> done"),
        ("2026-11-22 10:01:02", "", "", "<*>"),
        ("mail from bob@example.com via https://a.example/b?c=d", "", "", "mail from <*> via <*>"),
        ("open C:\\Users\\bob\\x.txt and /etc/passwd", "", "", "open <*> and <*>"),
        ("login user=alice rhost=db.example.com tty=ssh", "", "", "login user=<*> rhost=<*> tty=ssh"),
        ("login user=root rhost=db.example.com tty=ssh", "", "", "login user=root rhost=<*> tty=ssh"),
        ("sizes 1, 2, 3 KB at Sat Jul 9", "", "", "sizes <*> at <*>"),
    ],
)
def test_a_line_is_taken_apart_into_level_program_and_template(line, level, program, template):
    shape = shape_of(line.encode())

    assert (level, program) == (shape.level, shape.program)
    if template is not None:
        assert template == shape.template


@pytest.mark.parametrize(
    ("line", "level", "program", "message"),
    [
        ("12 files deleted by the job", "", "", "12 files deleted by the job"),
        ("12 error messages seen", "", "", "12 error messages seen"),
        ("3.5 GB free on disk", "", "", "3.5 GB free on disk"),
        ("2026-11-22 10:00:00 Connection closed by peer", "", "", "Connection closed by peer"),
        ("Nov 22 10:00:00 web Connection closed by peer", "", "", "Connection closed by peer"),
        ("<34>Oct 11 22:14:15 web su: 'su root' failed", "", "su", "'su root' failed"),
        ("Nov 22 10:00:00 web org.x.Daemon[1] (org.x.Agent[42]): up", "", "org.x.Daemon", "up"),
        ("Nov 22 10:00:00 web Photo Helper[42]: up", "", "Photo Helper", "up"),
        ("Nov 22 10:00:00 web daemon 1.4.1: restart", "", "daemon", "restart"),
        ("[   12.345678] usb 1-1: new device", "", "", "usb 1-1: new device"),
        ("[10.30 16:49:06] photo.exe *64 - a.example.org:80 open", "", "photo.exe", "a.example.org:80 open"),
        ("20171223-22:15:29:606|Step_A|30002312|went 5|6", "", "Step_A", "went 5|6"),
        ("2016-09-28 04:30:30, Info                  ABC    went up", "Info", "ABC", "went up"),
        ("03-17 16:13:38.811  1702  2395 D Window: shown", "D", "Window", "shown"),
        ("134681 node-246 unix.hw state.lost 1077804742 1 Part lost", "", "unix.hw state.lost", "Part lost"),
        (
            "FLAGGED 1117838570 2005.06.03 R02-M1:J12 2005-06-03-15.42.50.675872 R02-M1:J12 EVT KERNEL INFO lost 5",
            "INFO",
            "EVT KERNEL",
            "lost 5",
        ),
        ("- 1117838570 2005.06.03 NULL 2005-06-03-15.42.50.6 NULL EVT APP FATAL gone", "FATAL", "EVT APP", "gone"),
        ("- 1131566461 2005.11.09 dn228 Nov 9 12:01:01 dn228/dn228 cron(x)[2]: went", "", "cron(x)", "went"),
        (
            "a-api.log.1.2017-05-16_13:53:08 2017-05-16 00:00:00.008 25 INFO a.b.C [req-1a - -] 10.0.0.1 came",
            "INFO",
            "a.b.C",
            "10.0.0.1 came",
        ),
        ("2026-11-22 10:01:02.123 | INFO     | shop.cart:add:12 - added", "INFO", "shop.cart", "added"),
        ("2026-11-22 10:01:02,123 shop.cart ERROR gone", "ERROR", "shop.cart", "gone"),
        ("2026-11-22 10:01:02 INFO 12 lines came", "INFO", "", "12 lines came"),
        ("[2026-11-22T10:00:00,123][INFO ][o.e.Index] [node-1] made [logs]", "INFO", "o.e.Index", "made [logs]"),
        ("INFO  [Flusher:12] 2026-11-22 10:00:00,123 Table.java:382 - flushed", "INFO", "Table.java", "flushed"),
        ("2026-11-22T10:00:00.123456Z 8 [Note] [XY-010914] lost a table", "Note", "", "lost a table"),
        ("2026-11-22 10:00:00,123 guard.actions        [12]: NOTICE  barred", "NOTICE", "guard.actions", "barred"),
        ("I1122 10:00:00.123456       1 main.go:42] came up", "I", "", "came up"),
        ("1234:M 22 Nov 2026 10:00:00.123 * saved the data", "", "", "saved the data"),
        ("ERROR [shop] is closed", "ERROR", "", "[shop] is closed"),
    ],
)
def test_a_header_is_found_by_its_columns(line, level, program, message):
    shape = shape_of(line.encode())

    assert (level, program) == (shape.level, shape.program)
    assert message.encode() == line.encode()[message_start(line.encode()) :]


@pytest.mark.parametrize(
    ("message", "template"),
    [
        ('"GET /a/b?c=d&e=5 HTTP/1.1" took 5', '"GET <*> HTTP/<*>" took <*>'),
        ('"GET / HTTP/1.1" took 5', '"GET <*> HTTP/<*>" took <*>'),
        ("lease for ba:dc:0f:fe:ed:aa ended", "lease for <*> ended"),
        ("came from ::ffff:10.0.0.7 twice", "came from <*> twice"),
        ("lifetime <1 sec", "lifetime <*>"),
        ("%ABC-6-302013: Built 5 of 6", "%ABC-0-0: Built <*> of <*>"),
        ("process <0.51.0> left", "process <<*>> left"),
        ('hold=1, tag="View Lock", ws=null, uid=7', "hold=<*>, tag=<*>, ws=<*>, uid=<*>"),
        ("got hold=1, ws=Work{77}, uid=7, state=draining", "got hold=<*>, ws=<*>, uid=<*>, state=draining"),
        ("got hold=1, ws=failed, uid=7 now", "got hold=<*>, ws=failed, uid=<*> now"),
        ("a=true, b= false, c: true", "a=<*>, b= <*>, c: <*>"),
        ("ready=true after 5", "ready=true after <*>"),
        ('moved "the red door" away', 'moved "<*>" away'),
        ('moved "door" away', 'moved "door" away'),
        ('said "it has failed" twice', 'said "it has failed" twice'),
        ("don't open Bob's door", "don't open Bob's door"),
    ],
)
def test_values_are_masked_by_their_look_unless_they_say_what_happened(message, template):
    assert template == shape_of(message.encode()).template


@pytest.mark.parametrize("system", SYSTEMS)
def test_masking_a_template_again_changes_nothing(system):
    skeletons = {shape_of(line).skeleton for line in generate(system, lines=200).messages}

    assert skeletons == {shape_of(skeleton.replace(HOLE, HOLE_TEXT).encode()).skeleton for skeleton in skeletons}


def test_the_id_of_a_shape_never_changes():
    shape = Shape(format="text", level="INFO", program="app", skeleton=f"took {HOLE} ms")

    assert "7a898bd61ebc0b32" == shape.id
    assert "took <*> ms" == shape.template


def test_parts_of_a_shape_do_not_run_into_each_other_in_its_id():
    one = Shape(format="text", level="a", program="bc", skeleton="d")
    other = Shape(format="text", level="ab", program="c", skeleton="d")

    assert one.id != other.id


@settings(derandomize=True, max_examples=120)
@given(LINES)
def test_a_raw_line_and_its_collapsed_form_have_one_shape(line):
    assert shape_of(line) == shape_of(collapse_hex(collapse(line)))


@settings(derandomize=True, max_examples=120)
@given(LINES)
def test_a_skeleton_holds_nothing_that_could_reach_a_terminal_or_pass_for_a_hole(line):
    shape = shape_of(line)
    text = shape.level + shape.program + shape.skeleton.replace(HOLE, "")

    assert text.isprintable()
    assert "<*>" not in text
    assert not set(text) & set("\u200b\u202e\u2066\ufeff\U000e0041")


@pytest.mark.parametrize(
    "character", ["\0", "\x07", "\x1b", "\x85", "\xad", "\u200b", "\u202e", "\u2066", "\ufe0f", "\U000e0041"]
)
def test_characters_that_cannot_be_seen_are_replaced(character):
    shape = shape_of(f"2026-11-22 10:00:00 INFO one{character}two {character} three".encode())

    assert "one\ufffdtwo \ufffd three" == shape.template


@settings(derandomize=True, max_examples=100)
@given(LINES)
def test_a_message_starts_inside_the_line_and_not_with_a_blank(line):
    start = message_start(line)

    assert 0 <= start <= len(line)
    if start:
        assert not line[start : start + 1].isspace()


def test_a_message_starts_behind_time_host_level_and_program():
    for line, message in [
        (b"Nov 22 10:01:02 web-3 sshd[4711]: Failed password for root", b"Failed password for root"),
        (b"2026-11-22T10:01:02.123Z [worker-17] ERROR  out of 0xbeef1 memory", b"out of 0xbeef1 memory"),
        (b"2026-11-22 10:01:02,123 a1b2c3d4e5 sshd: x", b"x"),
        (b"no header at all", b"no header at all"),
    ]:
        assert message == line[message_start(line) :]


@settings(derandomize=True, max_examples=40)
@given(st.lists(st.lists(LINES, min_size=1, max_size=6), max_size=5), st.booleans())
def test_a_block_gives_each_line_the_id_of_its_own_shape(blocks, forgets):
    intern, rows, calls = interning()
    index = ShapeIndex(memo_lines=5)

    for lines in blocks:
        ids = index.resolve(b"".join(line + b"\n" for line in lines), intern)

        assert ids.dtype == np.uint32
        assert [rows[shape_of(line)] if line.strip() else BLANK_ID for line in lines] == ids.tolist()
        if forgets:
            index.forget()
    assert all(len(shapes) == len(set(shapes)) > 0 for shapes in calls)


def test_known_shapes_are_not_interned_again():
    intern, rows, calls = interning()
    index = ShapeIndex()
    first = index.resolve(b"job 1 done\njob 2 done\nother\n", intern)
    again = index.resolve(b"job 77 done\nother\n", intern)

    assert [1, 1, 2] == first.tolist()
    assert [1, 2] == again.tolist()
    assert 1 == len(calls)

    loaded = ShapeIndex()
    loaded.load((row_id, shape) for shape, row_id in rows.items())

    assert [2, 1] == loaded.resolve(b"other\njob 5 done", intern).tolist()
    assert 1 == len(calls)


def test_blank_lines_have_id_zero_and_an_unfinished_line_counts():
    intern, rows, _ = interning()

    assert [0, 0, 1, 0] == ShapeIndex().resolve(b"\n \t\r\nx\n ", intern).tolist()
    assert [] == ShapeIndex().resolve(b"", intern).tolist()
    assert 1 == len(rows)


def test_no_shape_is_made_of_a_line_that_starts_no_event():
    intern, rows, _ = interning()
    starts = np.array([True, False, False, True])
    ids = ShapeIndex().resolve(b"boom\n  at a.b.c(D.java:1)\n  at e\nbang\n", intern, starts=starts)

    assert [1, 0, 0, 2] == ids.tolist()
    assert ["boom", "bang"] == [shape.template for shape in rows]


def test_lines_whose_shapes_could_not_be_numbered_are_new_again_with_the_next_block():
    def refuse(shapes):
        raise StoreError("the store is gone")

    index, (intern, rows, _) = ShapeIndex(), interning()
    with pytest.raises(StoreError):
        index.resolve(b"disk full\nlink down\ndisk full\n", refuse)
    assert index.resolve(b"link down\ndisk full\nlink down\n", intern).tolist() == [1, 2, 1]
    assert [shape.template for shape in rows] == ["link down", "disk full"]


def test_hexadecimal_words_in_every_line_are_folded_before_the_look_up():
    intern, rows, calls = interning()
    index = ShapeIndex()
    words = [f"{number:08x}" for number in range(0x1A0, 0x900000, 0x913)]
    block = "".join(f"commit {word}f1 of {word} pushed\n" for word in words).encode()
    first = index.resolve(block, intern)

    assert index._hex_blocks
    assert {1} == set(first.tolist())
    assert first.tolist() == index.resolve(block, intern).tolist()
    assert 1 == len(calls)
    assert 1 == len(rows)


def test_memos_stay_bounded():
    intern, _, _ = interning()
    index = ShapeIndex(memo_lines=50, memo_bytes=2_000)
    for number in range(40):
        letters = chr(97 + number % 26) + chr(97 + number // 26)
        index.resolve("".join(f"{letters}{other} gone\n" for other in "abcdefghij").encode(), intern)

        assert len(index._lines) <= 60
        assert index._lines.key_bytes <= 2_200
        assert len(index._shapes) <= 60


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_lines_are_named_in_bounded_time(name):
    line = HOSTILE[name]
    intern, _, _ = interning()
    began = time.process_time()
    ids = ShapeIndex().resolve(line + b"\n" + line, intern)
    message_start(line)
    shape = shape_of(line)
    spent = time.process_time() - began

    assert 2 == len(ids)
    assert spent < 0.5
    assert len(shape.skeleton.encode()) <= 3 * KEY_BYTES
    assert len(TOKEN.findall(shape.skeleton)) <= KEY_TOKENS + 1


def test_a_line_of_ten_megabytes_is_one_shape():
    intern, _, _ = interning()
    line = b"x" * 10_000_000

    assert [1] == ShapeIndex().resolve(line, intern).tolist()
    assert "<*>" == shape_of(line).template
    assert shape_of(b"start of " + line) == shape_of(b"start of " + line[1_000:])


def test_what_is_behind_the_key_is_one_hole():
    words = " ".join(["word"] * 500)

    assert shape_of(words.encode()).template.endswith("word <*>")
    assert KEY_TOKENS + 1 == len(TOKEN.findall(shape_of(words.encode()).skeleton))


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("INFO", ("info", 9)),
        ("warn", ("warning", 13)),
        ("W", ("warning", 13)),
        ("SEVERE", ("error", 17)),
        ("crit", ("critical", 18)),
        ("PANIC", ("fatal", 21)),
        ("notice", ("notice", 10)),
        ("", None),
    ],
)
def test_levels_are_normalised_with_their_number(level, expected):
    assert expected == logged_level(Shape(format="text", level=level, program="", skeleton="x"))
