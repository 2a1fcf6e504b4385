"""The text of a page as a reader sees it: no scripts, no styles, nothing that is hidden.

A block begins a line, a cell ends with a tab, an item begins with a dash. Must never: fetch anything, run anything.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from selectolax.lexbor import LexborHTMLParser

from enricher.edges.record_inputs.documents.document import Document, decoded, python_encoding

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

_LEFT_OUT: Final = frozenset(
    ("head", "script", "style", "noscript", "template", "svg", "math", "iframe", "object", "audio", "video", "canvas",
     "datalist", "-comment", "!doctype")
)  # fmt: skip
_BLOCKS: Final = frozenset(
    ("address", "article", "aside", "blockquote", "body", "dd", "details", "div", "dl", "dt", "fieldset", "figcaption",
     "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol",
     "p", "pre", "section", "summary", "table", "tbody", "tfoot", "thead", "tr", "ul", "caption", "option", "legend")
)  # fmt: skip
_APART: Final = frozenset(("p", "h1", "h2", "h3", "h4", "h5", "h6", "table", "ul", "ol", "dl", "pre", "blockquote"))
_HIDDEN: Final = re.compile(r"(?i)display\s*:\s*none|visibility\s*:\s*hidden")
_SPACE: Final = re.compile(r"[ \t\n\r\f]+")
_DECLARED: Final = re.compile(
    rb"""(?i)<(?:meta[^>]{0,200}?charset|\?xml[^>]{0,200}?encoding)\s*=\s*["']?\s*([\w:.-]{1,40})"""
)
_DECLARED_WITHIN_BYTES: Final = 1024


def read_html(data: bytes, encoding: str) -> Document:
    """The page that some bytes are, in the encoding of their mark, else as they declare, else as told."""
    return from_html(decoded(data, _declared(data) or encoding))


def _declared(data: bytes) -> str:
    found = _DECLARED.search(data[:_DECLARED_WITHIN_BYTES])
    return python_encoding(found[1].decode("ascii", "replace")) if found else ""


def from_html(page: str) -> Document:
    """The text of a page, and its title."""
    tree = LexborHTMLParser(page)
    title = tree.css_first("head > title")
    heading = _SPACE.sub(" ", title.text()).strip() if title is not None else ""
    # Found by the parser: to look at the attributes of every element takes longer than all else.
    hidden = frozenset(node.mem_id for node in tree.css("[hidden], [style]") if _is_hidden(node))
    text = _text(tree.body, hidden) if tree.body is not None else ""
    return Document(text=text, title=heading or None)


def _text(root: LexborNode, hidden: frozenset[int]) -> str:
    """In the order of the page; without recursion, since a page may be nested as deeply as it likes."""
    flow = _Flow()
    node: LexborNode | None = root
    depth = 0
    while node is not None:
        tag = node.tag or ""
        if tag == "-text":
            flow.add(node.text_content or "")
        elif tag not in _LEFT_OUT and not (hidden and node.mem_id in hidden):
            flow.begin(tag)
            if (child := node.first_child) is not None:
                node, depth = child, depth + 1
                continue
            flow.end(tag)
        following = node.next if depth else None
        while following is None and depth:
            node = node.parent
            assert node is not None
            depth -= 1
            flow.end(node.tag or "")
            following = node.next if depth else None
        node = following
    return flow.text()


def _is_hidden(node: LexborNode) -> bool:
    attributes = node.attributes
    return "hidden" in attributes or bool(_HIDDEN.search(attributes.get("style") or ""))


class _Flow:
    """Text as it flows: what separates two pieces is written when the second one comes."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._breaks = 0
        self._dash = ""
        self._verbatim = 0
        """How deep in elements whose blanks are meant."""

    def begin(self, tag: str) -> None:
        if tag == "br":
            self._breaks = min(self._breaks + 1, 2)
        self._separate(tag)
        if tag == "li":
            self._dash = "- "
        self._verbatim += tag == "pre"

    def end(self, tag: str) -> None:
        self._verbatim -= tag == "pre"
        self._separate(tag)
        if tag in ("td", "th"):
            self._breaks = 0
            self._parts.append("\t")

    def _separate(self, tag: str) -> None:
        self._breaks = max(self._breaks, 2 if tag in _APART else 1 if tag in _BLOCKS else 0)

    def add(self, text: str) -> None:
        if not self._verbatim:
            text = _SPACE.sub(" ", text)
            if self._breaks or not self._parts:
                text = text.lstrip(" ")
        if text:
            self._parts.append("\n" * self._breaks + self._dash + text)
            self._breaks, self._dash = 0, ""

    def text(self) -> str:
        return "\n".join(line.rstrip() for line in "".join(self._parts).split("\n")).strip("\n")
