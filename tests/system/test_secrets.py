"""Secrets that were planted, and every place where a daemon could have left them: none has one.

The real commands go through what they do with secrets, and everything that they printed, served or wrote is searched.
"""

from __future__ import annotations

import base64
import json
import resource
import signal
import ssl
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.certificate import CERTIFICATE, write_pair
from tests.system.bench import Running, environment, log_lines
from tests.system.test_admin import event, post
from tests.system.test_run import MANY, Daemon

KEY = "sk-proj-PlantedKeyOfTheProvider0123456789"
TOKEN = "planted-token-of-the-admin-address"
SECRET = "whsec_" + base64.b64encode(b"planted secret of the webhooks..").decode()
VARIABLES = {"OPENAI_API_KEY": KEY, "ENRICHER_ADMIN_TOKEN": TOKEN, "OPENAI_WEBHOOK_SECRET": SECRET}
# The ends of a key are enough to know whose it is; the middle is what opens.
PIECES = (
    KEY,
    KEY[:12],
    KEY[-8:],
    KEY[:8] + "***",
    TOKEN,
    SECRET.removeprefix("whsec_"),
    "planted secret",
    "Bearer planted",
)
NOISY = {"PYTHONASYNCIODEBUG": "1", "PYTHONFAULTHANDLER": "1", "OPENAI_LOG": "debug", "PYTHONWARNINGS": "always"}


def found_in(text):
    return [piece for piece in PIECES if piece in text]


def assert_written_nowhere(root):
    """No file below holds a piece of one: state, output, logs, core dumps."""
    files = [path for path in root.rglob("*") if path.is_file()]
    assert files
    for path in files:
        data = path.read_bytes()
        assert [] == [piece for piece in PIECES if piece.encode() in data], path
        assert "core" not in path.name, path


class Echo(BaseHTTPRequestHandler):
    """A provider that repeats the key it was given, whole and half hidden, in errors of every kind."""

    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.server.turns += 1
        status = (401, 500, 403, 429, 200, 400)[self.server.turns % 6]
        text = f"Incorrect API key provided: {given} ({given[:8]}***{given[-4:]}), " + "x" * 470 + given
        body = json.dumps(
            {"error": {"message": text, "code": "invalid_api_key"}, "id": given, "status": given}
        ).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_DELETE = do_GET  # noqa: N815 - names of http.server

    def log_message(self, *args):
        pass


@pytest.fixture
def echo():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    server.turns = 0
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def run(bench):
    """Start a daemon with the planted secrets and everything that makes it talkative."""
    daemons = []

    def start():
        daemons.append(Daemon(bench, **VARIABLES, **NOISY))
        return daemons[-1]

    yield start
    for one in daemons:
        one.end()


