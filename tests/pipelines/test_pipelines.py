"""The examples for schedulers do what they say, in the real ones (`make pipelines`), against a real batch server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.bench import Server, environment

HERE = Path(__file__).parent
ENVIRONMENTS = Path(sys.prefix) / "pipelines"
HOUR = "2026-11-30T09"
REVIEWS = ("It broke on the second day.", "Works as it should.", "It is blue.", "Where is my parcel?")


def python(name):
    """The interpreter of a scheduler's environment; the test is skipped where there is none."""
    found = ENVIRONMENTS / name / "bin" / "python"
    if not os.environ.get("ENRICHER_PIPELINES"):
        pytest.skip("takes minutes: make pipelines")
    if not found.exists():
        pytest.skip(f"{name} is not installed: make pipelines")
    return found


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path / "server")
    yield server
    server.end()


@pytest.fixture
def reviews(tmp_path, server):
    """A directory with a configuration, and the reviews of hours."""
    directory = tmp_path / "reviews"
    directory.mkdir()
    (directory / "enricher.toml").write_text(
        f'state_dir = "{directory}/state"\n[provider]\nbase_url = "{server.url}"\n[batch]\npoll_interval_seconds = 1\n'
    )
    return directory


def write(reviews, hour, texts=REVIEWS):
    rows = [{"id": f"{hour}-{number}", "text": text} for number, text in enumerate(texts)]
    (reviews / f"reviews-{hour}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def labels(reviews, hour):
    rows = [json.loads(line) for line in (reviews / f"labels-{hour}.jsonl").read_text().splitlines()]
    return [(row["id"], row["status"], row["sentiment"] in {"positive", "neutral", "negative"}) for row in rows]


def run(interpreter, code, tmp_path, reviews, **variables):
    """A process of the scheduler's environment; what it printed, each line JSON."""
    variables = environment(tmp_path, REVIEWS=str(reviews), VIRTUAL_ENV=None, PYTHONWARNINGS=None, **variables)
    variables["PYTHONPATH"] += f":{HERE}"
    done = subprocess.run(
        [interpreter, "-c", code], env=variables, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=400
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    print(done.stdout)
    return done.stdout + done.stderr


AIRFLOW = """
import sys
from datetime import datetime, timezone
from airflow.utils.db import initdb
initdb()
from airflow_dag import label_reviews
hour = datetime(2026, 11, 30, 9, tzinfo=timezone.utc)
run = label_reviews.test(logical_date=hour)
states = {one.task_id: str(one.state) for one in run.get_task_instances()}
print("STATES", sorted(states.items()))
"""


@pytest.mark.timeout(500)
def test_a_dag_of_airflow_submits_waits_in_the_triggerer_and_collects(tmp_path, reviews, server):
    interpreter = python("airflow")
    write(reviews, HOUR)
    said = run(
        interpreter,
        AIRFLOW,
        tmp_path,
        reviews,
        REVIEWS_EVERY_SECONDS="0.2",
        AIRFLOW_HOME=str(tmp_path / "airflow"),
        AIRFLOW__CORE__LOAD_EXAMPLES="False",
        AIRFLOW__CORE__DAGS_FOLDER=str(HERE),
    )
    assert "STATES [('collect', 'success'), ('submit', 'success'), ('wait', 'success')]" in said
    assert "running trigger in line" in said
    assert [(f"{HOUR}-{number}", "ok", True) for number in range(4)] == labels(reviews, HOUR)
    assert 4 == server.lines_uploaded()


DAGSTER = """
import json
import os
import dagster as dg
from dagster_assets import HOURS, Reviews, labels
resources = {"reviews": Reviews(directory=os.environ["REVIEWS"], try_again_seconds=1)}
with dg.instance_for_test() as instance:
    for hour in HOURS_GIVEN:
        done = dg.materialize([labels], partition_key=hour, resources=resources, instance=instance)
        assert done.success
        (made,) = done.asset_materializations_for_node("labels")
        print("MADE", json.dumps([made.partition, {name: one.value for name, one in made.metadata.items()}]))
    keys = sorted(instance.get_materialized_partitions(dg.AssetKey("labels")))
    print("PARTITIONS", keys)
"""


@pytest.mark.timeout(500)
def test_an_asset_of_dagster_has_a_partition_for_each_hour_and_asks_only_what_is_new(tmp_path, reviews, server):
    interpreter = python("dagster")
    first, second = "2026-11-30-09:00", "2026-11-30-10:00"
    write(reviews, first)
    write(reviews, second, [*REVIEWS, "One more."])
    code = DAGSTER.replace("HOURS_GIVEN", repr([first, second, first]))
    said = run(interpreter, code, tmp_path, reviews)
    made = [json.loads(line.removeprefix("MADE ")) for line in said.splitlines() if line.startswith("MADE ")]
    assert [(first, 4, 4), (second, 5, 1), (first, 4, 0)] == [
        (hour, facts["rows"], facts["asked"]) for hour, facts in made
    ]
    # The two that had something to ask found the provider at work, and ended until later.
    assert "RetryRequested" in said or "STEP_UP_FOR_RETRY" in said
    assert f"PARTITIONS ['{first}', '{second}']" in said
    assert [(f"{second}-{number}", "ok", True) for number in range(5)] == labels(reviews, second)
    assert 5 == server.lines_uploaded()
