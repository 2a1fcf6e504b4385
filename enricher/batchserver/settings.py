"""How a batch server is set up. Values only: nothing here reads a file or an environment variable."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from enricher.connections import HEAD_SECONDS

if TYPE_CHECKING:
    from pathlib import Path

    from enricher.batchserver.faults import FaultScript
    from enricher.batchserver.webhooks import WebhookTarget

# OpenAI's limits of the Batch API.
MAX_REQUESTS = 50_000
MAX_EMBEDDING_INPUTS = 50_000
"""Over all lines of a batch, each of which may have several."""
MAX_INPUT_BYTES = 209_715_200
WINDOW_SECONDS = 86_400.0

MAX_CONNECTIONS = 512
SILENT_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Where a batch server keeps its state, where it listens and what it allows.

    `port` 0 takes a free one. `concurrency` bounds the lines in work over all batches. `api_key` set: every call needs
    it as a bearer token. `enqueued_token_limit` is per model over all batches that have not ended. All clients together
    may hold `max_connections`; the head of a first request takes `head_seconds` at most, and in the middle of an upload
    or a download nothing moves for `silent_seconds` at most; a JSON body has that time as a whole.
    """

    state_dir: Path
    concurrency: int
    host: str = "127.0.0.1"
    port: int = 0
    api_key: str | None = field(default=None, repr=False)
    max_requests: int = MAX_REQUESTS
    max_embedding_inputs: int = MAX_EMBEDDING_INPUTS
    max_bytes: int = MAX_INPUT_BYTES
    enqueued_token_limit: int | None = None
    completion_window_seconds: float = WINDOW_SECONDS
    max_connections: int = MAX_CONNECTIONS
    head_seconds: float = HEAD_SECONDS
    silent_seconds: float = SILENT_SECONDS
    faults: FaultScript | None = None
    webhooks: WebhookTarget | None = None
