"""The unit file and the notify protocol."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from enricher.edges.credential import read_key
from enricher.edges.systemd import Notifier
from enricher.errors import ConfigError

UNITS = Path(__file__).parent.parent / "systemd"
needs_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")


@needs_systemd
@pytest.mark.parametrize("drop_in", [None, "local.conf", "root-logs.conf"])
def test_unit_is_accepted_by_systemd(tmp_path, drop_in):
    unit = (UNITS / "enricher.service").read_text().replace("/usr/bin/enricher", "/bin/true")
    (tmp_path / "enricher.service").write_text(unit)
    if drop_in:
        (tmp_path / "enricher.service.d").mkdir()
        shutil.copy(UNITS / drop_in, tmp_path / "enricher.service.d")
    done = subprocess.run(
        ["systemd-analyze", "verify", tmp_path / "enricher.service"], capture_output=True, text=True, check=False
    )
    assert (0, "") == (done.returncode, done.stderr)


def test_unit_comes_back_however_often_it_ended_for_a_full_disk_but_not_for_a_faulty_configuration():
    lines = (UNITS / "enricher.service").read_text().splitlines()
    assert {"Restart=on-failure", "StartLimitIntervalSec=0", "RestartPreventExitStatus=78"} <= set(lines)


@needs_systemd
def test_unit_is_locked_down():
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--threshold=15", UNITS / "enricher.service"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-500:]


@pytest.mark.parametrize("abstract", [False, True])
def test_manager_hears_what_it_is_told(tmp_path, abstract):
    address = "\0enricher-test" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(5)
        notifier = Notifier({"NOTIFY_SOCKET": address.replace("\0", "@"), "WATCHDOG_USEC": "30000000"})
        notifier.ready()
        notifier.status("two\nlines")
        notifier.alive()
        notifier.stopping()
        heard = [manager.recv(200).decode() for _ in range(4)]
    assert ["READY=1", "STATUS=two lines", "WATCHDOG=1", "STOPPING=1"] == heard
    assert notifier.watchdog_seconds == 30.0


def test_nothing_is_said_where_no_manager_listens():
    notifier = Notifier({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"})
    notifier.ready()
    assert notifier.watchdog_seconds is None


def test_key_comes_from_the_credential_before_the_environment(tmp_path):
    (tmp_path / "openai-api-key").write_text("sk-credential\n")
    environment = {"CREDENTIALS_DIRECTORY": str(tmp_path), "OPENAI_API_KEY": "sk-environment"}
    assert read_key(environment) == "sk-credential"


@pytest.mark.parametrize("content", ["", "\n", None])
def test_empty_or_missing_credential_counts_as_none(tmp_path, content):
    if content is not None:
        (tmp_path / "openai-api-key").write_text(content)
    assert read_key({"CREDENTIALS_DIRECTORY": str(tmp_path)}) is None
    assert read_key({"CREDENTIALS_DIRECTORY": str(tmp_path), "OPENAI_API_KEY": "sk-x"}) == "sk-x"


def test_key_that_is_no_key_is_refused_without_being_shown():
    with pytest.raises(ConfigError) as caught:
        read_key({"OPENAI_API_KEY": "sk-one two"})
    assert "one two" not in str(caught.value)
