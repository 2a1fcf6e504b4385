"""The fault script at work: counts its strikes on disk and carries out those that hit a call.

Without a script every method is a no-op. Never here: a fault that no rule asked for.
"""

from __future__ import annotations

import asyncio
import dataclasses
import http
from typing import TYPE_CHECKING, Any

from aiohttp import web

from enricher.batchserver.faults import FaultCounters
from enricher.batchserver.shapes import RefusedError, to_error_body

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from enricher.batchserver.batches import BatchRegister
    from enricher.batchserver.faults import FaultRule, FaultScript


class ScriptedFaults:
    """One script over the life of a state directory."""

    def __init__(self, script: FaultScript | None, register: BatchRegister) -> None:
        self._register = register
        self._counters = FaultCounters(script, register.books.fault_counts if script else None)
        self._is_on = script is not None
        self._closing = asyncio.Event()

    @property
    def counts(self) -> list[int]:
        """How often each rule was due."""
        return self._counters.counts

    async def _save(self) -> None:
        books = dataclasses.replace(self._register.books, fault_counts=self._counters.counts)
        await self._register.write_books(books)

    def strike_batch(self) -> tuple[FaultRule, ...]:
        """Return the rules that strike a new batch; the caller writes the books."""
        return self._counters.strike_batch()

    async def strike_line(self, custom_id: str) -> tuple[int, dict[str, Any]] | None:
        """Return the scripted answer to a line, if there is one."""
        rule = self._counters.strike_line(custom_id) if self._is_on else None
        if rule is None:
            return None
        await self._save()
        message = rule.message or "This line fails by the fault script."
        return rule.status, to_error_body(message, status=rule.status, code=rule.code or None)

    async def call(
        self, operation: str, request: web.Request, handler: Callable[[], Awaitable[web.StreamResponse]]
    ) -> tuple[web.StreamResponse, FaultRule | None]:
        """Answer a call, with the fault that strikes it; returns the rule too, for what it leaves behind."""
        rule = self._counters.strike_call(operation, request.method, request.path) if self._is_on else None
        if rule is None:
            return await handler(), None
        await self._save()
        response = await handler() if rule.what.startswith(("accepted_", "file_")) else None
        if response is None:
            async for _ in request.content.iter_any():
                pass  # the client has to have sent all before it can read an answer
        match rule.what.removeprefix("accepted_"):
            case "status":
                raise self._refusal(rule)
            case "hang":
                await self._closing.wait()
            case "reset":
                if request.transport is not None:
                    request.transport.abort()
            case _:
                pass
        return response or web.Response(status=http.HTTPStatus.SERVICE_UNAVAILABLE), rule

    @staticmethod
    def _refusal(rule: FaultRule) -> RefusedError:
        headers = {}
        if rule.retry_after_seconds is not None:
            headers["Retry-After"] = f"{rule.retry_after_seconds:g}"
        message = rule.message or "This call fails by the fault script."
        return RefusedError(rule.status, message, code=rule.code or None, headers=headers)

    def close(self) -> None:
        """Let go of the calls that hang."""
        self._closing.set()
