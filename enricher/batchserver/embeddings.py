"""The embeddings endpoint, as far as a server without a model has it: what it takes, how it counts, how it answers.

A vector here is a function of its text alone and means nothing: texts that are alike are no nearer to each other than
others. As OpenAI's, it has the length 1, and a shorter one is the beginning of a longer one.
"""

from __future__ import annotations

import array
import base64
import hashlib
import json
import math
import sys
from typing import TYPE_CHECKING, Any, Final

from enricher.batchserver.shapes import to_error_body

if TYPE_CHECKING:
    from collections.abc import Sequence

    from enricher.batchserver.backend import Json

MAX_INPUTS: Final = 2048
"""Of one request."""
MAX_DIMENSIONS: Final = 4096
_DIMENSIONS: Final = 256
_FORMATS: Final = ("float", "base64")
_BYTES_PER_TOKEN: Final = 4


def count_inputs(given: object) -> int:
    """How many vectors the `input` of a request asks for."""
    return len(_each_input(given))


def _each_input(given: object) -> list[Any]:
    """Return the inputs that a vector is asked for of each; an array of numbers is one input, of tokens."""
    return given if isinstance(given, list) and given and not isinstance(given[0], int) else [given]


def embed(body: Json, *, model: str) -> tuple[int, Json]:
    """Answer a request; 400 with OpenAI's error object for one that is not good."""
    for field in ("model", "input"):
        if body.get(field) is None:
            return _refuse(f"Missing required parameter: '{field}'.", field, code="missing_required_parameter")
    inputs = _each_input(body["input"])
    if fault := _input_fault(inputs):
        return _refuse(fault, "input")
    dimensions = body.get("dimensions", _DIMENSIONS)
    if isinstance(dimensions, bool) or not isinstance(dimensions, int) or not 1 <= dimensions <= MAX_DIMENSIONS:
        return _refuse(f"'dimensions' must be a whole number from 1 to {MAX_DIMENSIONS}.", "dimensions")
    encoding = body.get("encoding_format", "float")
    if encoding not in _FORMATS:
        return _refuse(f"'encoding_format' must be one of {', '.join(_FORMATS)}.", "encoding_format")
    vectors = (to_vector(one, dimensions) for one in inputs)
    tokens = sum(
        -(-len(one.encode("utf-8", "surrogatepass")) // _BYTES_PER_TOKEN) if isinstance(one, str) else len(one)
        for one in inputs
    )
    return 200, {
        "object": "list",
        "data": [
            {"object": "embedding", "index": at, "embedding": _to_base64(one) if encoding == "base64" else one.tolist()}
            for at, one in enumerate(vectors)
        ],
        "model": model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def to_vector(given: str | Sequence[int], dimensions: int) -> array.array[float]:
    """Return the vector of a text, or of tokens."""
    seed = json.dumps(given).encode()
    numbers = array.array("I", hashlib.shake_256(seed).digest(dimensions * 4))
    if sys.byteorder == "big":
        numbers.byteswap()
    values = [number / 2**31 - 1 for number in numbers]
    length = math.sqrt(sum(value * value for value in values)) or 1.0
    return array.array("f", [value / length for value in values])


def _input_fault(inputs: list[Any]) -> str:
    if len(inputs) > MAX_INPUTS:
        return f"'input' has {len(inputs):,} inputs; a request may have {MAX_INPUTS:,}."
    for one in inputs:
        if one in ("", []):
            return "'input' cannot be an empty string."
        is_tokens = isinstance(one, list) and all(isinstance(token, int) and token >= 0 for token in one)
        if not isinstance(one, str) and not is_tokens:
            return "'input' must be a string, an array of strings, an array of tokens, or an array of these."
    return ""


def _to_base64(vector: array.array[float]) -> str:
    if sys.byteorder == "big":
        vector = vector[:]
        vector.byteswap()
    return base64.b64encode(vector.tobytes()).decode("ascii")


def _refuse(message: str, param: str, *, code: str | None = None) -> tuple[int, Json]:
    return 400, to_error_body(message, status=400, code=code, param=param)
