"""The unit file and the notify protocol."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from enricher.edges.credential import ADMIN_TOKEN, PROVIDER_KEY, WEBHOOK_SECRET, read_secret
from enricher.edges.systemd import Notifier
from enricher.errors import ConfigError, CredentialError

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


SECRETS = pytest.mark.parametrize("secret", [PROVIDER_KEY, ADMIN_TOKEN, WEBHOOK_SECRET], ids=lambda one: one.credential)


@SECRETS
def test_unit_hands_each_secret_over_and_starts_without_it(secret):
    lines = (UNITS / "enricher.service").read_text().splitlines()
    named = f"{secret.credential}:/etc/enricher/{secret.credential}"
    assert {f"SetCredential={secret.credential}:\\n", f"LoadCredential={named}"} <= set(lines)


@SECRETS
def test_secret_comes_from_the_credential_before_the_environment(tmp_path, secret):
    (tmp_path / secret.credential).write_text("sk-credential\n")
    environment = {"CREDENTIALS_DIRECTORY": str(tmp_path), secret.variable: "sk-environment"}
    assert read_secret(secret, environment) == "sk-credential"


@SECRETS
@pytest.mark.parametrize("content", ["", "\n", None])
def test_empty_or_missing_credential_counts_as_none(tmp_path, secret, content):
    if content is not None:
        (tmp_path / secret.credential).write_text(content)
    assert read_secret(secret, {"CREDENTIALS_DIRECTORY": str(tmp_path)}) is None
    assert read_secret(secret, {"CREDENTIALS_DIRECTORY": str(tmp_path), secret.variable: "sk-x"}) == "sk-x"


@SECRETS
def test_credential_that_cannot_be_read_is_named(tmp_path, secret):
    """A directory in its place, since root may read every file."""
    (tmp_path / secret.credential).mkdir()
    with pytest.raises(CredentialError, match=f"credential {secret.credential}: cannot be read: Is a directory"):
        read_secret(secret, {"CREDENTIALS_DIRECTORY": str(tmp_path)})


@SECRETS
def test_secret_that_is_none_is_refused_without_being_shown(tmp_path, secret):
    for environment in ({secret.variable: "sk-one two"}, {"CREDENTIALS_DIRECTORY": str(tmp_path)}):
        (tmp_path / secret.credential).write_bytes(b"sk-one two\xff")
        with pytest.raises(ConfigError) as caught:
            read_secret(secret, environment)
        assert "one" not in str(caught.value)
