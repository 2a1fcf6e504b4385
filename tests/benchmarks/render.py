"""How many events per CPU second are rendered, each with its own id, message, three named fields and a filled summary.

Of the three fields, one is text, one an address; the third is a number in two of the three kinds, in one text too.

Run: python tests/benchmarks/render.py [EVENTS]. Prints the whole and, measured in the same run, what its parts cost.
"""

from __future__ import annotations

import json
import random
import sys
import time
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from enricher.core.block import Segment, SpooledSegment
from enricher.core.event_id import id_ends
from enricher.core.ledger import Outcome, StoredAnswer
from enricher.core.record import Renderer
from enricher.core.record_chunks import CHUNK_EVENTS
from enricher.core.skeleton import shape_of
from enricher.core.timestamp import TimeContext, line_times

if TYPE_CHECKING:
    from collections.abc import Callable

START = 1_795_341_600  # 2026-11-22T10Z
BLOCK_EVENTS = 30_000
RUNS = 5
SLOTS = {
    "Failed": ["user.name", "source.ip", "source.port"],
    "upstream": ["destination.ip", "response_ms", "url.path"],
    "cache": ["session_key", "client.ip", "process.uptime"],
}
"""Names for the holes of each kind of line."""


def line(number: int, dice: random.Random) -> str:
    """One of three kinds of line; each has three holes and a header whose digits change."""
    minute, second = divmod(number % 3600, 60)
    header = f"2026-11-22T10:{minute:02d}:{second:02d}.{number % 1000:03d}Z web{number % 4} "
    address = f"10.{dice.randrange(256)}.{dice.randrange(256)}.{dice.randrange(256)}"
    match number % 3:
        case 0:
            text = f"sshd[{number}]: Failed password for user=alice{number} from {address} port {dice.randrange(65536)}"
        case 1:
            text = f"nginx[7]: upstream {address} answered in {dice.randrange(9999)} ms for /api/v1/orders/{number}"
        case _:
            text = f"app[{number % 9}]: cache miss for key=sess{number} on {address} after {dice.randrange(50)} tries"
    return header + text


def workload(events: int) -> tuple[list[SpooledSegment], list[Outcome]]:
    """Spooled segments and an answer for each kind."""
    dice = random.Random(1)
    kinds: dict[str, int] = {}
    outcomes: list[Outcome] = []
    segments = []
    for first in range(0, events, BLOCK_EVENTS):
        lines = [line(number, dice) for number in range(first, min(events, first + BLOCK_EVENTS))]
        ids = []
        for text in lines:
            shape = shape_of(text.encode())
            if shape.id not in kinds:
                kinds[shape.id] = len(kinds) + 1
                outcomes.append(outcome(kinds[shape.id], shape.id, shape.template))
            ids.append(kinds[shape.id])
        segments.append(segment("\n".join(lines).encode() + b"\n", ids))
    return segments, outcomes


def outcome(row: int, signature: str, template: str) -> Outcome:
    """An answer that names three values and puts them into its summary."""
    slots = next(names for words, names in SLOTS.items() if words in template)[: template.count("<*>")]
    body = {
        "severity": "warning",
        "category": "auth",
        "outcome": "failure",
        "summary": "Something happened to " + " and ".join(f"{{{name}}}" for name in slots[:3]) + ".",
        "slots": slots,
        "tags": ["login", "ssh"],
        "root_cause_hint": "Guessing of passwords.",
        "root_cause_origin": "upstream",
        "action": "Check how often this address tries.",
        "confidence": 0.9,
    }
    answer = StoredAnswer(
        id=row,
        signature=signature,
        task="0123456789abcdef",
        model="m",
        served_model="m-2026",
        status="ok",
        body=json.dumps(body),
        batch_id="batch_0123456789",
        answered_at=0.0,
    )
    return Outcome(shape=row, signature=signature, template=template, status="cached", answer=answer)


def segment(data: bytes, ids: list[int]) -> SpooledSegment:
    """Lines of one file, all in one window."""
    return SpooledSegment(
        id=1,
        segment=Segment(
            source="varlog",
            file_id=1,
            path=b"/var/log/app.log",
            identity="0123456789abcdef",
            generation=0,
            offset=0,
            data=data,
            lost_bytes=0,
            shapes=np.array(ids, dtype=np.uint32),
            windows=(START,),
            window_index=None,
            read_at=START + 7200.0,
            anchor=None,
            fallback=float(START),
            time_rule='{"zone":"UTC","pattern":null}',
        ),
        panes=(0,),
    )


def report(name: str, seconds: float, events: int) -> None:
    """One row: what a step costs per event."""
    print(f"{name:46} {seconds / events * 1e6:7.2f} us/event {events / seconds:12,.0f} events/CPU s")


def fastest(step: Callable[[], object]) -> float:
    """CPU seconds of the fastest of some runs: other work on the machine only ever adds."""
    times = []
    for _ in range(RUNS):
        begun = time.process_time()
        step()
        times.append(time.process_time() - begun)
    return min(times)


def render(renderer: Renderer, spooled: SpooledSegment) -> int:
    """Render a segment as `stages/write` does; gives the size."""
    page = renderer.open(spooled)
    return sum(len(page.render(first, CHUNK_EVENTS).data) for first in range(0, page.events, CHUNK_EVENTS))


def main() -> None:
    """Measure."""
    events = int(sys.argv[1]) if len(sys.argv) > 1 else 120_000
    segments, outcomes = workload(events)
    renderer = Renderer(
        host="web1",
        window="2026-11-22T10Z",
        start=START,
        pane=0,
        outcomes=outcomes,
        levels={1: ("error", 17)},
        fields={"varlog": {"service.name": "shop"}},
        quality={},
        min_severity="trace",
    )
    example = renderer.open(segments[0]).render(0, 1).data
    print(json.dumps(json.loads(example), indent=1))
    size = sum(render(renderer, spooled) for spooled in segments)
    print(f"{events:,} events of {len(outcomes)} kinds, {size / events:.0f} bytes each; fastest of {RUNS} runs a step")
    lines = [spooled.segment.data.splitlines() for spooled in segments]
    zone = TimeContext(anchor=None, fallback=float(START), now=START + 7200.0, zone="UTC", pattern=None)
    report("render", sum(fastest(partial(render, renderer, spooled)) for spooled in segments), events)
    report("  of it: times", sum(fastest(partial(line_times, one.segment.data, zone)) for one in segments), events)
    report(
        "  of it: ids",
        sum(fastest(partial(id_ends, np.arange(len(texts)), texts)) for texts in lines),
        events,
    )
    ready = [json.loads(example)] * events
    report(
        "msgspec's encoder on dicts that are ready",
        fastest(partial(msgspec.json.Encoder().encode_lines, ready)),
        events,
    )


if __name__ == "__main__":
    main()
