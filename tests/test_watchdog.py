"""The watchdog is fed by a daemon that works, and by no other: one whose store hangs is ended by systemd."""

from __future__ import annotations

import asyncio
import threading
import time

from enricher import app, daemon, provider
from enricher.access import read_access
from enricher.compose import Mode, source_of
from enricher.config import AdminSettings, Config, ProviderSettings, SinkSettings
from enricher.daemon import Daemon
from enricher.telemetry import Telemetry


class Fed:
    """A service manager, and when it was told what."""

    watchdog_seconds = 0.2

    def __init__(self):
        self.at = []

    def alive(self):
        self.at.append(time.monotonic())

    def ready(self):
        pass

    def stopping(self):
        pass

    def status(self, text):
        pass


async def until(is_so):
    async with asyncio.timeout(20):
        while not is_so():  # noqa: ASYNC110 - what is waited for sets no event
            await asyncio.sleep(0.01)


async def test_a_daemon_whose_store_hangs_does_not_feed_the_watchdog(tmp_path, monkeypatch):
    monkeypatch.setattr(daemon, "REPORT_SECONDS", 0.1)
    monkeypatch.setattr(daemon, "_LAG_PROBE_SECONDS", 0.01)
    config = Config(
        state_dir=tmp_path / "state",
        sources=(source_of([tmp_path], "logs"),),
        sinks=(SinkSettings(id="files", directory=tmp_path / "enriched"),),
        provider=ProviderSettings(base_url="http://127.0.0.1:9/v1", model="m"),
        admin=AdminSettings(listen="127.0.0.1:0"),
    )
    chosen = provider.choose(config, environment={}, config_path=None, now=app.wall_time())
    enricher = app.Enricher(config=config, provider=chosen, telemetry=Telemetry(), mode=Mode(once=False))
    fed, stop, hangs = Fed(), asyncio.Event(), threading.Event()
    await enricher.open()
    running = asyncio.create_task(Daemon(enricher).run(stop, fed, read_access(config.admin, {})))
    try:
        await until(lambda: len(fed.at) > 3)
        enricher.store._db._thread.submit(hangs.wait)
        # The event loop turns all the while.
        await until(lambda: time.monotonic() - fed.at[-1] > 2.0)
        hungry = fed.at[-1]
        hangs.set()
        await until(lambda: fed.at[-1] > hungry)
    finally:
        hangs.set()
        stop.set()
        await running
        await enricher.close()
