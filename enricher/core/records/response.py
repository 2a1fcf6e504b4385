"""What the lines of result files say of items: quickly where a line has the usual form, with all care where it has not.

Invariants: a line costs no other line, whatever is in it; what a quick reading cannot be sure of is read again by
`core.batch` and `core.answer`, so both ways say the same. Never here: what a schema or a check makes of a text.
"""

from __future__ import annotations

import array
import base64
import binascii
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from enricher.core.answer import MOST_TOKENS, Usage, read_text, read_usage
from enricher.core.batch import NO_BODY, Failure, failure_of, output_line, split_lines
from enricher.core.task import RESPONSES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from enricher.core.records.task import Kind

_MAX_VECTOR: Final = 65_536
_MAX_SCORE: Final = 1e9


class _Details(msgspec.Struct, gc=False):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _ChatUsage(msgspec.Struct, gc=False):
    prompt_tokens: int
    completion_tokens: int
    prompt_tokens_details: _Details | None = None


class _Message(msgspec.Struct, gc=False):
    content: str
    refusal: str | None = None


class _Choice(msgspec.Struct, gc=False):
    message: _Message
    finish_reason: str


class _ChatBody(msgspec.Struct, gc=False):
    choices: list[_Choice]
    usage: _ChatUsage
    model: str = ""
    error: None = None


class _ResponseUsage(msgspec.Struct, gc=False):
    input_tokens: int
    output_tokens: int
    input_tokens_details: _Details | None = None


class _Part(msgspec.Struct, gc=False):
    type: str
    text: str = ""


class _Item(msgspec.Struct, gc=False):
    type: str
    content: list[_Part] | None = None
    phase: str | None = None


class _ResponseBody(msgspec.Struct, gc=False):
    status: str
    output: list[_Item]
    usage: _ResponseUsage
    model: str = ""
    error: None = None


class _ChatResponse(msgspec.Struct, gc=False):
    status_code: int
    body: _ChatBody


class _ResponsesResponse(msgspec.Struct, gc=False):
    status_code: int
    body: _ResponseBody


class _ChatLine(msgspec.Struct, gc=False):
    custom_id: str
    response: _ChatResponse
    error: None = None


class _ResponsesLine(msgspec.Struct, gc=False):
    custom_id: str
    response: _ResponsesResponse
    error: None = None


class Said(msgspec.Struct, gc=False):
    """What one line says of an item. `failure` is set where the request got no answer at all.

    A struct of msgspec, as all that there is one of for each of a million lines: it is made in a fifth of the time.
    """

    custom_id: str
    status: str
    """ok, or what `core.answer` calls a response without a usable text: refused, incomplete, invalid."""
    body: str | bytes = ""
    """A text, or a vector as 32-bit floats (little-endian); moderations as JSON."""
    reason: str = ""
    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    model: str = ""
    failure: Failure | None = None


@dataclass(slots=True)
class Strange:
    """How many lines were of no use."""

    malformed: int = 0


