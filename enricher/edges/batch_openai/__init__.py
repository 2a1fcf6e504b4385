"""BatchClient on the openai package: the only file that imports it, and the HTTP client below it.

The six steps of batch mode: the JSONL is serialised by `core.batch`; here it is uploaded, the batch is created and
polled, its output and error files are downloaded; `core.answer` post-processes them.

Nothing is retried inside. The SDK would post a create up to three times after a timeout, and a create is not
idempotent: a slow answer would be paid two or three times. Every error leaves as one of `errors.ProviderError`.

The SDK does not check what it is answered: behind a wrong address or a proxy's login page it hands on a page of HTML as
if it were a batch. So every field is looked at here, and what is no file or batch is an error like any other.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import aiofiles
import aiofiles.os
import httpx2
import openai

from enricher import private
from enricher.core.job import CREDIT_CODES, CREDIT_HINT, MAX_WAIT_SECONDS
from enricher.core.loopback import is_loopback
from enricher.core.redact import SECRET, clean
from enricher.edges.batch_openai import bounded
from enricher.edges.batch_openai.bounded import ACCEPT_ENCODING, AnswerError, bound, no_cookies
from enricher.errors import (
    NOT_THE_API,
    AuthProviderError,
    BatchFileError,
    NotFoundProviderError,
    PermanentProviderError,
    ProviderError,
    TransientProviderError,
    UnclearProviderError,
)
from enricher.ports import ProviderBatch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from enricher.telemetry import Telemetry

_LIST_PAGE: Final = 100
_MAX_LISTED: Final = 2_000  # as many as may be created in an hour
_CHUNK_BYTES: Final = 1 << 20
_CALL_TIMEOUT_SECONDS: Final = 60.0
_MAX_ID_CHARACTERS: Final = 256
_MAX_TEXT_CHARACTERS: Final = 500
_MAX_UNCLEAN_CHARACTERS: Final = 64 * 1024
_KEY_CHARACTERS: Final = 8
_HALF_HIDDEN: Final = re.compile(r"(?<![\w*-])[\w*-]*\*{3}[\w*-]*")
"""A key of which the middle is starred out, as OpenAI shows one that it refuses."""
_NOT_THE_API_HINT: Final = "is base_url right, with its /v1, and is there a proxy in between?"


class OpenAIBatchClient:
    """The Batch API of OpenAI and of those who speak it. Implements `ports.BatchClient`."""

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str,
        timeout_seconds: float,
        telemetry: Telemetry,
    ) -> None:
        self._host = base_url
        self._key = api_key
        # What goes to a provider on this host may hold lines as they were read: it takes no way over a proxy of the
        # environment, and follows nobody elsewhere.
        direct = is_loopback(urlsplit(base_url).hostname or "")
        self._client = openai.AsyncOpenAI(
            base_url=base_url,
            api_key=api_key,
            timeout=timeout_seconds,
            max_retries=0,
            http_client=openai.DefaultAsyncHttpxClient(
                trust_env=not direct,
                follow_redirects=not direct,
                timeout=timeout_seconds,
                headers={"accept-encoding": ACCEPT_ENCODING},
                # A connection for each call: on one that is used again, what is left of an answer that was given up
                # would answer the next call, about another batch.
                limits=httpx2.Limits(max_keepalive_connections=0),
                event_hooks={"response": [bound]},
                cookies=no_cookies(),
            ),
        )
        self._timeout_seconds = timeout_seconds
        self._telemetry = telemetry

    async def upload(self, path: Path, name: str) -> str:
        """Upload an input file, streamed from disk."""
        try:
            with path.open("rb") as handle:
                sending = os.fstat(handle.fileno()).st_size / bounded.LEAST_BYTES_PER_SECOND
                async with self._mapped("upload", unclear=True, sending_seconds=sending):
                    made = await self._client.files.create(file=(name, handle, "application/jsonl"), purpose="batch")
                    return _identifier(made)
        except OSError as error:
            raise BatchFileError(f"{path}: cannot be read: {error.strerror}", hint="check its disk") from error

    async def find_upload(self, name: str) -> str | None:
        """Newest file of ours with this name."""
        async with self._mapped("list"):
            seen = 0
            async for file in self._client.files.list(purpose="batch", order="desc", limit=_LIST_PAGE):
                if file.filename == name:
                    return _identifier(file)
                seen += 1
                if seen >= _MAX_LISTED:
                    break
        return None

    async def create(self, *, input_file_id: str, endpoint: str, metadata: Mapping[str, str]) -> ProviderBatch:
        """Create the batch: one request, whatever happens."""
        async with self._mapped("create", unclear=True):
            made = await self._client.batches.create(
                input_file_id=input_file_id,
                endpoint=endpoint,  # type: ignore[arg-type]  # a Literal there, a checked setting here
                completion_window="24h",
                metadata=dict(metadata),
            )
            shown = self._shown(made)
            if shown.input_file_id not in (None, input_file_id):
                raise UnclearProviderError(f"{self._host} answered about the batch of another file")
            return shown

    async def find_batch(self, *, job: str, input_file_id: str) -> list[ProviderBatch]:
        """Batches of this job or file, oldest first; failed ones ran nothing and are left out.

        How old they are says nothing: the clock of this host may be wrong, and what is overlooked is paid twice.
        """
        found: list[ProviderBatch] = []
        async with self._mapped("list"):
            seen = 0
            async for batch in self._client.batches.list(limit=_LIST_PAGE):
                seen += 1
                shown = self._shown(batch)
                if seen > _MAX_LISTED:
                    break
                ours = shown.metadata.get("job") == job or shown.input_file_id == input_file_id
                if ours and shown.status != "failed":
                    found.append(shown)
        return found[::-1]

    async def retrieve(self, batch_id: str) -> ProviderBatch:
        """The batch as it is now."""
        async with self._mapped("retrieve"):
            return self._own(batch_id, await self._client.batches.retrieve(batch_id, timeout=_CALL_TIMEOUT_SECONDS))

    async def cancel(self, batch_id: str) -> ProviderBatch:
        """Ask to cancel."""
        async with self._mapped("cancel"):
            return self._own(batch_id, await self._client.batches.cancel(batch_id, timeout=_CALL_TIMEOUT_SECONDS))

    async def download(self, file_id: str, path: Path, *, max_bytes: int) -> None:
        """Stream a file to disk; `path` appears only when it is whole."""
        partial = path.with_name(path.name + ".part")
        try:
            try:
                async with self._mapped("download") as limit:
                    await self._stream(file_id, partial, max_bytes, limit)
                await aiofiles.os.replace(partial, path)
            except BaseException:
                with contextlib.suppress(OSError):
                    partial.unlink()
                raise
        except OSError as error:
            raise BatchFileError(
                f"{partial}: cannot be written: {error.strerror}", hint="is there room, and may the daemon write there?"
            ) from error

    async def _stream(self, file_id: str, partial: Path, max_bytes: int, limit: asyncio.Timeout) -> None:
        # Answers may hold what log lines say: for the daemon's user alone.
        async with (
            self._client.files.with_streaming_response.content(file_id) as response,
            aiofiles.open(partial, "wb", opener=private.opener) as out,
        ):
            # From here on what it takes depends on how much it is: see `bounded`.
            limit.reschedule(None)
            if "html" in response.headers.get("content-type", "").lower():
                raise ValueError("a page of HTML in place of a file")
            size = 0
            async for chunk in response.iter_bytes(_CHUNK_BYTES):
                size += len(chunk)
                if size > max_bytes:
                    raise PermanentProviderError(
                        f"{self._host}: file {file_id} is larger than {max_bytes:,} bytes",
                        hint="what was asked in this batch has no answer so large: is this provider sound?",
                    )
                await out.write(chunk)

    async def delete_file(self, file_id: str) -> None:
        """Delete a file; a missing one is fine."""
        with contextlib.suppress(NotFoundProviderError):
            async with self._mapped("delete"):
                await self._client.files.delete(file_id, timeout=_CALL_TIMEOUT_SECONDS)

    async def check(self, model: str) -> None:
        """Key and model are accepted. Some providers show a model only in their list."""
        try:
            async with self._mapped("retrieve"):
                await self._client.models.retrieve(model, timeout=_CALL_TIMEOUT_SECONDS)
        except NotFoundProviderError:
            if await self._lists(model):
                return
            raise PermanentProviderError(
                f"{self._host} does not know the model {model!r}",
                hint="set [provider] model to one that the provider lists",
                code="model_not_found",
            ) from None

    async def _lists(self, model: str) -> bool:
        with contextlib.suppress(NotFoundProviderError):
            async with self._mapped("list"):
                async for shown in self._client.models.list(timeout=_CALL_TIMEOUT_SECONDS):
                    if shown.id == model:
                        return True
        return False

    async def ask(self, endpoint: str, body: Mapping[str, object]) -> Mapping[str, object]:
        """One request, on demand."""
        async with self._mapped("ask", unclear=True):
            made = await self._client.post(endpoint.removeprefix("/v1"), body=dict(body), cast_to=object)
            if not isinstance(made, dict):
                raise TypeError("an answer that is no JSON object")
            return made

    async def close(self) -> None:
        """Close connections."""
        await self._client.close()

    @contextlib.asynccontextmanager
    async def _mapped(
        self, operation: str, *, unclear: bool = False, sending_seconds: float = 0.0
    ) -> AsyncIterator[asyncio.Timeout]:
        """Turn the SDK's errors into ours, count the call, and bound its time.

        The HTTP client waits for each piece anew: for each line of a head, and each 100 before it, without end.
        """
        mapped: ProviderError
        limit = asyncio.timeout(self._timeout_seconds + bounded.PATIENCE_SECONDS + sending_seconds)
        try:
            async with limit:
                yield limit
        except TimeoutError:
            if not limit.expired():  # a file of ours, on a disk that does not answer
                raise
            mapped = (UnclearProviderError if unclear else TransientProviderError)(
                f"{self._host} began to answer and did not get on ({operation})", hint="is it overloaded?"
            )
        except ProviderError as error:
            mapped = error
        except (openai.APIConnectionError, httpx2.HTTPError) as error:
            # While a body is streamed, the SDK lets the errors of its HTTP client through.
            if isinstance(error.__cause__, AnswerError):
                mapped = self._not_the_api(error.__cause__, operation, unclear=unclear)
            else:
                mapped = (UnclearProviderError if unclear else TransientProviderError)(
                    self._told(error), hint="is the address right, and can this host reach it?"
                )
        except openai.APIStatusError as error:
            mapped = self._of_status(error, unclear=unclear)
        except openai.OpenAIError as error:
            mapped = PermanentProviderError(self._told(error))
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            # What the SDK stumbles over when a page of HTML, a list or null comes where an object was promised.
            # What may have been carried out is looked for first, and looking says that nothing here is the API.
            mapped = (UnclearProviderError if unclear else PermanentProviderError)(
                f"{self._host} did not answer as the Batch API does ({operation}): "
                f"{self._without_key(str(error))[:100]}",
                hint=_NOT_THE_API_HINT,
                code=NOT_THE_API,
            )
        else:
            self._telemetry.api_called(operation=operation, result="ok")
            return
        self._telemetry.api_called(operation=operation, result=_RESULTS[type(mapped)])
        raise mapped from None

    def _not_the_api(self, error: Exception, operation: str, *, unclear: bool) -> ProviderError:
        # What may have been carried out is looked for first, and looking says that nothing here is the API.
        return (UnclearProviderError if unclear else PermanentProviderError)(
            f"{self._host} did not answer as the Batch API does ({operation}): {clean(str(error))[:100]}",
            hint=_NOT_THE_API_HINT,
            code=NOT_THE_API,
        )

    def _told(self, error: Exception) -> str:
        return f"{self._host}: {self._without_key(str(error))}"

    def _without_key(self, text: str) -> str:
        """Text of a provider's, as it may be shown."""
        if len(text) > _MAX_UNCLEAN_CHARACTERS:
            # Millions of characters would hold up the loop; a key that is cut in two is left out with its end.
            text = clean(text[:_MAX_UNCLEAN_CHARACTERS])[: -len(self._key) or None]
        text = clean(text)[: 4 * _MAX_TEXT_CHARACTERS]
        # Some servers repeat the key that they refuse, or its ends. A short one is a stand-in where no key is wanted.
        if len(self._key) >= _KEY_CHARACTERS:
            text = text.replace(self._key, SECRET)
        # Cut at last: else half a key could be left of one.
        return _HALF_HIDDEN.sub(SECRET, text)[:_MAX_TEXT_CHARACTERS]

    def _of_status(self, error: openai.APIStatusError, *, unclear: bool) -> ProviderError:
        status, code = error.status_code, _code_of(error.body)
        text = f"{self._host} answered {status}: {self._without_key(_message_of(error))}"
        wait = _retry_after(error.response.headers)
        if code in CREDIT_CODES or status == 402:
            return AuthProviderError(text, code=code, hint=CREDIT_HINT)
        if status in (401, 403):
            return AuthProviderError(
                text, code=code, hint="the key was refused: check OPENAI_API_KEY or the credential openai-api-key"
            )
        if status == 429:  # refused before anything was done
            return TransientProviderError(text, code=code, retry_after_seconds=wait)
        if status in (408, 409) or status >= 500:
            kind = UnclearProviderError if unclear else TransientProviderError
            return kind(text, code=code, retry_after_seconds=wait)
        if status in (404, 405):
            return NotFoundProviderError(text, code=code)
        return PermanentProviderError(text, code=code)

    def _own(self, batch_id: str, batch: object) -> ProviderBatch:
        """What was answered about a batch; an answer about another would have its results taken for those of this."""
        shown = self._shown(batch)
        if shown.id != batch_id:
            raise TransientProviderError(f"{self._host} answered about another batch than was asked for")
        return shown

    def _shown(self, batch: Any) -> ProviderBatch:  # noqa: ANN401 - declared as the SDK's Batch, but it can be anything
        counts = getattr(batch, "request_counts", None)
        errors = getattr(getattr(batch, "errors", None), "data", None)
        metadata = getattr(batch, "metadata", None)
        return ProviderBatch(
            id=_identifier(batch),
            status=_text(batch.status, 64).lower(),
            input_file_id=_optional_identifier(batch.input_file_id),
            output_file_id=_optional_identifier(batch.output_file_id),
            error_file_id=_optional_identifier(batch.error_file_id),
            created_at=_number(batch.created_at),
            expires_at=_number(batch.expires_at),
            total=_count(counts, "total"),
            completed=_count(counts, "completed"),
            failed=_count(counts, "failed"),
            errors=tuple(map(self._fault, errors if isinstance(errors, list) else ())),
            metadata={key: value for key, value in metadata.items() if isinstance(value, str)}
            if isinstance(metadata, dict)
            else {},
        )

    def _fault(self, error: object) -> tuple[str, str, int | None]:
        """(code, message, line of our file) of one fault of a batch."""
        line = getattr(error, "line", None)
        code, message = _text(getattr(error, "code", None), 100), getattr(error, "message", None)
        text = self._without_key(message) if isinstance(message, str) else ""
        return code, text, line if isinstance(line, int) and line > 0 else None


