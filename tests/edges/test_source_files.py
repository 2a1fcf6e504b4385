"""The parts of the file source: which files match, who a file is, and whole lines out of streams."""

# ruff: noqa: PTH118, PTH119, PTH123 - paths are bytes, which pathlib does not take

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import socket
from dataclasses import replace
from hashlib import sha256
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from enricher.edges.source_files.discovery import Discovery
from enricher.edges.source_files.identity import (
    Sighting,
    Verdict,
    birth_of,
    file_identity,
    is_rotation_of,
    logical_path,
    resume_verdict,
)
from enricher.edges.source_files.patterns import expand_braces
from enricher.edges.source_files.reader import read_lines
from enricher.edges.source_files.streams import CompressedStream, PlainStream, binary_reason, codec_of
from enricher.edges.source_files.tracking import new_row

if TYPE_CHECKING:
    from pathlib import Path

# ---------------------------------------------------------------- discovery


def write(path: Path, data: bytes = b"line\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def found(tmp_path, include, exclude=(), own=()):
    findings = Discovery(list(include), list(exclude), list(own), tmp_path).walk()
    return sorted(os.fsdecode(os.path.relpath(path, os.fsencode(tmp_path))) for path in findings.files)


def skipped(tmp_path, include, exclude=(), own=()):
    findings = Discovery(list(include), list(exclude), list(own), tmp_path).walk()
    return {os.fsdecode(os.path.basename(one.path)): one.reason for one in findings.skipped}


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.log", ["a.log"]),
        ("**/*.log", ["a.log", "deep/b.log", "deep/er/c.log"]),
        ("deep/**", ["deep/b.log", "deep/er/c.log", "deep/er/d1.txt", "deep/er/d2.txt"]),
        ("deep/**/c.log", ["deep/er/c.log"]),
        ("deep/er/d?.txt", ["deep/er/d1.txt", "deep/er/d2.txt"]),
        ("deep/er/d[!1].txt", ["deep/er/d2.txt"]),
        ("{a,deep/b}.log", ["a.log", "deep/b.log"]),
        ("deep/{er/{c,x},b}.log", ["deep/b.log", "deep/er/c.log"]),
        ("deep", ["deep/b.log", "deep/er/c.log", "deep/er/d1.txt", "deep/er/d2.txt"]),
        ("a.log", ["a.log"]),
        ("*/**/*.txt", ["deep/er/d1.txt", "deep/er/d2.txt"]),
    ],
)
def test_pattern_finds_the_files_that_it_means(tmp_path, pattern, expected):
    for name in ("a.log", "deep/b.log", "deep/er/c.log", "deep/er/d1.txt", "deep/er/d2.txt"):
        write(tmp_path / name)
    assert expected == found(tmp_path, [pattern])


def test_quoted_magic_stands_for_itself(tmp_path):
    write(tmp_path / "we[ir*d{x,y}" / "a.log")
    write(tmp_path / "weird" / "b.log")
    assert ["we[ir*d{x,y}/a.log"] == found(tmp_path, [f"{tmp_path}/we[[]ir[*]d[{{]x,y}}"])


def test_braces_without_a_partner_stand_for_themselves():
    assert [b"a{b"] == expand_braces(b"a{b")
    assert [b"ab", b"ac"] == expand_braces(b"a{b,c}")


def test_excluded_directory_is_not_entered(tmp_path, monkeypatch):
    write(tmp_path / "keep" / "a.log")
    write(tmp_path / "huge" / "b.log")
    entered = []
    real = os.open
    monkeypatch.setattr(os, "open", lambda path, *rest: entered.append(os.path.basename(path)) or real(path, *rest))
    assert ["keep/a.log"] == found(tmp_path, ["**/*.log"], ["huge"])
    assert b"keep" in entered
    assert b"huge" not in entered


def test_exclude_without_a_slash_is_for_names_at_any_depth(tmp_path):
    for name in ("a.log", "x/a.log", "x/b.log"):
        write(tmp_path / name)
    assert ["x/b.log"] == found(tmp_path, ["**"], ["a.*"])


