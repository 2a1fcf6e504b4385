"""A process that reads documents, asked from here: ended when it takes too long, begun again when it died.

Invariants: no document makes this process wait for longer than its limit, or grow by more than its text; what ends
the reader is told as the document's fault only when it does so twice. Must never: end a process but its own.
"""

from __future__ import annotations

import contextlib
import os
import select
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from enricher.edges.record_inputs.documents.document import Document, DocumentError, Format
from enricher.edges.record_inputs.refusals import needs_extra
from enricher.errors import InputError

if TYPE_CHECKING:
    from typing import IO

LENGTH: Final = 8
"""Bytes of the length before each message."""
MAX_SECONDS: Final = 60
MAX_MEMORY_BYTES: Final = 2 << 30
_STEP_BYTES: Final = 1 << 20
# -P: nothing of the working directory is imported.
_COMMAND: Final = (sys.executable, "-P", "-m", "enricher.edges.record_inputs.documents.child")
_ROOT: Final = Path(__file__).parents[4]


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A document to read."""

    kind: Format
    encoding: str
    data: bytes


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What was read, or why not."""

    document: Document | None = None
    status: Literal["unreadable", "empty"] = "unreadable"
    reason: str = ""
    missing: str = ""
    """The module that is not installed."""


class _EndedError(Exception):
    """The reader is no more."""


class Asking:
    """Documents read by a child."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None

    def read(self, kind: Format, data: bytes, encoding: str) -> Document:
        """The document that some bytes are. DocumentError; InputError where a library is missing."""
        message = msgspec.msgpack.encode(Request(kind=kind, encoding=encoding, data=data))
        try:
            answer = self._ask(message)
        except _EndedError:
            # Somebody else may have ended it: the kernel, short of memory.
            try:
                answer = self._ask(message)
            except _EndedError as error:
                raise DocumentError(f"its reader was ended twice: {error}") from error
        if answer.missing:
            raise needs_extra(f"a document of the format {kind}", "documents")
        if answer.document is None:
            raise DocumentError(answer.reason, status=answer.status)
        return answer.document

    def _ask(self, message: bytes) -> Answer:
        child = self._child or self._begun()
        self._child = child
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            with contextlib.suppress(BrokenPipeError):
                child.stdin.write(len(message).to_bytes(LENGTH) + message)
                child.stdin.flush()
            deadline = time.monotonic() + MAX_SECONDS
            length = int.from_bytes(_received(child.stdout, LENGTH, deadline))
            return msgspec.msgpack.decode(_received(child.stdout, length, deadline), type=Answer)
        except TimeoutError as error:
            self.close()
            raise DocumentError(f"it was not read within {MAX_SECONDS} s") from error
        except EOFError as error:
            code = child.wait()
            self.close()
            if code > 0:
                raise InputError(
                    "the reader of documents does not start", hint=f"see what it says: {shlex.join(_COMMAND)}"
                ) from error
            if code == -signal.SIGXCPU:
                raise DocumentError(f"it was not read within {MAX_SECONDS} s of CPU time") from error
            raise _EndedError(f"by signal {-code}" if code else "early") from error

    def _begun(self) -> subprocess.Popen[bytes]:
        # What this process imports enricher from, the child does.
        path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH", ""))))
        try:
            # In a session of its own: Ctrl-C is for the process that asks, which then ends this one.
            return subprocess.Popen(  # noqa: S603
                _COMMAND,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": path},
                start_new_session=True,
            )
        except OSError as error:
            raise InputError(f"the reader of documents cannot be started: {error.strerror}") from error

    def close(self) -> None:
        """End the child."""
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()


def _received(source: IO[bytes], size: int, deadline: float) -> bytes:
    """So many bytes. EOFError at the end of the pipe, TimeoutError at the deadline."""
    parts: list[bytes] = []
    poll = select.poll()
    poll.register(source, select.POLLIN)
    while size:
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise TimeoutError
        data = os.read(source.fileno(), min(size, _STEP_BYTES))
        if not data:
            raise EOFError
        parts.append(data)
        size -= len(data)
    return b"".join(parts)
