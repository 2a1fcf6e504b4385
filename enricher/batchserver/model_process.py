"""The embedded model as a backend of the batch server: a child process, watched, and asked over loopback.

Invariant: at most one child lives, it is ended by its own process id, and it ends by itself when this process does.
When it dies, the requests it had are asked once more of a new one; a request never raises, whatever the child does.
Only chat completions are answered: the engine's `/v1/responses` ignores the JSON Schema of the answer
(https://github.com/ggml-org/llama.cpp/issues/21922).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import aiohttp

from enricher.batchserver.shapes import EMBEDDINGS, MODERATIONS, to_error_body
from enricher.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from enricher.batchserver.backend import Json

CHAT_ENDPOINT = "/v1/chat/completions"
_CHILD = Path(__file__).with_name("model_child.py")
# -P: the script's own directory must not hide modules that the engine imports.
CHILD_COMMAND = (sys.executable, "-P", str(_CHILD))

# It runs native code on hostile text, and needs no key of anybody's.
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)

# A gigabyte from a slow disk; a loaded file takes 1 to 6 s.
_LOAD_TIMEOUT_SECONDS = 300.0
# 1,500 tokens in and 260 out at a tenth of the slowest speed measured.
_ANSWER_TIMEOUT_SECONDS = 900.0
_RESTART_DELAYS_SECONDS = (0.5, 2.0, 8.0, 30.0, 60.0)
_STDERR_TAIL_BYTES = 2000
_PROBE_WORD = "zebra"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """What to run and how much of the machine it may use. `context_tokens` is per slot; a slot answers one request."""

    file: Path
    name: str
    threads: int
    context_tokens: int = 4096
    slots: int = 1
    idle_seconds: int = 300


_WAYS_OUT = {
    EMBEDDINGS: "for vectors ask a server that has a model of embeddings (serve-batches --upstream URL)",
    MODERATIONS: "for moderations ask a provider that has them",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Child:
    process: asyncio.subprocess.Process
    address: str
    key: str


def spare_threads() -> int:
    """Give the cores of this process less one: a single busy neighbour makes a thread per core slower than one less."""
    return max(1, len(os.sched_getaffinity(0)) - 1)


async def enforces_schemas(answer: Callable[[str, Json], Awaitable[tuple[int, Json]]]) -> bool:
    """Ask for the capital of France under a schema that allows one other word, and tell whether the schema won."""
    schema = {"type": "object", "properties": {"answer": {"enum": [_PROBE_WORD]}}, "required": ["answer"]}
    body: Json = {
        "messages": [{"role": "user", "content": 'What is the capital of France? Reply as JSON: {"answer": "..."}'}],
        "max_tokens": 40,
        "temperature": 0,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "probe", "strict": True, "schema": {**schema, "additionalProperties": False}},
        },
    }
    status, reply = await answer(CHAT_ENDPOINT, body)
    if status != 200:
        return False
    try:
        return bool(json.loads(reply["choices"][0]["message"]["content"]) == {"answer": _PROBE_WORD})
    except (LookupError, TypeError, ValueError):
        return False


class ModelProcess:
    """A `Backend` that answers with the embedded model.

    `command` starts the child, whose options are appended; `restart_delays_seconds` are waited before the first,
    second … restart in a row without an answer between them, the last one from then on.
    """

    def __init__(
        self,
        settings: ModelSettings,
        *,
        command: Sequence[str] = CHILD_COMMAND,
        restart_delays_seconds: Sequence[float] = _RESTART_DELAYS_SECONDS,
        load_timeout_seconds: float = _LOAD_TIMEOUT_SECONDS,
    ) -> None:
        self._settings = settings
        self._command = command
        self._restart_delays_seconds = restart_delays_seconds
        self._load_timeout_seconds = load_timeout_seconds
        self._timeout = aiohttp.ClientTimeout(total=_ANSWER_TIMEOUT_SECONDS)
        self._slots = asyncio.Semaphore(settings.slots)
        self._launching = asyncio.Lock()
        self._failures = 0
        self._child: _Child | None = None
        self._loading: asyncio.subprocess.Process | None = None
        self._http: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Load the model and see that it keeps to schemas; raises ModelError with a hint."""
        self._http = aiohttp.ClientSession()
        await self._running()
        if not await enforces_schemas(self.answer):
            raise ModelError(
                "the engine of the embedded model does not hold answers to their JSON Schema",
                hint="install the version that enricher was made for: pip install --upgrade 'enricher[local]'",
            )

    async def answer(self, endpoint: str, body: Json) -> tuple[int, Json]:
        """Answer one chat completion; `model` in the reply names the model that really answered."""
        if endpoint != CHAT_ENDPOINT:
            message = f"the embedded model answers {CHAT_ENDPOINT} only: "
            message += _WAYS_OUT.get(endpoint, f'set endpoint = "{CHAT_ENDPOINT}" in [provider]')
            return 400, to_error_body(message, status=400, code="unsupported_endpoint", param="endpoint")
        if body.get("stream"):
            return 400, to_error_body("streaming is not supported in a batch", status=400, param="stream")
        request = {**body, "model": self._settings.name, "messages": _without_control_tokens(body.get("messages"))}
        async with self._slots:
            reason = ""
            for _ in range(2):
                try:
                    child = await self._running()
                except ModelError as error:
                    return 503, to_error_body(f"{error}: {error.hint}", status=503, code="model_unavailable")
                try:
                    return await self._post(child, request)
                except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                    reason = str(error) or type(error).__name__
                    await _end(child.process)
        message = f"the embedded model's process failed twice on this request: {reason}"
        return 500, to_error_body(message, status=500, code="model_failed")

    async def models(self) -> list[str]:
        """Name the one model."""
        return [self._settings.name]

    async def close(self) -> None:
        """End the child and the connections to it."""
        http, self._http = self._http, None
        if http is not None:
            await http.close()
        if self._loading is not None:
            await _end(self._loading)
        if self._child is not None:
            await _end(self._child.process)

    async def _post(self, child: _Child, request: Json) -> tuple[int, Json]:
        if self._http is None:
            raise aiohttp.ClientConnectionError("the backend is closed")
        headers = {"Authorization": f"Bearer {child.key}"}
        url = child.address + CHAT_ENDPOINT
        async with self._http.post(url, json=request, headers=headers, timeout=self._timeout) as response:
            reply = await response.json(content_type=None)
        if not isinstance(reply, dict):
            raise ValueError("the answer is not a JSON object")  # noqa: TRY004 - one kind with text that is no JSON
        if response.status != 200:
            return response.status, _to_openai_error(response.status, reply)
        self._failures = 0
        return 200, {**reply, "model": self._settings.name}

    async def _running(self) -> _Child:
        """Give the child that lives, starting one if need be; raises ModelError."""
        async with self._launching:
            if self._child is not None:
                if self._child.process.returncode is None:
                    return self._child
                await _end(self._child.process)
            if self._failures:
                step = min(self._failures, len(self._restart_delays_seconds)) - 1
                await asyncio.sleep(self._restart_delays_seconds[step])
            if self._http is None:
                raise ModelError("the embedded model is not running", hint="it was stopped, or never started")
            self._failures += 1  # until it has answered
            self._child = await self._launch()
            return self._child

    async def _launch(self) -> _Child:
        # In memory: a full or missing temporary directory is no reason to lack a model.
        with os.fdopen(os.memfd_create("model-stderr"), "w+b") as stderr:
            try:
                process = await asyncio.create_subprocess_exec(
                    *self._command,
                    *_options(self._settings),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=stderr,
                    env={name: value for name, value in os.environ.items() if not _SECRET.search(name)},
                    # Ctrl-C in a terminal is for the daemon, which still has to drain.
                    start_new_session=True,
                )
            except OSError as error:
                raise ModelError(f"cannot start the embedded model: {error}", hint="see the error above") from error
            self._loading = process
            try:
                return await self._await_ready(process, stderr)
            except BaseException:
                await _end(process)
                raise
            finally:
                self._loading = None

    async def _await_ready(self, process: asyncio.subprocess.Process, stderr: IO[bytes]) -> _Child:
        assert process.stdout is not None
        try:
            async with asyncio.timeout(self._load_timeout_seconds):
                line = await process.stdout.readline()
                if not line:
                    await process.wait()
        except TimeoutError as error:
            message = f"the embedded model did not load within {self._load_timeout_seconds:.0f} s"
            raise ModelError(message, hint="look at the machine's load and disk, then start again") from error
        if not line:
            raise _to_death(process.returncode or 0, _tail(stderr))
        try:
            report = json.loads(line)
            if "error" not in report:
                return _Child(process=process, address=report["address"], key=report["key"])
        except (ValueError, LookupError, TypeError) as error:
            text = line.decode(errors="replace").strip()
            hint = "see what prints that when this Python starts"
            raise ModelError(f"the embedded model's process began with {text!r}", hint=hint) from error
        raise ModelError(report["error"], hint=report["hint"])


