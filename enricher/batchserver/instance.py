"""An instance of a JSON Schema, chosen by a seed: the same for the same seed and schema, valid, and without meaning.

Knows what strict structured output knows: types and unions of them, enum, const, properties, items, $ref into $defs,
anyOf and oneOf, and the bounds of numbers, strings and arrays. A pattern is met by trying a few texts, since no general
answer is worth its code here; where none fits, `SchemaError` says so. So it does for what would take too long or too
much memory: a schema comes from whoever can reach the server, and a few of its bytes can ask for gigabytes.
"""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

from enricher.core.pattern import LinePattern, compile_pattern
from enricher.errors import EnricherError

Schema = dict[str, Any]

MAX_DEPTH = 24
MAX_VALUES = 5_000
MAX_CHARACTERS = 1_000_000
MAX_PATTERN = 1_000
# Below this depth lists stay as short as they may be and unions take null, so that a recursive schema ends.
_SHALLOW_DEPTH = 8
_OPTIONAL_ITEMS = 3
_FORMATS = {
    "date-time": "2026-01-01T00:00:00Z",
    "date": "2026-01-01",
    "time": "00:00:00Z",
    "duration": "PT1S",
    "email": "schema@example.com",
    "hostname": "schema.example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uuid": "00000000-0000-4000-8000-000000000000",
}
_TEXTS = (
    "schema",
    "schema-answer",
    "a",
    "A",
    "0",
    "1",
    "s1",
    "S1",
    "A1",
    "T1000",
    "00",
    "0000",
    "1.0",
    "schema.answer",
    "a b",
    "",
)


class SchemaError(EnricherError):
    """The schema cannot be answered."""


def to_instance(schema: object, seed: str) -> object:
    """Return a value that fits the schema. Raises `SchemaError` naming the place that cannot be filled."""
    if not isinstance(schema, dict):
        raise SchemaError("the schema is not an object")
    try:
        return _Builder(schema, seed).build(schema, "$", 0)
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        raise SchemaError(f"a keyword of the schema has a value of the wrong type: {error}") from error


