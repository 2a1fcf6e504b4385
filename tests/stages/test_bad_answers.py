"""Answers as no schema would let them: mended, or asked again alone, then marked; through a real batch server."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from enricher.batchserver.backend_schema import SchemaBackend
from enricher.edges.clock_system import SystemClock
from tests.stages.test_privacy import enriched, strings

GOOD: dict[str, Any] = {
    "slots": ["user.name"],
    "summary": "A thing happened to {user.name}.",
    "category": "other",
    "severity": "notice",
    "outcome": "unknown",
    "tags": [],
    "root_cause": None,
    "action": None,
    "technique": None,
    "confidence": 0.5,
}

# By the word that only this kind's template has: what is other in its answer, and what is then on its events.
MENDED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "alpha": ({"slots": ["user.name"] * 5_000}, {"user.name": "v7"}),
    "bravo": ({"slots": []}, {"enrichment.fields.p1": "v7"}),
    "charlie": ({"slots": ["__proto__"], "summary": "{__proto__} came."}, {"enrichment.fields.p1": "v7"}),
    "delta": ({"slots": ["user\nname"], "summary": "It came."}, {"enrichment.fields.p1": "v7"}),
    "echo": ({"summary": "word " * 200_000}, {"user.name": "v7"}),
    "foxtrot": ({"confidence": "0.75"}, {"user.name": "v7", "enrichment.confidence": 0.75}),
    "golf": ({"slots": ["constructor"], "tags": ["__proto__"]}, {"enrichment.fields.p1": "v7"}),
}
# What nothing can be made of, and whether the model does better when it is asked alone.
BROKEN: dict[str, tuple[dict[str, Any], bool]] = {
    "hotel": ({"severity": "3"}, False),
    "india": ({"severity": 3}, True),
    "juliett": ({"summary": ""}, False),
    "kilo": ({"slots": {"__proto__": 1}}, True),
    "lima": ({"confidence": "high"}, False),
}
CALM = ("mike", "november", "oscar")
WORDS = (*MENDED, *BROKEN, *CALM)


class CarelessBackend:
    """Answers each kind as the tables above say; remembers which kinds were asked together."""

    def __init__(self) -> None:
        self._shape = SchemaBackend(SystemClock())
        self.asked: list[list[str]] = []

    async def start(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to release."""

    async def models(self) -> list[str]:
        return ["careless"]

    async def answer(self, endpoint: str, body: dict) -> tuple[int, dict]:
        status, envelope = await self._shape.answer(endpoint, body)
        kinds = json.loads(body["input"][-1]["content"])
        words = {key: next(word for word in WORDS if word in kind["template"]) for key, kind in kinds.items()}
        self.asked.append(sorted(words.values()))
        said = {}
        for key, word in words.items():
            changes, is_better_alone = (MENDED | BROKEN).get(word, ({}, True))
            is_mended = word in MENDED or (len(words) == 1 and is_better_alone)
            said[key] = GOOD if word in BROKEN and is_mended else GOOD | changes
        envelope["status"], envelope["incomplete_details"] = "completed", None
        envelope["output"][0]["content"][0]["text"] = json.dumps(said)
        return status, envelope


async def test_what_can_be_mended_is_and_the_rest_is_asked_once_more_alone_then_marked(tmp_path):
    backend = CarelessBackend()
    # Of other lengths, so that no rule takes them for one kind.
    lines = [f"app: {' '.join([word] * number)} user=v7" for number, word in enumerate(WORDS, start=2)]

    _, events = await enriched(tmp_path, lines, mode="redacted", backend=backend, digest=False)

    of = {word: event for event in events for word in WORDS if word in event["message"]}
    assert set(WORDS) == set(of)
    for word, (_, fields) in MENDED.items():
        assert ("ok", fields) == (of[word]["enrichment.status"], {key: of[word].get(key) for key in fields}), word
    for word, (_, is_better_alone) in BROKEN.items():
        assert ("ok" if is_better_alone else "invalid") == of[word]["enrichment.status"], word
        assert is_better_alone == ("enrichment.severity" in of[word]), word
    assert {("ok", "notice", "A thing happened to v7.")} == {
        (of[word]["enrichment.status"], of[word]["enrichment.severity"], of[word]["enrichment.summary"])
        for word in CALM
    }
    times = Counter(word for words in backend.asked for word in words)
    assert dict.fromkeys((*MENDED, *CALM), 1) == {word: times[word] for word in (*MENDED, *CALM)}
    assert all(2 <= times[word] <= 5 for word in BROKEN), times
    assert all([word] in backend.asked for word in BROKEN)
    assert times.total() - len(WORDS) == sum(len(words) == 1 for words in backend.asked)
    for event in events:
        assert not [key for key in event if "__proto__" in key or "constructor" in key or "\n" in key]
        assert all(len(text) <= 2_000 for text in strings(event))
