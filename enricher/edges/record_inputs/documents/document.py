"""A document as a reader of its format gives it, and why it cannot be given.

Never here: how any format is read.
"""

from __future__ import annotations

import codecs
from typing import Final, Literal

import msgspec

from enricher.edges.record_inputs.encodings import marked_encoding

MAX_FILE_BYTES: Final = 64 << 20
MAX_TEXT_BYTES: Final = 16 << 20

Format = Literal["txt", "md", "html", "pdf", "docx", "eml"]
SUFFIXES: Final[dict[str, Format]] = {
    ".txt": "txt", ".text": "txt", ".md": "md", ".markdown": "md", ".html": "html", ".htm": "html", ".xhtml": "html",
    ".pdf": "pdf", ".docx": "docx", ".eml": "eml",
}  # fmt: skip


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """What a document says. `subject`, `sender` and `date` are those of an e-mail; None where it has none."""

    text: str
    title: str | None = None
    subject: str | None = None
    sender: str | None = None
    date: str | None = None


class DocumentError(Exception):
    """A document that cannot be read, or says nothing."""

    def __init__(self, reason: str, *, status: Literal["unreadable", "empty"] = "unreadable") -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


def decoded(data: bytes, encoding: str) -> str:
    """Bytes as text: by their mark, else in the encoding. DocumentError names the first byte that is not of it."""
    marked, length = marked_encoding(data)
    encoding = marked or encoding
    try:
        text = data[length:].decode(encoding)
    except UnicodeDecodeError as error:
        name = "UTF-8" if encoding == "utf-8" else encoding
        where = length + error.start
        raise DocumentError(f"it is not {name}: byte 0x{data[where]:02x} at byte {where + 1}") from error
    if "\0" in text:
        raise DocumentError(
            f"it holds a NUL at character {text.index(chr(0)) + 1}: it is no text, or in UTF-16 unmarked"
        )
    return text


def checked(document: Document) -> Document:
    """A document that may be asked about. DocumentError for one that is too long or empty."""
    try:
        size = len(document.text.encode())
    except UnicodeEncodeError:
        # Halves of characters, which some writers of PDF leave behind; nothing can be sent that has them.
        text = document.text.encode("utf-8", "replace").decode()
        return checked(msgspec.structs.replace(document, text=text))
    if size > MAX_TEXT_BYTES:
        raise DocumentError(f"its text is longer than {MAX_TEXT_BYTES >> 20} MiB")
    if not document.text.strip():
        raise DocumentError("it has no text", status="empty")
    return document


def python_encoding(declared: str) -> str:
    """What a page or a mail means by a name: the Web's Latin-1 is Windows'. DocumentError for one that is not known."""
    try:
        name = codecs.lookup(declared).name
        "".encode(name)
    except (LookupError, ValueError) as error:
        raise DocumentError(f"it declares an encoding that is not known: {declared}") from error
    return "cp1252" if name == "iso8859-1" else name