class _Builder:
    def __init__(self, root: Schema, seed: str) -> None:
        self._root = root
        self._seed = seed
        self._values = self._characters = 0

    def _draw(self, path: str, count: int) -> int:
        """Draw a whole number below `count`, always the same for one seed and place."""
        digest = hashlib.sha256(f"{self._seed}\x00{path}".encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:8]) % count

    def build(self, schema: Schema, path: str, depth: int) -> object:
        if depth > MAX_DEPTH:
            raise SchemaError(f"{path}: the schema is nested too deeply")
        self._values += 1
        if self._values > MAX_VALUES:
            raise SchemaError(f"{path}: an instance would have more than {MAX_VALUES:,} values")
        if not isinstance(schema, dict):
            raise SchemaError(f"{path}: the schema is not an object")
        if "$ref" in schema:
            return self.build(self._resolve(schema["$ref"], path), path, depth + 1)
        if "const" in schema or "enum" in schema:
            value = schema["const"] if "const" in schema else self._pick(schema["enum"], path)
            self._spend(len(json.dumps(value)), path)
            return value
        for union in ("anyOf", "oneOf"):
            if union in schema:
                return self.build(self._choose(schema[union], path, depth), path, depth + 1)
        kind = schema.get("type") or ("object" if "properties" in schema else "string")
        if isinstance(kind, list):
            branches = [{**schema, "type": name} for name in kind]
            return self.build(self._choose(branches, path, depth), path, depth + 1)
        return self._build_kind(kind, schema, path, depth)

    def _build_kind(self, kind: object, schema: Schema, path: str, depth: int) -> object:
        match kind:
            case "null":
                return None
            case "boolean":
                return self._draw(path, 2) == 0
            case "integer":
                return self._integer(schema, path)
            case "number":
                return self._number(schema, path)
            case "string":
                return self._string(schema, path)
            case "array":
                return self._array(schema, path, depth)
            case "object":
                properties = schema.get("properties") or {}
                self._spend(sum(map(len, properties)), path)
                return {name: self.build(inner, f"{path}.{name}", depth + 1) for name, inner in properties.items()}
            case _:
                raise SchemaError(f"{path}: unknown type {kind!r}")

    def _spend(self, characters: int, path: str) -> None:
        self._characters += characters
        if self._characters > MAX_CHARACTERS:
            raise SchemaError(f"{path}: an instance would have more than {MAX_CHARACTERS:,} characters")

    def _resolve(self, reference: object, path: str) -> Schema:
        target: Any = self._root
        if not isinstance(reference, str) or not reference.startswith("#"):
            raise SchemaError(f"{path}: only references within the schema are known, not {reference!r}")
        for step in filter(None, reference[1:].split("/")):
            name = step.replace("~1", "/").replace("~0", "~")
            if not isinstance(target, dict) or name not in target:
                raise SchemaError(f"{path}: {reference} leads nowhere")
            target = target[name]
        return target  # type: ignore[no-any-return]  # build() refuses what is not a schema

    def _pick(self, choices: object, path: str) -> object:
        if not isinstance(choices, list) or not choices:
            raise SchemaError(f"{path}: an enum or union needs at least one choice")
        return choices[self._draw(path, len(choices))]

    def _choose(self, branches: object, path: str, depth: int) -> Schema:
        if isinstance(branches, list) and depth >= _SHALLOW_DEPTH:
            branches = [
                branch for branch in branches if isinstance(branch, dict) and branch.get("type") == "null"
            ] or branches
        return self._pick(branches, f"{path}|")  # type: ignore[return-value]  # build() refuses what is not a schema

    def _integer(self, schema: Schema, path: str) -> int:
        low, high = _bounds(schema, 0, 100)
        step = schema.get("multipleOf") or 1
        first, last = math.ceil(low / step), math.floor(high / step)
        if schema.get("exclusiveMinimum") == first * step:
            first += 1
        if schema.get("exclusiveMaximum") == last * step:
            last -= 1
        if first > last:
            raise SchemaError(f"{path}: no whole number fits the bounds")
        return int((first + self._draw(path, last - first + 1)) * step)

    def _number(self, schema: Schema, path: str) -> float:
        if "multipleOf" in schema:
            return self._integer(schema, path)
        low, high = _bounds(schema, 0, 1)
        if low > high or not math.isfinite(high - low):
            raise SchemaError(f"{path}: no number fits the bounds")
        # From the open middle, so that exclusive bounds hold too.
        return round(low + (high - low) * (1 + self._draw(path, 98)) / 100, 6)

    def _string(self, schema: Schema, path: str) -> str:
        least, most = schema.get("minLength", 0), schema.get("maxLength", 1_000_000)
        if schema.get("format") in _FORMATS:
            return str(_FORMATS[schema["format"]])
        self._spend(least, path)
        text = f"schema answer {self._draw(path, 1 << 32):08x}"
        candidates = [text, *_TEXTS] if "pattern" in schema else [text]
        fitted: list[str] = [(candidate + "x" * (least - len(candidate)))[:most] for candidate in candidates]
        pattern = _pattern(schema["pattern"], path) if "pattern" in schema else None
        for candidate in fitted:
            if len(candidate) >= least and (pattern is None or pattern.is_in(candidate.encode())):
                return candidate
        raise SchemaError(f"{path}: no text that is tried here fits the pattern and the length")

    def _array(self, schema: Schema, path: str, depth: int) -> list[object]:
        least = schema.get("minItems", 0)
        most = max(least, min(schema.get("maxItems", least + _OPTIONAL_ITEMS - 1), least + _OPTIONAL_ITEMS - 1))
        count = least if depth >= _SHALLOW_DEPTH else least + self._draw(path, most - least + 1)
        items = [self.build(schema.get("items") or {}, f"{path}[{place}]", depth + 1) for place in range(count)]
        if not schema.get("uniqueItems"):
            return items
        unique = [item for place, item in enumerate(items) if item not in items[:place]]
        if len(unique) < least:
            raise SchemaError(f"{path}: too few different items were found")
        return unique


def _pattern(text: str, path: str) -> LinePattern:
    if not isinstance(text, str) or len(text) > MAX_PATTERN:
        raise SchemaError(f"{path}: the pattern is no text of at most {MAX_PATTERN:,} characters")
    try:
        return compile_pattern(text)
    except ValueError as error:
        raise SchemaError(f"{path}: the pattern cannot be used: {error}") from error


def _bounds(schema: Schema, low: float, high: float) -> tuple[float, float]:
    """Return the bounds of a number; where one end is open, as far from the other as the defaults are apart."""
    given_low: float | None = schema.get("minimum", schema.get("exclusiveMinimum"))
    given_high: float | None = schema.get("maximum", schema.get("exclusiveMaximum"))
    if given_low is not None:
        return given_low, max(high, given_low + (high - low)) if given_high is None else given_high
    return (low, high) if given_high is None else (min(low, given_high - (high - low)), given_high)
