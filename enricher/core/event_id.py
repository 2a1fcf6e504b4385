"""The id of an event: the upsert key of every sink, the same from a live file, its copy, and its compressed twin.

36 hex digits: 16 of the file's identity, which hashes host, path, first line and generation; 12 of the event's first
byte in the decompressed stream; 8 of the CRC-32 of its bytes (RFC 1952, 8). File and place are what make it unique; the
checksum tells an event from another that stood in its place, where a lost state directory hides that a file began anew.
So ids of one file sort as its events do, and an id costs a third of what a digest of the event does.

Invariant: a pure function of who the file is, where the event starts, and its bytes; it knows neither the path that the
file has now nor when it was read. Must never: count anything.
"""

from __future__ import annotations

from binascii import hexlify
from typing import TYPE_CHECKING, Final
from zlib import crc32

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

_PLACE: Final = 6
_SUM: Final = 4
"""Bytes of the two parts behind the identity."""


def event_id(identity: str, offset: int, event: bytes) -> str:
    """The id, from `FileState.identity`, the event's first byte, and its bytes without the last newline."""
    return f"{identity}{offset:0{2 * _PLACE}x}{crc32(event):0{2 * _SUM}x}"


def id_ends(offsets: npt.NDArray[np.intp], events: Sequence[bytes]) -> npt.NDArray[np.uint8]:
    """What `event_id` gives behind the identity, for many events of a file at once: a row of digits for each."""
    numbers = np.empty((len(events), 3), dtype=">u4")
    numbers[:, 0] = offsets >> 32
    numbers[:, 1] = offsets & 0xFFFFFFFF
    numbers[:, 2] = np.fromiter(map(crc32, events), dtype=np.uint32, count=len(events))
    digits = np.frombuffer(hexlify(numbers.data), dtype=np.uint8).reshape(len(events), -1)
    return digits[:, -2 * (_PLACE + _SUM) :]
