"""The directory of batch files: input files until their batch is done, downloads until they are read.

Everything in it can be made again from the store or the provider, so nothing here is precious: what a process that was
killed has left is removed by the next, and what cannot be written whole takes no room of a disk that is full.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Final

import aiofiles

from enricher import private
from enricher.errors import BatchFileError, StoreError

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Collection, Iterator
    from pathlib import Path

_CHUNK_BYTES: Final = 1 << 20


class DirectoryBatchFiles:
    """Batch files in one directory, which is this process's alone. Implements `ports.BatchFiles`."""

    def __init__(self, directory: Path) -> None:
        """Make the directory, or empty it: up to some hundred megabytes of a process that was killed. StoreError."""
        self._directory = directory
        if directory.is_symlink():
            raise StoreError(
                f"{directory}: is a link, and what lies where it leads would be deleted",
                hint="remove the link; mount a disk there if it is to lie elsewhere",
            )
        try:
            private.make_directory(directory)
            for leftover in directory.iterdir():
                leftover.unlink()
        except OSError as error:
            raise StoreError(
                f"{directory}: cannot be used for batch files: {error.strerror}",
                hint="is there room, and may the daemon write there?",
            ) from error

    async def write(self, name: str, blocks: AsyncIterable[bytes]) -> Path:
        """Write an input file whole."""
        final = self.path(name)
        partial = final.with_name(final.name + ".part")
        try:
            try:
                await asyncio.to_thread(private.make_directory, self._directory)  # somebody may have tidied up
                # Requests hold what is sent to a provider, raw lines if so configured.
                async with aiofiles.open(partial, "wb", opener=private.opener) as out:
                    async for block in blocks:
                        await out.write(block)
                    await out.flush()
                    await asyncio.to_thread(os.fsync, out.fileno())
                await asyncio.to_thread(partial.replace, final)
            except BaseException:
                with contextlib.suppress(OSError):
                    partial.unlink()
                raise
        except OSError as error:
            raise BatchFileError(
                f"{partial}: cannot be written: {error.strerror}", hint="is there room, and may the daemon write there?"
            ) from error
        return final

    def path(self, name: str) -> Path:
        """Where a file of this name lies or would lie."""
        return self._directory / name

    def read(self, name: str) -> Iterator[bytes]:
        """Chunks of a file."""
        path = self.path(name)
        try:
            with path.open("rb") as handle:
                while chunk := handle.read(_CHUNK_BYTES):
                    yield chunk
        except OSError as error:
            raise BatchFileError(f"{path}: cannot be read: {error.strerror}", hint="check its disk") from error

    async def remove(self, names: Collection[str]) -> None:
        """Remove files; the next process removes what cannot be."""

        def unlink() -> None:
            for name in names:
                with contextlib.suppress(OSError):
                    self.path(name).unlink()

        await asyncio.to_thread(unlink)
