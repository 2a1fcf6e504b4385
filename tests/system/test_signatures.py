"""`enricher signatures …` as it is typed: looked at, passed on, forgotten, asked again, beside a daemon too."""

from __future__ import annotations

import json
import os
import random
import stat

import pytest

from tests.disks import fill
from tests.system.bench import KINDS, Bench, events, log_lines


@pytest.fixture(scope="module")
def answered(tmp_path_factory, server):
    """A bench on which every kind was asked; tests that change it copy its export."""
    bench = Bench(tmp_path_factory.mktemp("answered"), server.url)
    bench.write("a.log", log_lines(80))
    bench.enricher("once")
    yield bench
    bench.end()


def listed(bench, *args):
    return json.loads(bench.enricher("signatures", "list", "--json", *args).out)


def asked(bench):
    return bench.status()["requests"].get("answered", 0)


def test_the_list_has_every_kind_with_its_answer(answered):
    found = listed(answered)
    assert len(KINDS) == len(found)
    assert {10} == {one["events"] for one in found}
    assert {"ok"} == {one["answer"]["status"] for one in found}
    assert [] == listed(answered, "--unanswered")
    assert 2 == len(listed(answered, "--limit", "2"))
    severity = found[0]["answer"]["severity"]
    assert {severity} == {one["answer"]["severity"] for one in listed(answered, "--severity", severity)}
    shown = answered.enricher("signatures", "list")
    assert all(one["signature"] in shown.out for one in found)
    assert "\x1b" not in shown.out


def test_a_signature_is_shown_by_the_beginning_of_its_id(answered):
    one = listed(answered, "--limit", "1")[0]
    shown = answered.enricher("signatures", "show", one["signature"][:10])
    for text in (one["signature"], "logs", "10 of 1 shapes", "first seen", one["answer"]["task"], "asked"):
        assert text in shown.out
    told = json.loads(answered.enricher("signatures", "show", one["signature"].upper(), "--json").out)
    assert (["logs"], 1, []) == (told["sources"], len(told["members"]), told["revisions"])


def test_an_unknown_id_is_named_with_those_near_it(answered):
    name = listed(answered, "--limit", "1")[0]["signature"]
    wrong = name[:15] + ("0" if name[15] != "0" else "1")
    done = answered.enricher("signatures", "forget", wrong, code=64)
    assert f"signature {wrong}: there is none of that id" in done.err
    assert name in done.err
    done = answered.enricher("signatures", "show", "'; DROP \x1b[2J é" * 30, code=64)
    assert "\x1b" not in done.err


def test_an_id_that_is_too_short_to_tell_is_refused(answered):
    done = answered.enricher("signatures", "forget", "", code=64)
    assert "there is none of that id" in done.err
    done = answered.enricher("signatures", "refresh", code=64)
    assert "which signatures" in done.err
    done = answered.enricher("signatures", "refresh", "--older-than", "soon", code=64)
    assert "no length of time" in done.err
    name = listed(answered, "--limit", "1")[0]["signature"]
    done = answered.enricher("signatures", "forget", name, "--task", "x", code=64)
    assert "--task goes with --all" in done.err


def test_before_anything_was_run_that_is_said(bench):
    done = bench.enricher("signatures", "list", code=1)
    assert "nothing was run here yet" in done.err


def test_an_export_is_private_and_serves_another_host_at_no_cost(answered, bench, server):
    out = bench.root / "catalogue.jsonl"
    done = answered.enricher("signatures", "export", "--out", out)
    assert f"{len(KINDS)} signatures written" in done.out
    assert 0o600 == stat.S_IMODE(out.stat().st_mode)
    header, *lines = map(json.loads, out.read_text().splitlines())
    assert ("enricher-signatures", 1, len(KINDS)) == (header["format"], header["version"], header["signatures"])
    assert len(KINDS) == len(lines)
    assert answered.enricher("signatures", "export").out.splitlines()[1:] == out.read_text().splitlines()[1:]

    done = bench.enricher("signatures", "import", out)
    assert f"{len(KINDS)} answers taken in" in done.out
    done = bench.enricher("signatures", "import", out, "--keep")
    assert f"{len(KINDS)} left as they were" in done.out
    before = server.lines_uploaded()
    bench.write("a.log", log_lines(80))
    bench.enricher("once")
    assert before == server.lines_uploaded()
    assert {"cached"} == {event["enrichment.status"] for event in events(bench.out)}
    assert {"imported"} == {one["answer"]["origin"] for one in listed(bench)}


