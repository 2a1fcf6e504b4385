"""`enricher evaluate` of a task about records: what it shows, writes, and ends with."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

TASK = """
name = "mood"
version = 1
use = "records"
[prompt]
system = "Say how it feels."
[schema]
type = "object"
additionalProperties = false
required = ["mood"]
properties = { mood = { type = "string", enum = ["glad", "sad"] } }
[[matrix.prompts]]
name = "plain"
[[matrix.prompts]]
name = "terse"
system = "One word."
[[scorers]]
kind = "exact"
field = "mood"
[gate]
min_score = LEAST
"""


def test_an_evaluation_is_shown_and_written_and_its_gate_decides_what_the_command_ends_with(bench, serve):
    server = serve()
    bench.url = server.url
    bench.configure(batch={"poll_interval_seconds": 1})
    cases, task = bench.root / "cases.jsonl", bench.root / "task.toml"
    moods = ("glad", "sad")
    cases.write_text("".join(f'{{"id": "c{n}", "text": "<b>text {n}", "mood": "{moods[n % 2]}"}}\n' for n in range(6)))
    task.write_text(TASK.replace("LEAST", "0"))
    page, text, tests, kept = (bench.root / name for name in ("page.html", "page.md", "tests.xml", "kept.json"))

    ask = ("evaluate", str(task), str(cases))
    files = ("--report", str(page), "--report", str(text), "--junit", str(tests), "--write-baseline", str(kept))
    told = json.loads(bench.enricher(*ask, *files, "--json").out)

    assert ({"plain", "terse"}, 6, {(6, 0)}) == (
        {one["name"] for one in told["cells"]},
        told["cases"],
        {(one["asked"], one["cached"]) for one in told["cells"]},
    )
    assert {"passed": True, "reasons": []} == told["gate"]
    assert "&lt;b&gt;text 1" in page.read_text()
    assert "## Evaluation of `mood` ✅" in text.read_text()
    assert 13 == len(list(ET.parse(tests).getroot().iter("testcase")))
    assert {"plain", "terse"} == set(json.loads(kept.read_text())["cells"])
    assert not [one.name for one in bench.root.iterdir() if one.name.endswith(".part")]

    # What is not good enough ends with 1, and what was kept of the last that was stays.
    task.write_text(TASK.replace("LEAST", "1"))
    before = kept.read_text()
    failed = bench.enricher(*ask, "--baseline", str(kept), "--write-baseline", str(kept), code=1)
    assert "0 asked, 12 answered before" in failed.out
    assert "below 1" in failed.out
    assert before == kept.read_text()
    assert 2 == len(server.get("/v1/batches")["data"])


def test_what_cannot_be_written_or_compared_is_said_before_anything_is_asked(bench, serve):
    server = serve()
    bench.url = server.url
    bench.configure()
    cases, task = bench.root / "cases.jsonl", bench.root / "task.toml"
    cases.write_text('{"id": 1, "text": "a", "mood": "sad"}\n')
    task.write_text(TASK.replace("LEAST", "0"))
    ask = ("evaluate", str(task), str(cases))

    form = bench.enricher(*ask, "--report", "report.pdf", code=64)
    place = bench.enricher(*ask, "--junit", "nowhere/tests.xml", code=64)
    missing = bench.enricher(*ask, "--baseline", "missing.json", code=64)
    events = bench.enricher("evaluate", "logs", "--report", "report.md", code=64)
    unscored = bench.enricher("evaluate", "label", code=78)
    absent = bench.enricher("evaluate", "nowhere.toml", "--report", "report.md", code=78)
    option = bench.enricher(*ask, "--set", "mood=sad", code=78)
    column = bench.enricher(*ask, "--column", "text", code=64)

    assert ".md or .html" in form.err
    assert "there is no directory nowhere" in place.err
    assert "missing.json: is no baseline that can be read" in missing.err
    assert "logs is a task about log events" in events.err
    assert "task label: does not say how it is evaluated" in unscored.err
    assert "nowhere.toml: cannot be read" in absent.err
    assert "there is no option 'mood'" in option.err
    assert "--column text: is not of the form --column NAME=COLUMN" in column.err
    assert [] == server.get("/v1/batches")["data"]
    told = (form, place, missing, events, unscored, absent, option, column)
    assert not [one for one in told if "Traceback" in one.err]
