r"""Requests and the lines of batch files: packing kinds of event, cutting files, naming, reading results back.

Invariants: no question is in two requests of a packing and none is lost; a request's id is a function of what it asks,
so that it can be recognised for ever; cutting keeps order and holds every limit; every submitted custom_id ends in
exactly one of answered, failed or missing. Bytes are split at \n only: other separators occur inside JSON strings.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, Protocol, TypeVar

from enricher.core.answer import Question, parse_json, request_body
from enricher.core.job import CREDIT_CODES
from enricher.core.prompt import max_output_tokens, response_schema, shown_question, user_text
from enricher.core.redact import clean, looks_like_instructions
from enricher.core.tokens import Counter, estimate_tokens
from enricher.errors import ConfigError

if TYPE_CHECKING:
    from enricher.core.task import Task

# What a provider adds to a request and to each of its messages, with a margin.
_OVERHEAD_TOKENS: Final = 24
_TURN_TOKENS: Final = 6
# Up to here a request costs the base price of every model known; above, long-context prices begin.
MAX_REQUEST_TOKENS: Final = 200_000
_MAX_LINE_BYTES: Final = 16 * 1024 * 1024
# Attempts are counted from 1 and there are a handful: seven digits bound the length of a line before it is numbered.
_WIDEST_ATTEMPT: Final = 9_999_999
_CUSTOM_ID: Final = re.compile(r"(r[0-9a-f]{16})-([0-9]{1,7})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One line of a batch file before it is numbered.

    `tokens` is an upper estimate of the input; `max_output_tokens` what the answer can take, `output_tokens` what it
    usually takes.
    """

    id: str
    signatures: tuple[str, ...]
    templates: tuple[str, ...]
    body: bytes
    tokens: int
    output_tokens: int
    max_output_tokens: int


def pack(
    questions: Sequence[Question],
    task: Task,
    *,
    model: str,
    endpoint: str,
    max_signatures: int,
    max_tokens: int = 8_000,
    reasoning_effort: str | None = None,
    counter: Counter | None = None,
) -> list[Request]:
    """Pack questions into requests in order: at most `max_signatures` and about `max_tokens` of input each.

    A kind whose text looks like instructions to a model is alone in its request, and so is one that is too large for
    company. `reasoning_effort` is as in `request_body`; `counter` counts tokens exactly.
    """

    def body(group: Sequence[Question]) -> dict[str, Any]:
        return request_body(task, group, model=model, endpoint=endpoint, reasoning_effort=reasoning_effort)

    if task.kind == "single":
        max_signatures = 1
    static = {count: static_tokens(task, count, counter) for count in range(1, max_signatures + 1)}
    budget = min(max_tokens, MAX_REQUEST_TOKENS) - static[max_signatures]
    groups: list[list[Question]] = []
    sizes: list[int] = []
    # Whether the last group takes more company.
    is_open = False
    for question in questions:
        alone = looks_like_instructions(question.template) or any(map(looks_like_instructions, question.examples))
        size = question_tokens(question, task, counter)
        if is_open and not alone and len(groups[-1]) < max_signatures and sizes[-1] + size <= budget:
            groups[-1].append(question)
            sizes[-1] += size
        else:
            groups.append([question])
            sizes.append(size)
        is_open = not alone
    return [
        _request(task, model, group, body(group), tokens)
        for group, tokens in ((group, static[len(group)] + size) for group, size in zip(groups, sizes, strict=True))
    ]


