"""What changes when files may have: their paths, devices, inodes, sizes and times in nanoseconds.

Never here: what they hold.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from enricher.edges.record_inputs.refusals import cannot_read

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def fingerprint_of(paths: Iterable[Path], name: str) -> str:
    """Of some files in this order. InputError where one cannot be looked at."""
    digest = hashlib.sha256()
    try:
        for path in paths:
            state = path.stat()
            mark = (str(path), state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns)
            digest.update(repr(mark).encode("utf-8", "surrogateescape"))
    except OSError as error:
        raise cannot_read(name, error) from error
    return digest.hexdigest()