def visit(daemon, *, token, context=None):
    """Everything that the address serves, with this token or without."""
    texts = []
    for path in ("/metrics", "/status", "/readyz", "/healthz", "/", "/webhooks/openai", f"/status?token={TOKEN}"):
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        request = urllib.request.Request(daemon.address + path, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10, context=context) as answer:
                texts.append(str(answer.headers) + answer.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                texts.append(str(error.headers) + error.read().decode())
    return "\n".join(texts)


def test_provider_that_repeats_the_key_has_it_shown_nowhere(bench, run, echo):
    bench.url = f"http://127.0.0.1:{echo.server_address[1]}/v1"
    bench.configure(window={"allowed_lateness_seconds": 0.0})
    bench.write("a.log", log_lines(MANY, hours=1))
    daemon = run().ready()
    daemon.eventually(lambda: len(daemon.running.happened("batch_waited")) >= 4)
    served = visit(daemon, token=None) + visit(daemon, token="wrong") + visit(daemon, token=TOKEN)
    for at, secret in ((0, SECRET), (0, "whsec_" + "QUJD" * 8), (-900, SECRET)):
        post(daemon.address, event("batch_1"), at=at, secret=secret)
    arguments = Path(f"/proc/{daemon.running.process.pid}/cmdline").read_text()
    daemon.running.signal(signal.SIGHUP)
    daemon.running.until(lambda: daemon.running.happened("reload_finished"))
    daemon.stop()

    assert "batch_waited" in daemon.running.err
    assert "<secret>" in daemon.running.err
    for text in (served, arguments, daemon.running.out, daemon.running.err, "".join(daemon.told)):
        assert [] == found_in(text)
    commands = (["validate"], ["status", "--json"], ["once", "--no-wait"])
    for done in [bench.start(*command, **VARIABLES, **NOISY) for command in commands]:
        done.wait()
        assert [] == found_in(done.out + done.err)
    assert_written_nowhere(bench.root)


def test_unreachable_provider_and_a_certificate_have_nothing_shown(bench, run, tmp_path):
    certificate, key = write_pair(tmp_path)
    bench.url = "http://127.0.0.1:9/v1"
    bench.configure(
        window={"allowed_lateness_seconds": 0.0},
        admin={"listen": "127.0.0.1:0", "tls_certificate": str(certificate), "tls_key": str(key)},
    )
    bench.write("a.log", log_lines(MANY, hours=1))
    daemon = run().ready()
    daemon.eventually(lambda: daemon.running.happened("batch_waited"))
    served = visit(daemon, token=TOKEN, context=ssl.create_default_context(cadata=CERTIFICATE))
    daemon.stop()

    assert "batch_waited" in daemon.running.err
    assert [] == found_in(served + daemon.running.err + daemon.running.out)
    assert_written_nowhere(bench.root)


BROKEN = """
import sys
from enricher.stages.track import Track

async def step(self):
    raise RuntimeError(f"a bug in {self!r} of {self._client!r}, {self._client._client!r}")

Track.step = step
from enricher.cli import main
main()
"""


def test_traceback_of_a_bug_shows_none(bench):
    running = Running(
        sys.executable, "-c", BROKEN, "run", "-c", str(bench.file),
        cwd=bench.root, environment=environment(bench.root, **VARIABLES, **NOISY),
    )  # fmt: skip
    running.wait()
    assert "RuntimeError: a bug in <enricher.stages.track.Track" in running.err
    assert [] == found_in(running.err + running.out)
    assert_written_nowhere(bench.root)


@pytest.mark.skipif(
    Path("/proc/sys/kernel/core_pattern").read_text().startswith(("|", "/")),
    reason="core dumps of this machine do not go into the working directory",
)
def test_daemon_that_crashes_leaves_no_core_dump(bench):
    """Not even where the limit allows one."""
    if resource.getrlimit(resource.RLIMIT_CORE)[1] == 0:
        pytest.skip("no core dumps are allowed here")
    limit = ("sh", "-c", 'ulimit -S -c "$(ulimit -H -c)"; exec "$@"', "sh")
    running = bench.start("run", prefix=limit, **VARIABLES, **NOISY)
    running.until(lambda: running.happened("daemon_started"))
    running.signal(signal.SIGABRT)
    running.wait()
    assert -signal.SIGABRT == running.code
    assert "Fatal Python error: Aborted" in running.err
    assert [] == found_in(running.err + running.out)
    assert_written_nowhere(bench.root)


def test_memory_is_closed_to_others_before_anything_runs():
    """Asked of the kernel itself (3: PR_GET_DUMPABLE), by a command that has just begun."""
    code = """
import asyncio, ctypes
from enricher.cli.running import until_stopped

async def work(stop):
    return ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)

print(asyncio.run(until_stopped(work)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "0\n" == done.stdout


def test_search_finds_what_is_there(tmp_path):
    """Else nothing of the above shows anything."""
    (tmp_path / "file").write_text(f"x{TOKEN}y")
    assert [TOKEN] == found_in(f"a {TOKEN} b")
    with pytest.raises(AssertionError):
        assert_written_nowhere(tmp_path)
