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
    live = [file for file in files if file.present]
    degraded = [file for file in live if file.degraded_since is not None]
    left_out = {file for file in degraded if now - (file.degraded_since or 0.0) >= _LEFT_OUT_SECONDS}
    counted = [file for file in live if file not in left_out]
    counted += [file for file in files if not file.present and file.row.partial]
    unread = [file.unread_since for file in live if file.unread_since is not None]
    times = [scanned_at if not strangers else None, *(file.through for file in counted)]
    if strangers.since is not None:
        unread.append(strangers.since)
    return SourceProgress(
        files=followed + len(strangers),
        degraded=len(degraded) + len(unreadable),
        unread_bytes=strangers.unread_bytes + sum(file.unread for file in live),
        deleted_bytes=sum(file.size for file in live if file.deleted),
        oldest_unread_at=min(unread, default=None),
        read_through=None if None in times else min(t for t in times if t is not None),
        left_out=tuple(sorted({file.path for file in left_out} | unreadable)),
        exhausted=exhausted and scanned_at is not None,
    )
