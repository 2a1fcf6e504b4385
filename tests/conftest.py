"""What every test shares: the event loop that anyio's plugin runs async tests on."""

from __future__ import annotations

import pytest

from enricher.edges.source_files import looking


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return ("asyncio", {"debug": True})


@pytest.fixture(autouse=True)
def every_look_is_a_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a sweep costs must not decide what a test sees, unless the test says so."""
    monkeypatch.setattr(looking, "FREE_SECONDS", float("inf"))
