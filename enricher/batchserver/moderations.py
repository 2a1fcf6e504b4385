"""The moderations endpoint, as far as a server without a model has it: scores that are a function of the text alone.

They mean nothing. Most are small, so that about one text in four is flagged.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

from enricher.batchserver.shapes import to_error_body, to_id

if TYPE_CHECKING:
    from enricher.batchserver.backend import Json

CATEGORIES: Final = (
    "harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent", "self-harm",
    "self-harm/instructions", "self-harm/intent", "sexual", "sexual/minors", "violence", "violence/graphic",
)  # fmt: skip
_FLAGGED_FROM: Final = 0.5
_STEEPNESS: Final = 32


def moderate(body: Json, *, model: str) -> tuple[int, Json]:
    """Answer a request about a text, an array of texts, or an array of parts that are one input; else 400."""
    given = body.get("input")
    texts = _read_texts(given)
    if texts is None:
        message = "'input' must be a string, an array of strings, or an array of objects with a type."
        return 400, to_error_body(message, status=400, param="input")
    return 200, {"id": to_id("modr-", *texts), "model": model, "results": [_judge(text) for text in texts]}


def _read_texts(given: object) -> list[str] | None:
    if isinstance(given, str):
        return [given]
    if not isinstance(given, list) or not given:
        return None
    if all(isinstance(one, str) for one in given):
        return given
    if all(isinstance(one, dict) and one.get("type") in ("text", "image_url") for one in given):
        return [json.dumps(given, sort_keys=True)]
    return None


def _judge(text: str) -> dict[str, Any]:
    noise = hashlib.shake_256(text.encode("utf-8", "surrogatepass")).digest(2 * len(CATEGORIES))
    shares = (int.from_bytes(noise[at : at + 2], "big") / 2**16 for at in range(0, len(noise), 2))
    scores = {name: share**_STEEPNESS for name, share in zip(CATEGORIES, shares, strict=True)}
    categories = {name: score >= _FLAGGED_FROM for name, score in scores.items()}
    return {
        "flagged": any(categories.values()),
        "categories": categories,
        "category_scores": scores,
        "category_applied_input_types": {name: ["text"] for name in CATEGORIES},
    }
