"""A prompt with places for the columns of a row: `{{text}}`, `{{customer.name}}`, `{{options.labels}}`.

Whatever a value holds, it is put in as text and never looked at as a template again. Options are put in when the task
is read, columns for each row.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

_PLACE: Final = re.compile(r"\{\{\s*([^{}\s][^{}]{0,200}?)\s*\}\}")
OPTION_PREFIX: Final = "options."


@dataclass(frozen=True, slots=True)
class Template:
    """Constant texts with the columns between them: `texts` has one more than `columns`."""

    texts: tuple[str, ...]
    columns: tuple[str, ...]

    @property
    def source(self) -> str:
        """Return the text that it was read from, or one that means the same."""
        return self.texts[0] + "".join(
            f"{{{{{name}}}}}{text}" for name, text in zip(self.columns, self.texts[1:], strict=True)
        )

    def render(self, row: Mapping[str, object]) -> str:
        """Put the values of a row in; what a row lacks, and null, is empty."""
        if len(self.columns) == 1:
            return self.texts[0] + to_text(row.get(self.columns[0])) + self.texts[1]
        parts = [self.texts[0]]
        for name, text in zip(self.columns, self.texts[1:], strict=True):
            parts += (to_text(row.get(name)), text)
        return "".join(parts)


def parse_template(text: str) -> Template:
    """Find the places of a text."""
    pieces = _PLACE.split(text)
    return Template(texts=tuple(pieces[::2]), columns=tuple(pieces[1::2]))


def to_text(value: object) -> str:
    """Show a value in a prompt: text as it is, null as nothing, all else as JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else msgspec.json.encode(value).decode()


def put_options(document: Any, options: Mapping[str, Any], faults: list[str], place: str = "") -> Any:  # noqa: ANN401
    """Put options into every text of a document (tables, arrays, texts), as far down as it goes.

    A text that is one place and nothing else becomes the option's value, of whatever type: so `enum =
    "{{options.labels}}"` is a list. In a longer text a list is shown as `a, b, c`. Columns are left alone. Notes
    options that there are not in `faults`.
    """
    if isinstance(document, str):
        return _put_into_text(document, options, faults, place)
    if isinstance(document, list):
        return [put_options(one, options, faults, f"{place}[{at}]") for at, one in enumerate(document)]
    if isinstance(document, dict):
        return {
            key: put_options(one, options, faults, f"{place}.{key}" if place else key) for key, one in document.items()
        }
    return document


def _put_into_text(text: str, options: Mapping[str, Any], faults: list[str], place: str) -> Any:  # noqa: ANN401
    whole = _PLACE.fullmatch(text.strip())
    if whole and whole[1].startswith(OPTION_PREFIX) and whole[1].removeprefix(OPTION_PREFIX) in options:
        return options[whole[1].removeprefix(OPTION_PREFIX)]

    def put(found: re.Match[str]) -> str:
        if not found[1].startswith(OPTION_PREFIX):
            return found[0]
        name = found[1].removeprefix(OPTION_PREFIX)
        if name not in options:
            known = ", ".join(options) or "none"
            faults.append(f"{place}: there is no option {name!r} (there are: {known})")
            return ""
        value = options[name]
        return ", ".join(map(to_text, value)) if isinstance(value, list) else to_text(value)

    return _PLACE.sub(put, text)
