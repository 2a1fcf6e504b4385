"""Which reader reads which format.

Never here: how it does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from enricher.edges.record_inputs.documents.document import Document, checked, decoded

if TYPE_CHECKING:
    from enricher.edges.record_inputs.documents.document import Format


def is_simple(kind: Format) -> bool:
    """Whether reading it is decoding it, which no content makes long or large."""
    return kind in ("txt", "md")


def read_document(kind: Format, data: bytes, encoding: str) -> Document:
    """The document that some bytes are. DocumentError; ModuleNotFoundError where a library is missing."""
    match kind:
        case "txt":
            document = Document(text=decoded(data, encoding))
        case "md":
            text = decoded(data, encoding)
            document = Document(text=text, title=_heading(text))
        case "html":
            from enricher.edges.record_inputs.documents.html import read_html

            document = read_html(data, encoding)
        case "eml":
            from enricher.edges.record_inputs.documents.mail import read_mail

            document = read_mail(data, encoding)
        case "docx":
            from enricher.edges.record_inputs.documents.docx import read_docx

            document = read_docx(data)
        case "pdf":
            from enricher.edges.record_inputs.documents.pdf import read_pdf

            document = read_pdf(data)
        case _:
            assert_never(kind)
    return checked(document)


def _heading(text: str) -> str | None:
    """The first heading of the first level."""
    line = next((line for line in text.splitlines() if line.startswith("# ")), "")
    return line[2:].strip() or None
