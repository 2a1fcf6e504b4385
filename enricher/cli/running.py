"""How a command runs: its log, its progress bar, its stop event, its exit code.

Signals become the stop event here and nowhere else.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import logging
import os
import signal
import threading
from typing import TYPE_CHECKING, Any, Final, TypeVar

from enricher import show
from enricher.errors import (
    AuthProviderError,
    BatchFileError,
    ConfigError,
    EnricherError,
    LockedError,
    PermanentProviderError,
    StoreError,
    StoreVersionError,
    TryAgainError,
    UsageError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from enricher.once import Progress

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 64
EXIT_LOCKED: Final = 73
EXIT_AGAIN: Final = 75
EXIT_CONFIG: Final = 78

_OBJECTS_BETWEEN_LOOKS: Final = 10_000
"""More than a chunk of `stages/write` holds at once."""

# What glibc's malloc.h calls M_ARENA_MAX, M_TRIM_THRESHOLD and M_MMAP_THRESHOLD.
_HEAPS, _TRIM_BYTES, _MAP_BYTES = -8, -1, -3
_KEPT_BYTES: Final = 32 * 1024 * 1024
"""What a block of lines takes on its way from the file into the spool."""
_GIVE_BACK_SECONDS: Final = 10.0
"""Seldom enough: it takes milliseconds, as does having the pages mapped again that the next blocks need."""

# What the kernel's prctl.h calls PR_SET_DUMPABLE.
_MAY_BE_DUMPED: Final = 4

_T = TypeVar("_T")


def exit_code(fault: EnricherError) -> int:
    """What the process ends with after this error."""
    match fault:
        case ConfigError() | AuthProviderError() | PermanentProviderError() | StoreVersionError():
            return EXIT_CONFIG
        case UsageError():
            return EXIT_USAGE
        case LockedError():
            return EXIT_LOCKED
        case TryAgainError() | StoreError() | BatchFileError():
            return EXIT_AGAIN
        case _:
            return EXIT_FAILED


def set_up_logging(*, quiet: bool) -> None:
    """Tell what happens on standard error.

    Under a progress bar (`quiet`) only what an operator must see; elsewhere every happening, as JSON.
    """
    from enricher.telemetry import configure_logging

    configure_logging(level=logging.ERROR if quiet else logging.INFO)


def to_bar(bar: Any) -> Callable[[Progress], None]:  # noqa: ANN401 - rich's Progress, imported by show alone
    """Return what shows progress on a bar of `show.progress`."""
    task = bar.add_task("reading", total=None)

    def tell(progress: Progress) -> None:
        if progress.phase == "reading":
            total = progress.read_bytes + progress.unread_bytes
            bar.update(
                task, description=f"reading: {progress.events:,} events", completed=progress.read_bytes, total=total
            )
        else:
            note = f" ({show.safe(progress.note, limit=60)})" if progress.note else ""
            asked = progress.requests_total or None
            bar.update(task, description=f"asking{note}", completed=progress.requests_done, total=asked)

    return tell


def spare_collector() -> None:
    """Let Python look for cycles much less often, and never in what was there at the start.

    Events are rendered some thousands at a time, each with a few objects that live until all are written and never form
    a cycle: at Python's own threshold of 700 a fifth of the time of rendering goes into looking at them.
    """
    gc.freeze()
    gc.set_threshold(_OBJECTS_BETWEEN_LOOKS)


def keep_freed_memory() -> None:
    """Let the C library keep as much as a block of lines takes, and in one heap, instead of one for each thread.

    Else each block's buffers go back to the system when it is done, and the next one waits for as many pages to be
    zeroed and mapped again: a tenth of the time of reading. Where the library is not glibc, nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_HEAPS, 1)
        mallopt(_TRIM_BYTES, _KEPT_BYTES)
        mallopt(_MAP_BYTES, _KEPT_BYTES // 2)  # what is bigger has a mapping of its own, which always goes back


def keep_memory_private() -> None:
    """Have the kernel make no core dump of this process, and let only root look into its memory and environment.

    There the keys are. A limit of 0 for core dumps would not do: one that is piped to a collector, as systemd-coredump
    or apport, is made in spite of it, with the environment beside it. Where there is no prctl, nothing happens.
    """
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_MAY_BE_DUMPED, 0, 0, 0, 0)


async def give_back_memory(every_seconds: float) -> None:
    """Hand what is free in the C library's heap to the system, again and again, until it is cancelled.

    By itself the library gives back only what lies at the end of the heap. The rest stays resident: what several
    threads happened to need at once, and the gaps that small things which live long leave between large ones which do
    not. So the heap grows for as long as chance finds a worse layout, though no more is in use than before. Where the
    library is not glibc, nothing happens.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    while trim is not None:
        await asyncio.sleep(every_seconds)
        await asyncio.to_thread(trim, 0)  # some milliseconds, more where the machine is busy


async def until_stopped(work: Callable[[asyncio.Event], Coroutine[Any, Any, _T]]) -> _T:
    """Run a command whose stop event SIGTERM and SIGINT set; a second one of either leaves at once."""
    keep_memory_private()
    spare_collector()
    keep_freed_memory()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, _stop_or_leave, stop)
    giving_back = asyncio.create_task(give_back_memory(_GIVE_BACK_SECONDS))
    try:
        return await work(stop)
    finally:
        giving_back.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await giving_back


class Hangups:
    """SIGHUP, heard from the first line of this process to its last: its default is to end it.

    A handler of the loop's would be there only while the loop is. Several in a row, while nobody waits, are one.
    """

    def __init__(self) -> None:
        self._heard = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        signal.signal(signal.SIGHUP, self._hear)

    async def next(self) -> None:
        """Wait for a hangup that nobody has waited for."""
        self._loop = asyncio.get_running_loop()
        await self._heard.wait()
        self._heard.clear()

    def _hear(self, _number: int, _frame: object) -> None:
        if self._loop is None:
            self._heard.set()
        elif not self._loop.is_closed():
            # Not at once: this comes between any two instructions, those of the event's own waiting among them.
            self._loop.call_soon_threadsafe(self._heard.set)


def leave_within(seconds: float) -> None:
    """Leave with 0 after so long, where a thread that nobody waits for any more keeps the process from its end.

    For when everything is closed: what looks at a hundred thousand files, or at a mount that hangs, is not heard any
    more, and Python would wait for it.
    """
    leaving = threading.Timer(seconds, os._exit, (0,))
    leaving.daemon = True
    leaving.start()


def _stop_or_leave(stop: asyncio.Event) -> None:
    if stop.is_set():
        # Everything durable is in the store; whatever is half done is found there again.
        os._exit(EXIT_AGAIN)
    stop.set()