def test_own_directories_are_never_read_however_they_are_reached(tmp_path):
    write(tmp_path / "own" / "out.log")
    write(tmp_path / "a.log")
    (tmp_path / "door").symlink_to(tmp_path / "own")
    assert ["a.log"] == found(tmp_path, ["**/*.log", "own/*.log", "door/*.log"], own=[tmp_path / "own"])
    assert skipped(tmp_path, ["own/*.log"], own=[tmp_path / "own"]) == {"own": "own_output"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give links and files away")
def test_links_lead_only_where_their_owner_or_root_may_lead(tmp_path):
    root, app, web = 0, 1001, 1002
    for name, owner in (("secret/shadow", root), ("app/own.txt", app), ("web/access.txt", web)):
        write(tmp_path / name)
        os.chown(tmp_path / name, owner, owner)
        os.chown(tmp_path / name.partition("/")[0], owner, owner)
    for name, target, owner in (
        ("lure.log", "secret/shadow", app),
        ("other.log", "web/access.txt", app),
        ("own.log", "app/own.txt", app),
        ("by-root.log", "web/access.txt", root),
        ("lure-directory", "secret", app),
        ("own-directory", "app", app),
    ):
        link = tmp_path / "logs" / name
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(tmp_path / target)
        os.chown(link, owner, owner, follow_symlinks=False)
    assert ["logs/by-root.log", "logs/own-directory/own.txt", "logs/own.log"] == found(tmp_path, ["logs"])
    lures = {"lure.log": "not_regular", "other.log": "not_regular", "lure-directory": "not_regular"}
    assert lures == skipped(tmp_path, ["logs"])


def test_a_directory_swapped_for_a_link_after_it_was_judged_is_not_entered(tmp_path, monkeypatch):
    write(tmp_path / "secret" / "shadow")
    write(tmp_path / "logs" / "app" / "a.log")
    real_open = os.open

    def swap_then_open(path, *rest, **named):
        if os.fsencode(path).endswith(b"/app") and not (tmp_path / "logs" / "app").is_symlink():
            (tmp_path / "logs" / "app").rename(tmp_path / "away")
            (tmp_path / "logs" / "app").symlink_to(tmp_path / "secret")
        return real_open(path, *rest, **named)

    monkeypatch.setattr(os, "open", swap_then_open)
    assert [] == found(tmp_path, ["logs"])


def test_loop_of_links_ends_and_files_keep_their_real_path(tmp_path):
    write(tmp_path / "real" / "a.log")
    (tmp_path / "real" / "loop").symlink_to(tmp_path)
    assert found(tmp_path, ["**/*.log"])[0] == "real/a.log"


def test_names_need_not_be_text(tmp_path):
    name = b"bad\xff\nname.log"
    with open(os.path.join(os.fsencode(tmp_path), name), "wb") as file:
        file.write(b"x\n")
    findings = Discovery(["*.log"], [], [], tmp_path).walk()
    assert [name] == [os.path.basename(path) for path in findings.files]


def test_what_is_no_file_is_skipped_with_its_reason(tmp_path):
    (tmp_path / "x.log").mkdir()
    os.mkfifo(tmp_path / "fifo.log")
    (tmp_path / "nothing.log").symlink_to(tmp_path / "absent")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s.log"))
        reasons = skipped(tmp_path, ["*.log", "missing/*.log"])
    assert reasons == {
        "x.log": "directory",
        "fifo.log": "not_regular",
        "s.log": "not_regular",
        "nothing.log": "vanished",
        "missing": "vanished",
    }


def test_directory_that_cannot_be_read_is_named_and_blind(tmp_path, monkeypatch):
    write(tmp_path / "closed" / "a.log")
    write(tmp_path / "b.log")
    real = os.open

    def refuse(path, *rest):
        if path.endswith(b"closed"):
            raise PermissionError(13, "Permission denied")
        return real(path, *rest)

    monkeypatch.setattr(os, "open", refuse)
    findings = Discovery(["**/*.log"], [], [], tmp_path).walk()
    assert [b"closed"] == [os.path.basename(path) for path in findings.blind]
    assert ["unreadable"] == [one.reason for one in findings.skipped]
    assert [b"b.log"] == [os.path.basename(path) for path in findings.files]


# ---------------------------------------------------------------- identity

HEAD = bytes(range(32, 127)) * 4


def a_row(content=HEAD, *, position=None, head_bytes=None, **changes):
    position = len(content) if position is None else position
    head = content[:1024] if head_bytes is None else content[:head_bytes]
    stat = SimpleNamespace(st_dev=1, st_ino=10)
    row = replace(
        new_row("s", b"/log/app.log", stat, "g7", "plain"),
        id=1,
        head_bytes=len(head),
        head_hash=sha256(head).digest(),
        marker=content[max(0, position - 64) : position],
        position=position,
    )
    return replace(row, **changes)


def a_sighting(content=HEAD, *, row=None, **changes):
    row = row or a_row()
    before = content[max(0, row.position - 64) : row.position] if len(content) >= row.position else None
    seen = Sighting(
        path=b"/log/app.log",
        device=1,
        inode=10,
        birth="g7",
        head=content[:1024],
        before=before,
        quiet_seconds=100.0,
    )
    return replace(seen, **changes)


OTHER_HEAD = HEAD[::-1]
# Same head as HEAD, another text before the position.
SAME_HEAD = HEAD[:300] + b"#" * 80


@pytest.mark.parametrize(
    ("row", "seen", "gone", "expected"),
    [
        # same inode
        (a_row(), a_sighting(HEAD + b"more"), False, Verdict.CONTINUE),
        (a_row(), a_sighting(b""), False, Verdict.REWRITTEN),
        (a_row(head_bytes=300), a_sighting(SAME_HEAD), False, Verdict.REWRITTEN),
        (a_row(), a_sighting(OTHER_HEAD), False, Verdict.REWRITTEN),
        # inode number used again
        (a_row(), a_sighting(OTHER_HEAD, birth="g8"), True, Verdict.OTHER),
        # another inode, same head and marker
        (a_row(), a_sighting(inode=11, birth="g8"), True, Verdict.ADOPT),
        (a_row(), a_sighting(HEAD + b"more", inode=11, birth="g8"), True, Verdict.ADOPT),
        (a_row(), a_sighting(inode=11, path=b"/log/app.log.1"), False, Verdict.ADOPT),
        (a_row(), a_sighting(inode=11, path=b"/log/app.log.2.gz"), False, Verdict.ADOPT),
        # two live files with one head are both read
        (a_row(), a_sighting(inode=11, path=b"/log/other.log"), False, Verdict.OTHER),
        # same head, other content
        (a_row(head_bytes=300), a_sighting(SAME_HEAD, inode=11), True, Verdict.OTHER),
        # a short head tells something only where it is all there is
        (a_row(b"short\n"), a_sighting(b"short\n", row=a_row(b"short\n"), inode=11), True, Verdict.ADOPT),
        (a_row(b"short\n"), a_sighting(b"short\nnew\n", row=a_row(b"short\n"), inode=11), True, Verdict.OTHER),
        # nothing was read of it: nothing to go on with
        (a_row(b""), a_sighting(b"", row=a_row(b""), inode=11), True, Verdict.OTHER),
        # another inode, other head
        (a_row(), a_sighting(OTHER_HEAD, inode=11), True, Verdict.OTHER),
        # too little known: wait for a line or 5 s, then inode and path
        (a_row(b"", birth=""), a_sighting(b"ab", row=a_row(b""), birth="", quiet_seconds=1.0), False, Verdict.HOLD),
        (a_row(b"", birth=""), a_sighting(b"ab", row=a_row(b""), birth=""), False, Verdict.CONTINUE),
        (a_row(b"", birth=""), a_sighting(b"ab\n", row=a_row(b""), birth="", path=b"/b"), False, Verdict.OTHER),
    ],
)
def test_resume_verdict_row_by_row(row, seen, gone, expected):
    assert expected == resume_verdict(row, seen, original_gone=gone)


@pytest.mark.parametrize(
    ("path", "logical"),
    [
        (b"/log/app.log", b"/log/app.log"),
        (b"/log/app.log.1", b"/log/app.log"),
        (b"/log/app.log.12.gz", b"/log/app.log"),
        (b"/log/app.log-20261122", b"/log/app.log"),
        (b"/log/app.log-20261122.zst", b"/log/app.log"),
        (b"/log/app.log-2026-11-22.xz", b"/log/app.log"),
        (b"/log/app.log.old", b"/log/app.log"),
        (b"/log/syslog.1", b"/log/syslog"),
        (b"/log.1/app.log", b"/log.1/app.log"),
        (b"/log/.1", b"/log/.1"),
    ],
)
def test_logical_path_has_no_rotation_or_compression_suffix(path, logical):
    assert logical == logical_path(path)
    assert (path != logical) == is_rotation_of(path, logical)


def test_identity_knows_host_logical_path_first_line_and_generation():
    same = file_identity("h", b"/log/a.log", b"first", 0)
    assert same == file_identity("h", b"/log/a.log.3.gz", b"first", 0)
    others = [
        file_identity("g", b"/log/a.log", b"first", 0),
        file_identity("h", b"/log/b.log", b"first", 0),
        file_identity("h", b"/log/a.log", b"second", 0),
        file_identity("h", b"/log/a.log", b"first", 1),
    ]
    assert len({same, *others}) == 5


def test_birth_tells_two_users_of_an_inode_number_apart(tmp_path):
    births = []
    for at in range(2):
        path = write(tmp_path / f"{at}")
        with path.open() as file:
            births.append(birth_of(file.fileno()))
        path.unlink()
    assert "" in births or births[0] != births[1]


# ---------------------------------------------------------------- streams

COMPRESSORS = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}


