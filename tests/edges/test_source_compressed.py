"""Compressed logs that grow, are being written, or end anywhere: every line once, whatever is killed meanwhile."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import zlib

import pytest
import zstandard

from enricher.edges.source_files import inflating, streams, tracking, turns
from enricher.edges.source_files.streams import CompressedStream, codec_of
from tests.edges.following import lines, numbers

QUIET = 6.0
MEBIBYTE = 1 << 20
PACKERS = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstandard.ZstdCompressor(write_checksum=True).compress,
}
each_codec = pytest.mark.parametrize("packed", PACKERS)


def written_in_pieces(packed, parts):
    """What a program has written after each part, where it flushes its compressor behind each."""
    if packed == "gz":
        packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
        pieces = [packer.compress(part) + packer.flush(zlib.Z_SYNC_FLUSH) for part in parts]
        return [*pieces, packer.flush()]
    packer = zstandard.ZstdCompressor(write_checksum=True).compressobj()
    pieces = [packer.compress(part) + packer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK) for part in parts]
    return [*pieces, packer.flush()]


@each_codec
@pytest.mark.parametrize("restart", [False, True])
async def test_a_file_that_grows_by_any_bytes_is_read_on_where_reading_stood(world, packed, restart):
    w = await world()
    data = b"".join(PACKERS[packed](lines(first, 700)) for first in (0, 700, 1400))
    step = len(data) // 23 + 1
    for at in range(0, len(data), step):
        w.append(f"a.log.{packed}", data[at : at + step])
        await w.step(1.0, commit=at % 3 != 1)
        if restart:
            await w.start()
        await w.step(QUIET if at % 2 else 1.0)
    await w.step(QUIET)
    assert [*range(2100)] == numbers(w.read)


@pytest.mark.parametrize("packed", ["gz", "zst"])
@pytest.mark.parametrize("restart", [False, True])
async def test_lines_are_read_as_their_compressor_is_flushed_and_never_torn(world, packed, restart):
    w = await world()
    parts = [b"1 one\n2 two\n3 th", b"ree\n4 four\n", b"5 ", b"five\n6 six"]
    *pieces, end = written_in_pieces(packed, parts)
    seen = []
    for piece in pieces:
        w.append(f"a.log.{packed}", piece)
        await w.step(1.0)
        await w.step(2 * QUIET)  # its compressor is slower than what makes other files quiet
        seen.append(len(w.read))
        if restart:
            await w.start()
    assert [2, 4, 4, 5] == seen
    w.append(f"a.log.{packed}", end)
    await w.step(1.0)
    await w.step(QUIET)
    assert [b"1 one", b"2 two", b"3 three", b"4 four", b"5 five", b"6 six"] == w.read


@each_codec
async def test_a_member_that_is_added_to_a_file_that_was_done_is_read_alone(world, packed, monkeypatch):
    w = await world()
    w.append(f"a.log.{packed}", PACKERS[packed](lines(0, 30)))
    await w.step(QUIET)
    await w.step(QUIET)
    monkeypatch.setattr(CompressedStream, "_rewind", None)  # so nothing is decompressed again
    for first in (30, 60):
        w.append(f"a.log.{packed}", PACKERS[packed](lines(first, 30)))
        await w.step(1.0)
        await w.step(QUIET)
    assert [*range(90)] == numbers(w.read)


@each_codec
async def test_a_file_replaced_in_place_is_not_gone_on_with(world, packed):
    w = await world()
    w.append(f"a.log.{packed}", PACKERS[packed](lines(0, 30)))
    await w.step(1.0)
    w.path(f"a.log.{packed}").write_bytes(PACKERS[packed](lines(500, 900)))
    for _ in range(3):
        await w.step(QUIET)
    assert [*range(30), *range(500, 1400)] == numbers(w.read)


@each_codec
@pytest.mark.parametrize("restart", [False, True])
async def test_what_is_being_compressed_is_read_once_whenever_it_is_looked_at(world, packed, restart):
    """What gzip does: the compressed file grows beside the log, which goes when it is whole."""
    w = await world()
    w.append("a.log", lines(0, 900))
    await w.step(1.0)
    w.append("a.log", lines(900, 100))
    w.path("a.log").rename(w.path("a.log.1"))
    data = PACKERS[packed](w.path("a.log.1").read_bytes())
    for at in range(0, len(data), len(data) // 5 + 1):
        w.append(f"a.log.1.{packed}", data[at : at + len(data) // 5 + 1])
        if restart:
            await w.start()
        await w.step(1.0, commit=at == 0)
    w.path("a.log.1").unlink()
    if restart:
        await w.start()
    for _ in range(3):
        await w.step(QUIET)
    assert [*range(1000)] == numbers(w.read)


@each_codec
async def test_a_large_file_is_resumed_in_its_middle_by_each_process(world, packed, monkeypatch):
    monkeypatch.setattr(turns, "MAX_BLOCK_BYTES", 300 * 1024)
    w = await world()
    w.append(f"a.log.1.{packed}", PACKERS[packed](lines(0, 30_000)))
    await w.step(10.0)
    assert 0 < len(w.read) < 30_000
    for _ in range(6):
        await w.start()
        await w.step(commit=False)
        await w.start()
        await w.step()
    await w.step(QUIET)
    assert [*range(30_000)] == numbers(w.read)
    assert 0 == w.progress().unread_bytes


@each_codec
async def test_a_torn_last_line_is_kept_until_the_file_goes(world, packed):
    w = await world()
    data = PACKERS[packed](lines(0, 30_000) + b"30000 the end is missing")
    w.append(f"a.log.1.{packed}", data[: len(data) - 40])
    await w.step(1.0)
    await w.step(QUIET)
    whole = len(w.read)
    assert [*range(whole)] == numbers(w.read)
    assert all(line.endswith(b"some length") for line in w.read)
    held = b"".join(row.partial for row in w.rows.values())
    await w.start()
    w.path(f"a.log.1.{packed}").unlink()
    for _ in range(3):
        await w.step(QUIET)
    assert w.read[whole:] == ([held] if held else [])


@pytest.mark.parametrize("packed", ["gz", "zst"])
async def test_a_line_that_was_flushed_without_its_end_outlives_the_process_and_the_file(world, packed):
    w = await world()
    for piece in written_in_pieces(packed, [b"1 one\n", b"2 tw"])[:-1]:
        w.append(f"a.log.{packed}", piece)
        await w.step(1.0)
        await w.step(QUIET)
    await w.start()
    w.path(f"a.log.{packed}").unlink()
    await w.step(1.0)
    await w.step(QUIET)
    assert [b"1 one", b"2 tw"] == w.read


async def test_an_open_window_does_not_wait_for_a_compressor_that_never_ends(world):
    w = await world()
    *pieces, _ = written_in_pieces("gz", [b"%d line\n" % number for number in range(9)])
    for piece in pieces:
        w.append("a.log.gz", piece)
        await w.step(1.0)
        await w.step(1.0)
    assert w.progress().read_through >= w.now - 2.0
    assert 9 == len(w.read)


@pytest.mark.parametrize("level", [1, 19])
@pytest.mark.parametrize("content", [b"", b"a\n", b"a" * 1_000_000, os.urandom(300_000), bytes(400_000)])
@pytest.mark.parametrize("sized", [False, True])
@pytest.mark.parametrize("checked", [False, True])
def test_every_form_of_a_zstd_frame_is_read_block_by_block(tmp_path, level, content, sized, checked):
    packer = zstandard.ZstdCompressor(level=level, write_checksum=checked, write_content_size=sized)
    frame = packer.compress(content)
    if not sized:
        stream = packer.compressobj()
        frame = stream.compress(content) + stream.flush()
    skipped = b"\x50\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"\x28\xb5\x2f\xfd\0"
    path = tmp_path / "x.zst"
    path.write_bytes(skipped + frame + skipped + frame)
    assert "zstd" == codec_of(path.read_bytes())
    descriptor = os.open(path, os.O_RDONLY)
    try:
        stream = CompressedStream(descriptor, "zstd")
        assert 2 * content == stream.pread(3_000_000, 0)
        assert ("", True) == (stream.damage, stream.is_ended)
    finally:
        os.close(descriptor)


@each_codec
def test_a_stream_is_ended_where_its_compressor_ended_it_and_nowhere_else(tmp_path, packed):
    data = PACKERS[packed](b"one\ntwo\n")
    path = tmp_path / "x"
    for length in range(8, 2 * len(data) + 1):
        path.write_bytes((data + data)[:length])
        descriptor = os.open(path, os.O_RDONLY)
        stream = CompressedStream(descriptor, codec_of(data))
        stream.pread(100, 0)
        os.close(descriptor)
        assert (length % len(data) == 0, "") == (stream.is_ended, stream.damage), length


def test_a_frame_of_zstd_never_makes_more_than_a_block_at_once(monkeypatch):
    made = []
    inflater = inflating._Unzstd()
    data = zstandard.ZstdCompressor().compress(bytes(50_000_000))
    while not inflater.eof:
        made.append(len(inflater.decompress(data, 1 << 30)))
        data = b""
    assert 50_000_000 == sum(made)
    assert max(made) <= 128 * 1024


def bomb_of_zstd(block):
    """A gigabyte of a block of a megabyte again and again, packed without ever being held."""
    packer = zstandard.ZstdCompressor().compressobj()
    return b"".join(packer.compress(block) for _ in range(1024)) + packer.flush()


@pytest.fixture
def small_limits(monkeypatch):
    """Megabytes in the place of gigabytes: the content is as it would be, a thousandth as large."""
    monkeypatch.setattr(streams, "_MAX_LOOK_BYTES", 8 << 20)


def damage_of(world):
    return [one.detail for one in world.skipped if one.reason == "unreadable"]


@pytest.mark.parametrize("once", [False, True])
async def test_lines_that_unfold_to_more_than_any_log_are_read_to_a_limit_and_the_rest_is_said(
    world, small_limits, once
):
    bomb = bomb_of_zstd((b"x" * 1023 + b"\n") * 1024)
    w = await world(once=once)
    w.append("a.log.1.zst", bomb)
    for _ in range(60):
        await w.step(QUIET)
    assert (8 << 20) <= len(w.read) * 1024 <= 1001 * len(bomb) + (1 << 20) < 256 << 20
    assert {b"x" * 1023} == set(w.read)
    assert ["damaged: it unfolds to more than 1,000 times its size, as no log does"] == damage_of(w)
    assert 0 == w.progress().unread_bytes


@pytest.mark.parametrize("once", [False, True])
async def test_a_line_without_end_in_a_compressed_file_is_looked_through_once_and_no_further(world, small_limits, once):
    w = await world(once=once)
    w.append("a.log.1.gz", gzip.compress(b"first\n" + os.urandom(3000).hex().encode() * 8000))
    for _ in range(5):
        await w.step(QUIET)
    assert b"first" == w.read[0]
    assert ["damaged: a line of more than 8,388,608 bytes"] == damage_of(w)
    assert 0 == w.progress().unread_bytes
    # The line itself is cut as any that is too long, and its rest counted.
    assert 2 == len(w.read)
    assert (8 << 20) == sum(chunk.lost_bytes for chunk in w.chunks) + len(w.read[1])


def all_of(path, data):
    """What is read of a file that holds this, and why no more; in steps, as lines are."""
    path.write_bytes(data)
    descriptor = os.open(path, os.O_RDONLY)
    stream = CompressedStream(descriptor, codec_of(data))
    parts = [b""]
    while part := stream.pread(20_000, sum(map(len, parts))):
        parts.append(part)
    os.close(descriptor)
    return b"".join(parts), stream.damage


def test_a_block_of_bzip2_that_is_damaged_gives_nothing_and_those_before_it_all_they_hold(tmp_path):
    text = lines(0, 20_000)
    data = bz2.compress(text, 1)  # blocks of 100,000 bytes
    blocks = len(text) // 99_000
    assert blocks > 3
    for at in range(len(data) // 2, len(data) - 20, len(data) // 40):
        damaged = bytearray(data)
        damaged[at] ^= 1
        read, damage = all_of(tmp_path / "x", bytes(damaged))
        assert damage, at
        assert text.startswith(read), at
        assert len(read) >= (at * blocks // len(data) - 1) * 99_000, at


@pytest.mark.parametrize("text", [bytes(12_000_000), b"-" * 12_000_000 + b"\n", lines(0, 1000) * 40])
def test_a_block_of_bzip2_that_unfolds_to_more_than_is_held_back_is_read_all_the_same(tmp_path, text):
    assert (text, "") == all_of(tmp_path / "x", bz2.compress(text))


def test_nuls_without_end_are_no_content(tmp_path, small_limits):
    path = tmp_path / "x"
    path.write_bytes(bomb_of_zstd(bytes(1 << 20)))
    descriptor = os.open(path, os.O_RDONLY)
    stream = CompressedStream(descriptor, "zstd")
    assert stream.text_start(0) is None
    assert "unfolds" in stream.damage
    os.close(descriptor)


@pytest.mark.parametrize("packed", ["gz", "zst"])
def test_a_day_of_almost_equal_lines_is_no_bomb(tmp_path, packed, small_limits):
    text = b"".join(b"2026-11-22T10:%02d:%02d.%03dZ web1 app[7]: ping\n" % (n // 60000 % 60, n // 1000 % 60, n % 1000)
                    for n in range(400_000))  # fmt: skip
    path = tmp_path / "x"
    path.write_bytes(PACKERS[packed](text))
    descriptor = os.open(path, os.O_RDONLY)
    stream = CompressedStream(descriptor, codec_of(path.read_bytes()))
    assert text == stream.pread(len(text) + 1, 0)
    assert "" == stream.damage
    os.close(descriptor)


def begun(tmp_path, name, data):
    """A stream of which the first bytes were read."""
    (tmp_path / name).write_bytes(data)
    descriptor = os.open(tmp_path / name, os.O_RDONLY)
    stream = CompressedStream(descriptor, codec_of(data[:6]))
    stream.pread(10, 0)
    os.close(descriptor)
    return stream


def long_zstd(text, window_log):
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=window_log)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    return packer.compress(text) + packer.flush()


def test_a_stream_tells_what_it_holds_of_what_it_unpacked_by_its_header(tmp_path):
    text = lines(0, 2000)
    told = {
        name: begun(tmp_path, name, data).held_bytes / MEBIBYTE
        for name, data in {
            "gz": gzip.compress(text),
            "bz2": bz2.compress(text),
            **{f"xz -{preset}": lzma.compress(text, preset=preset) for preset in (0, 6, 9)},
            "zst": long_zstd(text, 21),
            "zst --long": long_zstd(text, 27),
        }.items()
    }
    assert {"gz": 1 / 32, "bz2": 6, "xz -0": 0.25, "xz -6": 8, "xz -9": 64, "zst": 2, "zst --long": 128} == told


def test_a_block_of_xz_that_needs_more_than_the_first_has_said_is_damage(tmp_path):
    text = lines(0, 2000)
    small, large = (lzma.compress(text, preset=preset, check=lzma.CHECK_NONE) for preset in (0, 9))
    index_bytes = int.from_bytes(small[-8:-4], "little") * 4 + 4
    for name, second, is_read in (("as the first", small, True), ("larger", large, False)):
        blocks = small[: -12 - index_bytes] + second[12:]
        (tmp_path / name).write_bytes(blocks)
        descriptor = os.open(tmp_path / name, os.O_RDONLY)
        stream = CompressedStream(descriptor, "xz")
        assert text[:10] == stream.pread(10, 0)
        assert is_read is (text[10:] + text[:10] == stream.pread(len(text), 10))
        os.close(descriptor)
        assert is_read is not ("Memory usage limit exceeded" in stream.damage)


async def test_many_compressed_files_are_read_in_turns_with_few_of_them_in_memory(world, monkeypatch):
    monkeypatch.setattr(tracking, "_MOST_HELD_BYTES", 5 * MEBIBYTE)
    held = []
    forward = CompressedStream._forward
    w = await world()

    def watched(stream, size):
        data = forward(stream, size)
        held.append(sum(one.held_bytes for _, one in w.source._descriptors._open.values()))
        return data

    monkeypatch.setattr(CompressedStream, "_forward", watched)
    for number in range(6):
        w.append(f"{number}.log.zst", long_zstd(lines(number * 120_000, 120_000), 21))
    for _ in range(20):
        await w.step(QUIET)
    assert [*range(720_000)] == sorted(numbers(w.read))
    assert 4 * MEBIBYTE < max(held) <= 8 * MEBIBYTE
