"""What every test shares: the event loop that anyio's plugin runs async tests on, and small disks."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from enricher.edges.source_files import looking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return ("asyncio", {"debug": True})


@pytest.fixture(autouse=True)
def every_look_is_a_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a sweep costs must not decide what a test sees, unless the test says so."""
    monkeypatch.setattr(looking, "FREE_SECONDS", float("inf"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Mount a disk of some megabytes, in memory; skipped where that is not allowed."""
    mounted: list[Path] = []

    def mount(megabytes: int) -> Path:
        place = tmp_path / f"disk{len(mounted)}"
        place.mkdir()
        options = f"size={megabytes}m,mode=755"
        made = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], capture_output=True, check=False)
        if made.returncode:
            pytest.skip(f"a tmpfs cannot be mounted here: {made.stderr.decode().strip()}")
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", "-l", place], check=True)