def test_an_export_that_cannot_be_written_whole_leaves_nothing_and_replaces_nothing(answered, small_disk):
    disk = small_disk(1)
    (disk / "before.jsonl").write_text("of last week")
    fill(disk, leave=4096)
    done = answered.enricher("signatures", "export", "--out", disk / "before.jsonl", code=64)
    assert "No space left on device" in done.err
    assert "of last week" == (disk / "before.jsonl").read_text()
    assert ["before.jsonl", "of-somebody-else"] == sorted(path.name for path in disk.iterdir())
    os.mkfifo(answered.root / "pipe")
    done = answered.enricher("signatures", "export", "--out", answered.root / "pipe", code=64)
    assert "is no file" in done.err
    assert stat.S_ISFIFO((answered.root / "pipe").stat().st_mode)


def test_a_faulty_file_is_refused_whole_with_its_line_numbers(answered, bench):
    out = bench.root / "catalogue.jsonl"
    answered.enricher("signatures", "export", "--out", out)
    lines = out.read_text().splitlines()
    lines[2] = lines[2].replace('"severity":"', '"severity":"very ')
    lines[4] = "{"
    out.write_text("\n".join(lines) + "\n")
    done = bench.enricher("signatures", "import", out, code=78)
    assert f"{out}: line 3: answer.severity" in done.err
    assert f"{out}: line 5: " in done.err
    assert "nothing was taken in" in done.err
    done = bench.enricher("signatures", "import", bench.root / "nowhere", code=64)
    assert "cannot be read" in done.err
    done = bench.enricher("signatures", "export", "--out", bench.root / "no" / "where", code=1)
    assert "nothing was run here yet" in done.err


def test_what_is_forgotten_or_refreshed_is_asked_once_more_when_it_is_seen(bench):
    bench.write("a.log", log_lines(80, hours=1))
    bench.enricher("once")
    first, second, third = (one["signature"] for one in listed(bench, "--limit", "3"))
    assert "1 signatures have no answer any more" in bench.enricher("signatures", "forget", first[:9]).out
    assert "2 signatures are asked again" in bench.enricher("signatures", "refresh", second, third).out
    assert [first] == [one["signature"] for one in listed(bench, "--unanswered")]
    bench.write("a.log", log_lines(40, hours=1, first=5), append=True)

    told = json.loads(bench.enricher("plan", "--json").out)
    assert ({"new": 1, "refresh": 2}, 3) == (told["reasons"], told["requests"])

    before = asked(bench)
    bench.enricher("once")
    assert before == asked(bench)  # the same three requests, answered once more
    told = json.loads(bench.enricher("signatures", "show", second, "--json").out)
    assert 2 == len(told["answers"])
    assert json.loads(bench.enricher("plan", "--json").out)["reasons"] == {}


