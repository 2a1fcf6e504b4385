r"""What OpenAI refuses: at upload and at create with an HTTP error, later by failing the batch.

An input file is read line by line, so it is never in memory as a whole; lines end at `\n` alone, never at U+2028 and
its like. What the codes are called follows OpenAI where its spelling is known, else Azure's; a client matches on sets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from enricher.batchserver.embeddings import count_inputs
from enricher.batchserver.shapes import EMBEDDINGS, ENDPOINTS, LineFault, RefusedError, from_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from enricher.batchserver.settings import ServerSettings

PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
EXPIRY_SECONDS = (3_600, 2_592_000)
MAX_METADATA_PAIRS = 16
MAX_METADATA_KEY = 64
MAX_METADATA_VALUE = 512
# As many faults of one file are named; a client mends the cause, not the lines.
MAX_FAULTS = 100
BYTES_PER_TOKEN = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateRequest:
    """A create call whose fields are good; the file may still be missing."""

    input_file_id: str
    endpoint: str
    metadata: dict[str, str] | None
    output_expires_after_seconds: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLine:
    """One line of an input file."""

    custom_id: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class InputCheck:
    """What an input file holds. `tokens` is an estimate, four bytes each."""

    total: int
    model: str | None
    tokens: int
    faults: tuple[LineFault, ...]


def check_upload(*, filename: str, purpose: str | None) -> None:
    """Refuse a file by what its form says. Raises `RefusedError`."""
    if purpose is None:
        raise RefusedError(400, "'purpose' is a required property", param="purpose")
    if purpose not in PURPOSES:
        raise RefusedError(400, f"'{purpose[:100]}' is not one of {list(PURPOSES)} - 'purpose'", param="purpose")
    if purpose == "batch" and not filename.endswith(".jsonl"):
        raise RefusedError(400, "Invalid file format for Batch API. Must be .jsonl")


def read_expiry(value: Mapping[str, Any] | None, *, param: str) -> int | None:
    """Return the seconds of an `expires_after` object, None if there is none. Raises `RefusedError`."""
    if value is None:
        return None
    for key in ("anchor", "seconds"):
        if key not in value:
            raise RefusedError(
                400,
                f"Missing required parameter: '{param}.{key}'.",
                code="missing_required_parameter",
                param=f"{param}.{key}",
            )
    if value["anchor"] != "created_at":
        raise _invalid_value(value["anchor"], ("created_at",), f"{param}.anchor")
    seconds = value["seconds"]
    least, most = EXPIRY_SECONDS
    if isinstance(seconds, bool) or not isinstance(seconds, int) or not least <= seconds <= most:
        raise RefusedError(
            400,
            f"Invalid '{param}.seconds': expected a whole number from {least} to {most}.",
            code="invalid_value",
            param=f"{param}.seconds",
        )
    return seconds


def _invalid_value(value: object, supported: tuple[str, ...], param: str) -> RefusedError:
    names = " and ".join(f"'{name}'" for name in supported)
    shown = str(value)[:100]
    return RefusedError(
        400, f"Invalid value: '{shown}'. Supported values are: {names}.", code="invalid_value", param=param
    )


def read_create(body: object) -> CreateRequest:
    """Check the body of a create call. Raises `RefusedError`."""
    if not isinstance(body, dict):
        raise RefusedError(400, "We could not parse the JSON body of your request.")
    for key in ("input_file_id", "endpoint", "completion_window"):
        if not isinstance(body.get(key), str):
            raise RefusedError(
                400, f"Missing required parameter: '{key}'.", code="missing_required_parameter", param=key
            )
    if body["endpoint"] not in ENDPOINTS:
        raise _invalid_value(body["endpoint"], ENDPOINTS, "endpoint")
    if body["completion_window"] != "24h":
        raise _invalid_value(body["completion_window"], ("24h",), "completion_window")
    expiry = body.get("output_expires_after")
    if expiry is not None and not isinstance(expiry, dict):
        raise RefusedError(
            400, "Invalid type for 'output_expires_after': expected an object.", param="output_expires_after"
        )
    return CreateRequest(
        input_file_id=body["input_file_id"],
        endpoint=body["endpoint"],
        metadata=_read_metadata(body.get("metadata")),
        output_expires_after_seconds=read_expiry(expiry, param="output_expires_after"),
    )


def _read_metadata(value: object) -> dict[str, str] | None:
    if value is None:
        return None
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise RefusedError(
            400, "Invalid type for 'metadata': expected an object of strings.", code="invalid_type", param="metadata"
        )
    if len(value) > MAX_METADATA_PAIRS:
        raise RefusedError(
            400,
            f"Invalid 'metadata': too many properties. Expected at most {MAX_METADATA_PAIRS}, "
            f"but got {len(value)} instead.",
            code="object_above_max_properties",
            param="metadata",
        )
    for key, text in value.items():
        if len(key) > MAX_METADATA_KEY:
            raise RefusedError(
                400,
                f"Invalid 'metadata': a key is longer than {MAX_METADATA_KEY} characters.",
                code="string_above_max_length",
                param="metadata",
            )
        if len(text) > MAX_METADATA_VALUE:
            raise RefusedError(
                400,
                f"Invalid 'metadata.{key}': longer than {MAX_METADATA_VALUE} characters.",
                code="string_above_max_length",
                param=f"metadata.{key}",
            )
    return value


def read_lines(path: Path) -> Iterator[RequestLine]:
    """Yield the lines of a file that was found good, in their order."""
    decoder = msgspec.json.Decoder()
    with path.open("rb") as stream:
        for raw in stream:
            line = decoder.decode(raw)
            yield RequestLine(custom_id=line["custom_id"], body=line["body"])


def check_input(
    path: Path, endpoint: str, settings: ServerSettings, *, is_stopped: Callable[[], bool] = lambda: False
) -> InputCheck:
    """Read a whole input file and name what is wrong with it.

    Meant for a thread; `is_stopped` is asked at each line and ends it early, with a result that is not to be used.
    Raises `OSError` if the file cannot be read.
    """
    size = path.stat().st_size
    if size > settings.max_bytes:
        message = f"The batch input file is larger than the {settings.max_bytes} bytes maximum for the batch api."
        return _failed(LineFault(code="maximum_input_file_size_exceeded", message=message))
    check = _LineChecker(endpoint)
    with path.open("rb") as stream:
        for raw in stream:
            if is_stopped() or check.total == settings.max_requests:
                break
            check.add(raw)
            if check.embedding_inputs > settings.max_embedding_inputs:
                most = settings.max_embedding_inputs
                message = f"The batch input file has more than the maximum of {most} embedding inputs."
                return _failed(LineFault(code="maximum_embedding_inputs_exceeded", message=message, line=check.total))
        else:
            return check.result(size)
    message = f"The batch input file has more than the maximum of {settings.max_requests} requests."
    return _failed(LineFault(code="maximum_requests_exceeded", message=message))


def _failed(*faults: LineFault) -> InputCheck:
    return InputCheck(total=0, model=None, tokens=0, faults=faults)


class _LineChecker:
    """Takes the lines of one file one after the other."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._seen: set[str] = set()
        self._faults: list[LineFault] = []
        self._model: str | None = None
        self.total = 0
        self.embedding_inputs = 0

    def add(self, raw: bytes) -> None:
        self.total += 1
        if len(self._faults) >= MAX_FAULTS:
            return
        fault = self._find_fault(raw)
        if fault:
            code, message, param = fault
            self._faults.append(LineFault(code=code, message=message, param=param, line=self.total))

    def result(self, size: int) -> InputCheck:
        if self.total == 0:
            return _failed(LineFault(code="empty_file", message="The batch input file has no requests."))
        return InputCheck(
            total=self.total, model=self._model, tokens=size // BYTES_PER_TOKEN, faults=tuple(self._faults)
        )

    def _find_fault(self, raw: bytes) -> tuple[str, str, str | None] | None:
        try:
            line = from_json(raw)
        except ValueError:
            line = None
        if not isinstance(line, dict):
            return "invalid_json_line", "This line is not parseable as a JSON object.", None
        custom_id, url, body = line.get("custom_id"), line.get("url"), line.get("body")
        if not isinstance(custom_id, str) or not custom_id:
            return "missing_required_parameter", "Missing required parameter: 'custom_id'.", "custom_id"
        if custom_id in self._seen:
            return (
                "duplicate_custom_id",
                f"The custom_id '{custom_id[:100]}' is used by another request. It must be unique in the batch.",
                "custom_id",
            )
        self._seen.add(custom_id)
        if line.get("method") != "POST":
            return "invalid_method", "The method of a request must be POST.", "method"
        if url not in ENDPOINTS:
            return "invalid_url", "The URL provided for this request is invalid.", "url"
        if url != self._endpoint:
            return "url_mismatch", "The URL provided for this request does not match the batch's endpoint.", "url"
        if not isinstance(body, dict):
            return "missing_required_parameter", "Missing required parameter: 'body'.", "body"
        return self._find_body_fault(body)

    def _find_body_fault(self, body: dict[str, Any]) -> tuple[str, str, str | None] | None:
        if body.get("stream"):
            return "streaming_unsupported", "Streaming is not supported in a batch.", "body.stream"
        model = body.get("model")
        if not isinstance(model, str) or not model:
            return "missing_required_parameter", "Missing required parameter: 'body.model'.", "body.model"
        if self._model is None:
            self._model = model
        if model != self._model:
            return (
                "mismatched_model",
                f"The model '{model[:100]}' differs from '{self._model[:100]}', that of the batch's first request.",
                "body.model",
            )
        if self._endpoint == EMBEDDINGS:
            self.embedding_inputs += count_inputs(body.get("input"))
        return None


def token_limit_fault(model: str | None, limit: int) -> LineFault:
    """Name a full token queue, in OpenAI's words."""
    return LineFault(
        code="token_limit_exceeded",
        message=f"Enqueued token limit reached for {model or 'this model'} in organization org-local. "
        f"Limit: {limit:,} enqueued tokens. Please try again once some in_progress batches have been completed.",
    )
