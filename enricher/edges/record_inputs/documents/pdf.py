"""The text of a PDF, page after page. One that holds images alone has none.

Must never: recognise characters in images.
"""

from __future__ import annotations

from typing import Any

import pypdfium2

from enricher.edges.record_inputs.documents.document import MAX_TEXT_BYTES, Document, DocumentError


def read_pdf(data: bytes) -> Document:
    """The document that some bytes are. DocumentError."""
    try:
        pdf = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower():
            raise DocumentError("it is encrypted: save it without a password") from error
        raise DocumentError(f"it is no whole PDF: {error}") from error
    try:
        count = len(pdf)
        text = _text(pdf, count)
        if not text.strip():
            pages = "its page holds" if count == 1 else f"its {count} pages hold"
            raise DocumentError(
                f"{pages} images and no text: recognise that first, with ocrmypdf for example", status="empty"
            )
        return Document(text=text, title=pdf.get_metadata_value("Title").strip() or None)
    finally:
        pdf.close()


def _text(pdf: Any, count: int) -> str:  # noqa: ANN401  # the library has no types
    parts: list[str] = []
    size = 0
    for number in range(count):
        try:
            page = pdf[number]
            text: str = page.get_textpage().get_text_range()
            page.close()  # with all that was made of it
        except pypdfium2.PdfiumError as error:
            raise DocumentError(f"its page {number + 1} cannot be read: {error}") from error
        # It writes the hyphen that a line was broken at as a character that is none.
        parts.append(text.replace("\ufffe", "").replace("\r\n", "\n").replace("\0", ""))
        size += len(text)
        if size > MAX_TEXT_BYTES:
            raise DocumentError(f"its text is longer than {MAX_TEXT_BYTES >> 20} MiB")
    return "\n\n".join(parts)
