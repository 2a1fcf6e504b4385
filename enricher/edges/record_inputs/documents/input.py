"""`RecordInput` over documents: a row for each, found again by its path below the directory.

Invariants: a document that cannot be read is a fault and costs no other; the order is that of the paths. Text is not
written again, since the files keep it. Must never: read a file that is larger than a bound.
"""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from enricher.edges.record_inputs.documents.asking import Asking
from enricher.edges.record_inputs.documents.document import MAX_FILE_BYTES, Document, DocumentError
from enricher.edges.record_inputs.documents.formats import is_simple, read_document
from enricher.edges.record_inputs.documents.tree import Tree
from enricher.edges.record_inputs.encodings import checked_encoding
from enricher.edges.record_inputs.fingerprints import fingerprint_of
from enricher.errors import InputError, UsageError
from enricher.ports.records import MAX_BATCH_BYTES, MAX_BATCH_ROWS, Rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from enricher.edges.record_inputs.documents.tree import Found

_COLUMNS: Final = ("id", "text", "title", "format")
_MAIL_COLUMNS: Final = ("subject", "from", "date")
# Some documents take a second each: whoever waits for rows sees some.
_BATCH_SECONDS: Final = 1.0


class DocumentsInput:
    """Documents of a directory, of a pattern, or a single one. Looks at their names at once. InputError, UsageError."""

    key_column = "id"
    text_column: str | None = "text"

    def __init__(self, spec: str, *, key: str | None = None, encoding: str = "utf-8") -> None:
        if key not in (None, self.key_column):
            raise UsageError(f"documents have no key {key}", hint="their key is their path, in the column id")
        self.name = spec
        self._encoding = checked_encoding(encoding)
        self._tree = Tree(spec)
        self._asking = Asking()
        self._is_closed = False
        kinds = {found.kind for found in self._tree.walk()}
        self.skipped: Mapping[str, int] = dict(self._tree.skipped)
        if not kinds:
            raise self._nothing_found()
        self._columns = _COLUMNS + (_MAIL_COLUMNS if "eml" in kinds else ())

    def _nothing_found(self) -> InputError:
        passed = ", ".join(f"{suffix} {count}" for suffix, count in sorted(self.skipped.items()))
        return InputError(
            f"{self.name} has no documents" + (f"; passed over: {passed}" if passed else ""),
            hint="txt, md, html, pdf, docx and eml are read; several tables are read as one: cat *.jsonl | … -",
        )

    def columns(self) -> Sequence[str]:
        """Those of every document, and those of e-mails where there are some."""
        return self._columns

    def fingerprint(self) -> str:
        """Of all of them."""
        return fingerprint_of((Path(found.path) for found in self._tree.walk()), self.name)

    def rows(self) -> Iterator[Rows]:
        """A row for each document."""
        batch = _Batch()
        for found in self._tree.walk():
            if self._is_closed:
                raise InputError(f"{self.name} was closed before its end")  # which must not be taken for its end
            try:
                document = self._read(found)
            except DocumentError as error:
                row = {"id": found.key, "format": found.kind, "text": ""} if error.status == "empty" else {}
                batch.add(found.key, row, (error.status, f"{found.key}: {error.reason}"))
            else:
                batch.add(found.key, self._row(found, document))
            if batch.is_full():
                yield batch.rows()
                batch = _Batch()
        if batch.keys:
            yield batch.rows()

    def _read(self, found: Found) -> Document:
        data = _content(found.path)
        if is_simple(found.kind):
            return read_document(found.kind, data, self._encoding)
        return self._asking.read(found.kind, data, self._encoding)

    def _row(self, found: Found, document: Document) -> dict[str, object]:
        row: dict[str, object] = {
            "id": found.key,
            "text": document.text,
            "title": document.title,
            "format": found.kind,
        }
        if len(self._columns) > len(_COLUMNS):
            row |= {"subject": document.subject, "from": document.sender, "date": document.date}
        return row

    def close(self) -> None:
        """End the process that reads documents."""
        self._is_closed = True
        self._asking.close()


class _Batch:
    """Rows that become one batch."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self._values: list[Mapping[str, object]] = []
        self._faults: dict[int, tuple[str, str]] = {}
        self._bytes = 0
        self._begun = time.monotonic()

    def add(self, key: str, row: Mapping[str, object], fault: tuple[str, str] | None = None) -> None:
        if fault is not None:
            self._faults[len(self.keys)] = fault
        self.keys.append(key)
        self._values.append(row)
        self._bytes += len(str(row.get("text", "")))

    def is_full(self) -> bool:
        is_large = len(self.keys) >= MAX_BATCH_ROWS or self._bytes >= MAX_BATCH_BYTES
        return is_large or time.monotonic() - self._begun >= _BATCH_SECONDS

    def rows(self) -> Rows:
        return Rows(keys=self.keys, values=self._values, faults=self._faults)


def _content(path: str) -> bytes:
    """All of a file. DocumentError where it is too large or cannot be read."""
    try:
        # Without waiting for the writer of a pipe that took its place meanwhile.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            state = os.fstat(descriptor)
            if not stat.S_ISREG(state.st_mode):
                raise DocumentError("it is no file any more")
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise DocumentError(f"it cannot be read: {error.strerror}") from error
    if len(data) > MAX_FILE_BYTES:
        raise DocumentError(f"its file of {state.st_size >> 20} MiB is larger than {MAX_FILE_BYTES >> 20} MiB")
    return data
