"""The id of an event: the upsert key of every sink, the same from a live file, its copy, and its compressed twin.

Invariant: a pure function of who the file is, where the event starts in the decompressed stream, and its bytes; it
knows neither the path that the file has now nor when it was read. Must never: count anything.
"""

from __future__ import annotations

from hashlib import blake2b


def event_id(identity: str, offset: int, event: bytes) -> str:
    """32 hex digits out of `FileState.identity`, the event's first byte, and its bytes without the last newline."""
    return blake2b(b"%b\x00%d\x00%b" % (identity.encode("ascii"), offset, event), digest_size=16).hexdigest()
