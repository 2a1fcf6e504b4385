"""Documents that tests make: PDF, DOCX and e-mails, well made and not."""

from __future__ import annotations

import io
import zipfile
from email.message import EmailMessage

WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
COMPATIBLE = "http://schemas.openxmlformats.org/markup-compatibility/2006"


def pdf(*pages, title="", extra=b""):
    """A page for each text; None is a page without one. `extra` goes into every page's object."""
    objects = [b"<</Type/Catalog/Pages 2 0 R>>", b""]
    kids = []
    for text in pages:
        escaped = (text or "").replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)").encode("latin-1")
        stream = b"BT /F1 12 Tf 72 700 Td (%s) Tj ET" % escaped if text is not None else b"0 0 100 100 re f"
        objects.append(b"<</Length %d>>stream\n%s\nendstream" % (len(stream), stream))
        objects.append(
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents %d 0 R"
            b"/Resources<</Font<</F1<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>>>>>%s>>" % (len(objects), extra)
        )
        kids.append(b"%d 0 R" % len(objects))
    objects[1] = b"<</Type/Pages/Kids[%s]/Count %d>>" % (b" ".join(kids), len(kids))
    objects.append(b"<</Title(%s)>>" % title.encode("latin-1"))
    return assembled(objects)


def assembled(objects, trailer=b""):
    out = io.BytesIO()
    out.write(b"%PDF-1.4\n")
    places = []
    for number, body in enumerate(objects, 1):
        places.append(out.tell())
        out.write(b"%d 0 obj%s endobj\n" % (number, body))
    start = out.tell()
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1))
    out.writelines(b"%010d 00000 n \n" % place for place in places)
    out.write(b"trailer<</Size %d/Root 1 0 R/Info %d 0 R%s>>\n" % (len(objects) + 1, len(objects), trailer))
    out.write(b"startxref\n%d\n%%%%EOF" % start)
    return out.getvalue()


def docx(body, *, title="", notes="", main="word/document.xml", head=""):
    """`body` is what stands in `w:body`."""
    out = io.BytesIO()
    spaces = f'xmlns:w="{WORD}" xmlns:mc="{COMPATIBLE}"'
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "_rels/.rels",
            '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" '
            'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" '
            f'Target="{main}"/></Relationships>',
        )
        archive.writestr(main, f"{head}<w:document {spaces}><w:body>{body}</w:body></w:document>")
        if notes:
            archive.writestr(
                "word/footnotes.xml", f"<w:footnotes {spaces}><w:footnote>{notes}</w:footnote></w:footnotes>"
            )
        if title:
            archive.writestr(
                "docProps/core.xml",
                f'<p:coreProperties xmlns:p="p" xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>{title}</dc:title>'
                "</p:coreProperties>",
            )
    return out.getvalue()


def paragraph(text, properties=""):
    return f"<w:p><w:r>{properties and f'<w:rPr>{properties}</w:rPr>'}<w:t>{text}</w:t></w:r></w:p>"


def mail(text="", page="", subject="Hello", attachment=None):
    message = EmailMessage()
    message["Subject"] = subject
    message["From"] = "Ann <ann@example.org>"
    message["Date"] = "Mon, 30 Nov 2026 10:00:00 +0100"
    if text:
        message.set_content(text)
    if page:
        (message.add_alternative if text else message.set_content)(page, subtype="html")
    if attachment is not None:
        message.add_attachment(attachment, maintype="application", subtype="octet-stream", filename="a.bin")
    return message.as_bytes()
