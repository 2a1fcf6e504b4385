"""Answers of a provider, bounded: what comes is counted as it is unpacked, so that a few bytes never fill the memory.

The HTTP client unpacks each piece whole as it comes, and a piece of 64 KiB in zstd may hold gigabytes. So only gzip is
asked for and taken, and it is unpacked here, a megabyte at a time. One that trickles is given up: the HTTP client waits
for each piece anew, and all other batches would wait with it. So is one of a million parts: each becomes an object, and
the loop stands still meanwhile. And what was sent to one host goes on to no other: neither what log lines say, nor
any question out of TLS. Must never: know what an answer means.
"""

from __future__ import annotations

import time
import zlib
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Final

import httpx2

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator

ACCEPT_ENCODING: Final = "gzip"
_PIECE_BYTES: Final = 1 << 20
_MAX_ANSWER_BYTES: Final = 32 << 20
"""Of an answer that is held in memory: a page of 100 batches with their errors is a few hundred kilobytes."""
_MAX_ANSWER_PARTS: Final = 50_000
"""Of JSON, which it is: such a page has some six thousand, and making objects of the most takes seconds."""
PATIENCE_SECONDS: Final = 60.0
LEAST_BYTES_PER_SECOND: Final = 1_000
"""What an answer brings on the average, once patience is over."""
_PART_STARTS: Final = (b",", b"[", b"{")
_FILES: Final = b"/content"
"""Ends the path of what is streamed to disk, whose reader counts."""
_IS_FILE: Final = "enricher.is_file"


class AnswerError(ValueError):
    """The answer is none that the API gives."""


def no_cookies() -> CookieJar:
    """A jar that takes none: the API has no use for them, and who sets new ones each time would fill the memory."""
    return CookieJar(policy=DefaultCookiePolicy(allowed_domains=()))


async def bound(response: httpx2.Response) -> None:
    """Have the body of an answer counted and unpacked as it is read: a hook of the client's, before anything is read.

    Reading raises AnswerError for what is too large, httpx2.DecodingError for what is not what it says.
    """
    if response.has_redirect_location:
        _check_redirect(response)
    # Never what the answer names: among Python's codecs are some that unpack, and some whose time grows as a square.
    response.encoding = "utf-8"
    coding = response.headers.get("content-encoding", "").strip().lower()
    if coding not in ("", "identity", "gzip"):
        raise AnswerError(f"an answer packed as {coding[:20]!r}, which was not asked for")
    response.headers.pop("content-encoding", None)
    assert isinstance(response.stream, httpx2.AsyncByteStream)
    # As it was sent: an id with a slash in it makes no other path of it. Known still where a file lies elsewhere.
    request = response.request
    is_file = request.extensions.setdefault(_IS_FILE, request.url.raw_path.endswith(_FILES))
    limit = None if is_file and response.is_success else _MAX_ANSWER_BYTES
    response.stream = _Bounded(response.stream, limit, is_packed=coding == "gzip")


def _check_redirect(response: httpx2.Response) -> None:
    """Raise AnswerError where the client would ask elsewhere what is for this host alone.

    Files may lie elsewhere, and are asked for without the key; the HTTP client keeps it back from other hosts.
    """
    asked = response.request.url
    try:
        there = asked.join(response.headers["location"])
    except httpx2.InvalidURL as error:
        raise AnswerError("sent on to what is no address") from error
    if there.scheme not in ("http", "https") or (asked.scheme, there.scheme) == ("https", "http"):
        raise AnswerError(f"sent on from {asked.scheme} to {there.scheme[:20]}")
    keeps_body = response.status_code in (307, 308) and response.request.method != "GET"
    if keeps_body and there.host != asked.host:
        raise AnswerError(f"sent on to another host, {there.host[:80]!r}, with what was asked")


class _Bounded(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream, limit: int | None, *, is_packed: bool) -> None:
        self._stream = stream
        self._limit = limit
        self._is_packed = is_packed

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = parts = 0
        came = _paced(self._stream)
        async for piece in _unpacked(came) if self._is_packed else came:
            if self._limit is not None:
                size += len(piece)
                parts += sum(map(piece.count, _PART_STARTS))
                if size > self._limit:
                    raise AnswerError(f"an answer of more than {self._limit:,} bytes")
                if parts > _MAX_ANSWER_PARTS:
                    raise AnswerError(f"an answer of more than {_MAX_ANSWER_PARTS:,} parts")
            yield piece

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _paced(stream: httpx2.AsyncByteStream) -> AsyncIterator[bytes]:
    began, size = time.monotonic(), 0
    async for piece in stream:
        size += len(piece)
        late = time.monotonic() - began - PATIENCE_SECONDS
        if late > 0 and size < late * LEAST_BYTES_PER_SECOND:
            raise httpx2.ReadTimeout(f"the answer trickles: {size:,} bytes in {late + PATIENCE_SECONDS:.0f} s")
        yield piece


async def _unpacked(stream: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    is_empty = True
    async for packed in stream:
        rest, is_empty = packed, is_empty and not packed
        while rest and not inflater.eof:
            try:
                piece = inflater.decompress(rest, _PIECE_BYTES)
            except zlib.error as error:
                raise httpx2.DecodingError(str(error)) from error
            rest = inflater.unconsumed_tail
            if piece:
                yield piece
    if last := inflater.flush():
        yield last
    if not inflater.eof and not is_empty:
        raise httpx2.DecodingError("the answer ends in the middle")