def static_tokens(task: Task, count: int, counter: Counter | None = None) -> int:
    """Estimate what is the same in every request with `count` questions: instructions, examples, schema."""
    schema = json.dumps(response_schema(task, count), separators=(",", ":"))
    texts = [part for example in task.examples for part in example]
    if counter is None:
        # Not log text: the instructions are prose, 4.3 bytes a token when shipped, the schema has 2.7 or more.
        known = -(-len(task.system.encode()) * 2 // 7) + -(-len(schema) * 10 // 26)
    else:
        known = counter(task.system) + counter(schema)
    return known + sum(estimate_tokens(text, counter) + _TURN_TOKENS for text in texts) + _OVERHEAD_TOKENS


def question_tokens(question: Question, task: Task, counter: Counter | None = None) -> int:
    """Estimate the input tokens of one question's text."""
    if counter is not None or task.kind == "single":
        return estimate_tokens(user_text(task, [question]), counter) + _TURN_TOKENS
    # Keys, quotes and braces are the same each time; counted one by one they would be twice what they are.
    values = [json.dumps(value, ensure_ascii=False) for value in shown_question(question).values()]
    return sum(estimate_tokens(value) for value in values) + _TURN_TOKENS * (len(values) + 1)


def _request(task: Task, model: str, group: Sequence[Question], body: Mapping[str, Any], tokens: int) -> Request:
    signatures = tuple(question.signature for question in group)
    return Request(
        id=request_id(task.hash, model, signatures),
        signatures=signatures,
        templates=tuple(question.template for question in group),
        body=json.dumps(body, separators=(",", ":")).encode("ascii"),
        tokens=tokens,
        output_tokens=task.answer_tokens * len(group),
        max_output_tokens=max_output_tokens(task, group),
    )


def request_id(task_hash: str, model: str, signatures: Sequence[str]) -> str:
    """Return "r" and 16 hex digits of what is asked, of whom, and how."""
    asked = json.dumps([task_hash, model, list(signatures)], separators=(",", ":"))
    return "r" + hashlib.sha256(asked.encode()).hexdigest()[:16]


def custom_id(request_id: str, attempt: int) -> str:
    """Return the id of one sending of a request, of `[A-Za-z0-9_-]`, at most 64 characters."""
    made = f"{request_id}-{attempt}"
    if not _CUSTOM_ID.fullmatch(made):
        raise ValueError(f"no custom_id can be made of request {request_id!r} and attempt {attempt}")
    return made


class Sendable(Protocol):
    """What a batch file needs of a request: `Request` here, its row in the ledger later."""

    @property
    def id(self) -> str:
        """Return the request's id."""

    @property
    def body(self) -> bytes:
        """Return its body, JSON in ASCII."""

    @property
    def tokens(self) -> int:
        """Return the estimate of its input tokens."""


_Sendable = TypeVar("_Sendable", bound=Sendable)


def line(request: Sendable, attempt: int, endpoint: str) -> bytes:
    """Return one line of a batch file, with its newline; ASCII only."""
    head = {"custom_id": custom_id(request.id, attempt), "method": "POST", "url": endpoint}
    return json.dumps(head, separators=(",", ":")).encode("ascii")[:-1] + b',"body":' + request.body + b"}\n"


def cut(
    requests: Iterable[_Sendable], *, max_requests: int, max_bytes: int, max_tokens: int, endpoint: str
) -> list[list[_Sendable]]:
    """Cut requests into batch files, in order. Bytes are those of the lines, tokens the estimated input.

    Raises ConfigError when a single request is over a limit: only a limit set far too low can do that.
    """
    files: list[list[_Sendable]] = []
    room_requests = room_bytes = room_tokens = 0
    for request in requests:
        size = len(line(request, _WIDEST_ATTEMPT, endpoint))
        if size > max_bytes or request.tokens > max_tokens or max_requests < 1:
            what = f"request {request.id} ({size} bytes, {request.tokens} tokens)"
            raise ConfigError(
                [f"{what} does not fit into a batch file of at most {max_bytes} bytes and {max_tokens} tokens"],
                hint="raise the limits in [batch], or lower signatures_per_request",
            )
        if not room_requests or size > room_bytes or request.tokens > room_tokens:
            files.append([])
            room_requests, room_bytes, room_tokens = max_requests, max_bytes, max_tokens
        files[-1].append(request)
        room_requests, room_bytes, room_tokens = room_requests - 1, room_bytes - size, room_tokens - request.tokens
    return files


def file_name(window_id: str, part: int, attempt: int) -> str:
    """Return the name of a batch file, such as `2026-11-22T10Z-p000-a1.jsonl`: unique for a sending."""
    return f"{window_id}-p{part:03d}-a{attempt}.jsonl"


FailureKind = Literal["again", "refused"]
"""again: send it unchanged (the code says whether it ran at all); refused: the same request would fail again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputLine:
    """One line of an output or error file. With `malformed` set, that is why it cannot be read, and `raw` its bytes."""

    custom_id: str = ""
    status_code: int | None = None
    body: object = None
    error_code: str = ""
    error_message: str = ""
    malformed: str = ""
    raw: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a request got no answer. `status_code` is None when it never ran."""

    kind: FailureKind
    code: str
    message: str
    status_code: int | None


_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciled(Generic[_Answer]):
    """What became of the submitted custom_ids: each is in exactly one of the first three."""

    answered: dict[str, _Answer]
    failed: dict[str, Failure]
    missing: list[str]
    unknown: int
    duplicates: int
    malformed: int


def read_lines(chunks: Iterable[bytes]) -> Iterator[OutputLine]:
    r"""Read the lines of a result file from blocks of bytes, split at \n; byte order mark and blank lines are skipped.

    A line that cannot be read is yielded as malformed and costs no other line. Holds one line, at most 16 MiB.
    """
    for raw in split_lines(chunks):
        text = raw.removeprefix(b"\xef\xbb\xbf")
        if len(text) > _MAX_LINE_BYTES:
            yield OutputLine(malformed="longer than 16 MiB", raw=text[:4096])
        elif text.strip():
            yield output_line(text)


def split_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    r"""Cut blocks of bytes into lines at \n, without it. Holds one line; of one over 16 MiB only its beginning."""
    pending: list[bytes] = []
    size = 0
    for chunk in chunks:
        first, *rest = chunk.split(b"\n")
        # Beyond the limit a line is not kept, only known to be too long.
        if size <= _MAX_LINE_BYTES:
            pending.append(first)
            size += len(first)
        for piece in rest:
            yield pending[0] if len(pending) == 1 else b"".join(pending)
            pending, size = [piece], len(piece)
    if size:
        yield b"".join(pending)


def output_line(raw: bytes) -> OutputLine:
    """Read one line of a result file."""
    # Bytes that are not UTF-8 cost their characters, not the answer.
    record = parse_json(raw.decode("utf-8", "replace"))
    if not isinstance(record, Mapping):
        return OutputLine(malformed="not a JSON object", raw=raw)
    name = record.get("custom_id")
    if not isinstance(name, str) or not name:
        return OutputLine(malformed="no custom_id", raw=raw)
    response = record.get("response")
    response = response if isinstance(response, Mapping) else {}
    body = response.get("body")
    if isinstance(body, str):
        body = parse_json(body) or body
    status = response.get("status_code")
    error = record.get("error") or _body_error(body)
    code, message = _error(error)
    return OutputLine(
        custom_id=name,
        status_code=status if isinstance(status, int) and not isinstance(status, bool) else None,
        body=body,
        error_code=code,
        error_message=message,
    )


def _body_error(body: object) -> object:
    return body.get("error") if isinstance(body, Mapping) else None


def _error(error: object) -> tuple[str, str]:
    """Return code and message of an error object; some servers give a type for a code, some only a text."""
    if isinstance(error, Mapping):
        code = next((error[key] for key in ("code", "type") if isinstance(error.get(key), str) and error[key]), "")
        message = error.get("message")
        return clean(code)[:100], clean(message)[:500] if isinstance(message, str) else ""
    return ("error", clean(str(error))[:500]) if error else ("", "")


def reconcile(
    submitted: Collection[str],
    lines: Iterable[OutputLine],
    read: Callable[[str, Mapping[str, Any]], _Answer],
) -> Reconciled[_Answer]:
    """Put each submitted custom_id in exactly one class. The first success wins over every other line with its id.

    `read` makes of its body what is kept: all bodies of a file at once may take thirty times the room of the file.
    """
    wanted = set(submitted)
    answered: dict[str, _Answer] = {}
    failed: dict[str, Failure] = {}
    unknown = duplicates = malformed = 0
    for seen in lines:
        name = seen.custom_id
        if seen.malformed:
            malformed += 1
            continue
        if name not in wanted:
            unknown += 1
            continue
        duplicates += name in answered or name in failed
        if name in answered:
            continue
        failure = failure_of(seen)
        if failure is None and isinstance(seen.body, Mapping):
            failed.pop(name, None)
            answered[name] = read(name, seen.body)
        else:
            failed.setdefault(name, failure or NO_BODY)
    missing = [name for name in dict.fromkeys(submitted) if name not in answered and name not in failed]
    return Reconciled(
        answered=answered, failed=failed, missing=missing, unknown=unknown, duplicates=duplicates, malformed=malformed
    )


NO_BODY: Final = Failure(
    kind="again", code="no_body", message="a success without a JSON object for a body", status_code=200
)
"""What a line is that says nothing at all."""
_REFUSED_CODES: Final = frozenset({"invalid_prompt", "content_policy_violation", "context_length_exceeded"})
# 401 and 403 are the operator's to put right, 404 is a model that may come back: what was asked is not at fault.
_NOT_REFUSED: Final = frozenset({401, 403, 404, 408, 409, 421, 425, 429})


def failure_of(seen: OutputLine) -> Failure | None:
    """Say why a line is no answer, None if it is one."""
    status = seen.status_code
    failed_body = isinstance(seen.body, Mapping) and seen.body.get("status") == "failed"
    if status == 200 and not seen.error_code and not seen.error_message and not failed_body:
        return None
    return Failure(
        kind=_failure_kind(status, seen.error_code),
        code=seen.error_code or (f"http_{status}" if status is not None else "no_response"),
        message=seen.error_message,
        status_code=status,
    )


def _failure_kind(status: int | None, code: str) -> FailureKind:
    if code in CREDIT_CODES:
        return "again"
    if code in _REFUSED_CODES:
        return "refused"
    if status is not None and 400 <= status < 500 and status not in _NOT_REFUSED:
        return "refused"
    return "again"
