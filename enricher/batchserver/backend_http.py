"""Passes requests on to any OpenAI-compatible endpoint: vLLM, Ollama, llama.cpp, LM Studio, a hosted one.

Retries what may succeed later (429, 5xx, no connection, timeout), a bounded number of times, and honours `Retry-After`.
What still fails then is the line's outcome. Never here: a change of the request other than the model's name.
"""

from __future__ import annotations

import datetime as dt
import email.utils
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec

from enricher.batchserver.shapes import from_json, to_error_body

if TYPE_CHECKING:
    from collections.abc import Mapping

    from enricher.batchserver.backend import Json
    from enricher.ports import Clock

MAX_ATTEMPTS = 5
FIRST_BACKOFF_SECONDS = 0.5
MAX_BACKOFF_SECONDS = 20.0
# A wait longer than this is not worth a line's place: it fails, and its client decides.
MAX_RETRY_AFTER_SECONDS = 120.0
# A slow local model may take minutes for one answer.
ANSWER_TIMEOUT_SECONDS = 900.0
_CONNECT_TIMEOUT_SECONDS = 10.0
_MODELS_TIMEOUT_SECONDS = 10.0
_SHOWN_BYTES = 300
MAX_ANSWER_BYTES = 256 * 1024 * 1024
"""More than 2,048 vectors of 4,096 numbers take. An answer is held in memory as a whole, so it must have an end."""


class HttpBackend:
    """One upstream, at most `concurrency` connections. `base_url` ends in /v1; `model` replaces the requests' own."""

    def __init__(
        self, base_url: str, *, clock: Clock, concurrency: int, api_key: str | None = None, model: str | None = None
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._clock = clock
        self._concurrency = concurrency
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._model = model
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Open the session; the upstream need not be there yet."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._concurrency),
            timeout=aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_SECONDS, sock_connect=_CONNECT_TIMEOUT_SECONDS),
            headers={**self._headers, "Content-Type": "application/json"},
        )

    async def close(self) -> None:
        """Drop the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def answer(self, endpoint: str, body: Json) -> tuple[int, Json]:
        """Ask the upstream, again where that may help."""
        content = msgspec.json.encode({**body, "model": self._model} if self._model else body)
        url = self._base_url + endpoint.removeprefix("/v1")
        backoff = FIRST_BACKOFF_SECONDS
        for attempt in range(1, MAX_ATTEMPTS + 1):
            status, answer, wait = await self._ask_once(url, content)
            is_worth_it = status == 429 or status >= 500
            wait = backoff if wait is None else wait
            if not is_worth_it or attempt == MAX_ATTEMPTS or wait > MAX_RETRY_AFTER_SECONDS:
                break
            await self._clock.sleep(wait)
            backoff = min(backoff * 2, MAX_BACKOFF_SECONDS)
        return status, answer

    async def _ask_once(self, url: str, content: bytes) -> tuple[int, Json, float | None]:
        assert self._session is not None, "start() comes first"
        try:
            async with self._session.post(url, data=content) as response:
                raw = await _read_bounded(response)
                status, headers = response.status, response.headers
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            reason = str(error) or type(error).__name__
            return (
                503,
                to_error_body(f"{url} cannot be reached: {reason}", status=503, code="upstream_unreachable"),
                None,
            )
        wait = read_retry_after(headers, self._clock.now())
        if raw is None:
            text = f"{url} answered with more than {MAX_ANSWER_BYTES:,} bytes"
            return 502, to_error_body(text, status=502, code="bad_upstream_answer"), wait
        answer = _read_object(raw)
        if answer is None:
            shown = raw[:_SHOWN_BYTES].decode("utf-8", "replace")
            status = status if status >= 400 else 502
            return status, to_error_body(f"{url} did not answer with JSON: {shown}", status=status), wait
        if status >= 400 and not isinstance(answer.get("error"), dict):
            message = str(answer.get("error") or answer.get("detail") or answer.get("message") or answer)
            answer = to_error_body(message[:_SHOWN_BYTES], status=status)
        return status, answer, wait

    async def models(self) -> list[str]:
        """Name the upstream's models; empty if it does not tell within ten seconds."""
        assert self._session is not None, "start() comes first"
        timeout = aiohttp.ClientTimeout(total=_MODELS_TIMEOUT_SECONDS)
        try:
            async with self._session.get(f"{self._base_url}/models", timeout=timeout) as response:
                raw = await _read_bounded(response) if response.status == 200 else None
                answer = _read_object(raw or b"")
        except (aiohttp.ClientError, TimeoutError, OSError):
            answer = None
        data = (answer or {}).get("data")
        entries = data if isinstance(data, list) else []
        return [entry["id"] for entry in entries if isinstance(entry, dict) and isinstance(entry.get("id"), str)]


async def _read_bounded(response: aiohttp.ClientResponse) -> bytes | None:
    """Read a body, counted as it is unpacked; None where it is too long, and its connection is closed."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            response.close()
            return None
    return bytes(body)


def _read_object(raw: bytes) -> dict[str, Any] | None:
    try:
        answer = from_json(raw)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def read_retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds that an answer asks to wait: `retry-after-ms`, or `Retry-After` in seconds or as a date."""
    for name, scale in (("retry-after-ms", 0.001), ("Retry-After", 1.0)):
        text = headers.get(name, "").strip()
        try:
            seconds = float(text) * scale
        except ValueError:
            continue
        return seconds if 0 <= seconds < float("inf") else None
    try:
        moment = email.utils.parsedate_to_datetime(headers.get("Retry-After", ""))
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return max(0.0, moment.timestamp() - now)
