"""The objects of the Files and Batches API as they go over the wire, and as they lie on disk.

Field names, order of states and nulls are OpenAI's (its OpenAPI description of 2026-08-21); what is ours alone stands
in the `...Record` types around them and never leaves the server. Nothing here reads, writes or waits.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec

from enricher.batchserver.faults import FaultRule  # noqa: TC001 (msgspec reads the annotation)
from enricher.errors import EnricherError

EMBEDDINGS = "/v1/embeddings"
MODERATIONS = "/v1/moderations"
ENDPOINTS = ("/v1/responses", "/v1/chat/completions", EMBEDDINGS, MODERATIONS)

_MAX_NESTING = 500
_TOKENS = re.compile(rb'"(?>(?:[^"\\]++|\\.)*)"?|[\[\]{}]', re.DOTALL).finditer


class RefusedError(EnricherError):
    """The request is answered with an error: HTTP status, and OpenAI's error object as the body."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}
        self.body = to_error_body(message, status=status, code=code, param=param)


def to_error_body(message: str, *, status: int, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    """Return OpenAI's error object for an HTTP status; what it quotes of a client may be no Unicode."""
    match status:
        case 429:
            kind = "rate_limit_error"
        case _ if status >= 500:
            kind = "server_error"
        case _:
            kind = "invalid_request_error"
    message = message.encode("utf-8", "replace").decode()
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


class Status(StrEnum):
    """The states of a batch."""

    VALIDATING = "validating"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        """Whether the batch has ended."""
        return self in {Status.COMPLETED, Status.FAILED, Status.EXPIRED, Status.CANCELLED}


@dataclass(frozen=True, slots=True, kw_only=True)
class FileObject:
    """A stored file. Times are whole Unix seconds."""

    id: str
    object: str = "file"
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: str
    status: str = "processed"
    status_details: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRecord:
    """A stored file and its exact moment of creation, in Unix seconds, by which lists are ordered."""

    file: FileObject
    created: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestCounts:
    """How many lines a batch has, how many were answered with 200, how many not."""

    total: int = 0
    completed: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedTokens:
    """Detail of the input tokens."""

    cached_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasoningTokens:
    """Detail of the output tokens."""

    reasoning_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one answer, or of a whole batch."""

    input_tokens: int = 0
    input_tokens_details: CachedTokens = CachedTokens()
    output_tokens: int = 0
    output_tokens_details: ReasoningTokens = ReasoningTokens()
    total_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            input_tokens_details=CachedTokens(
                cached_tokens=self.input_tokens_details.cached_tokens + other.input_tokens_details.cached_tokens
            ),
            output_tokens=self.output_tokens + other.output_tokens,
            output_tokens_details=ReasoningTokens(
                reasoning_tokens=self.output_tokens_details.reasoning_tokens
                + other.output_tokens_details.reasoning_tokens
            ),
            total_tokens=self.total_tokens + other.total_tokens,
        )

    @classmethod
    def from_body(cls, body: object) -> Usage:
        """Read the usage of a body of any endpoint; zeros for what it does not say."""
        usage = _mapping(_mapping(body).get("usage"))
        asked = _count(usage, "input_tokens", "prompt_tokens")
        given = _count(usage, "output_tokens", "completion_tokens")
        asked_details = _mapping(usage.get("input_tokens_details") or usage.get("prompt_tokens_details"))
        given_details = _mapping(usage.get("output_tokens_details") or usage.get("completion_tokens_details"))
        return cls(
            input_tokens=asked,
            input_tokens_details=CachedTokens(cached_tokens=_count(asked_details, "cached_tokens")),
            output_tokens=given,
            output_tokens_details=ReasoningTokens(reasoning_tokens=_count(given_details, "reasoning_tokens")),
            total_tokens=_count(usage, "total_tokens") or asked + given,
        )


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(mapping: dict[str, Any], *names: str) -> int:
    for name in names:
        value = mapping.get(name)
        if isinstance(value, int) and value >= 0:
            return value
    return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LineFault:
    """Why a batch failed; `line` counts from 1."""

    code: str
    message: str
    param: str | None = None
    line: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LineFaults:
    """The list object around the reasons for which a batch failed."""

    object: str = "list"
    data: tuple[LineFault, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A batch. Times are whole Unix seconds."""

    id: str
    object: str = "batch"
    endpoint: str
    model: str | None = None
    errors: LineFaults | None = None
    input_file_id: str
    completion_window: str = "24h"
    status: Status = Status.VALIDATING
    output_file_id: str | None = None
    error_file_id: str | None = None
    created_at: int
    in_progress_at: int | None = None
    expires_at: int
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None
    request_counts: RequestCounts = RequestCounts()
    usage: Usage = Usage()
    metadata: dict[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRecord:
    """A batch and what the server alone knows of it.

    `created` and `deadline` are exact Unix seconds. `is_validated`: its lines were found good. `is_sealed`: no line
    will be answered any more, `request_counts` and `usage` are final, only the files have yet to be moved.
    `answered_lines` counts what a backend answered, with 200 or not. `faults` are scripted for this batch.
    """

    batch: Batch
    created: float
    deadline: float
    output_expires_after_seconds: int | None = None
    is_validated: bool = False
    is_sealed: bool = False
    ending: Status | None = None
    enqueued_tokens: int = 0
    answered_lines: int = 0
    faults: tuple[FaultRule, ...] = ()


def to_json(value: object) -> bytes:
    """Encode an object of the wire or of the disk."""
    return msgspec.json.encode(value)


def from_json(raw: bytes) -> Any:  # noqa: ANN401 - whatever others send
    """Decode what others sent. Raises ValueError, for what is nested so deeply that it could not be written again, too.

    How deep Python reads and writes hangs on how deep it stands: what could just be read in one place could not in
    another, and a batch with such a line would not go on after a restart.
    """
    if raw.count(b"[") + raw.count(b"{") > _MAX_NESTING and _nesting(raw) > _MAX_NESTING:
        raise ValueError("nested too deeply")
    return msgspec.json.decode(raw)


def _nesting(raw: bytes) -> int:
    depth = deepest = 0
    for token in _TOKENS(raw):
        depth += 1 if token[0] in (b"[", b"{") else -1 if token[0] in (b"]", b"}") else 0
        deepest = max(deepest, depth)
    return deepest


def to_id(prefix: str, *parts: object) -> str:
    """Make an id that is the same for the same parts, so that a repeated step finds its own work."""
    digest = hashlib.sha256("\x00".join(str(part) for part in parts).encode("utf-8", "surrogatepass")).hexdigest()
    return f"{prefix}{digest[:24]}"
