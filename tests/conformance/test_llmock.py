"""The real command against llmock, a server of files and batches that others wrote after other papers than ours.

It differs in what OpenAI's papers leave open: it has no list of files (405), under Together's address it deletes none
(405), its errors have another shape, its files end without a newline, a batch of which every line failed has failed
itself, and lines end at U+2028 too.
"""

from __future__ import annotations

import pytest

from tests.conformance.peers import Llmock
from tests.system.bench import Bench, assert_manifests_true, events, log_lines
from tests.system.test_fault_matrix import TEN

CHAT = {"endpoint": "/v1/chat/completions", "model": "gpt-4o-mini"}
BATCH = {"poll_interval_seconds": 0.05}


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    servers = []

    def started(*options):
        servers.append(Llmock(tmp_path_factory.mktemp("llmock"), *options))
        return servers[-1]

    yield started
    for one in servers:
        one.end()


@pytest.fixture(scope="module")
def llmock(start):
    return start()


def run(tmp_path, url, *, lines=None, provider=None, **batch):
    """`enricher once` over ten lines of ten kinds; what it wrote, and the bench."""
    bench = Bench(tmp_path, url)
    bench.configure(provider=CHAT | (provider or {}), batch=BATCH | batch)
    bench.write("a.log", lines or log_lines(10, hours=1, kinds=TEN))
    bench.enricher("once", OPENAI_API_KEY="sk-test-conformance")
    assert_manifests_true(bench.out)
    return events(bench.out), bench


def count(llmock, method, path, status=200):
    return sum((method, path, status) == one for one in llmock.journal())


@pytest.mark.parametrize("base", ["/v1", "/together/v1"])
def test_whole_path_is_walked_on_a_server_that_others_wrote(llmock, tmp_path, base):
    llmock.script()
    written, _ = run(tmp_path, llmock.root + base)
    assert ["ok"] * 10 == [event["enrichment.status"] for event in written]
    assert 1 == count(llmock, "POST", f"{base}/files")
    assert 1 == count(llmock, "POST", f"{base}/batches")
    assert any(method == "DELETE" for method, _, _ in llmock.journal())


def test_faults_on_every_call_cost_no_second_batch_and_are_waited_out_as_asked(llmock, tmp_path):
    llmock.script(
        (429, "/v1/files", {"retry_after": 0.2}),
        (503, "/v1/files", {}),
        (429, "/v1/batches", {"retry_after": 0.2}),
        (500, "/v1/batches", {}),
        (429, "/v1/batches/*", {"retry_after": 0.2}),
        (502, "/v1/batches/*", {}),
        (503, "/v1/files/*/content", {}),
        (500, "/v1/files/*", {}),
    )
    written, _ = run(tmp_path, f"{llmock.root}/v1")
    assert [] == llmock.left()
    assert ["ok"] * 10 == [event["enrichment.status"] for event in written]
    assert 1 == count(llmock, "POST", "/v1/batches")
    verdict = llmock.verdict()
    assert verdict["passed"], verdict["findings"]
    assert 8 == verdict["faults_injected"]


def test_prose_in_place_of_answers_is_paid_as_often_as_configured_and_events_go_out_without(start, tmp_path):
    llmock = start("--prose")
    written, bench = run(tmp_path, f"{llmock.root}/v1")
    assert ["invalid"] * 10 == [event["enrichment.status"] for event in written]
    assert 3 == count(llmock, "POST", "/v1/batches")
    assert {"failed": 10} == bench.status()["requests"]


def test_batch_that_has_failed_with_every_line_is_told_and_no_event_is_lost(llmock, tmp_path):
    llmock.script()
    written, _ = run(tmp_path, f"{llmock.root}/v1", provider={"endpoint": "/v1/responses"})
    assert 10 == len(written)
    assert {"error"} == {event["enrichment.status"] for event in written}
    assert count(llmock, "POST", "/v1/batches") <= 3


def test_separators_of_unicode_in_a_log_tear_no_line_of_a_batch(llmock, tmp_path):
    llmock.script()
    odd = [
        f"2026-11-20T08:00:0{n}Z ERROR shop: order {mark} refused" for n, mark in enumerate("\u2028\u2029\u0085\x1c")
    ]
    written, _ = run(tmp_path, f"{llmock.root}/v1", lines=odd)
    assert {"ok"} == {event["enrichment.status"] for event in written} - {"cached"}
    assert 4 == len(written)
