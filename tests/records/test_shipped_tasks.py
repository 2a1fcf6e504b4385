"""Each shipped task over the sample that comes with it: with a made-up model that keeps to what is asked, with one that
does not, through the command with the deterministic batch server, and, where it is here, with the real small model.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from enricher import config as configuration
from enricher.batchserver.model_weights import SMALL_WEIGHTS, model_dir
from enricher.config import Config
from enricher.errors import ConfigError
from enricher.records.api import run_async
from enricher.records.order import Order, load_record_task, parse_options
from tests.records.desk import a_desk

TASKS = Path(__file__).parents[2] / "config" / "tasks"
SAMPLES = {
    "classify": TASKS / "classify.sample",
    "label": TASKS / "label.sample.jsonl",
    "transform": TASKS / "transform.sample.jsonl",
}
ROWS = {"classify": 7, "label": 12, "transform": 3}
# Allowed three labels, it gives each text three, one of them without a quote or twice, and most rows fail the checks.
FOR_THE_SMALL_MODEL = {"classify": {"most": 1}}
# What a careful reader says of them; of some, more than one answer will do.
LABELS = {
    "2026/driver.txt": {"application"},
    "2026/energy.md": {"report"},
    "2026/lunch.txt": {"other", ""},
    "2026/refund.txt": {"invoice", "other"},
    "2026/thawed.eml": {"complaint"},
    "brandt-0412.txt": {"invoice"},
    "storage.md": {"contract"},
}
MOODS = {
    "t-01": "negative neutral", "t-02": "neutral negative", "t-03": "positive", "t-04": "negative", "t-05": "neutral",
    "t-06": "neutral", "t-07": "neutral negative", "t-08": "positive", "t-09": "neutral", "t-10": "negative",
    "t-11": "neutral", "t-12": "neutral",
}  # fmt: skip
TOPICS = {
    "t-01": "delivery", "t-02": "payment", "t-03": "product", "t-04": "delivery product", "t-05": "account",
    "t-06": "product", "t-07": "account", "t-08": "service", "t-09": "account service", "t-10": "product service",
    "t-11": "payment account", "t-12": "other",
}  # fmt: skip


def inner(text):
    """What stands between the marks of the prompt."""
    return text.removeprefix("<text>\n").removesuffix("\n</text>")


def classified(text):
    text = inner(text)
    quote = " ".join(text.split()[:5])
    return {"evidence": [{"quote": quote, "label": "report"}], "labels": ["report"], "confidence": 0.8}


# ---------------------------------------------------------------- what the files say


@pytest.mark.parametrize("name", SAMPLES)
def test_a_task_says_for_what_it_is_and_how_it_is_called(name):
    text = (TASKS / f"{name}.toml").read_text(encoding="utf-8")
    assert "records" == tomllib.loads(text)["use"]
    assert f"enricher records run {name} " in text
    assert SAMPLES[name].name in text
    assert all(fault not in load_record_task(Order(task=name, input="-", output="-")).system for fault in ("{{", "}}"))


def test_classify_takes_labels_and_their_number_from_whoever_runs_it():
    options = parse_options(["labels=spam, ham", "most=1", "subject=e-mails"])
    task = load_record_task(Order(task="classify", input="-", output="-", options=options))
    fields = task.schema["properties"]
    assert ["spam", "ham"] == fields["labels"]["items"]["enum"]
    assert ["spam", "ham"] == fields["evidence"]["items"]["properties"]["label"]["enum"]
    assert 1 == fields["labels"]["maxItems"]
    assert "You sort e-mails." in task.system
    assert "The labels: spam, ham." in task.system


def test_a_change_of_prompt_schema_or_options_is_another_task_and_asks_anew():
    def hashed(**options):
        return load_record_task(Order(task="classify", input="-", output="-", options=options)).hash

    assert hashed() == hashed()
    assert 3 == len({hashed(), hashed(labels=["a", "b"]), hashed(subject="e-mails")})


# ---------------------------------------------------------------- with a model that is made up


async def test_classify_gives_each_document_labels_with_quotes_of_it(tmp_path):
    async with a_desk(tmp_path, classified) as desk:
        report = await desk.run("classify", SAMPLES["classify"])
        assert ({"ok": 7}, 7) == (report.statuses, len(desk.model.asked))
        rows = {row["id"]: row for row in desk.rows()}
        assert set(LABELS) == set(rows)
        assert rows["storage.md"]["evidence"] == [{"quote": "# Agreement on storage between", "label": "report"}]
        assert all("All of that is material to be sorted" in system for system in desk.model.systems)


async def test_classify_believes_no_quote_that_does_not_stand_in_the_document(tmp_path):
    async with a_desk(tmp_path, lambda text: classified("made up " + inner(text))) as desk:
        report = await desk.run("classify", SAMPLES["classify"])
        assert {"invalid": 7} == report.statuses
        assert "does not stand in text" in report.reasons["invalid"]
        assert 21 == len(desk.model.asked)


async def test_classify_believes_no_label_without_a_quote(tmp_path):
    async with a_desk(tmp_path, lambda text: classified(text) | {"labels": ["report", "invoice"]}) as desk:
        report = await desk.run("classify", SAMPLES["classify"])
        assert {"invalid": 7} == report.statuses
        assert "“invoice” is not in evidence[].label" in report.reasons["invalid"]


async def test_classify_cuts_a_long_document_and_unites_what_is_said_of_its_parts(tmp_path):
    def say(text):
        label = "contract" if "whereas" in text else "report"
        return {"evidence": [{"quote": inner(text).split()[0], "label": label}], "labels": [label], "confidence": 0.5}

    async with a_desk(tmp_path, say) as desk:
        long = "whereas it was so agreed. " * 2000 + "The figures of the quarter are as follows. " * 2000
        await desk.run("classify", desk.write("in.jsonl", [{"id": "long", "body": long}]), columns={"text": "body"})
        assert len(desk.model.asked) > 2
        assert ["contract", "report"] == sorted(desk.rows()[0]["labels"])


async def test_transform_is_asked_again_where_the_text_grows_or_is_in_another_language(tmp_path):
    german = (
        "Bestellungen über fünfzig Euro werden innerhalb Deutschlands und Österreichs kostenfrei geliefert, kleinere"
        " kosten etwas mehr. Pakete gehen am selben Werktag hinaus, wenn bis zum frühen Nachmittag bestellt wird."
    )
    said = {}

    def say(text):
        text = inner(text)
        said[text] = said.get(text, 0) + 1
        wrong = text * 4 if text.startswith("Hello") else text
        return {"new_text": wrong if said[text] == 1 else german, "notes": None}

    async with a_desk(tmp_path, say) as desk:
        options = parse_options(["do=Translate the text into German.", "language=de"])
        report = await desk.run("transform", SAMPLES["transform"], options=options)
        assert {"ok": 3} == report.statuses
        assert [2, 2, 2] == list(said.values())
        assert {german} == {row["new_text"] for row in desk.rows()}
        assert all("Your task: Translate the text into German." in system for system in desk.model.systems)


async def test_transform_can_hold_a_text_to_the_language_that_it_had(tmp_path):
    french = "La livraison est gratuite en Allemagne et en Autriche pour toute commande de plus de cinquante euros."
    async with a_desk(tmp_path, lambda _: {"new_text": french, "notes": None}) as desk:
        report = await desk.run("transform", SAMPLES["transform"], options={"same_language": True})
        assert {"invalid": 3} == report.statuses
        assert "in fr, not in en as text" in report.reasons["invalid"]


def test_a_language_is_checked_only_where_one_is_asked_for_and_needs_the_extra_only_then(monkeypatch):
    from enricher.records import order as orders

    monkeypatch.setattr(orders, "language_detector", lambda: None)
    order = Order(task="transform", input="-", output="-")
    assert 2 == len(load_record_task(order).checks)
    with pytest.raises(ConfigError, match=re.escape("pip install 'enricher[language]'")):
        load_record_task(Order(task="transform", input="-", output="-", options={"language": "de"}))


# ---------------------------------------------------------------- through the command


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The address of a batch server whose answers fit the schema and mean nothing."""
    root = tmp_path_factory.mktemp("server")
    command = [sys.executable, "-m", "enricher", "serve-batches", "--schema-only", "--listen", "127.0.0.1:0"]
    with subprocess.Popen([*command, "--state", str(root)], stdout=subprocess.PIPE, text=True) as process:
        yield json.loads(process.stdout.readline())["base_url"]
        process.terminate()


