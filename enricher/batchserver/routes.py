"""The HTTP side: reads calls, asks the shelf, the register and the runner, writes OpenAI's objects.

Decides nothing about a batch. Every call named in a fault script passes `ScriptedFaults.call` exactly once.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import re
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from aiohttp import BodyPartReader, web

from enricher.batchserver.files import ReceivedFile, discard
from enricher.batchserver.shapes import ENDPOINTS, Batch, FileObject, RefusedError, from_json, to_json
from enricher.batchserver.validation import check_upload, read_create, read_expiry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from enricher.batchserver.backend import Backend
    from enricher.batchserver.batches import BatchRegister
    from enricher.batchserver.files import FileShelf
    from enricher.batchserver.runner import BatchRunner
    from enricher.batchserver.scripted import ScriptedFaults
    from enricher.ports import Clock

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

Wire = TypeVar("Wire", Batch, FileObject)
Piece = TypeVar("Piece")

_READ_BYTES = 256 * 1024
_FIELD_BYTES = 4096
_MAX_PARTS = 32
"""Of an upload's form; OpenAI's has five at most."""
_MAX_FILES_LISTED = 10_000
_MAX_BATCHES_LISTED = 100
_BATCHES_LISTED = 20


def _answer(value: object) -> web.Response:
    return web.Response(body=to_json(value), content_type="application/json")


class Routes:
    """The handlers of one server."""

    def __init__(
        self,
        register: BatchRegister,
        shelf: FileShelf,
        runner: BatchRunner,
        backend: Backend,
        faults: ScriptedFaults,
        clock: Clock,
        silent_seconds: float,
    ) -> None:
        self._silent_seconds = silent_seconds
        self._register = register
        self._shelf = shelf
        self._runner = runner
        self._backend = backend
        self._faults = faults
        self._clock = clock

    def add_to(self, app: web.Application) -> None:
        """Put every route into an application."""
        scripted: list[tuple[str, str, str, Handler]] = [
            ("POST", "/v1/files", "upload", self._upload),
            ("GET", "/v1/files", "list", self._list_files),
            ("GET", "/v1/files/{id}", "retrieve", self._retrieve_file),
            ("GET", "/v1/files/{id}/content", "content", self._send_content),
            ("DELETE", "/v1/files/{id}", "delete", self._delete_file),
            ("POST", "/v1/batches", "create", self._create_batch),
            ("GET", "/v1/batches", "list", self._list_batches),
            ("GET", "/v1/batches/{id}", "retrieve", self._retrieve_batch),
            ("POST", "/v1/batches/{id}/cancel", "cancel", self._cancel_batch),
            ("GET", "/v1/models", "", self._list_models),
            ("GET", "/v1/models/{id:.+}", "", self._retrieve_model),
            *(("POST", endpoint, "", self._pass_on) for endpoint in ENDPOINTS),
        ]
        for method, path, operation, handler in scripted:
            app.router.add_route(method, path, partial(self._with_faults, operation, handler))
        app.router.add_get("/healthz", self._report_health)
        app.router.add_get("/_server/ledger", self._report_ledger)

    async def _with_faults(self, operation: str, handler: Handler, request: web.Request) -> web.StreamResponse:
        response, rule = await self._faults.call(operation, request, partial(handler, request))
        if rule is not None and rule.what == "file_not_found" and isinstance(response, web.Response):
            self._shelf.hide(msgspec.json.decode(response.text or "", type=FileObject).id, rule.lookups)
        return response

    # ---------------------------------------------------------------- files

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        await self._shelf.drop_expired(self._clock.now())
        if request.content_type != "multipart/form-data":
            raise RefusedError(400, "A file is uploaded as multipart/form-data with the fields file and purpose.")
        form, filename, received = await self._read_form(request)
        if received is None:
            raise RefusedError(400, "'file' is a required property", param="file")
        try:
            purpose = form.get("purpose")
            check_upload(filename=filename, purpose=purpose)
            if purpose == "batch" and not received.is_utf8:
                raise RefusedError(400, "Invalid file for Batch API. Must be utf-8 encoded")  # noqa: TRY301 (one clean-up)
            kept = await self._shelf.keep(
                received,
                filename=filename,
                purpose=purpose or "",
                now=self._clock.now(),
                expires_after_seconds=_read_expiry_fields(form),
            )
        except (RefusedError, OSError):
            discard(received.path)
            raise
        books = self._register.books
        await self._register.write_books(
            dataclasses.replace(books, uploads=books.uploads + 1, lines_uploaded=books.lines_uploaded + received.lines)
        )
        return _answer(kept)

    async def _read_form(self, request: web.Request) -> tuple[dict[str, str], str, ReceivedFile | None]:
        form: dict[str, str] = {}
        filename, received = "", None
        try:
            parts = await request.multipart()
            for _ in range(_MAX_PARTS):
                if (part := await self._in_time(parts.next())) is None:
                    break
                name, named_file = _names_of(part)
                assert isinstance(part, BodyPartReader)  # or it has no name
                if name == "file" and received is None:
                    filename = named_file
                    received = await self._shelf.receive(self._read_part(part))
                else:
                    form[name] = await self._read_field(part, name)
            else:
                raise RefusedError(400, f"The form has more than {_MAX_PARTS} parts.")  # noqa: TRY301 (one clean-up)
        except BaseException as error:
            if received is not None:
                discard(received.path)
            if isinstance(error, ValueError):
                raise RefusedError(400, "The multipart form cannot be read.") from error
            raise
        return form, filename, received

    async def _list_files(self, request: web.Request) -> web.StreamResponse:
        order = request.query.get("order", "desc")
        if order not in {"asc", "desc"}:
            raise RefusedError(400, "Invalid value: expected 'asc' or 'desc'.", code="invalid_value", param="order")
        files = [record.file for record in self._shelf.list(request.query.get("purpose"))]
        if order == "desc":
            files.reverse()
        return _answer(_to_page(files, request, default=_MAX_FILES_LISTED, most=_MAX_FILES_LISTED))

    def _find_file(self, request: web.Request) -> FileObject:
        file_id = request.match_info["id"]
        record = self._shelf.find(file_id)
        if record is None:
            raise RefusedError(404, f"No such File object: {file_id[:100]}", param="id")
        return record.file

    async def _retrieve_file(self, request: web.Request) -> web.StreamResponse:
        return _answer(self._find_file(request))

    async def _send_content(self, request: web.Request) -> web.StreamResponse:
        found = self._find_file(request)
        response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
        response.content_length = found.bytes
        async with contextlib.aclosing(self._shelf.read(found.id, _READ_BYTES)) as chunks:
            chunk = await anext(chunks, b"")  # what cannot be opened is told before the answer begins
            await response.prepare(request)
            try:
                while chunk:
                    async with asyncio.timeout(self._silent_seconds):
                        await response.write(chunk)
                    chunk = await anext(chunks, b"")
            except OSError:
                # Too late to tell an error: the client sees that the file is not whole.
                if request.transport is not None:
                    request.transport.abort()
        return response

    async def _delete_file(self, request: web.Request) -> web.StreamResponse:
        found = self._find_file(request)
        await self._shelf.delete(found.id)
        return _answer({"id": found.id, "object": "file", "deleted": True})

    # ---------------------------------------------------------------- batches

    async def _create_batch(self, request: web.Request) -> web.StreamResponse:
        return _answer(await self._runner.create(read_create(await self._read_json(request))))

    async def _list_batches(self, request: web.Request) -> web.StreamResponse:
        batches = [self._runner.view(batch_id) for batch_id in reversed(self._register.records)]
        return _answer(_to_page(batches, request, default=_BATCHES_LISTED, most=_MAX_BATCHES_LISTED))

    def _find_batch(self, request: web.Request) -> str:
        batch_id = request.match_info["id"]
        if batch_id not in self._register.records:
            raise RefusedError(404, f"No batch found with id '{batch_id[:100]}'.", param="batch_id")
        return batch_id

    async def _retrieve_batch(self, request: web.Request) -> web.StreamResponse:
        return _answer(self._runner.view(self._find_batch(request)))

    async def _cancel_batch(self, request: web.Request) -> web.StreamResponse:
        return _answer(await self._runner.cancel(self._find_batch(request)))

    # ---------------------------------------------------------------- the rest

    async def _list_models(self, _request: web.Request) -> web.StreamResponse:
        return _answer({"object": "list", "data": [_model(name) for name in await self._backend.models()]})

    async def _retrieve_model(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["id"]
        if name not in await self._backend.models():
            raise RefusedError(404, f"The model '{name[:100]}' does not exist.", code="model_not_found", param="model")
        return _answer(_model(name))

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        body = await self._read_json(request)
        if not isinstance(body, dict):
            raise RefusedError(400, "We could not parse the JSON body of your request.")
        if body.get("stream"):
            raise RefusedError(
                400, "Streaming is not passed on by this server.", code="unsupported_value", param="stream"
            )
        status, answer = await self._backend.answer(request.path, body)
        try:
            content = to_json(answer)
        except UnicodeEncodeError as error:
            raise RefusedError(
                502, "The upstream's answer is not valid Unicode.", code="bad_upstream_answer"
            ) from error
        return web.Response(status=status, body=content, content_type="application/json")

    async def _report_health(self, _request: web.Request) -> web.StreamResponse:
        return _answer({"status": "ok"})

    async def _report_ledger(self, _request: web.Request) -> web.StreamResponse:
        books = self._register.books
        return _answer(
            {
                "uploads": books.uploads,
                "batches_created": books.batches_created,
                "lines_uploaded": books.lines_uploaded,
                "lines_answered": self._runner.answered_lines(),
            }
        )

    # ---------------------------------------------------------------- bodies on their way

    async def _in_time(self, coming: Awaitable[Piece]) -> Piece:
        """Wait for the next piece of a body, but not for a client that has fallen silent."""
        try:
            async with asyncio.timeout(self._silent_seconds):
                return await coming
        except TimeoutError as error:
            raise RefusedError(408, f"Nothing more came for {self._silent_seconds:g} s.") from error

    async def _read_json(self, request: web.Request) -> object:
        content = await self._in_time(request.read())
        try:
            value = from_json(content)
        except ValueError as error:
            raise RefusedError(400, "We could not parse the JSON body of your request.") from error
        return value

    async def _read_part(self, part: BodyPartReader) -> AsyncIterator[bytes]:
        while chunk := await self._in_time(part.read_chunk(_READ_BYTES)):
            yield chunk

    async def _read_field(self, part: BodyPartReader, name: str) -> str:
        content = b""
        while chunk := await self._in_time(part.read_chunk(_FIELD_BYTES)):
            content += chunk
            if len(content) > _FIELD_BYTES:
                raise RefusedError(400, f"The form field {name[:100]} is too long.")
        return content.decode()


def _names_of(part: object) -> tuple[str, str]:
    """Name of a field, and of a file, which some clients leave out. Raises RefusedError."""
    name, filename = (part.name, part.filename) if isinstance(part, BodyPartReader) else (None, None)
    if name is None:
        raise RefusedError(400, "The form has a part that is neither a file nor a field.")
    try:
        f"{name}{filename}".encode()
    except UnicodeEncodeError as error:
        raise RefusedError(400, "The form has a name that is not encoded as UTF-8.") from error
    return name, filename or "upload"


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "local"}


def _read_expiry_fields(form: dict[str, str]) -> int | None:
    """Read `expires_after`: as fields with the key in brackets, which the client sends, or as one of JSON."""
    fields: dict[str, Any] = {}
    if "expires_after" in form:
        try:
            fields = msgspec.json.decode(form["expires_after"], type=dict[str, Any])
        except (msgspec.MsgspecError, RecursionError, UnicodeEncodeError) as error:
            raise RefusedError(
                400, "Invalid type for 'expires_after': expected an object.", param="expires_after"
            ) from error
    for name, text in form.items():
        match = re.fullmatch(r"expires_after\[(anchor|seconds)\]", name)
        if match:
            fields[match[1]] = int(text) if re.fullmatch(r"\d{1,12}", text) else text
    return read_expiry(fields if "expires_after" in form else fields or None, param="expires_after")


def _to_page(objects: list[Wire], request: web.Request, *, default: int, most: int) -> dict[str, Any]:
    text = request.query.get("limit", str(default))
    if not re.fullmatch(r"\d{1,9}", text) or not 1 <= int(text) <= most:
        raise RefusedError(
            400, f"Invalid 'limit': expected a whole number from 1 to {most}.", code="invalid_value", param="limit"
        )
    start, after = 0, request.query.get("after")
    if after is not None:
        places = {entry.id: place for place, entry in enumerate(objects, 1)}
        if after not in places:
            raise RefusedError(
                400, "Invalid 'after': no such object in this list.", code="invalid_value", param="after"
            )
        start = places[after]
    page = objects[start : start + int(text)]
    return {
        "object": "list",
        "data": page,
        "first_id": page[0].id if page else None,
        "last_id": page[-1].id if page else None,
        "has_more": start + int(text) < len(objects),
    }
