"""Requests that Schemathesis makes up from OpenAI's description, good and bad ones, against our server.

None may be answered with a 5xx, with what is not described, or without a key; each check of Schemathesis is on.
"""

from __future__ import annotations

import subprocess

import pytest

from tests.conformance.peers import DESCRIPTION, EXAMPLES, HERE, peer
from tests.system.bench import Server, environment

KEY = "sk-test-conformance"


@pytest.mark.timeout(60 + 10 * EXAMPLES)
def test_no_request_that_can_be_made_up_is_answered_with_what_is_not_described(tmp_path):
    program = peer("st")
    server = Server(tmp_path / "server", key=KEY)
    try:
        done = subprocess.run(
            [
                program, "--config-file", HERE / "schemathesis.toml", "run", DESCRIPTION,
                "--url", server.url, "--checks", "all", "--max-examples", str(EXAMPLES), "--no-color",
            ],
            cwd=tmp_path,
            env=environment(tmp_path, PYTHONPATH=None, SERVER_KEY=KEY),
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
    finally:
        server.stop()
    print(done.stdout[-1500:])
    assert 0 == done.returncode, done.stdout[-6000:] + done.stderr[-1000:]
    assert "" == server.running.err