class ResultReader:
    """Reads the result files of one kind of request."""

    def __init__(self, *, kind: Kind, endpoint: str) -> None:
        self._kind: Kind = kind
        self._endpoint = endpoint
        line_type = _ResponsesLine if endpoint == RESPONSES else _ChatLine
        self._decode: Callable[[bytes], Any] = msgspec.json.Decoder(line_type).decode
        self._quick = self._quick_responses if endpoint == RESPONSES else self._quick_chat

    def read(self, chunks: Iterable[bytes], strange: Strange) -> Iterator[Said]:
        """Read every line that names an item; those that do not are counted."""
        is_answer = self._kind == "answer"
        for raw in split_lines(chunks):
            said = self._quick(raw) if is_answer else None
            if said is None:
                said = self._slow(raw)
                if said is None:
                    strange.malformed += bool(raw.strip())
                    continue
            yield said

    def read_body(self, body: object) -> Said:
        """Read the body of a response that was asked for at once; it has no custom_id."""
        return self._of_body("", body)

    def _quick_chat(self, raw: bytes) -> Said | None:
        try:
            line = self._decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        body = line.response.body
        choice = body.choices[0] if body.choices else None
        if choice is None or choice.finish_reason != "stop" or line.response.status_code != 200:
            return None
        message, usage = choice.message, body.usage
        if message.refusal or not message.content or message.content[0] != "{":
            return None
        details = usage.prompt_tokens_details
        if details is not None and (details.cached_tokens or details.cache_write_tokens):
            return None
        if not (0 <= usage.prompt_tokens < MOST_TOKENS and 0 <= usage.completion_tokens < MOST_TOKENS):
            return None
        return Said(
            custom_id=line.custom_id,
            status="ok",
            body=message.content,
            input_tokens=usage.prompt_tokens,
            output_tokens=usage.completion_tokens,
            model=body.model,
        )

    def _quick_responses(self, raw: bytes) -> Said | None:
        try:
            line = self._decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        body = line.response.body
        if body.status != "completed" or line.response.status_code != 200:
            return None
        message = body.output[-1] if body.output else None
        if message is None or message.type != "message" or len(body.output) > 2 or len(message.content or ()) != 1:
            return None
        if len(body.output) == 2 and body.output[0].type != "reasoning":
            return None
        part, usage = message.content[0], body.usage
        if part.type != "output_text" or part.text[:1] != "{":
            return None
        details = usage.input_tokens_details
        if details is not None and (details.cached_tokens or details.cache_write_tokens):
            return None
        if not (0 <= usage.input_tokens < MOST_TOKENS and 0 <= usage.output_tokens < MOST_TOKENS):
            return None
        return Said(
            custom_id=line.custom_id,
            status="ok",
            body=part.text,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            model=body.model,
        )

    def _slow(self, raw: bytes) -> Said | None:
        line = output_line(raw)
        if line.malformed:
            return None
        failure = failure_of(line) or (None if isinstance(line.body, Mapping) else NO_BODY)
        if failure is not None:
            return Said(custom_id=line.custom_id, status="error", reason=failure.message, failure=failure)
        return self._of_body(line.custom_id, line.body)

    def _of_body(self, custom_id: str, body: object) -> Said:
        if self._kind == "vector":
            return _with_usage(_vector(custom_id, body), read_usage(body))
        if self._kind == "moderation":
            return _with_usage(_moderation(custom_id, body), read_usage(body))
        text = read_text(self._endpoint, body)
        told = _whole(text.text)
        said = Said(custom_id=custom_id, status=text.status, body=told, reason=text.reason, model=text.model)
        return _with_usage(said, text.usage)


def _whole(text: str) -> str:
    """A text with a mark for each half of a character: a model that is cut off may end with one, and JSON lets it."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _is_score(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _MAX_SCORE


def _with_usage(said: Said, usage: Usage) -> Said:
    said.input_tokens, said.output_tokens = usage.input_tokens, usage.output_tokens
    said.cached_tokens, said.cache_write_tokens = usage.cached_tokens, usage.cache_write_tokens
    return said


def _vector(custom_id: str, body: object) -> Said:
    data = body.get("data") if isinstance(body, dict) else None
    first = data[0] if isinstance(data, list) and data and isinstance(data[0], dict) else {}
    found = _floats(first.get("embedding"))
    if found is None:
        return Said(custom_id=custom_id, status="invalid", reason="no vector in the response")
    return Said(custom_id=custom_id, status="ok", body=found)


def _floats(embedding: object) -> bytes | None:
    """Pack numbers, or base64 of 32-bit floats, as some servers give them; None for anything else."""
    try:
        packed = base64.b64decode(embedding, validate=True) if isinstance(embedding, str) else _pack(embedding)
        numbers = unpack_vector(packed)
    except (binascii.Error, ValueError, TypeError, OverflowError):
        return None
    # A number that is none, or an infinite one, makes the sum one.
    return packed if 0 < len(numbers) <= _MAX_VECTOR and math.isfinite(sum(numbers)) else None


def _pack(embedding: object) -> bytes:
    if not isinstance(embedding, list) or len(embedding) > _MAX_VECTOR:
        raise TypeError("no list of numbers, or too long a one")
    floats = array.array("f", embedding)
    if sys.byteorder == "big":
        floats.byteswap()
    return floats.tobytes()


def unpack_vector(packed: bytes) -> list[float]:
    """Return the numbers of a vector as it is kept."""
    floats = array.array("f", packed)
    if sys.byteorder == "big":
        floats.byteswap()
    return floats.tolist()


def _moderation(custom_id: str, body: object) -> Said:
    results = body.get("results") if isinstance(body, dict) else None
    first = results[0] if isinstance(results, list) and results and isinstance(results[0], dict) else None
    flagged = None if first is None else first.get("flagged")
    if first is None or not isinstance(flagged, bool):
        return Said(custom_id=custom_id, status="invalid", reason="no moderation in the response")
    categories, scores = first.get("categories"), first.get("category_scores")
    kept = {
        "flagged": flagged,
        "categories": sorted(_whole(name) for name, is_so in categories.items() if is_so is True)
        if isinstance(categories, dict)
        else [],
        "scores": {_whole(name): float(one) for name, one in scores.items() if _is_score(one)}
        if isinstance(scores, dict)
        else {},
    }
    return Said(custom_id=custom_id, status="ok", body=msgspec.json.encode(kept).decode())
