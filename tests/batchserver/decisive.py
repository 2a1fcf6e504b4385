"""A model that finds that a value decides: kinds that end in a code are split by it, and answered apart.

Answers are pure functions of the question, so that runs can be compared. Never here: an order, a fault.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from enricher.batchserver.backend_schema import SchemaBackend

if TYPE_CHECKING:
    from enricher.batchserver.backend import Json
    from enricher.ports import Clock

CODE = " code <"
"""A template with this splits by the hole that follows."""


class DecisiveBackend:
    """Answers `/v1/responses` of packed tasks; `questions` holds every kind that it was asked about."""

    def __init__(self, clock: Clock) -> None:
        self._shape = SchemaBackend(clock)
        self.questions: list[dict[str, Any]] = []

    async def start(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to release."""

    async def models(self) -> list[str]:
        """Name the one model."""
        return ["decisive"]

    async def answer(self, endpoint: str, body: Json) -> tuple[int, Json]:
        """Answer one request; the envelope is the schema backend's."""
        status, envelope = await self._shape.answer(endpoint, body)
        if status != 200:
            return status, envelope
        kinds = json.loads(body["input"][-1]["content"])
        self.questions += kinds.values()
        envelope["status"], envelope["incomplete_details"] = "completed", None
        said = {key: _to_answer(kind) for key, kind in kinds.items()}
        envelope["output"][0]["content"][0]["text"] = json.dumps(said)
        return status, envelope


def _to_answer(kind: dict[str, Any]) -> dict[str, Any]:
    before, separator, _ = kind["template"].partition(CODE)
    number = before.count("<") + 1 if separator else 0
    slots = ["exit_code" if one == number else f"value_{one}" for one in range(1, kind["holes"] + 1)]
    where = kind.get("where", "")
    return {
        "slots": slots,
        "summary": f"It ended, and {where or 'that is all'}.",
        "category": "lifecycle",
        "severity": "error" if where.endswith("not 0") else "info",
        "outcome": "unknown",
        "tags": [],
        "root_cause": None,
        "action": None,
        "technique": None,
        "confidence": 0.5,
        "splits_on": "exit_code" if number else None,
    }
