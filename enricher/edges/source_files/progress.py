"""How far a source is, out of what is known of each of its files.

Invariant: a file is never said to be read through while anything of it is held back. Must never: look at the disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from enricher.ports import SourceProgress

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet

    from enricher.edges.source_files.strangers import Strangers
    from enricher.edges.source_files.tracking import Tracked

_LEFT_OUT_SECONDS: Final = 15 * 60.0

NO_PROGRESS: Final = SourceProgress(
    files=0,
    degraded=0,
    unread_bytes=0,
    deleted_bytes=0,
    oldest_unread_at=None,
    read_through=None,
    left_out=(),
    exhausted=False,
)


def measure(
    files: Sequence[Tracked],
    *,
    followed: int,
    strangers: Strangers,
    unreadable: AbstractSet[bytes],
    scanned_at: float | None,
    exhausted: bool,
    now: float,
) -> SourceProgress:
    """Sum up the files that are not settled; of `followed` in all, the others were read through at `scanned_at`.

    As long as `strangers` wait nothing is read through. `unreadable` are the paths that could not be read, of which
    nothing is known.
    """
    unread_bytes, deleted_bytes, degraded = strangers.unread_bytes, 0, 0
    left_out: set[bytes] = set()
    unread = [] if strangers.since is None else [strangers.since]
    times = [scanned_at if not strangers else None]
    for file in files:
        if not file.present:
            if file.row.partial:
                times.append(file.through)
            continue
        unread_bytes += file.unread
        deleted_bytes += file.size if file.deleted else 0
        if file.unread_since is not None:
            unread.append(file.unread_since)
        if file.degraded_since is not None:
            degraded += 1
            if now - file.degraded_since >= _LEFT_OUT_SECONDS:
                left_out.add(file.path)
                continue
        times.append(file.through)
    return SourceProgress(
        files=followed + len(strangers),
        degraded=degraded + len(unreadable),
        unread_bytes=unread_bytes,
        deleted_bytes=deleted_bytes,
        oldest_unread_at=min(unread, default=None),
        read_through=None if None in times else min(t for t in times if t is not None),
        left_out=tuple(sorted(left_out | unreadable)),
        exhausted=exhausted and scanned_at is not None,
    )
