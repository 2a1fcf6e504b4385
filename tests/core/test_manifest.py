"""The manifest of a window: what it says, and that its sums are checked."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from enricher.core.block import Pane
from enricher.core.books import Delivery, FileRange, WindowReport
from enricher.core.ledger import Part
from enricher.core.manifest import build_manifest, imbalance

START = 1_795_341_600


def a_report(**changes) -> WindowReport:
    pane = Pane(
        start=START,
        number=0,
        state="done",
        first_event_at=START + 1.0,
        closed_at=START + 3900.0,
        how="complete",
        events=9,
        lines=12,
        task="t",
        model="m",
    )
    late = Pane(
        start=START,
        number=1,
        state="open",
        first_event_at=START + 5000.0,
        closed_at=None,
        how=None,
        events=1,
        lines=1,
        task=None,
        model=None,
    )
    facts = {
        "start": START,
        "panes": (late, pane),
        "files": (
            FileRange(path=b"/var/log/b", identity="b", generation=0, first_byte=0, last_byte=50, lines=5, events=4),
            FileRange(
                identity="f", path=b"/var/log/\xff", generation=1, first_byte=10, last_byte=90, lines=8, events=6
            ),
        ),
        "signatures": 3,
        "requests": 2,
        "input_tokens": 1000,
        "cached_tokens": 200,
        "output_tokens": 100,
        "cost_usd": 0.1 + 0.2,
        "batches": ("batch_1",),
        "dead_letters": {},
        "statuses": {"ok": 4, "cached": 6},
    }
    return WindowReport(**facts | changes)


def a_delivery(number=0, *, events=10, lines=13, filtered=0) -> Delivery:
    part = Part(start=START, number=number, pane=0, round_number=0, first=0, events=events + filtered)
    return Delivery(
        part=part,
        sha256="f" * 64,
        size_bytes=99,
        events=events,
        lines=lines,
        filtered=filtered,
        delivered_at=START + 4000.0,
    )


def a_manifest(report, deliveries, **changes) -> dict:
    facts = {"window": "2026-11-22T10Z", "final": True, "compress": "none"}
    return json.loads(build_manifest(report, deliveries, **facts | changes))


def test_files_of_an_old_window_that_are_not_kept_apart_still_count():
    file = a_report().files[0]
    summed = replace(file, path=b"", identity="")
    whole, old = (a_manifest(a_report(files=(one,)), [a_delivery()]) for one in (file, summed))
    assert whole["lines"] == old["lines"]
    assert [] == old.pop("files")
    assert {"lines": file.lines, "events": file.events} == old.pop("files_not_named")
    assert whole.keys() - old.keys() == {"files"}
    assert 0 == imbalance(a_report(files=(summed,)), [a_delivery(events=file.events, lines=file.lines)])


def test_a_manifest_says_what_was_read_asked_paid_and_written():
    found = a_manifest(
        a_report(), [a_delivery(1, events=4, lines=5), a_delivery(0, events=6, lines=8)], compress="zstd"
    )
    assert found == {
        "window": "2026-11-22T10Z",
        "final": True,
        "lines": {"read": 13, "written": 13, "filtered": 0, "dead_lettered": {}},
        "events": {"read": 10, "written": 10, "filtered": 0},
        "panes": [
            {
                "pane": 0,
                "how": "complete",
                "closed_at": "2026-11-22T11:05:00+00:00",
                "late": False,
                "events": 9,
                "lines": 12,
            },
            {"pane": 1, "how": None, "closed_at": None, "late": True, "events": 1, "lines": 1},
        ],
        "files": [
            {"path": "/var/log/b", "identity": "b", "generation": 0, "bytes": [0, 50], "lines": 5, "events": 4},
            {"path": "/var/log/\\xff", "identity": "f", "generation": 1, "bytes": [10, 90], "lines": 8, "events": 6},
        ],
        "signatures": 3,
        "requests": 2,
        "tokens": {"input": 1000, "cached": 200, "output": 100},
        "cost_usd": 0.3,
        "batches": ["batch_1"],
        "statuses": {"cached": 6, "ok": 4},
        "outputs": [
            {
                "file": "events-000.jsonl.zst",
                "events": 6,
                "lines": 8,
                "bytes": 99,
                "sha256": "f" * 64,
                "part": 0,
                "pane": 0,
            },
            {
                "file": "events-001.jsonl.zst",
                "events": 4,
                "lines": 5,
                "bytes": 99,
                "sha256": "f" * 64,
                "part": 1,
                "pane": 0,
            },
        ],
    }


def test_lines_read_are_lines_written_left_out_and_dead_lettered():
    report = a_report(dead_letters={"corrupt": 2})
    lines = a_manifest(report, [a_delivery(events=6, lines=8, filtered=2)])["lines"]
    assert lines["read"] == lines["written"] + lines["filtered"] + sum(lines["dead_lettered"].values())
    assert lines["filtered"] == 3


def test_a_manifest_that_is_not_final_does_not_call_waiting_lines_left_out():
    report = a_report()
    assert a_manifest(report, [a_delivery(events=3, lines=3, filtered=1)], final=False)["lines"]["filtered"] == 0


@pytest.mark.parametrize(
    ("dead", "delivery", "difference"),
    [
        ({}, a_delivery(), 0),
        ({}, a_delivery(events=10, lines=12), 1),
        ({}, a_delivery(events=8, lines=13), 2),
        ({}, a_delivery(events=11, lines=13), -1),
        ({"corrupt": 2}, a_delivery(events=8, lines=11), 0),
        ({"corrupt": 2}, a_delivery(events=8, lines=12), -1),
        ({}, a_delivery(events=6, lines=7, filtered=4), 0),
        ({}, a_delivery(events=6, lines=7, filtered=3), 1),
        ({"corrupt": 2}, a_delivery(events=6, lines=7, filtered=2), 0),
        ({"corrupt": 2}, a_delivery(events=6, lines=12, filtered=2), -1),
    ],
)
def test_sums_that_do_not_hold_are_found(dead, delivery, difference):
    assert difference == imbalance(a_report(dead_letters=dead), [delivery])
