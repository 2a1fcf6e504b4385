"""Files, a source, a store and ingest between them, on a clock that tests move by hand; and events of several lines."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from enricher.core.keying import KeyingRule
from enricher.edges.source_files import FilesSource
from enricher.edges.store_sqlite import SqliteStore
from enricher.stages.ingest import Ingest, IngestSource
from enricher.telemetry import Telemetry
from tests import fakes_ingest as fakes

if TYPE_CHECKING:
    from pathlib import Path

NOW = 1_795_354_200.0  # 2026-11-22T13:30:00Z
HOUR = 3600
RULE = KeyingRule(length_seconds=HOUR, zone="UTC", time_pattern=None, drop=(), ask_events=False)


class World:
    """Files, a source, a store and the stage between."""

    def __init__(self, directory: Path, store, **rule) -> None:
        self.directory = directory
        self.store = store
        self.rule = replace(RULE, **rule)
        self.clock = fakes.ManualClock(NOW)
        self.telemetry = Telemetry(CollectorRegistry())
        self.once = False
        self.include = [f"{directory}/*.log"]
        self.source = None

    async def start(self):
        if self.source is not None:
            await self.source.close()
        self.source = FilesSource(
            "logs",
            self.include,
            [],
            start="beginning",
            once=self.once,
            own_directories=[],
            host="h",
            telemetry=self.telemetry,
        )
        feeds = [IngestSource(source=self.source, rule=self.rule)]
        self.ingest = Ingest(store=self.store, sources=feeds, clock=self.clock, telemetry=self.telemetry)
        await self.ingest.start()
        return self

    def append(self, name, data):
        path = self.directory / name
        with path.open("ab") as file:
            file.write(data)
        os.utime(path, (self.clock.time, self.clock.time))

    async def step(self, seconds=0.0):
        self.clock.time += seconds
        return await self.ingest.step(flush=True)

    async def drain(self):
        events = 0
        for _ in range(50):
            events += await self.step()
            if not self.source.progress(self.clock.time).unread_bytes:
                break
        return events + await self.step(6.0)

    async def segments(self):
        return await self.store.segments_read()

    async def events(self):
        return [event for segment in await self.segments() for event in fakes.events_of(segment)]


async def sqlite(directory: Path):
    store = await SqliteStore.open(directory / "state")

    async def segments_read():
        panes = await store.open_panes()
        found = {}
        for pane in panes:
            async for spooled in store.segments((pane.start, pane.number)):
                found[spooled.id] = spooled.segment
        return [found[key] for key in sorted(found)]

    store.segments_read = segments_read
    return store


def at(clock, text):
    return f"2026-11-22T{clock}Z {text}\n".encode()


def window(hour):
    return 1_795_305_600 + hour * HOUR


TRACE = b"""java.lang.IllegalStateException: no
\tat com.example.Shop.sell(Shop.java:17)
\tat com.example.Main.main(Main.java:3)
Caused by: java.io.IOException: disk
\t... 2 more
"""

GO_PANIC = b"""panic: runtime error: index out of range

goroutine 1 [running]:
main.main()
\t/srv/shop/main.go:7 +0x2a
exit status 2
"""
PYTHON = b"""Traceback (most recent call last):
  File "/srv/shop/cart.py", line 12, in add
    self.items[key] += 1
KeyError: 'apple'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/srv/shop/main.py", line 3, in main
RuntimeError: no apple
"""
SLOW_QUERY = b"""# Time: 2026-11-22T10:00:00.123456Z
# User@Host: shop[shop] @ localhost []  Id:    12
# Query_time: 2.000213  Lock_time: 0.000010 Rows_sent: 1  Rows_examined: 100000
SELECT *

FROM orders;
"""
ALERT = b"""2026-11-22T10:00:01.123456+00:00
Errors in file /u01/trace/orcl_1.trc:
ORA-00600: internal error code
"""
DETAILS = b"""2026-11-22 10:00:00.123 UTC [71] ERROR:  no carts
2026-11-22 10:00:00.123 UTC [71] STATEMENT:  select *
\tfrom carts
"""
FORWARD = b"""Exception in thread "main" java.lang.IllegalStateException: no
\tat com.shop.Main.main(Main.java:3)
Caused by: java.io.IOException: disk
\t... 2 more
"""
UNTIMED = (GO_PANIC, PYTHON, SLOW_QUERY, FORWARD)
