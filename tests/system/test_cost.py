"""`enricher cost`: what the books say was paid is what the provider answered, by every grouping and in every format."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections import Counter

import pytest

from enricher import config as configuration
from enricher import costcommand
from tests.system.bench import KINDS, log_lines

PRICES = {
    "input_usd": 1.0, "cached_usd": 0.1, "output_usd": 4.0,
    "batch_input_usd": 0.5, "batch_cached_usd": 0.05, "batch_output_usd": 2.0, "as_of": "2026-11-22",
}  # fmt: skip
MOOD = """
name = "mood"
version = 1
[prompt]
system = "Say how it feels."
user = "{{text}}"
[schema]
type = "object"
additionalProperties = false
required = ["mood"]
properties = { mood = { type = "string", enum = ["glad", "sad"] } }
"""
# Of the first file two lines are answered with an error and of the rest two never: none of them is billed.
FAULTS = [
    {"on": "line", "what": "status", "status": 500, "times": 2},
    {"on": "batch", "what": "expire", "after_lines": 6},
]


def told(bench, by="day"):
    """What `cost --json` prints, without a process of its own."""
    config = configuration.load(bench.file)
    return asyncio.run(costcommand.report(config, config_path=bench.file, by=by)).to_json()


def test_what_is_billed_is_what_was_answered_and_the_same_by_day_task_model_and_window(bench, serve):
    server = serve(faults=FAULTS)
    bench.url = server.url
    bench.configure(prices=PRICES)
    bench.write("a.log", log_lines(800))
    bench.enricher("once")
    (bench.root / "mood.toml").write_text(MOOD)
    rows = bench.root / "rows.jsonl"
    rows.write_text("".join(json.dumps({"id": n, "text": f"text {n}"}) + "\n" for n in range(12)))
    bench.enricher("records", "run", bench.root / "mood.toml", rows, "-o", bench.root / "rows-out.jsonl")

    found = {by: told(bench, by) for by in ("day", "task", "model", "window")}

    billed: Counter[str] = Counter()
    for batch in server.get("/v1/batches")["data"]:
        billed.update({name: batch["usage"][name] for name in ("input_tokens", "output_tokens")})
    assert server.lines_uploaded() > server.ledger()["lines_answered"] - 2 >= len(KINDS) + 12
    for one in found.values():
        events, records, both = one["totals"]
        assert billed == {name: both[name] for name in billed}
        assert both["paid_usd"] == both["batch_usd"] == pytest.approx(bench.status()["cost_usd"])
        assert both["on_demand_usd"] == pytest.approx(2 * both["paid_usd"])
        assert both["paid_usd"] == pytest.approx(events["paid_usd"] + records["paid_usd"])
        assert (800, None) == (events["events"], records["events"])
        assert events["avoided_usd"] == pytest.approx(events["every_event_usd"] - events["paid_usd"])
        assert {"schema": "2026-11-22"} == one["prices_as_of"]
    names = {by: {(row[by], row["purpose"]) for row in one["rows"]} for by, one in found.items()}
    assert {("logs", "events"), ("mood", "records")} == names["task"]
    assert {("schema", "events"), ("schema", "records")} == names["model"]
    windows = {window for window, purpose in names["window"] if purpose == "events"}
    assert {"2026-11-20T08Z", "2026-11-20T09Z", "2026-11-20T10Z"} == windows

    # What was paid stays what it was when prices change; what it would cost follows them.
    bench.configure(prices={name: 3 * usd if isinstance(usd, float) else usd for name, usd in PRICES.items()})
    before, after = found["day"]["totals"][-1], told(bench)["totals"][-1]
    assert (before["paid_usd"], 3 * before["batch_usd"]) == (after["paid_usd"], pytest.approx(after["batch_usd"]))


def test_a_spreadsheet_and_a_person_get_the_same_rows(bench):
    bench.configure(prices=PRICES)
    bench.write("a.log", log_lines(80))
    bench.enricher("once")

    as_json = json.loads(bench.enricher("cost", "--by", "window", "--json").out)
    assert told(bench, "window") == as_json
    rows = list(csv.DictReader(io.StringIO(bench.enricher("cost", "--by", "window", "--csv").out)))
    shown = bench.enricher("cost", "--by", "window").out

    assert [
        {name: "" if value is None else str(value) for name, value in row.items()} for row in as_json["rows"]
    ] == rows
    assert all(row["window"] in shown for row in rows)
    assert "asking about each of the 80 events on demand" in shown
    assert "today's prices (schema: 2026-11-22)" in " ".join(shown.split())


def test_nothing_asked_and_no_store_and_a_wrong_grouping_are_said(bench):
    missing = bench.enricher("cost", code=75)
    assert "there is no store" in missing.err
    bench.enricher("once")
    assert "nothing was asked yet" in bench.enricher("cost").out
    wrong = bench.enricher("cost", "--by", "hour", code=64)
    assert "--by hour: is none of day, task, model, window" in wrong.err
