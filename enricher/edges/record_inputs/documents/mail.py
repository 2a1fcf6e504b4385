"""An e-mail: the text of its body, its subject, sender and date. Attachments are not read.

Must never: believe what it says of its own encoding.
"""

from __future__ import annotations

import email
import email.policy
from typing import TYPE_CHECKING

from enricher.edges.record_inputs.documents.document import Document, DocumentError, decoded, python_encoding

if TYPE_CHECKING:
    from email.message import EmailMessage, MIMEPart


def read_mail(data: bytes, encoding: str) -> Document:
    """The mail that some bytes are: its plain text, else its page."""
    message = email.message_from_bytes(data, policy=email.policy.default)
    body = message.get_body(("plain", "html"))
    if body is None:
        raise DocumentError("it has no text of its own, only attachments", status="empty")
    text = _content(body, encoding)
    if body.get_content_subtype() == "html":
        from enricher.edges.record_inputs.documents.html import from_html

        text = from_html(text).text
    subject = _header(message, "subject")
    return Document(
        text=text.replace("\r\n", "\n"),
        title=subject,
        subject=subject,
        sender=_header(message, "from"),
        date=_date(message),
    )


def _content(part: MIMEPart, encoding: str) -> str:
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)
    declared = part.get_content_charset()
    # Declared or by default, ASCII says nothing of the bytes beyond it.
    if declared in (None, "us-ascii", "ascii"):
        return decoded(payload, encoding)
    return decoded(payload, python_encoding(str(declared)))


def _header(message: EmailMessage, name: str) -> str | None:
    value = message[name]
    # Bytes that were no characters came as halves of some.
    return str(value).encode("utf-8", "replace").decode().strip() or None if value is not None else None


def _date(message: EmailMessage) -> str | None:
    moment = getattr(message["date"], "datetime", None)
    return moment.isoformat() if moment is not None else _header(message, "date")
