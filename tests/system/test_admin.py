"""The admin address of a real daemon: its token, its certificate, and webhooks from a real batch server."""

from __future__ import annotations

import base64
import json
import signal
import socket
import ssl
import time
import urllib.error
import urllib.request

import pytest

from enricher.core.webhook import sign, to_key
from tests.certificate import CERTIFICATE, OTHER_KEY, RENEWED, write_pair
from tests.system.bench import events, log_lines
from tests.system.test_run import MANY, Daemon

SECRET = "whsec_" + base64.b64encode(b"the secret of the tests, 32 byte").decode()
OTHER_SECRET = "whsec_" + base64.b64encode(b"another secret, of 32 bytes, too").decode()
TOKEN = "a-token-of-the-tests"
PATH = "/webhooks/openai"
WAITING = {"window": {"allowed_lateness_seconds": 0.0}, "batch": {"poll_interval_seconds": 3600.0}}
UNTIL_CANCELLED = [{"on": "batch", "what": "stuck", "state": "in_progress", "after_lines": 100}]


@pytest.fixture
def run(bench):
    """Start daemons on the test's bench."""
    daemons = []

    def start(**variables):
        daemons.append(Daemon(bench, **variables))
        return daemons[-1]

    yield start
    for one in daemons:
        one.end()


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def post(address, body, *, path=PATH, webhook_id="wh_1", at=0, secret=SECRET):
    """Post a webhook dated `at` seconds from now; the status of the answer."""
    timestamp = int(time.time()) + at
    signature = sign(to_key(secret), webhook_id=webhook_id, timestamp=timestamp, body=body)
    head = {"webhook-id": webhook_id, "webhook-timestamp": str(timestamp), "webhook-signature": signature}
    try:
        with urllib.request.urlopen(urllib.request.Request(address + path, body, head), timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def event(batch_id, *, kind="batch.completed"):
    return json.dumps(
        {"id": "evt_1", "object": "event", "type": kind, "created_at": 1, "data": {"id": batch_id}}
    ).encode()


def counted(daemon, result):
    return daemon.metric(f'enricher_webhooks_total{{result="{result}"}}')


def open_batch(daemon):
    """The one batch, after the look that follows its creation at once."""
    daemon.eventually(lambda: polls(daemon) == 1)
    (batch,) = json.loads(daemon.get("/status")[1])["open_batches"]
    return batch


def polls(daemon):
    return daemon.metric('enricher_api_calls_total{operation="retrieve",result="ok"}')


def test_daemon_that_polls_once_an_hour_has_its_answers_at_once_through_webhooks(bench, run, serve):
    port = free_port()
    server = serve(faults=UNTIL_CANCELLED, webhooks=(f"http://127.0.0.1:{port}{PATH}", SECRET))
    bench.url = server.url
    bench.configure(admin={"listen": f"127.0.0.1:{port}"}, **WAITING)
    bench.write("a.log", log_lines(MANY, hours=1))
    daemon = run(OPENAI_WEBHOOK_SECRET=SECRET).ready()
    batch = open_batch(daemon)

    # It ends, and the next look at it would be in an hour.
    server.cancel(batch["batch_id"])
    daemon.eventually(lambda: daemon.metric('enricher_batch_jobs_total{outcome="cancelled"}'))
    daemon.eventually(lambda: len(events(bench.out)) == MANY)

    assert {"ok"} == {one["enrichment.status"] for one in events(bench.out)}
    assert daemon.running.happened("webhook_accepted", batch_id=batch["batch_id"])
    assert 1 == counted(daemon, "accepted")


def test_webhooks_that_prove_nothing_have_nothing_done(bench, run, serve):
    """The batch server signs with another secret, and so does everybody else here until the end."""
    port = free_port()
    server = serve(faults=UNTIL_CANCELLED, webhooks=(f"http://127.0.0.1:{port}{PATH}", OTHER_SECRET))
    bench.url = server.url
    bench.configure(admin={"listen": f"127.0.0.1:{port}"}, **WAITING)
    bench.write("a.log", log_lines(MANY, hours=1))
    daemon = run(OPENAI_WEBHOOK_SECRET=SECRET).ready()
    batch = open_batch(daemon)
    body = event(batch["batch_id"])

    assert 400 == post(daemon.address, body, secret=OTHER_SECRET)
    assert 400 == post(daemon.address, body, at=-301)
    assert 400 == post(daemon.address, body, at=301)
    assert 413 == post(daemon.address, body + b" " * 65_536)
    assert 404 == post(daemon.address, body, path="/webhooks")
    assert (1, 0) == (polls(daemon), counted(daemon, "accepted"))
    assert 200 == post(daemon.address, event("resp_1", kind="response.completed"), webhook_id="wh_2")
    assert 200 == post(daemon.address, event("batch_of_others"), webhook_id="wh_3")
    # The first that is genuine says that the batch has ended; it is looked at, once, and has not.
    assert [200] * 5 == [post(daemon.address, body) for _ in range(5)]
    daemon.eventually(lambda: polls(daemon) == 2)
    (same,) = json.loads(daemon.get("/status")[1])["open_batches"]

    assert (batch["batch_id"], "open", "in_progress") == (same["batch_id"], same["state"], same["status"])
    assert 2 == polls(daemon)
    assert (2, 4, 4, 1) == tuple(counted(daemon, one) for one in ("accepted", "duplicate", "refused", "ignored"))
    assert [] == events(bench.out)


def test_token_and_certificate_guard_the_address_and_a_renewed_one_is_taken_at_a_reload(bench, run, tmp_path):
    certificate, key = write_pair(tmp_path)
    bench.configure(
        admin={"listen": "127.0.0.1:0", "tls_certificate": str(certificate), "tls_key": str(key)}, **WAITING
    )
    daemon = run(ENRICHER_ADMIN_TOKEN=TOKEN).ready()

    def fetch(path, *, trusted, token=TOKEN):
        request = urllib.request.Request(daemon.address + path, headers={"Authorization": f"Bearer {token}"})
        context = ssl.create_default_context(cadata=trusted)
        try:
            with urllib.request.urlopen(request, timeout=10, context=context) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers["WWW-Authenticate"]

    assert daemon.address.startswith("https://")
    assert (401, 'Bearer realm="enricher"') == fetch("/metrics", trusted=CERTIFICATE, token="wrong")
    assert "enricher_build_info" in fetch("/metrics", trusted=CERTIFICATE)[1]
    assert (200, "ok\n") == fetch("/healthz", trusted=CERTIFICATE, token="")

    # One that cannot be used is refused, and the one in use stays.
    key_in_use = key.read_text()
    key.write_text(OTHER_KEY)
    daemon.running.signal(signal.SIGHUP)
    (refused,) = daemon.running.until(lambda: daemon.running.happened("reload_refused"))
    assert "key values mismatch" in refused["faults"][0]
    assert 200 == fetch("/healthz", trusted=CERTIFICATE)[0]

    write_pair(tmp_path, certificate=RENEWED, key=key_in_use)
    daemon.running.signal(signal.SIGHUP)
    daemon.running.until(lambda: len(daemon.running.happened("daemon_started")) == 2)
    daemon.address = daemon.running.happened("daemon_started")[-1]["admin"]
    assert 200 == fetch("/healthz", trusted=RENEWED)[0]
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        fetch("/healthz", trusted=CERTIFICATE)
    daemon.stop()
    assert 0 == daemon.running.code


def test_open_address_is_pointed_out_at_a_start_and_by_validate(bench, run):
    bench.configure(admin={"listen": "0.0.0.0:0"})
    daemon = run().ready()
    (told,) = daemon.running.happened("admin_exposed")
    assert "warning" == told["level"]
    daemon.stop()

    checked = bench.enricher("validate", "--offline")

    for text in (told["text"], checked.out):
        assert "admin.listen: whoever reaches 0.0.0.0:0 may read /metrics; /status is shown to nobody" in text


@pytest.mark.parametrize(
    ("command", "variables", "fault"),
    [
        (["run"], {"ENRICHER_ADMIN_TOKEN": "short"}, "ENRICHER_ADMIN_TOKEN: a token of fewer than 16 characters"),
        (["validate", "--offline"], {"OPENAI_WEBHOOK_SECRET": "whsec_..."}, "OPENAI_WEBHOOK_SECRET: what follows"),
    ],
    ids=["run", "validate"],
)
def test_secret_that_protects_nothing_is_refused(bench, command, variables, fault):
    refused = bench.enricher(*command, code=78, **variables)
    assert fault in refused.err + refused.out


def test_credential_that_a_reload_is_not_shown_does_not_stop_it(bench, tmp_path):
    """systemd 252 hides them from what it runs before; the daemon itself reads them again."""
    (tmp_path / "admin-token").mkdir()
    checked = bench.enricher("validate", "--offline", CREDENTIALS_DIRECTORY=str(tmp_path))
    assert "admin: credential admin-token: cannot be read" in checked.out


def test_batch_server_says_what_webhooks_need(bench):
    for url, secret, fault in (
        ("http://127.0.0.1:1/hook", None, "ENRICHER_WEBHOOK_SECRET: is shorter than 16 bytes"),
        ("http://me:hunter2@127.0.0.1:1/hook", SECRET, "--webhook-url: is an address such as"),
    ):
        refused = bench.enricher(
            "serve-batches",
            "--schema-only",
            "--webhook-url",
            url,
            config=False,
            code=64,
            ENRICHER_WEBHOOK_SECRET=secret,
        )
        assert fault in refused.err
        assert "hunter2" not in refused.err
