"""`enricher plan`: what would be asked and paid, to the byte, without asking or paying."""

from __future__ import annotations

import json
import re

from tests.system.bench import KINDS, log_lines, tree

PRICES = {
    "input_usd": 1.0, "cached_usd": 0.1, "output_usd": 4.0,
    "batch_input_usd": 0.5, "batch_cached_usd": 0.05, "batch_output_usd": 2.0, "as_of": "2026-11-22",
}  # fmt: skip
STUCK = [{"on": "batch", "what": "stuck", "state": "validating", "times": 0}]


def test_a_plan_counts_and_prices_without_a_key_a_provider_or_a_trace(bench):
    # Nobody listens there, and no key is set.
    bench.url = "https://provider.invalid/v1"
    bench.configure(provider={"model": "some-model"}, prices=PRICES)
    bench.write("a.log", log_lines(800))
    before = tree(bench.root)

    told = json.loads(bench.enricher("plan", "--json").out)

    assert before == tree(bench.root)
    assert ["2026-11-20T08Z", "2026-11-20T09Z", "2026-11-20T10Z"] == told["windows"]
    assert (800, len(KINDS), len(KINDS)) == (told["events"], told["signatures"], told["new_signatures"])
    assert len(KINDS) == told["requests"]
    assert told["tokens"] == told["input_tokens"] + told["output_tokens"] > 0
    cost = told["cost_usd"]
    assert {"per_event", "batch", "deduplicated"} == set(cost)
    assert cost["per_event"] == 2 * cost["batch"] > 50 * cost["deduplicated"] > 0


def test_a_plan_for_a_person_names_the_same_figures(bench):
    bench.configure(prices=PRICES)
    log = bench.write("a.log", log_lines(800))

    shown = bench.enricher("plan", log)

    for text in ("800", "3 (2026-11-20T08Z to 2026-11-20T10Z)", f"{len(KINDS)} have no answer yet", "prices as of"):
        assert text in shown.out
    assert "\x1b" not in shown.out
    assert "" == shown.err


def test_the_files_of_a_plan_are_the_very_files_that_are_uploaded(bench, serve):
    server = serve(faults=STUCK)
    bench.url = server.url
    bench.configure(batch={"max_requests": 3, "signatures_per_request": 2})
    bench.write("a.log", log_lines(800))
    planned = bench.root / "planned"

    told = json.loads(bench.enricher("plan", "--json", "--out", planned).out)
    bench.enricher("once", "--no-wait", code=75)

    # At the provider a name ends with the job's id, since other hosts may upload for the same window.
    uploaded = {
        re.sub(r"-[0-9a-f]{32}\.jsonl$", ".jsonl", one["filename"]): server.content(one["id"])
        for one in server.get("/v1/files")["data"]
    }
    assert uploaded == {path.name: path.read_bytes() for path in planned.iterdir()}
    assert told["files"] == sorted(uploaded)
    assert 2 == len(uploaded)
    assert told["requests"] == server.lines_uploaded()


def test_what_is_known_is_not_planned_again(bench):
    bench.write("a.log", log_lines(80, hours=1))
    bench.enricher("once")
    state = tree(bench.root / "state")["enricher.db"]
    bench.write("a.log", ["2026-11-20T10:00:00Z WARN tape: robot arm lost its calibration"], append=True)

    told = json.loads(bench.enricher("plan", "--json").out)

    assert (81, len(KINDS) + 1, 1, 1) == tuple(
        told[key] for key in ("events", "signatures", "new_signatures", "requests")
    )
    assert state == tree(bench.root / "state")["enricher.db"]
