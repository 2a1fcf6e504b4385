"""Chunks of rows as bytes: MessagePack, compressed. For worker threads, outside any transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
import zstandard

from enricher.core.records.ledger import Chunk, Index

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from enricher.core.records.ledger import ItemResult

_LEVEL: Final = 1


@dataclass(frozen=True, slots=True)
class EncodedChunk:
    """A chunk as it is kept."""

    number: int
    index: bytes
    data: bytes


def encode_index(index: Index) -> bytes:
    """Counts, items and sizes, one after the other."""
    head = len(index.counts).to_bytes(4, "little") + len(index.items).to_bytes(4, "little")
    return head + index.counts.tobytes() + index.items.tobytes() + index.sizes.tobytes()


def decode_index(data: bytes) -> Index:
    """What `encode_index` was given."""
    rows, items = int.from_bytes(data[:4], "little"), int.from_bytes(data[4:8], "little")
    at = 8 + 2 * rows
    return Index(
        counts=np.frombuffer(data, dtype=np.uint16, count=rows, offset=8),
        items=np.frombuffer(data, dtype=np.int64, count=items, offset=at),
        sizes=np.frombuffer(data, dtype=np.uint32, count=items, offset=at + 8 * items),
    )


@dataclass(frozen=True, slots=True)
class Bodies:
    """What was said of the items of a batch."""

    items: NDArray[np.int64]
    """Sorted."""
    places: NDArray[np.int64]
    """Beside `items`: which of the bodies is about it."""
    answered: NDArray[np.bool_]
    """Beside `items`: whether that is the answer, which is never replaced, and not why there is none."""
    bounds: list[int]
    """Where in `data` each body begins and, of the last one, ends."""
    data: bytes

    def find(self, wanted: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
        """Which of these items the batch asked about, and where `items` has those."""
        at = np.searchsorted(self.items, wanted)
        at[at == len(self.items)] = 0
        is_here = self.items[at] == wanted if len(self.items) else np.zeros(len(wanted), dtype=np.bool_)
        return is_here, at[is_here]

    def each(self, found: NDArray[np.intp]) -> list[bytes]:
        """What was said of each of some items, as `find` gives them."""
        data, bounds = self.data, self.bounds
        return [data[bounds[place] : bounds[place + 1]] for place in self.places[found].tolist()]


def encode_bodies(results: Sequence[ItemResult]) -> bytes:
    """Items, which of them are answered, ends and bodies, one after the other, compressed."""
    bodies = [one.body for one in results]
    ends = np.cumsum([len(body) for body in bodies], dtype=np.uint64) if bodies else np.empty(0, dtype=np.uint64)
    items = np.array([one.item for one in results], dtype=np.int64)
    answered = np.array([one.status == "ok" for one in results], dtype=np.bool_)
    head = (len(bodies).to_bytes(4, "little"), items.tobytes(), answered.tobytes())
    packed = b"".join((*head, ends.tobytes(), *bodies))
    return zstandard.ZstdCompressor(level=_LEVEL).compress(packed)


def unanswer(data: bytes, items: Sequence[int]) -> bytes:
    """Return bodies in which these items do not count as answered: another batch has the answer that stays."""
    packed = bytearray(zstandard.ZstdDecompressor().decompress(data))
    count = int.from_bytes(packed[:4], "little")
    own = np.frombuffer(packed, dtype=np.int64, count=count, offset=4)
    answered = np.frombuffer(packed, dtype=np.bool_, count=count, offset=4 + 8 * count)
    answered[np.isin(own, np.array(items, dtype=np.int64))] = False
    return zstandard.ZstdCompressor(level=_LEVEL).compress(packed)


def decode_bodies(data: bytes) -> Bodies:
    """What `encode_bodies` was given."""
    packed = zstandard.ZstdDecompressor().decompress(data)
    count = int.from_bytes(packed[:4], "little")
    at = 4
    items = np.frombuffer(packed, dtype=np.int64, count=count, offset=at)
    answered = np.frombuffer(packed, dtype=np.bool_, count=count, offset=at + 8 * count)
    at += 9 * count
    ends = np.frombuffer(packed, dtype=np.uint64, count=count, offset=at)
    # Of vectors it is megabytes: what was unpacked is kept as it is.
    first = at + 8 * count
    order = np.argsort(items)
    return Bodies(
        items=items[order],
        places=order,
        answered=answered[order],
        bounds=[first, *(ends + np.uint64(first)).tolist()],
        data=packed,
    )


def encode_chunk(chunk: Chunk) -> EncodedChunk:
    """A chunk as bytes."""
    faults = [[place, *fault] for place, fault in chunk.faults.items()]
    packed = msgspec.msgpack.encode([chunk.keys, chunk.values, faults])
    return EncodedChunk(
        number=chunk.number,
        index=encode_index(chunk.index),
        data=zstandard.ZstdCompressor(level=_LEVEL).compress(packed),
    )


def decode_chunk(encoded: EncodedChunk) -> Chunk:
    """What `encode_chunk` was given."""
    packed: Any = msgspec.msgpack.decode(zstandard.ZstdDecompressor().decompress(encoded.data))
    keys, values, faults = packed
    return Chunk(
        number=encoded.number,
        keys=keys,
        values=values,
        faults={place: (status, reason) for place, status, reason in faults},
        index=decode_index(encoded.index),
    )
