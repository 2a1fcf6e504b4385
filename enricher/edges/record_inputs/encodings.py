"""Encodings of text: the one that its first bytes mark, the one that somebody names.

Never here: guessing.
"""

from __future__ import annotations

import codecs
from typing import Final

from enricher.errors import UsageError

# The longer marks first: the one of UTF-32 begins as the one of UTF-16 does.
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
LONGEST_MARK: Final = 4


def marked_encoding(head: bytes) -> tuple[str, int]:
    """The encoding that a byte order mark tells, and how long that is; ("", 0) without one."""
    return next(((encoding, len(mark)) for mark, encoding in _MARKS if head.startswith(mark)), ("", 0))


def checked_encoding(encoding: str) -> str:
    """The encoding's own name. UsageError for one that is not known."""
    try:
        info = codecs.lookup(encoding)
        "".encode(info.name)
    except (LookupError, ValueError) as error:
        raise UsageError(
            f"no such encoding: {encoding}", hint="name one that Python knows, such as utf-8, cp1252 or utf-16"
        ) from error
    return "utf-8" if info.name in ("utf-8", "utf-8-sig", "ascii") else info.name
