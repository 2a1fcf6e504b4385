"""Every call that the real command makes, and every answer that our server gives, against OpenAI's own description.

Prism stands between the two and stops what does not conform. The runs meet refusals on every call, batches that fail
and expire, lines that fail; what no run does (cancel, look at a file) the client does alone.
"""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.request

import pytest
from openai import AsyncOpenAI, DefaultAsyncHttpxClient
from prometheus_client import CollectorRegistry

from enricher.edges.batch_openai import OpenAIBatchClient
from enricher.errors import NotFoundProviderError
from enricher.telemetry import Telemetry
from tests.conformance.peers import DESCRIPTION, HERE, Prism, operations, peer, prism
from tests.system.bench import Bench, Server, assert_manifests_true, events, eventually, log_lines
from tests.system.fault_cells import batch, busy, call, refused
from tests.system.test_fault_matrix import TEN

pytestmark = pytest.mark.timeout(300)  # all runs are made before the first test
KEY = "sk-test-conformance"
REFUSED = 78
RUN_FAULTS = (
    busy("upload"),
    call("upload", "accepted_status", status=500),
    call("upload", "file_not_found", lookups=1),
    busy("create"),
    call("create", "accepted_status", status=503),
    call("list", "status", status=500),
    busy("retrieve"),
    refused("content"),
    call("content", "status", status=502),
    busy("delete"),
    batch("expire", after_lines=6),
    batch("fail", skip=1),
    {"on": "line", "what": "status", "status": 500, "times": 2, "skip": 6},
)
# The runs create five batches; the sixth is there to be cancelled.
FAULTS = (*RUN_FAULTS, batch("stuck", skip=5))


class Calls:
    """Prism before a server of ours, and what the tests so far have sent through it."""

    def __init__(self, root):
        self.server = Server(root, faults=FAULTS, key=KEY)
        self.prism = Prism(root, self.server.url)

    def end(self):
        self.prism.end()
        self.server.end()

    def send(self, method, path, body=None, *, key=KEY):
        """One call by hand; its status and what Prism or the server said."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        if body is not None:
            headers["Content-Type"] = "application/json"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.prism.url + path, data=data, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def keep(self, kinds):
        """Copies of the lines on the server's shelf, by the schema that they are to conform to."""
        for told in (self.server.state / "files").glob("*.json"):
            purpose = json.loads(told.read_bytes())["file"]["purpose"]
            schema = "BatchRequestInput" if purpose == "batch" else "BatchRequestOutput"
            kinds.setdefault(schema, []).extend(told.with_suffix(".jsonl").read_bytes().splitlines())


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    prism()  # or skip, before anything is started
    calls = Calls(tmp_path_factory.mktemp("prism"))
    yield calls
    calls.end()


@pytest.fixture(scope="module")
def ran(calls, tmp_path_factory):
    """Runs through every fault, then one on the other endpoint; the lines that went over the wire, by schema."""
    lines = {}
    for endpoint, stops in (("/v1/responses", 2), ("/v1/chat/completions", 0)):
        bench = Bench(tmp_path_factory.mktemp("bench"), calls.prism.url)
        bench.configure(
            provider={"endpoint": endpoint}, batch={"poll_interval_seconds": 0.1, "signatures_per_request": 1}
        )
        bench.write("a.log", log_lines(10, hours=1, kinds=TEN))
        for _ in range(stops):
            bench.enricher("once", code=REFUSED, OPENAI_API_KEY=KEY)
            calls.keep(lines)
        bench.enricher("once", OPENAI_API_KEY=KEY)
        bench.end()
        assert_manifests_true(bench.out)
        assert ["ok"] * 10 == [event["enrichment.status"] for event in events(bench.out)]
    return lines


