"""The shipped alerts fire for what they are for, watch metrics that there are, and name a row that is there."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
ALERTS = (ROOT / "config" / "alerts.yml").read_text(encoding="utf-8")
TRIED = (ROOT / "config" / "alerts_test.yml").read_text(encoding="utf-8")
NAMES = re.findall(r"^ +- alert: (\w+)$", ALERTS, re.MULTILINE)
ROWS = re.search(r"^\| at 3 a\.m\. .*?\n\n", README, re.MULTILINE | re.DOTALL)


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
@pytest.mark.parametrize("command", [("check", "rules", "alerts.yml"), ("test", "rules", "alerts_test.yml")])
def test_promtool_finds_that_the_alerts_do_as_they_say(command):
    done = subprocess.run(
        ["promtool", *command], cwd=ROOT / "config", capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_was_seen_firing():
    assert NAMES
    assert [] == [name for name in NAMES if f'alertname="{name}"' not in TRIED]


def test_alerts_watch_only_what_the_daemon_serves():
    served = set(re.findall(r"^\| `(enricher_\w+)(?:\{[\w,]+\})?` \|", README, re.MULTILINE))
    watched = set(re.findall(r"\benricher_\w+", "".join(re.findall(r"^ +expr: (.*)$", ALERTS, re.MULTILINE))))
    assert set() == watched - served


def test_every_alert_names_a_row_of_the_runbook():
    assert ROWS is not None
    rows = {line.split(" | ")[0].removeprefix("| ") for line in ROWS[0].splitlines()[2:] if line}
    named = re.findall(r'^ +runbook: "(.*)"$', ALERTS, re.MULTILINE)
    assert len(NAMES) == len(named)
    assert set() == set(named) - rows


def test_every_alert_says_how_bad_it_is():
    assert len(NAMES) == len(re.findall(r"labels: \{ severity: (?:page|ticket) \}", ALERTS))
