"""The answers of one running batch: an output log and an error log, appended to and never rewritten.

A line counts once it is durable, and a line that counts is never asked again: whoever puts one waits for the disk, many
together in one fsync. A line cut off by a crash is removed when the log is opened, so its request is asked once more.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from enricher.batchserver.disk import sync_directory
from enricher.batchserver.shapes import RequestCounts, Usage, to_error_body, to_id, to_json

if TYPE_CHECKING:
    from pathlib import Path

    from enricher.batchserver.disk import DiskThreads

# How long to wait before a full or broken disk is tried again.
DISK_RETRY_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerLine:
    """One line of an output or error file, ready to be written."""

    custom_id: str
    content: bytes
    is_output: bool
    is_answered: bool
    usage: Usage


def to_answer_line(batch_id: str, custom_id: str, status: int, body: dict[str, Any]) -> AnswerLine:
    """Write down what a backend answered: 200 goes to the output file, all else to the error file."""
    response = {"status_code": status, "request_id": to_id("req_", batch_id, custom_id), "body": body}
    return _line(batch_id, custom_id, response=response, error=None, is_output=status == 200)


def to_unasked_line(batch_id: str, custom_id: str, code: str, message: str) -> AnswerLine:
    """Write down that a request was never carried out."""
    return _line(batch_id, custom_id, response=None, error={"code": code, "message": message}, is_output=False)


def _line(
    batch_id: str, custom_id: str, *, response: dict[str, Any] | None, error: dict[str, Any] | None, is_output: bool
) -> AnswerLine:
    wire = {
        "id": to_id("batch_req_", batch_id, custom_id),
        "custom_id": custom_id,
        "response": response,
        "error": error,
    }
    try:
        content = to_json(wire)
    except UnicodeEncodeError:
        # Half a surrogate pair in an upstream's text cannot be written down as UTF-8.
        body = to_error_body("The upstream's answer is not valid Unicode.", status=502, code="bad_upstream_answer")
        return to_answer_line(batch_id, custom_id, 502, body)
    return AnswerLine(
        custom_id=custom_id,
        content=content + b"\n",
        is_output=is_output,
        is_answered=response is not None,
        usage=Usage.from_body(response.get("body")) if response else Usage(),
    )


class AnswerLog:
    """Both logs of one batch. `open` first, `close` last, all from one event loop."""

    def __init__(self, output: Path, errors: Path, disk: DiskThreads) -> None:
        self._disk = disk
        self._paths = {True: output, False: errors}
        self._sizes = {True: 0, False: 0}
        self._pending: list[AnswerLine] = []
        self._accepted = self._durable = 0
        self._committing: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()
        self.seen: set[str] = set()
        self.completed = self.failed = self.answered = 0
        self.usage = Usage()
        self.trouble: str | None = None

    async def open(self) -> None:
        """Read what is there, and cut off a line that is not whole. Raises `OSError`."""
        await self._disk.run(self._recover)

    def _recover(self) -> None:
        for is_output, path in self._paths.items():
            path.touch(mode=0o600)
            with path.open("r+b") as stream:
                for raw in stream:
                    line = _read_line(raw, is_output=is_output)
                    if line is None:
                        break
                    self._sizes[is_output] += len(raw)
                    self._count(line)
                stream.truncate(self._sizes[is_output])
        sync_directory(self._paths[True].parent)

    def _count(self, line: AnswerLine) -> None:
        self.seen.add(line.custom_id)
        self.answered += line.is_answered
        self.completed += line.is_output
        self.failed += not line.is_output
        self.usage += line.usage

    def counts(self, total: int) -> RequestCounts:
        """Return the counts of the batch so far."""
        return RequestCounts(total=total, completed=self.completed, failed=self.failed)

    async def put(self, *lines: AnswerLine) -> None:
        """Append lines and return when they are durable. A disk error is tried again until `close`, then raised."""
        self._pending += lines
        self._accepted += len(lines)
        number = self._accepted
        while self._durable < number:
            if self._committing is None or self._committing.done():
                self._committing = asyncio.create_task(self._commit())
            # Shielded: a batch that ends must not take the lines of others, or a half-done write, with it.
            await asyncio.shield(self._committing)

    async def _commit(self) -> None:
        group, self._pending = self._pending, []
        while True:
            try:
                await self._disk.run(self._write, group)
            except OSError as error:
                self.trouble = to_trouble(error)
                if self._closing.is_set():
                    raise
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(DISK_RETRY_SECONDS):
                        await self._closing.wait()
            else:
                break
        self.trouble = None
        for line in group:
            self._sizes[line.is_output] += len(line.content)
            self._count(line)
        self._durable += len(group)

    def _write(self, group: list[AnswerLine]) -> None:
        for is_output, path in self._paths.items():
            content = b"".join(line.content for line in group if line.is_output == is_output)
            if not content:
                continue
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            with os.fdopen(handle, "wb") as stream:
                stream.truncate(self._sizes[is_output])
                stream.seek(self._sizes[is_output])
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())

    async def close(self) -> None:
        """Write what was put; what the disk refuses now is asked again after a restart."""
        self._closing.set()
        if self._committing is not None:
            await asyncio.wait({self._committing})
        if self._pending:
            with contextlib.suppress(OSError):
                await self._commit()


def to_trouble(error: OSError) -> str:
    """Say in one line what the disk refused."""
    return f"{error.filename or 'state directory'}: {error.strerror or error}"


def _read_line(raw: bytes, *, is_output: bool) -> AnswerLine | None:
    if not raw.endswith(b"\n"):
        return None
    try:
        wire = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    response = wire["response"]
    return AnswerLine(
        custom_id=wire["custom_id"],
        content=raw,
        is_output=is_output,
        is_answered=response is not None,
        usage=Usage.from_body(response["body"]) if response else Usage(),
    )
