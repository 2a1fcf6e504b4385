"""The process that reads documents which others made: what one does to its reader, it does here.

It takes a request at a time on standard input and answers on standard output, within limits of memory and of CPU time
that it sets itself, opens no file, and ends when its input does. Must never: be imported by who asks it.
"""

from __future__ import annotations

import resource
import sys
import time
from typing import TYPE_CHECKING

import msgspec

from enricher.edges.record_inputs.documents.asking import LENGTH, MAX_MEMORY_BYTES, MAX_SECONDS, Answer, Request
from enricher.edges.record_inputs.documents.document import DocumentError
from enricher.edges.record_inputs.documents.formats import read_document

if TYPE_CHECKING:
    from typing import BinaryIO


def main() -> None:
    """Answer until there is no request left."""
    _limit(resource.RLIMIT_AS, MAX_MEMORY_BYTES)
    _limit(resource.RLIMIT_CORE, 0)
    source, target = sys.stdin.buffer, sys.stdout.buffer
    while head := source.read(LENGTH):
        request = msgspec.msgpack.decode(source.read(int.from_bytes(head)), type=Request)
        _limit(resource.RLIMIT_CPU, int(time.process_time()) + MAX_SECONDS)
        _send(target, _answered(request))


def _answered(request: Request) -> Answer:
    try:
        return Answer(document=read_document(request.kind, request.data, request.encoding))
    except DocumentError as error:
        return Answer(status=error.status, reason=error.reason)
    except ModuleNotFoundError as error:
        return Answer(missing=error.name or "")
    except MemoryError:
        return Answer(reason=f"reading it takes more than {MAX_MEMORY_BYTES >> 30} GiB of memory")
    except Exception as error:  # noqa: BLE001  # whatever a hostile document makes of its library is the document's
        return Answer(reason=f"it is damaged: {type(error).__name__}: {error}")


def _send(target: BinaryIO, answer: Answer) -> None:
    data = msgspec.msgpack.encode(answer)
    target.write(len(data).to_bytes(LENGTH) + data)
    target.flush()


def _limit(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


if __name__ == "__main__":
    main()
