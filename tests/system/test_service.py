"""The daemon as the service that the unit file makes of it, under a real systemd of its own."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.system.private_systemd import NotPossibleError, PrivateSystemd

REPOSITORY = Path(__file__).parents[2]
UNIT = "enricher.service"
KEY = "sk-of-a-credential"
TOKEN = "a-token-of-a-credential"
CONFIGURATION = """
[[sources]]
id = "logs"
include = ["/var/log/app/*.log"]

[window]
allowed_lateness_seconds = 0.0

[batch]
poll_interval_seconds = 0.2

[provider]
base_url = "http://127.0.0.1:8090/v1"
model = "schema"
"""
SERVER = """
[Service]
Environment=PYTHONPATH=/opt/source:/opt/site ENRICHER_SERVER_KEY={key}
ExecStart=/opt/bin/enricher serve-batches --schema-only --state /var/batches
"""
QUICK = """
[Service]
Environment=PYTHONPATH=/opt/source:/opt/site
RestartSec=1
WatchdogSec=4
"""


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    scratch = tmp_path_factory.mktemp("service")
    units = scratch / "units"
    (units / f"{UNIT}.d").mkdir(parents=True)
    unit = (REPOSITORY / "systemd" / UNIT).read_text().replace("/usr/bin/enricher", "/opt/bin/enricher")
    (units / UNIT).write_text(unit)
    (units / f"{UNIT}.d" / "quick.conf").write_text(QUICK)
    (units / "server.service").write_text(SERVER.format(key=KEY))
    (scratch / "bin").mkdir()
    # Neither a virtual environment nor a home can be seen from inside of the sandbox: this interpreter lies elsewhere.
    python = Path(sys._base_executable).resolve().relative_to(Path(sys.base_prefix).resolve())
    program = scratch / "bin" / "enricher"
    program.write_text(f'#!/bin/sh\nLD_LIBRARY_PATH=/opt/python/lib exec /opt/python/{python} -m enricher "$@"\n')
    for path in (scratch / "bin", program):
        path.chmod(0o755)
    site = Path(np.__file__).parents[1]
    binds = {"python": Path(sys.base_prefix), "site": site, "source": REPOSITORY, "bin": scratch / "bin"}
    try:
        machine = PrivateSystemd(scratch, units=units, binds=binds)
    except NotPossibleError as why:
        pytest.skip(str(why))
    yield machine
    machine.end()


def main_pid(machine) -> int:
    return int(machine.shown(UNIT, "MainPID"))


def resident_bytes(machine) -> int:
    status = machine.run("cat", f"/proc/{main_pid(machine)}/status")
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))


def scraped(machine, *headers: str) -> str:
    """First line of the answer to a scrape with these headers."""
    head = "\r\n".join(("GET /metrics HTTP/1.0", *headers, "", ""))
    ask = 'exec 3<>/dev/tcp/127.0.0.1/9464 && printf "%s" "$1" >&3 && head -n 1 <&3'
    return machine.run("bash", "-c", ask, "bash", head).strip()


def written(machine) -> list[dict]:
    text = machine.run("sh", "-c", "cat /var/lib/enricher/enriched/*/events-*.jsonl 2>/dev/null", code=None)
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.timeout(240)
def test_a_service_starts_reloads_comes_back_and_stops_under_a_real_systemd(machine):
    lines = "".join(f"2026-11-20T08:{at:02d}:00Z app[7]: disk {at} of the array failed\n" for at in range(30))
    machine.write("/etc/enricher/enricher.toml", CONFIGURATION)
    machine.write("/etc/enricher/openai-api-key", KEY + "\n")
    machine.write("/etc/enricher/admin-token", TOKEN + "\n")
    machine.write("/var/log/app/app.log", lines)
    machine.run("chmod", "-R", "a+rX", "/var/log/app", "/etc/enricher/enricher.toml", "/etc/enricher")
    machine.run("systemctl", "start", "server.service")

    # `start` comes back when READY was said.
    machine.run("systemctl", "start", UNIT, seconds=130)
    assert "active" == machine.shown(UNIT, "ActiveState")
    assert "" != machine.shown(UNIT, "StatusText")
    first = main_pid(machine)
    assert "0" != machine.run("stat", "--format=%u", f"/proc/{first}").strip()

    # Counts are shown to who has the token of the other credential.
    assert "401" in scraped(machine)
    assert "200" in scraped(machine, f"Authorization: Bearer {TOKEN}")

    # The server takes nobody who has not the key of the credential.
    machine.until(lambda: len(written(machine)) == 30, seconds=90)
    assert {"ok"} == {one["enrichment.status"] for one in written(machine)}

    machine.run("systemctl", "reload", UNIT)
    machine.until(lambda: "reload_finished" in machine.journal())
    machine.write("/etc/enricher/enricher.toml", CONFIGURATION + "\n[nonsense]\n")
    machine.run("systemctl", "reload", UNIT, code=1)
    assert "nonsense" in machine.journal()
    machine.write("/etc/enricher/enricher.toml", CONFIGURATION)
    assert (str(first), "active") == (str(main_pid(machine)), machine.shown(UNIT, "ActiveState"))

    # Wedged: it does not feed the watchdog.
    machine.run("kill", "-STOP", str(first))
    machine.until(lambda: main_pid(machine) not in (0, first) and machine.shown(UNIT, "ActiveState") == "active")
    assert "1" == machine.shown(UNIT, "NRestarts")
    assert "Watchdog timeout" in machine.journal()

    second = main_pid(machine)
    machine.run("kill", "-KILL", str(second))
    machine.until(lambda: main_pid(machine) not in (0, second) and machine.shown(UNIT, "ActiveState") == "active")
    assert "2" == machine.shown(UNIT, "NRestarts")
    assert resident_bytes(machine) < 384 << 20

    machine.run("systemctl", "stop", UNIT, seconds=60)
    assert ("inactive", "success") == (machine.shown(UNIT, "ActiveState"), machine.shown(UNIT, "Result"))
    assert 30 == len(written(machine))
    assert 30 == len({one["event.id"] for one in written(machine)})


@pytest.mark.timeout(120)
def test_a_faulty_configuration_is_not_started_again_and_again(machine):
    machine.write("/etc/enricher/enricher.toml", "[nonsense]\n")
    machine.run("systemctl", "start", UNIT, code=1)
    machine.until(lambda: machine.shown(UNIT, "ActiveState") == "failed")
    assert "0" == machine.shown(UNIT, "NRestarts")
    assert "nonsense" in machine.journal()
