"""Output files as odd providers deliver them: the batch faults of a script that change a finished file.

Pure: lines in, bytes out, and the same for the same lines. Works on whole files in memory, which only a scripted fault
ever asks for.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from enricher.batchserver.faults import FaultRule

FILE_FAULTS = frozenset({"lose", "duplicate", "garbage", "unknown_ids", "shuffle", "truncate", "string_bodies"})


def mangle_output(content: bytes, rules: Sequence[FaultRule]) -> bytes:
    """Return an output file with the faults of `rules` in it, applied in their order; `truncate` comes last."""
    lines = content.split(b"\n")[:-1]
    for rule in rules:
        lines = _apply(lines, rule)
    whole = b"".join(line + b"\n" for line in lines)
    if lines and any(rule.what == "truncate" for rule in rules):
        return whole[: -1 - len(lines[-1]) // 2]
    return whole


def _apply(lines: list[bytes], rule: FaultRule) -> list[bytes]:
    match rule.what:
        case "lose":
            return lines[rule.lines :]
        case "duplicate":
            return lines + lines[: rule.lines]
        case "garbage":
            return [b"\xff\xfe" + line for line in lines[: rule.lines]] + lines[rule.lines :]
        case "unknown_ids":
            return lines + [_with_unknown_id(lines[n % len(lines)], n) for n in range(rule.lines if lines else 0)]
        case "shuffle":
            return sorted(lines, key=lambda line: hashlib.sha256(line).digest())
        case "string_bodies":
            return [_with_string_body(line) for line in lines]
        case _:
            return lines


def _with_unknown_id(line: bytes, number: int) -> bytes:
    answer = _read(line)
    return _write({**answer, "custom_id": f"unknown-{number}"}) if answer else line


def _with_string_body(line: bytes) -> bytes:
    answer = _read(line)
    response = answer.get("response")
    if not isinstance(response, dict):
        return line
    return _write({**answer, "response": {**response, "body": json.dumps(response.get("body"))}})


def _read(line: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(line)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _write(answer: dict[str, Any]) -> bytes:
    return json.dumps(answer, separators=(",", ":")).encode()
