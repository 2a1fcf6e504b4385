"""A question about a row, and the line of a batch file that asks it.

Invariants: an item's id is a hash of the task's, the model and the text, so that the same question has the same id in
every run, and another prompt, schema or model another one; a line is made of constant bytes around one JSON string,
since a million of them are made. Ids are 64 bits: of ten million items two have the same one once in 370,000 runs.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

import msgspec

from enricher.core.prompt import to_body
from enricher.core.records.task import EMBEDDINGS, MODERATIONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from hashlib import _Hash as Hash

    import numpy as np
    from numpy.typing import NDArray

    from enricher.core.records.task import RecordTask

# Stands for the row's text while the constant part of a line is made; it is in no prompt, as it holds a NUL.
_PLACE: Final = "\0the text of the row\0"
_WIDEST_ATTEMPT: Final = 9_999_999
_ID_BYTES: Final = 8


class Asking:
    """A task with a model at an endpoint: gives items their ids and lines."""

    def __init__(self, task: RecordTask, *, model: str, endpoint: str, reasoning_effort: str | None = None) -> None:
        self.task = task
        self.model = model
        self.endpoint = endpoint
        self.reasoning_effort = reasoning_effort
        body = json.dumps(self.body(_PLACE, reasoning_effort), separators=(",", ":"), ensure_ascii=False)
        before, _, after = body.partition(json.dumps(_PLACE))
        head = f'-%d","method":"POST","url":{json.dumps(endpoint)},"body":'
        self._head = head.encode()
        self._before, self._after = before.encode(), after.encode() + b"}\n"
        self._seed = seed_of(task.hash, model)
        self._encode = msgspec.json.Encoder().encode
        self.line_bytes: Final = len(self.line(0, _WIDEST_ATTEMPT, '""')) - len('""')
        """Bytes of a line without the JSON string of its text, at most."""
        self.constant_text: Final = task.system + ("" if task.schema is None else json.dumps(dict(task.schema)))
        """What every request holds besides its text, for counting tokens."""

    def at(self, endpoint: str) -> Asking:
        """Return the same at another endpoint: an item is the same one there."""
        if endpoint == self.endpoint:
            return self
        return Asking(self.task, model=self.model, endpoint=endpoint, reasoning_effort=self.reasoning_effort)

    def body(self, text: str, reasoning_effort: str | None = None) -> dict[str, Any]:
        """Return the body of one request."""
        task = self.task
        if self.endpoint in (EMBEDDINGS, MODERATIONS):
            return {"model": self.model, "input": text, **task.parameters}
        return to_body(
            task,
            turns=[{"role": "user", "content": text}],
            schema=task.schema,
            max_tokens=task.max_output_tokens,
            model=self.model,
            endpoint=self.endpoint,
            reasoning_effort=reasoning_effort,
        )

    def item(self, text: str) -> int:
        """Return the id of the question about this text: a signed number of 64 bits."""
        return item_under(self._seed, text)

    def encoded(self, text: str) -> bytes:
        """Return a text as it stands in a line: a JSON string in UTF-8."""
        return self._encode(text)

    def line(self, item: int, attempt: int, text: str) -> bytes:
        """Return the line that asks an item for the nth time, with its newline."""
        name = b'{"custom_id":"r%016x' % (item & 0xFFFFFFFFFFFFFFFF)
        return b"".join((name, self._head % attempt, self._before, self._encode(text), self._after))


def seed_of(task: str, model: str) -> Hash:
    """Begin the hash of every item of a task, by its hash, and a model."""
    return hashlib.sha256(f"{task}\0{model}\0".encode())


def item_under(seed: Hash, text: str) -> int:
    """Return the id of the question about a text: a signed number of 64 bits."""
    hashed = seed.copy()
    hashed.update(text.encode("utf-8", "surrogatepass"))
    return int.from_bytes(hashed.digest()[:_ID_BYTES], "big", signed=True)


def custom_ids(items: NDArray[np.int64], attempts: Iterable[int]) -> Iterator[str]:
    """Return the custom_id of each item in its nth sending, as `Asking.line` writes it."""
    digits = items.astype(">i8").tobytes().hex()
    return (f"r{digits[at : at + 16]}-{n}" for at, n in zip(range(0, len(digits), 16), attempts, strict=True))
