"""What `ports.Sink` promises, by behaviour, on every sink that there is."""

from __future__ import annotations

import gzip
import hashlib
from contextlib import aclosing

import pytest
import zstandard

from enricher.core.ledger import Part
from enricher.edges.sink_file import FileSink
from enricher.errors import StoreError

WINDOW = "2026-11-22T10Z"
UNPACK = {
    "none": bytes,
    "gzip": gzip.decompress,
    "zstd": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
}


class FileReader:
    """A file sink, and how to see what it holds."""

    def __init__(self, directory, compress):
        self.sink = FileSink("files", directory, compress=compress, retention_days=0, min_severity="info")
        self._directory = directory / WINDOW
        self._unpack = UNPACK[compress]

    def raw(self) -> dict[int, bytes]:
        found = {}
        for path in sorted(self._directory.glob("events-*")):
            found[int(path.name[7:10])] = path.read_bytes()
        return found

    def parts(self) -> dict[int, bytes]:
        return {number: self._unpack(data) for number, data in self.raw().items()}

    def manifest(self) -> bytes:
        return (self._directory / "manifest.json").read_bytes()

    def digest(self) -> tuple[bytes, str]:
        return (self._directory / "digest.json").read_bytes(), (self._directory / "digest.md").read_text()


@pytest.fixture(params=["none", "gzip", "zstd"])
def reader(request, tmp_path):
    return FileReader(tmp_path / "out", request.param)


def a_part(number: int = 0) -> Part:
    return Part(start=1_795_341_600, number=number, pane=0, round_number=0, first=0, events=2)


async def batches(*pieces: bytes, fail: Exception | None = None):
    for piece in pieces:
        yield iter(piece.splitlines(keepends=True))
    if fail is not None:
        raise fail


async def deliver(reader, number, *pieces, fail=None):
    async with aclosing(batches(*pieces, fail=fail)) as stream:
        return await reader.sink.deliver(WINDOW, a_part(number), stream)


async def test_a_part_is_taken_whole_and_its_hash_is_of_what_lies_there(reader):
    taken = await deliver(reader, 0, b"one\n", b"two\nthree\n")
    assert reader.parts() == {0: b"one\ntwo\nthree\n"}
    (raw,) = reader.raw().values()
    assert (taken.sha256, taken.size_bytes) == (hashlib.sha256(raw).hexdigest(), len(raw))


async def test_the_same_part_again_replaces_it_and_is_the_same_bytes(reader):
    first = await deliver(reader, 1, b"one\n")
    assert await deliver(reader, 1, b"one\n") == first
    other = await deliver(reader, 1, b"other\n")
    assert reader.parts() == {1: b"other\n"}
    assert other != first


async def test_a_part_that_breaks_off_leaves_nothing_and_not_less_than_before(reader):
    await deliver(reader, 0, b"whole\n")
    for number in (0, 1):
        with pytest.raises(StoreError):
            await deliver(reader, number, b"half\n", fail=StoreError("gone"))
    assert reader.parts() == {0: b"whole\n"}


async def test_a_part_without_events_is_taken_too(reader):
    await deliver(reader, 0)
    assert reader.parts() == {0: b""}


async def test_parts_stand_side_by_side(reader):
    await deliver(reader, 0, b"zero\n")
    await deliver(reader, 1000, b"thousand\n")
    assert len(reader.raw()) == 2


async def test_a_digest_replaces_the_one_before(reader):
    await reader.sink.digest(WINDOW, b'{"events": 1}\n', "one")
    await reader.sink.digest(WINDOW, b"{}\n", "größer")
    assert (b"{}\n", "größer") == reader.digest()


async def test_a_manifest_replaces_the_one_before(reader):
    await reader.sink.manifest(WINDOW, b'{"final": false}\n')
    await reader.sink.manifest(WINDOW, b"{}\n")
    assert reader.manifest() == b"{}\n"


async def test_a_sink_that_can_be_used_passes_its_check_and_closes(reader):
    await reader.sink.check()
    await reader.sink.close()
    assert (reader.sink.id, reader.sink.min_severity) == ("files", "info")
