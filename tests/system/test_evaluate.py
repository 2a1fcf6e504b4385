"""`enricher evaluate`: labelled lines asked through the Batch API, figures that are true, nothing paid twice."""

from __future__ import annotations

import json
import signal

CASES = [
    {"line": "backup: write to /mnt/nas failed: no space left", "severity": ["critical"], "category": ["storage"]},
    {"line": "sshd[1]: session opened for kim", "severity": ["info"], "category": ["auth"]},
]


def dataset(bench, cases=CASES) -> str:
    path = bench.root / "cases.jsonl"
    path.write_text("".join(json.dumps(case) + "\n" for case in cases))
    return str(path)


def test_every_case_is_asked_once_and_compared(bench, serve):
    server = serve()
    bench.url = server.url
    bench.configure(batch={"poll_interval_seconds": 1})

    told = json.loads(bench.enricher("evaluate", "logs", dataset(bench), "--json").out)
    again = json.loads(bench.enricher("evaluate", "logs", dataset(bench), "--json").out)

    assert (2, 1.0, "logs") == (told["cases"], told["answered"], told["task"])
    given = {one["line"]: one["given"] for one in told["disagreements"]}
    agreed = [case for case in CASES if case["line"] not in given]
    assert told["severity_accepted"] * 2 >= len(agreed)
    assert told == again
    assert 1 == len(server.get("/v1/batches")["data"])


def test_figures_and_disagreements_are_shown_to_a_person(bench):
    bench.configure(batch={"poll_interval_seconds": 1})
    wrong = [{**CASES[1], "line": "\x1b[2Jsshd[1]: session opened for \x1b]0;x\x07kim", "category": ["hardware"]}]

    shown = bench.enricher("evaluate", "logs", dataset(bench, wrong)).out

    assert "1 of " in shown
    assert "100% answered" in shown
    assert "info hardware" in shown
    assert "\x1b" not in shown


def test_a_set_that_is_none_is_refused_with_the_line_and_the_way_out(bench):
    bench.configure()

    faulty = bench.enricher("evaluate", "logs", dataset(bench, [*CASES, {"line": "x", "severity": ["bad"]}]), code=64)
    missing = bench.enricher("evaluate", "logs", "nowhere.jsonl", code=64)
    unshipped = bench.enricher("evaluate", "no-such-task", dataset(bench, CASES), code=78)

    assert "cases.jsonl: line 3: severity.0" in faulty.err
    assert "nowhere.jsonl: cannot be read" in missing.err
    assert "no task named 'no-such-task' is shipped (there are: classify" in unshipped.err
    assert not [one for one in (faulty, missing, unshipped) if "Traceback" in one.err]


def test_the_shipped_lines_judge_the_task_for_local_models_too(bench):
    bench.configure(batch={"poll_interval_seconds": 1})

    told = json.loads(bench.enricher("evaluate", "logs-local", "--json").out)

    assert ("logs.gold.jsonl", "logs-local") == (told["dataset"], told["task"])
    assert told["cases"] >= 150
    assert 1.0 == told["answered"]


def test_the_daemon_has_the_task_judged_once_a_day_and_pays_nothing_after_a_restart(bench, serve):
    server = serve()
    bench.url = server.url
    bench.configure(evaluation={"nightly_at": "00:00"}, batch={"signatures_per_request": 10})
    bench.logs.mkdir(parents=True, exist_ok=True)
    for _ in range(2):
        daemon = bench.start("run")
        (told,) = daemon.until(lambda: daemon.happened("gold_scored"))  # noqa: B023 - used in this turn alone
        daemon.signal(signal.SIGTERM)
        daemon.wait()
        assert 1 == len(server.get("/v1/batches")["data"])

    score = bench.status()["gold"]
    assert (154, 1.0) == (score["cases"], score["answered"])
    assert score.items() <= told.items()
    assert "labelled lines" in bench.enricher("status").out


def test_a_time_that_is_none_and_a_task_without_labelled_lines_are_refused(bench):
    bench.configure(evaluation={"nightly_at": "25:00"})
    assert "evaluation.nightly_at: is a time of day in UTC" in bench.enricher("run", code=78).err
    (bench.root / "own.toml").write_text('name = "own"\nversion = 1\n[prompt]\nsystem = "Judge."\n')
    bench.configure(evaluation={"nightly_at": "03:00"}, task={"file": "own.toml"})
    for command in (["run"], ["validate", "--offline"]):
        told = bench.enricher(*command, code=78)
        assert "no labelled lines come with the task 'own'" in told.err + told.out
