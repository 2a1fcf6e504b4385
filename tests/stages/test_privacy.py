"""What reaches a provider, byte for byte: the whole way from log files to the files of a real batch server."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING

import httpx2
import pytest

from enricher import app, provider
from enricher.batchserver.backend_schema import SchemaBackend
from enricher.batchserver.faults import FaultScript
from enricher.batchserver.server import BatchServer
from enricher.batchserver.settings import ServerSettings
from enricher.compose import Mode, source_of
from enricher.config import AdminSettings, BatchSettings, Config, PrivacySettings, ProviderSettings, SinkSettings
from enricher.core.pseudonym import PSEUDONYM
from enricher.core.redact import clean
from enricher.edges.clock_system import SystemClock
from enricher.once import Once
from enricher.telemetry import Telemetry
from tests.batchserver.obedient import ObedientBackend
from tests.core.hostile import DEFUSED, NOISE, ORDERS
from tests.core.planted import PLANTED

if TYPE_CHECKING:
    from pathlib import Path


_ORDER_WORD = re.compile(r"\bzz[a-z]{3}\b")


async def enriched(
    root: Path, lines: list[str], *, mode: str, backend=None, digest=True
) -> tuple[list[dict], list[dict]]:
    """Run `once --digest` over the lines; returns the requests as the server received them, and the events."""
    logs = root / "logs"
    logs.mkdir(parents=True)
    text = "".join(f"2026-11-20T08:{number % 60:02d}:00Z web01 {line}\n" for number, line in enumerate(lines))
    (logs / "a.log").write_text(text, encoding="utf-8", errors="surrogatepass")
    # Files that cannot be deleted stay to be looked at.
    kept = FaultScript.from_mapping({"fault": [{"on": "delete", "what": "status", "status": 404, "times": 0}]})
    settings = ServerSettings(state_dir=root / "server", concurrency=4, faults=kept)
    server = BatchServer(settings, backend or SchemaBackend(SystemClock()), SystemClock())
    url = await server.start()
    config = Config(
        state_dir=root / "state",
        sources=(source_of([logs], "logs"),),
        sinks=(SinkSettings(id="files", directory=root / "enriched"),),
        provider=ProviderSettings(base_url=url, model="m"),
        privacy=PrivacySettings(mode=mode),
        admin=AdminSettings(listen="127.0.0.1:0"),
        batch=BatchSettings(poll_interval_seconds=0.05),
    )
    chosen = provider.choose(config, environment={}, config_path=None, now=app.wall_time())
    enricher = app.Enricher(config=config, provider=chosen, telemetry=Telemetry(), mode=Mode(once=True, digest=digest))
    try:
        await enricher.open()
        async with asyncio.timeout(60):
            await Once(enricher).run(asyncio.Event(), lambda *_: None)
        async with httpx2.AsyncClient() as http:
            files = (await http.get(f"{url}/files")).json()["data"]
            contents = [(await http.get(f"{url}/files/{file['id']}/content")).content for file in files]
    finally:
        await enricher.close()
        await server.close()
    sent = [
        json.loads(line)
        for file, content in zip(files, contents, strict=True)
        if file["purpose"] == "batch"
        for line in content.splitlines()
    ]
    return sent, written(root)


def written(root: Path) -> list[dict]:
    """Every event of every part."""
    parts = sorted(root.glob("enriched/*/events-*.jsonl"))
    return [json.loads(line) for part in parts for line in part.read_bytes().split(b"\n") if line]


def strings(value) -> list[str]:
    """Every text in a value, and texts that are JSON themselves taken apart, too."""
    if isinstance(value, dict):
        return [text for key, one in value.items() for text in (key, *strings(one))]
    if isinstance(value, list):
        return [text for one in value for text in strings(one)]
    if not isinstance(value, str):
        return []
    try:
        inner = json.loads(value)
    except (ValueError, RecursionError):
        return [value]
    return [value, *strings(inner)] if isinstance(inner, dict | list) else [value]


def digests_in(sent: list[dict]) -> list[str]:
    """What was asked about windows as a whole."""
    return [text for request in sent for text in strings(request["body"]["input"]) if text.startswith('{"window"')]


@pytest.mark.parametrize("mode", ["redacted", "templates"])
async def test_nothing_planted_is_in_the_bytes_that_are_uploaded(tmp_path, mode):
    sent, _ = await enriched(tmp_path, [line for line, _ in PLANTED], mode=mode)
    shown = "\n".join(text for request in sent for text in strings(request["body"]["input"]))
    whole = "\n".join(text for request in sent for text in strings(request))
    assert [1] == [len(json.loads(text)["changed"]) // 40 for text in digests_in(sent)]
    # Short values, such as a PIN, are looked for in what was asked; "737" may stand in a schema or an id.
    left = [value for _, values in PLANTED for value in values if value in (whole if len(value) > 5 else shown)]
    assert [] == [shown[max(0, shown.find(value) - 60) :][:120] for value in left]
    assert (mode == "redacted") == bool(PSEUDONYM.search(shown))
    assert (mode == "redacted") == ('"examples"' in shown)


CALM = [
    line.replace("#", str(number))
    for number in range(1, 4)
    for line in (
        "sshd[#]: Failed password for root from 10.0.0.# port 22 ssh2",
        "kernel: disk sda reports # bad sectors",
        "nginx: upstream timed out after # ms while reading",
        "cron: (root) CMD (run-parts /etc/cron.hourly)",
        "payments: order # could not be placed, gateway closed the connection",
        "scheduler: job # finished",
        "ntpd: clock stepped by # ms",
        "postgres: checkpoint complete: wrote # buffers",
        "haproxy: backend web has no server available",
        "audit: policy # was changed",
        "app: cache warmed with # entries",
        "vpn: tunnel # is up",
    )
]


def told(events: list[dict], lines: list[str]) -> dict[str, dict]:
    """What was said about these lines, without what names a batch."""
    return {
        line: {
            key: value
            for key, value in event.items()
            if key.startswith(("enrichment.", "threat", "tags")) and key != "enrichment.batch_id"
        }
        for event in events
        for line in lines
        if event["message"].endswith(line)
    }


async def test_hostile_lines_change_no_other_answer_and_break_neither_file_nor_terminal(tmp_path):
    def is_order(message: str) -> bool:
        words = set(_ORDER_WORD.findall(message))
        return bool(words - set(DEFUSED) if message.startswith('{"window"') else words)

    calm_backend, backend = (ObedientBackend(SystemClock(), is_order) for _ in range(2))
    _, calm = await enriched(tmp_path / "calm", CALM, mode="redacted", backend=calm_backend)
    mixed = [*ORDERS, *NOISE]
    step = len(mixed) // len(CALM) + 1
    lines = [one for at, line in enumerate(CALM) for one in (line, *mixed[at * step : (at + 1) * step])]
    sent, events = await enriched(tmp_path / "hostile", lines, mode="redacted", backend=backend)

    assert 0 == calm_backend.obeyed
    assert len(ORDERS) // 2 < backend.obeyed
    assert 1 == len(digests_in(sent))
    assert not any(map(is_order, digests_in(sent)))
    (digest,) = tmp_path.glob("hostile/enriched/*/digest.json")
    assert json.loads(digest.read_bytes())["account"]["headline"].startswith("It was calm")
    assert told(calm, CALM) == told(events, CALM)
    assert set(CALM) == set(told(events, CALM))
    for part in sorted(tmp_path.glob("hostile/enriched/*/events-*.jsonl")):
        assert not [byte for byte in (*range(10), *range(11, 32), 127) if byte in part.read_bytes()]
    for event in events:
        said = [text for key, value in event.items() if key.startswith("enrichment") for text in strings(value)]
        assert all(len(text) <= 6_000 and text == clean(text) for text in said)
        assert not [key for key in event if "__proto__" in key or "\n" in key or "\x1b" in key]