def test_no_call_of_a_run_and_no_answer_to_it_violates_the_description(calls, ran):
    assert [] == calls.prism.stopped
    seen = calls.prism.answered()
    assert {
        ("createFile", 200), ("createFile", 429), ("createFile", 500), ("listFiles", 200), ("listFiles", 500),
        ("createBatch", 200), ("createBatch", 400), ("createBatch", 429), ("createBatch", 503), ("listBatches", 200),
        ("retrieveBatch", 200), ("retrieveBatch", 429), ("downloadFile", 200), ("downloadFile", 401),
        ("downloadFile", 502), ("deleteFile", 200), ("deleteFile", 429),
    } <= seen, sorted(seen)  # fmt: skip
    strikes = json.loads((calls.server.state / "batches" / "books").read_bytes())["fault_counts"]
    assert all(seen > rule.get("skip", 0) for seen, rule in zip(strikes, RUN_FAULTS, strict=False)), strikes
    assert 5 == calls.server.ledger()["batches_created"]


def test_every_line_that_went_over_the_wire_conforms(ran):
    assert {"BatchRequestInput", "BatchRequestOutput"} == set(ran)
    for schema, lines in ran.items():
        assert 10 <= len(lines)
        checked = subprocess.run(
            [peer("python"), HERE / "check_lines.py", DESCRIPTION, schema],
            input=b"\n".join(lines), capture_output=True, check=False,
        )  # fmt: skip
        assert (b"", f"{len(lines)} lines conform\n".encode()) == (checked.stderr, checked.stdout)


async def test_no_call_of_the_client_alone_violates_the_description_either(calls, ran, tmp_path):
    client = OpenAIBatchClient(
        base_url=calls.prism.url, api_key=KEY, timeout_seconds=20.0, telemetry=Telemetry(CollectorRegistry())
    )
    # Without TLS, whose trust store takes longer to load than this test runs.
    http = DefaultAsyncHttpxClient(verify=False)
    sdk = AsyncOpenAI(base_url=calls.prism.url, api_key=KEY, max_retries=0, http_client=http)
    try:
        await client.check("schema")
        path = tmp_path / "window.jsonl"
        body = {"model": "schema", "input": "Größe \u2028 ≠ 🗑"}
        line = {"custom_id": "é-1", "method": "POST", "url": "/v1/responses", "body": body}
        path.write_text(json.dumps(line, ensure_ascii=False) + "\n", encoding="utf-8")
        file_id = await client.upload(path, "window.jsonl")
        assert file_id == await client.find_upload("window.jsonl")
        assert path.stat().st_size == (await sdk.files.retrieve(file_id)).bytes
        made = await client.create(input_file_id=file_id, endpoint="/v1/responses", metadata={"job": "j", "n": "é"})
        assert [made.id] == [one.id for one in await client.find_batch(job="j", input_file_id=file_id)]
        assert (await client.cancel(made.id)).id == made.id
        await client.download(file_id, tmp_path / "again.jsonl", max_bytes=1 << 20)
        assert path.read_bytes() == (tmp_path / "again.jsonl").read_bytes()
        await client.delete_file(file_id)
        await client.delete_file(file_id)
        for missing in (
            client.retrieve("batch_none"),
            client.cancel("batch_none"),
            client.download("file-x", path, max_bytes=1 << 20),
        ):
            with pytest.raises(NotFoundProviderError):
                await missing
        assert 404 == calls.send("GET", "/models/none")[0]
        assert 401 == calls.send("GET", "/batches", key="sk-wrong")[0]
        assert [model.id async for model in sdk.models.list()]
    finally:
        await client.close()
        await sdk.close()
    assert [] == calls.prism.stopped
    assert set(operations()) == {name for name, status in calls.prism.answered() if status == 200}


def test_what_violates_the_description_is_stopped(calls, ran):
    """What the tests above rely on; so it comes last."""
    assert [] == calls.prism.stopped
    wrong = {"input_file_id": "file-x", "endpoint": "/v1/responses", "completion_window": "1h"}
    status, told = calls.send("POST", "/batches", wrong)
    assert (422, ["body", "completion_window"]) == (status, told["validation"][0]["location"])
    assert 401 == calls.send("GET", "/batches", key=None)[0]
    assert eventually(lambda: len(calls.prism.stopped) == 2)