_RESULTS: Final = {
    TransientProviderError: "transient",
    UnclearProviderError: "unclear",
    AuthProviderError: "auth",
    NotFoundProviderError: "not_found",
    PermanentProviderError: "permanent",
}


def _identifier(made: Any) -> str:  # noqa: ANN401 - as above
    """The id of a file or batch. Raises ValueError as `_as_identifier` does."""
    return _as_identifier(made.id)


def _optional_identifier(found: object) -> str | None:
    """The id of a file that there may be; some say "" where there is none."""
    return _as_identifier(found) if isinstance(found, str) and found else None


def _as_identifier(found: object) -> str:
    """An id as it was given. Raises ValueError for what cannot be one: it goes into the ledger and into paths.

    In a path it is one segment, which the SDK quotes; a segment that is a step up or none at all would be no id there.
    """
    if not isinstance(found, str) or not 0 < len(found) <= _MAX_ID_CHARACTERS:
        raise ValueError("an object without an id")
    if not found.isascii() or not found.isprintable():
        raise ValueError("an id that is no plain text")
    if found in (".", ".."):
        raise ValueError("an id that is a step in a path")
    return found


def _text(value: object, limit: int) -> str:
    return clean(value)[:limit] if isinstance(value, str) else ""


def _number(value: object) -> float | None:
    good = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e12 and math.isfinite(value)
    return float(value) if good else None  # type: ignore[arg-type]  # a number, by the line before


def _count(counts: object, name: str) -> int:
    return max(0, int(_number(getattr(counts, name, None)) or 0))


def _code_of(body: object) -> str:
    """The code of an error, or its type where that is all that is said."""
    inner = body.get("error", body) if isinstance(body, dict) else None
    if not isinstance(inner, dict):
        return ""
    return _text(inner.get("code"), 100) or _text(inner.get("type"), 100)


def _message_of(error: openai.APIStatusError) -> str:
    body = error.body
    inner = body.get("error", body) if isinstance(body, dict) else body
    message = inner.get("message") if isinstance(inner, dict) else inner
    return str(message or error.message)


def _retry_after(headers: Any) -> float | None:  # noqa: ANN401 - the SDK's header mapping
    try:
        wait = float(headers.get("retry-after", ""))
    except ValueError:
        return None
    return None if math.isnan(wait) else min(max(0.0, wait), MAX_WAIT_SECONDS)