@pytest.mark.parametrize("name", ["label", "transform"])
def test_the_command_runs_a_task_over_its_sample(tmp_path, server, name):
    settings = f'state_dir = "state"\n[provider]\nbase_url = "{server}"\nmodel = "schema"\n'
    (tmp_path / "c.toml").write_text(settings + "[batch]\npoll_interval_seconds = 0.05\n")
    # What means nothing may also be of any length.
    options = ["--set", "most_ratio=1000.0"] if name == "transform" else []
    command = ["records", "run", name, str(SAMPLES[name]), "-o", "out.csv", "--json", "-c", "c.toml", *options]
    done = subprocess.run(
        [sys.executable, "-m", "enricher", *command],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert {"ok": ROWS[name]} == json.loads(done.stdout)["statuses"]
    assert ROWS[name] < len((tmp_path / "out.csv").read_text().splitlines())


# ---------------------------------------------------------------- with the real small model

HERE = importlib.util.find_spec("xllamacpp") is not None and (model_dir() / SMALL_WEIGHTS.file_name).is_file()


@pytest.mark.skipif(not HERE, reason="the small model is not here: pip install '.[local]'; enricher model pull --small")
@pytest.mark.skipif(not os.environ.get("ENRICHER_REAL_MODEL"), reason="minutes of CPU: make small-model")
@pytest.mark.timeout(1800)
async def test_the_small_model_fills_every_field_of_most_rows(tmp_path):
    config = Config.model_validate({"state_dir": str(tmp_path / "state"), "provider": {"type": "local"}})
    for name, sample in SAMPLES.items():
        out = tmp_path / f"{name}.jsonl"
        report = await run_async(name, sample, out, config=config, options=FOR_THE_SMALL_MODEL.get(name, {}))
        rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
        good = [row for row in rows if row["status"] == "ok"]
        print(f"\n{name}: {report.statuses}, {right(name, good)}")
        assert ROWS[name] == len(rows)
        assert len(good) > len(rows) / 2


def right(name, rows):
    """How many rows say what a careful reader says."""
    if name == "classify":
        return f"{sum((row['labels'] or [''])[0] in LABELS[row['id']] for row in rows)} first labels right"
    if name == "label":
        moods = sum(row["sentiment"] in MOODS[row["id"]].split() for row in rows)
        return f"{moods} sentiments, {sum(row['topic'] in TOPICS[row['id']].split() for row in rows)} topics right"
    return f"new texts of {[len(row['new_text']) for row in rows]} characters"


def test_samples_travel_with_the_package():
    assert {"classify", "label", "transform"} <= set(configuration.shipped_names("tasks", ".toml"))
    assert {"label.sample", "transform.sample"} <= set(configuration.shipped_names("tasks", ".jsonl"))