def _options(settings: ModelSettings) -> list[str]:
    options = {
        "file": settings.file,
        "name": settings.name,
        "threads": settings.threads,
        "context-tokens": settings.context_tokens,
        "slots": settings.slots,
        "idle-seconds": settings.idle_seconds,
    }
    return [f"--{name}={value}" for name, value in options.items()]


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    assert process.stdin is not None
    process.stdin.close()
    await process.wait()


def _tail(stderr: IO[bytes]) -> str:
    stderr.seek(max(0, stderr.seek(0, os.SEEK_END) - _STDERR_TAIL_BYTES))
    lines = stderr.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def _to_death(returncode: int, last_words: str) -> ModelError:
    """Say why a child died before it was ready, and what to do about it."""
    match -returncode:
        case signal.SIGILL:
            message = "the engine of the embedded model needs instructions that this processor lacks (AVX2, FMA, F16C)"
            return ModelError(
                message, hint="use another machine, or serve a model elsewhere and set base_url in [provider]"
            )
        case signal.SIGKILL:
            message = "the embedded model was killed while it loaded, most likely for lack of memory"
            return ModelError(message, hint="free some memory, or take the small model: enricher model pull --small")
        case _:
            message = f"the embedded model's process ended with code {returncode}: {last_words}"
            return ModelError(message, hint="fetch the model again: enricher model pull")


def _without_control_tokens(messages: object) -> object:
    """Break up what the engine would read as a control token: a log line must not begin a turn of its own."""
    if not isinstance(messages, list):
        return messages
    return [
        {**message, "content": message["content"].replace("<|", "< |")}
        if isinstance(message, dict) and isinstance(message.get("content"), str)
        else message
        for message in messages
    ]


def _to_openai_error(status: int, reply: dict[str, Any]) -> Json:
    """Bring the engine's error, whose `code` is the HTTP status, into OpenAI's shape."""
    error = reply.get("error")
    if not isinstance(error, dict):
        return to_error_body(f"the engine answered with status {status}", status=status)
    return to_error_body(str(error.get("message", "")), status=status, code=str(error.get("type", "")) or None)
