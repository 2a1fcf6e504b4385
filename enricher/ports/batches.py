"""Who answers: the Batch API, and the files that go there and come back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Collection, Iterable, Iterator, Mapping
    from pathlib import Path

    from enricher.core.collecting import Collected, Ending
    from enricher.core.ledger import LedgerBatch, Purpose


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderBatch:
    """A batch as the provider shows it, with the odd spellings of providers taken out."""

    id: str
    status: str
    """Lower case; unknown words are passed on and are not terminal."""
    input_file_id: str | None
    output_file_id: str | None
    """None also where the provider said the empty string."""
    error_file_id: str | None
    created_at: float | None
    expires_at: float | None
    total: int
    completed: int
    failed: int
    errors: tuple[tuple[str, str, int | None], ...]
    """(code, message, line) of a batch that failed in validation."""
    metadata: Mapping[str, str]


class BatchClient(Protocol):
    """The six steps of batch mode as calls: serialise (core.batch), upload, create, poll, download, post-process.

    Errors: TransientProviderError (nothing happened, try later), UnclearProviderError (only from upload and create: it
    may have happened), AuthProviderError, NotFoundProviderError, PermanentProviderError. No call retries by itself.
    """

    async def upload(self, path: Path, name: str) -> str:
        """Upload an input file under a name that no other upload of the account has; returns its file id."""

    async def find_upload(self, name: str) -> str | None:
        """File id of an earlier upload with this name, newest first; None if the provider shows none."""

    async def create(self, *, input_file_id: str, endpoint: str, metadata: Mapping[str, str]) -> ProviderBatch:
        """Create the batch. Never retried inside: creating is not idempotent."""

    async def find_batch(self, *, job: str, input_file_id: str) -> list[ProviderBatch]:
        """Batches that carry our job id or input file: none, one, or surplus ones."""

    async def retrieve(self, batch_id: str) -> ProviderBatch:
        """The batch as it is now."""

    async def cancel(self, batch_id: str) -> ProviderBatch:
        """Ask to cancel; terminal only later."""

    async def download(self, file_id: str, path: Path, *, max_bytes: int) -> None:
        """Stream a file to `path` (temporary name, renamed when whole).

        PermanentProviderError for one that is larger, BatchFileError where there is no room for it.
        """

    async def delete_file(self, file_id: str) -> None:
        """Delete a file; a missing one is fine."""

    async def check(self, model: str) -> None:
        """Key and model are accepted (`validate`): AuthProviderError, PermanentProviderError otherwise."""

    async def ask(self, endpoint: str, body: Mapping[str, object]) -> Mapping[str, object]:
        """Ask at once and on demand, which costs twice as much: to see whether a provider takes a request at all.

        The body of the response. NotFoundProviderError also where the provider answers nothing at once (404, 405).
        """

    async def close(self) -> None:
        """Close connections."""


class BatchFiles(Protocol):
    """Where input files wait for upload and downloads for reading: a directory under the state directory.

    BatchFileError where one cannot be written or read: it is made, or fetched, again later.
    """

    async def write(self, name: str, blocks: AsyncIterable[bytes]) -> Path:
        """Write an input file whole (temporary name, fsync, rename); the same name again replaces it."""

    def path(self, name: str) -> Path:
        """Where a file of this name lies or would lie."""

    def read(self, name: str) -> Iterator[bytes]:
        """Chunks of a file, blocking: for a worker thread."""

    async def remove(self, names: Collection[str]) -> None:
        """Remove files; missing ones are fine, and what cannot be removed goes later."""


class Workload(Protocol):
    """What batches ask, and what becomes of it: submit and track carry them, and look at nothing inside.

    Each method is repeated after a crash in it. All may raise StoreError.
    """

    @property
    def purpose(self) -> Purpose:
        """Batches of another purpose are not touched."""

    def takes(self, batch: LedgerBatch) -> bool:
        """Whether a batch of its purpose is its own; others are left to whoever has their task."""

    def lines(self, batch: LedgerBatch) -> AsyncIterator[bytes]:
        """The lines of its input file, some whole ones at a time; the same each time."""

    async def collect(
        self, batch: LedgerBatch, ending: Ending, chunks: Iterable[bytes]
    ) -> tuple[LedgerBatch, Collected]:
        """Decide each request by the bytes of the result files, and commit answers, money and the batch's end at once.

        `batch` is done but for its tokens and cost, which the one returned has. `chunks` blocks: for a worker thread.
        """

    async def lose(self, batch: LedgerBatch) -> tuple[LedgerBatch, Collected]:
        """The same where nothing was answered and nothing is to come, for what `batch.error` says.

        The provider no longer knows the batch, or its file is larger than the provider's queue: what is asked again is
        cut anew.
        """
