"""Whether a text from a log seems to speak to a model instead of to people.

Such a kind of event is asked alone, so that it can harm the answer for no other kind. A guess too many costs one
request, once; it decides nothing else, and no text is ever changed or dropped for it. Linear time whatever the text.
"""

from __future__ import annotations

import re
from typing import Final

_INSTRUCTION: Final = re.compile(
    r"(?i)\b(?:ignore|disregard|forget|override|bypass)\b.{0,40}\b(?:instruction|prompt|previous|prior|above|rules?|polic)"
    r"|\b(?:system|developer) (?:prompt|message|instruction)"
    r"|\byou (?:are now|must now|are an? (?:ai|assistant|language model))"
    r"|\bas an ai\b|\b(?:respond|reply|answer|classify|output|return) (?:only |this |it |with |as |everything ){1,3}"
    r"|<\|[a-z_]{1,30}\|>|\[/?inst\]|<</?sys>>|\b(?:new|following) instructions?\b|\b(?:assistant|system)\s{0,2}:\s"
    r"|[\"']s[0-9<]|\bs[0-9]{1,3}\b[\"']?\s{0,2}:"
)


def looks_like_instructions(text: str) -> bool:
    """Say whether a text seems to speak to a model; such a kind is asked alone, so that it can harm no other."""
    return _INSTRUCTION.search(text) is not None