def test_a_changed_task_is_priced_and_asked_anew_only_where_that_is_wanted(bench, server):
    prices = dict.fromkeys(
        ("input_usd", "cached_usd", "output_usd", "batch_input_usd", "batch_cached_usd", "batch_output_usd"), 1.0
    ) | {"as_of": "2026-11-22"}
    bench.configure(prices=prices)
    bench.write("a.log", log_lines(80, hours=1))
    bench.enricher("once")
    task = (bench.root / "mine.toml").absolute()
    task.write_text('version = 7\n[prompt]\nsystem = "say what the event means"\n')

    bench.configure(prices=prices, task={"file": "./mine.toml"})
    told = json.loads(bench.enricher("plan", "--json").out)
    assert ({}, 0) == (told["reasons"], told["requests"])
    assert (len(KINDS), len(KINDS)) == (told["kept_on_change"]["signatures"], told["kept_on_change"]["requests"])
    assert told["kept_on_change"]["cost_usd"] > 0
    assert "answers of an older version of the task" in bench.enricher("plan").out

    bench.configure(prices=prices, task={"file": "./mine.toml", "on_change": "reask"})
    told = json.loads(bench.enricher("plan", "--json").out)
    assert {"task_changed": len(KINDS)} == told["reasons"]
    assert told["kept_on_change"]["signatures"] == 0
    assert told["cost_usd"]["deduplicated"] > 0

    before = server.lines_uploaded()
    bench.write("a.log", log_lines(8, hours=1, first=5), append=True)
    bench.enricher("once")
    assert before + len(KINDS) == server.lines_uploaded()
    assert {1} == {one["events"] // 11 for one in listed(bench)}
    assert json.loads(bench.enricher("plan", "--json").out)["reasons"] == {}


def test_beside_a_daemon_reading_works_and_writing_says_who_has_the_lock(bench):
    bench.configure(window={"allowed_lateness_seconds": 0.1})
    bench.write("a.log", log_lines(80, hours=1))
    daemon = bench.start("run")
    daemon.until(lambda: daemon.happened("pane_finished"))
    name = listed(bench, "--limit", "1")[0]["signature"]
    for command in (("forget", name), ("refresh", "--all")):
        done = bench.enricher("signatures", *command, code=73)
        assert f"process {daemon.process.pid}" in done.err
        assert "run this again" in done.err


def test_lines_that_are_still_spooled_are_shown_under_pseudonyms(bench, serve):
    bench.url = serve(faults=[{"on": "batch", "what": "stuck", "state": "validating", "times": 0}]).url
    bench.configure()
    bench.write("a.log", ["2026-11-20T08:00:00Z ERROR shop: no reply, password=hunter2 of bob@example.org"])
    bench.enricher("once", "--no-wait", code=75)
    (found,) = listed(bench, "--unanswered")
    shown = bench.enricher("signatures", "show", found["signature"]).out
    assert "lines of it, under pseudonyms:" in shown
    assert "no reply" in shown
    assert "hunter2" not in shown
    assert "bob@example.org" not in shown


def test_a_source_of_nothing_but_garbage_trips_the_breaker_pays_nothing_and_loses_nothing(bench, server):
    rnd = random.Random(7)
    words = [["".join(rnd.choices("abcdefghijklmnopqrstuvwxyz", k=7)) for _ in range(6)] for _ in range(6_000)]
    bench.configure(
        sources=[
            {"id": "bad", "include": [str(bench.logs / "bad.log")]},
            {"id": "good", "include": [str(bench.logs / "good.log")]},
        ]
    )
    bench.write("bad.log", (f"2026-11-20T08:00:00Z INFO app: {' '.join(one)}" for one in words))
    bench.write("good.log", log_lines(80, hours=1))
    planned = json.loads(bench.enricher("plan", "--json").out)
    shown = " ".join(bench.enricher("plan").out.split())
    before = server.lines_uploaded()
    done = bench.enricher("once")

    assert (6_080, {"events": 6_000, "sources": ["bad"]}) == (planned["events"], planned["skipped"])
    assert "6,000 of the events are of sources that make too many lines kinds of their own (bad)" in shown
    assert before + len(KINDS) == server.lines_uploaded()
    assert 1 == len(done.happened("breaker_opened", source="bad"))
    assert "new kinds were not asked (skipped_policy): the breaker is open for bad" in done.out
    assert ["bad"] == bench.status()["open_breakers"]
    assert "breakers open" in bench.enricher("status").out
    found = events(bench.out)
    assert 6_080 == len(found)
    statuses = {
        name: {one["enrichment.status"] for one in found if name in one["log.file.path"]} for name in ("bad", "good")
    }
    assert {"bad": {"skipped_policy"}, "good": {"ok"}} == statuses
    assert 2_500 > len({one["enrichment.signature"] for one in found})