@pytest.fixture
def opened():
    descriptors = []

    def open_it(path: Path) -> int:
        descriptors.append(os.open(path, os.O_RDONLY))
        return descriptors[-1]

    yield open_it
    for descriptor in descriptors:
        os.close(descriptor)


@pytest.mark.parametrize("codec", COMPRESSORS)
def test_compressed_stream_reads_members_forward_and_back(tmp_path, opened, codec):
    parts = [b"".join(b"line %d\n" % at for at in range(20_000)), b"second member\n"]
    data = b"".join(COMPRESSORS[codec](part) for part in parts)
    path = write(tmp_path / "x", data)
    assert codec == codec_of(data)
    whole = b"".join(parts)
    stream = CompressedStream(opened(path), codec)
    assert whole[:100] == stream.pread(100, 0)
    assert whole[70_000:170_000] == stream.pread(100_000, 70_000)
    assert whole[169_950:170_050] == stream.pread(100, 169_950)
    assert whole[5:10] == stream.pread(5, 5)
    assert whole[-4:] == stream.pread(100, len(whole) - 4)
    assert stream.pread(10, len(whole)) == b""
    assert stream.damage == ""


@pytest.mark.parametrize("codec", COMPRESSORS)
def test_truncated_and_damaged_compression_ends_the_content(tmp_path, opened, codec):
    whole = b"".join(sha256(b"%d" % at).hexdigest().encode() + b"\n" for at in range(20_000))
    data = COMPRESSORS[codec](whole)
    half = CompressedStream(opened(write(tmp_path / "half", data[: len(data) // 2])), codec)
    assert whole.startswith(half.pread(len(whole), 0))
    assert half.damage == ""
    middle = len(data) // 2
    broken = data[:middle] + bytes(byte ^ 0x5A for byte in data[middle : middle + 2000]) + data[middle + 2000 :]
    stream = CompressedStream(opened(write(tmp_path / "broken", broken)), codec)
    got = stream.pread(2 * len(whole), 0)
    assert stream.damage or codec in ("gzip", "zstd")  # deflate and zstd may decode garbage up to their checksum
    assert len(got) <= len(whole) + 100_000


def test_bomb_is_decompressed_piece_by_piece(tmp_path, opened):
    path = write(tmp_path / "bomb", zstandard.ZstdCompressor().compress(bytes(50_000_000)))
    stream = CompressedStream(opened(path), "zstd")
    assert len(stream.pread(1000, 0)) == 1000
    assert stream._at < 5_000_000


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (b"text\n", None),
        (b"caf\xc3\xa9 \xff\xfe invalid\n", None),
        (b"\x1b[31mred\x1b[0m\n", None),
        (b"\x00\x00\x00text\n", None),
        (b"\x7fELF\x02\x01\x00", "it holds NUL bytes"),
        (b"\xff\xfea\x00b\x00", "it is UTF-16 text"),
        (b"\x01\x02\x03\x04ab", "more than 30 % of its first bytes are control characters"),
    ],
)
def test_binary_files_are_told_by_their_head(head, reason):
    told = binary_reason(head)
    assert reason == (told and told[0])


def test_text_starts_behind_holes_and_written_nuls(tmp_path, opened):
    path = tmp_path / "hole"
    with path.open("wb") as file:
        file.truncate(1_000_000)
        file.seek(1_000_000)
        file.write(b"\x00\x00text\n")
    assert PlainStream(opened(path)).text_start(0) == 1_000_002
    empty = tmp_path / "empty"
    with empty.open("wb") as file:
        file.truncate(10_000)
    assert PlainStream(opened(empty)).text_start(0) is None


# ---------------------------------------------------------------- whole lines


class Text:
    """A stream over bytes."""

    damage = ""
    is_ended = False

    def __init__(self, content: bytes, look_bytes: int = 1 << 40) -> None:
        self.content = content
        self.look_bytes = look_bytes
        self.most = 0

    def pread(self, size, offset):
        self.most = max(self.most, size)
        return self.content[offset : offset + size]

    def text_start(self, offset):
        raise AssertionError

    def room_to_look(self, known):
        return self.look_bytes

    def looked_in_vain(self, offset):
        return False


def read(stream, *, position=0, marker=b"", held=b"", limit=1000, end=None, line=100, looked_to=0, last=False):
    return read_lines(
        stream,
        position=position,
        marker=marker,
        held=held,
        limit_bytes=limit,
        end=end,
        line_bytes=line,
        looked_to=looked_to,
        to_the_last_byte=last,
    )


def test_unended_line_waits_unless_it_is_the_last():
    waiting = read(Text(b"one\ntwo"))
    assert (waiting.data, waiting.length, waiting.tail, waiting.at_end) == (b"one\n", 4, b"two", True)
    ended = read(Text(b"one\ntwo"), last=True)
    assert (ended.data, ended.length, ended.tail) == (b"one\ntwo\n", 7, b"")


def test_read_checks_the_bytes_before_its_position():
    assert read(Text(b"one\ntwo\n"), position=4, marker=b"one\n").data == b"two\n"
    assert read(Text(b"ONE\ntwo\n"), position=4, marker=b"one\n").changed


def test_line_over_the_limit_is_cut_and_its_rest_counted():
    text = b"a\n" + b"x" * 250 + b"\nnext\n"
    reading = read(Text(text))
    assert reading.data == b"a\n" + b"x" * 100 + b"\n"
    assert (reading.length, reading.lost_bytes) == (253, 150)
    assert reading.marker == text[:253][-64:]
    following = read(Text(text), position=253, marker=reading.marker)
    assert following.data == b"next\n"


def test_end_of_an_over_long_line_is_looked_for_in_constant_memory():
    text = b"x" * 5_000_000 + b"\nnext\n"
    stream = Text(text)
    reading = read(stream, limit=1000)
    assert (len(reading.data), reading.length, reading.lost_bytes) == (101, 5_000_001, 4_999_900)
    assert stream.most <= 1024 * 1024


def test_search_for_the_end_of_a_line_goes_on_where_it_stopped():
    stream = Text(b"x" * 3_000_000 + b"\n", look_bytes=1 << 20)
    looked_to, reads = 0, 0
    while True:
        reading = read(stream, looked_to=looked_to)
        if reading.data:
            break
        assert reading.looked_to > looked_to
        looked_to, reads = reading.looked_to, reads + 1
    assert reads == 2
    assert (reading.length, reading.lost_bytes) == (3_000_001, 2_999_900)


def test_unended_over_long_line_is_cut_when_nothing_more_comes():
    reading = read(Text(b"a\n" + b"x" * 500), last=True)
    assert (reading.data, reading.length, reading.lost_bytes) == (b"a\n" + b"x" * 100 + b"\n", 502, 400)
    waiting = read(Text(b"a\n" + b"x" * 500))
    assert (waiting.data, waiting.length) == (b"a\n", 2)


@given(
    lines=st.lists(st.binary(max_size=12).map(lambda line: line.replace(b"\n", b"")), max_size=12),
    ended=st.booleans(),
    limits=st.lists(st.integers(1, 20), min_size=1, max_size=4),
    line=st.integers(3, 8),
)
@settings(max_examples=200, derandomize=True, deadline=None)
def test_chunking_never_changes_the_lines(lines, ended, limits, line):
    content = b"\n".join(lines) + (b"\n" if ended and lines else b"")
    expected = [part[:line] for part in content.split(b"\n")]
    if not expected[-1]:
        expected.pop()
    got, position, marker, looked_to, lost, turn = [], 0, b"", 0, 0, 0
    while position < len(content):
        limit = limits[turn % len(limits)]
        reading = read(
            Text(content), position=position, marker=marker, limit=limit, line=line, looked_to=looked_to, last=True
        )
        assert not reading.changed
        assert reading.marker == content[: position + reading.length][-64:]
        assert reading.data or reading.looked_to > looked_to
        got += reading.data.split(b"\n")[:-1]
        position, marker, looked_to = position + reading.length, reading.marker, reading.looked_to
        lost += reading.lost_bytes
        turn += 1
    assert expected == got
    assert lost == sum(max(0, len(part) - line) for part in content.split(b"\n"))
