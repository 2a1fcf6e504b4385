"""A PostgreSQL server of a test's own: on a socket in a directory, as a user that is not root."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest


def _binaries():
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).parent if on_path else None


@contextlib.contextmanager
def served():
    """The directory of the server's socket; its user `reader` has the password `s3cr3t-w0rd`."""
    binaries = _binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    as_user = {}
    if os.geteuid() == 0:
        try:
            user = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("PostgreSQL refuses to run as root, and there is no user postgres")
        as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    # A path of a socket is at most 107 bytes long.
    directory = Path(tempfile.mkdtemp(prefix="enricher-pg-", dir="/tmp"))
    try:
        if as_user:
            os.chown(directory, as_user["user"], as_user["group"])
        run = {"cwd": directory, "capture_output": True, **as_user}
        data = directory / "data"
        word = directory / "word"
        word.write_text("s3cr3t-w0rd")
        word.chmod(0o644)
        subprocess.run(
            [
                binaries / "initdb",
                "-D",
                data,
                "-U",
                "reader",
                "-A",
                "scram-sha-256",
                "--pwfile",
                word,
                "-N",
                "-E",
                "UTF8",
            ],
            check=True,
            **run,
        )
        options = f"-k {directory} -c listen_addresses='' -c fsync=off"
        # It ends when it has told that it serves; its own output goes to the log.
        start = [binaries / "pg_ctl", "-D", data, "-l", directory / "log", "-w", "-o", options, "start"]
        subprocess.run(start, check=True, **run)
        try:
            yield directory
        finally:
            subprocess.run([binaries / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop"], check=True, **run)
    finally:
        shutil.rmtree(directory)
