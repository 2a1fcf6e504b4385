"""What answers the lines of a batch: the one port of the batch server.

A backend is asked for one request at a time, as often at once as the server's `concurrency` allows. It retries what is
worth retrying by itself, since only it knows its upstream: what it returns is the line's outcome. It must never raise
for a request that it cannot answer; that is a status and an error body too.
"""

from __future__ import annotations

from typing import Any, Protocol

Json = dict[str, Any]


class Backend(Protocol):
    """Answers requests of `shapes.ENDPOINTS`, or of some of them: to others it says 400."""

    async def start(self) -> None:
        """Open what it needs. Called once, before the first `answer`; raises an `EnricherError` if it cannot."""

    async def answer(self, endpoint: str, body: Json) -> tuple[int, Json]:
        """Return HTTP status and JSON body for one request; `body` is the caller's and stays unchanged.

        200 carries the endpoint's response object, any other status `{"error": {"message", "type", "param", "code"}}`.
        May be cancelled at any await: the line is then unanswered and asked again after a restart.
        """
        ...

    async def models(self) -> list[str]:
        """Name the models that it answers with; empty if it cannot tell now."""
        ...

    async def close(self) -> None:
        """Release everything within a second; also after a `start` that failed."""
