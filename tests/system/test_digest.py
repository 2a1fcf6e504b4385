"""Digests: written beside the events of a window, and shown by `enricher status`."""

from __future__ import annotations

import json

from tests.system.bench import log_lines


def test_each_window_has_a_digest_and_status_shows_the_latest(bench):
    bench.write("a.log", log_lines(800))
    bench.enricher("once")

    digests = [json.loads(path.read_text()) for path in sorted(bench.out.glob("*/digest.json"))]
    assert [0, 1, 2] == [one["history_windows"] for one in digests]
    assert 800 == sum(one["events"] for one in digests)
    assert len(digests[0]["new"]) == digests[0]["kinds"]
    assert all(one["account"] is None for one in digests)
    assert 3 == len(list(bench.out.glob("*/digest.md")))

    bench.write("a.log", ["2026-11-20T11:00:00Z ERROR raid: member disk was kicked out of the array"], append=True)
    bench.enricher("once")
    told = bench.status()["digest"]
    assert ("2026-11-20T11Z", 1, 1) == (told["window"], told["kinds"], told["new"])
    (new,) = [one for one in told["changes"] if one["change"] == "new"]
    assert "member disk was kicked out of the array" == new["template"]
    assert told["vanished"] == digests[0]["kinds"]
    shown = bench.enricher("status").out
    assert f"2026-11-20T11Z: 1 new, {told['vanished']} vanished" in shown
    assert "member disk was kicked out" in shown
