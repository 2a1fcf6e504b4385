"""Answers each request with an instance of the JSON Schema in it, a vector or scores: the transport without a model.

For tests, and for trying a provider's path on a machine with none. The answer is a pure function of the request's body,
differs from request to request, and means nothing; the model is called "schema" so that nobody takes it for one.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from enricher.batchserver.embeddings import embed
from enricher.batchserver.instance import SchemaError, to_instance
from enricher.batchserver.moderations import moderate
from enricher.batchserver.shapes import EMBEDDINGS, MODERATIONS, to_error_body, to_id

if TYPE_CHECKING:
    from enricher.batchserver.backend import Json
    from enricher.ports import Clock

MODEL = "schema"
_BYTES_PER_TOKEN = 4
_PLAIN_TEXT = "No schema was asked for, and this model has nothing of its own to say."


class SchemaBackend:
    """Answers every endpoint; `clock` only dates the answers."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def start(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to release."""

    async def models(self) -> list[str]:
        """Name the one model."""
        return [MODEL]

    async def answer(self, endpoint: str, body: Json) -> tuple[int, Json]:
        """Answer one request; 400 for a request without a model or prompt, or a schema that cannot be filled."""
        if endpoint == EMBEDDINGS:
            return embed(body, model=MODEL)
        if endpoint == MODERATIONS:
            return moderate(body, model=MODEL)
        is_chat = endpoint == "/v1/chat/completions"
        prompt_field = "messages" if is_chat else "input"
        for field in ("model", prompt_field):
            if not body.get(field):
                return _refuse(
                    f"Missing required parameter: '{field}'.", code="missing_required_parameter", param=field
                )
        seed = json.dumps(body, sort_keys=True)
        schema_field = "response_format" if is_chat else "text.format"
        try:
            text = _to_text(_find_schema(body, is_chat=is_chat), seed)
        except SchemaError as error:
            return _refuse(f"Invalid schema: {error}", code="invalid_json_schema", param=schema_field)
        limit = body.get("max_completion_tokens", body.get("max_tokens")) if is_chat else body.get("max_output_tokens")
        tokens = _to_tokens(text)
        is_cut = False
        if isinstance(limit, int) and tokens > limit > 0:
            text, tokens, is_cut = text[: limit * _BYTES_PER_TOKEN], limit, True
        asked = _to_tokens(seed)
        created = int(self._clock.now())
        if is_chat:
            return 200, _to_chat_body(body, seed, text, created=created, asked=asked, given=tokens, is_cut=is_cut)
        return 200, _to_responses_body(body, seed, text, created=created, asked=asked, given=tokens, is_cut=is_cut)


def _refuse(message: str, *, code: str, param: str) -> tuple[int, Json]:
    return 400, to_error_body(message, status=400, code=code, param=param)


def _to_tokens(text: str) -> int:
    return max(1, -(-len(text.encode("utf-8", "surrogatepass")) // _BYTES_PER_TOKEN))


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _find_schema(body: Json, *, is_chat: bool) -> object:
    """Return the schema of a request, None if it asks for plain text, {} if for any JSON object."""
    asked = _mapping(body.get("response_format") if is_chat else _mapping(body.get("text")).get("format"))
    match asked.get("type"):
        case "json_schema":
            return (_mapping(asked.get("json_schema")) if is_chat else asked).get("schema", False)
        case "json_object":
            return {"type": "object"}
        case _:
            return None


def _to_text(schema: object, seed: str) -> str:
    if schema is None:
        return _PLAIN_TEXT
    return json.dumps(to_instance(schema, seed), ensure_ascii=False, separators=(",", ":"))


def _to_chat_body(
    body: Json, seed: str, text: str, *, created: int, asked: int, given: int, is_cut: bool
) -> dict[str, Any]:
    return {
        "id": to_id("chatcmpl-", seed),
        "object": "chat.completion",
        "created": created,
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text, "refusal": None, "annotations": []},
                "logprobs": None,
                "finish_reason": "length" if is_cut else "stop",
            }
        ],
        "usage": {
            "prompt_tokens": asked,
            "completion_tokens": given,
            "total_tokens": asked + given,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        },
        "service_tier": body.get("service_tier") or "default",
        "system_fingerprint": None,
    }


def _to_responses_body(
    body: Json, seed: str, text: str, *, created: int, asked: int, given: int, is_cut: bool
) -> dict[str, Any]:
    status = "incomplete" if is_cut else "completed"
    content = [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}]
    return {
        "id": to_id("resp_", seed),
        "object": "response",
        "created_at": created,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if is_cut else None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "model": MODEL,
        "output": [
            {"id": to_id("msg_", seed), "type": "message", "status": status, "role": "assistant", "content": content}
        ],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": _mapping(body.get("reasoning")).get("effort"), "summary": None},
        "service_tier": "default",
        "store": bool(body.get("store", True)),
        "temperature": 1.0,
        "text": body.get("text") or {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": {
            "input_tokens": asked,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": given,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": asked + given,
        },
        "user": None,
        "metadata": body.get("metadata") or {},
    }
