"""A document of Word: its paragraphs, tables and notes as a reader sees them.

What is hidden, deleted or moved away is left out. Invariants: no part is held whole, and none is unpacked beyond a
bound; a document type, and with it any entity, is refused. Must never: fetch anything.
"""

from __future__ import annotations

import io
import posixpath
import zipfile
from typing import TYPE_CHECKING, Final
from xml.parsers import expat

from enricher.edges.record_inputs.documents.document import MAX_TEXT_BYTES, Document, DocumentError

if TYPE_CHECKING:
    from collections.abc import Callable

_MAX_XML_BYTES: Final = 256 << 20
_STEP_BYTES: Final = 1 << 16
_OLD_OFFICE: Final = b"\xd0\xcf\x11\xe0"
"""What an encrypted document is wrapped into, and what Word wrote before 2007."""
_WORD: Final = frozenset(
    ("http://schemas.openxmlformats.org/wordprocessingml/2006/main", "http://purl.oclc.org/ooxml/wordprocessingml/main")
)
_LEFT_OUT: Final = frozenset(("del", "moveFrom", "instrText", "delText"))
_OFF: Final = frozenset(("0", "false", "off"))


def read_docx(data: bytes) -> Document:
    """The document that some bytes are. DocumentError."""
    if data.startswith(_OLD_OFFICE):
        raise DocumentError("it is encrypted, or no .docx but a .doc: save it as .docx without a password")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _read(archive)
    except (zipfile.BadZipFile, expat.ExpatError, NotImplementedError, EOFError, KeyError) as error:
        raise DocumentError(f"it is no whole .docx: {error}") from error


def _read(archive: zipfile.ZipFile) -> Document:
    names = frozenset(archive.namelist())
    main = _main_part(archive, names)
    if main not in names:
        raise DocumentError("it is no .docx: it has no document in it")
    text = _Text()
    for name in (main, *(posixpath.join(posixpath.dirname(main), part) for part in ("footnotes.xml", "endnotes.xml"))):
        if name in names:
            _parse(archive, name, text.start, text.end, text.data)
    title = _Title()
    if "docProps/core.xml" in names:
        _parse(archive, "docProps/core.xml", title.start, title.end, title.data)
    return Document(text="".join(text.parts).strip(), title="".join(title.parts).strip() or None)


def _main_part(archive: zipfile.ZipFile, names: frozenset[str]) -> str:
    """Its name is the writer's choice."""
    found: list[str] = []

    def start(tag: str, attributes: dict[str, str]) -> None:
        if tag.endswith(" Relationship") and attributes.get("Type", "").endswith("/officeDocument"):
            found.append(attributes.get("Target", "").lstrip("/"))

    if "_rels/.rels" in names:
        _parse(archive, "_rels/.rels", start, lambda _: None, lambda _: None)
    return found[0] if found else "word/document.xml"


def _parse(
    archive: zipfile.ZipFile,
    name: str,
    start: Callable[[str, dict[str, str]], None],
    end: Callable[[str], None],
    data: Callable[[str], None],
) -> None:
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = data
    parser.StartDoctypeDeclHandler = _refuse_doctype
    parser.buffer_text = True
    size = 0
    with archive.open(name) as part:
        while block := part.read(_STEP_BYTES):
            size += len(block)
            if size > _MAX_XML_BYTES:
                raise DocumentError(f"it unpacks to more than {_MAX_XML_BYTES >> 20} MiB")
            parser.Parse(block, False)
        parser.Parse(b"", True)


def _refuse_doctype(*_: object) -> None:
    raise DocumentError("it declares a document type, which no .docx does")


class _Title:
    """The title among the properties of a document."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self._is_in = False

    def start(self, tag: str, _attributes: dict[str, str]) -> None:
        self._is_in = tag == "http://purl.org/dc/elements/1.1/ title"

    def end(self, _tag: str) -> None:
        self._is_in = False

    def data(self, text: str) -> None:
        if self._is_in:
            self.parts.append(text)


class _Text:
    """The text of a part, as its elements come."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self._run: list[str] = []
        self._size = 0
        self._left_out = 0
        """How deep in an element that is left out."""
        self._cells = 0
        self._is_run = self._is_text = self._is_hidden = False

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        space, _, name = tag.rpartition(" ")
        # Beside what it falls back to, the same text stands as it is meant.
        if self._left_out or name == "Fallback" or (space in _WORD and name in _LEFT_OUT):
            self._left_out += 1
        elif space in _WORD:
            self._begin(name, next((value for key, value in attributes.items() if key.endswith(" val")), ""))

    def _begin(self, name: str, value: str) -> None:
        match name:
            case "r":
                self._is_run, self._is_hidden = True, False
            case "vanish" if self._is_run:
                self._is_hidden = value not in _OFF
            case "t":
                self._is_text = True
            case "tab" | "ptab" if self._is_run:
                self._run.append("\t")
            case "br" | "cr" if self._is_run:
                self._run.append("\n")
            case "noBreakHyphen":
                self._run.append("-")
            case "tc":
                self._cells += 1
            case _:
                pass

    def data(self, text: str) -> None:
        if self._is_text and not self._left_out:
            self._run.append(text)

    def end(self, tag: str) -> None:
        space, _, name = tag.rpartition(" ")
        if self._left_out:
            self._left_out -= 1
        elif space in _WORD:
            self._finish(name)

    def _finish(self, name: str) -> None:
        match name:
            case "t":
                self._is_text = False
            case "r":
                self._is_run = False
                if not self._is_hidden:
                    self._add("".join(self._run))
                self._run.clear()
            case "p":
                self._add(" " if self._cells else "\n")
            case "tc":
                self._cells -= 1
                self._add("\t")
            case "tr":
                self._add("\n")
            case _:
                pass

    def _add(self, text: str) -> None:
        self._size += len(text)
        if self._size > MAX_TEXT_BYTES:
            raise DocumentError(f"its text is longer than {MAX_TEXT_BYTES >> 20} MiB")
        self.parts.append(text)
