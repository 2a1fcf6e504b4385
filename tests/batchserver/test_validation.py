from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enricher.batchserver.settings import ServerSettings
from enricher.batchserver.shapes import RefusedError
from enricher.batchserver.validation import check_input, read_create, read_expiry, read_lines

GOOD = {"input_file_id": "file-1", "endpoint": "/v1/responses", "completion_window": "24h"}


@pytest.fixture
def check(tmp_path, jsonl):
    def run(lines, endpoint="/v1/responses", **limits):
        path = tmp_path / "in.jsonl"
        path.write_bytes(lines if isinstance(lines, bytes) else jsonl(lines))
        return check_input(path, endpoint, ServerSettings(state_dir=tmp_path, concurrency=1, **limits))

    return run


def test_good_file_has_its_lines_model_and_tokens_told(check, line):
    found = check([line(1), line(2)])
    assert (2, "m", ()) == (found.total, found.model, found.faults)
    assert found.tokens > 20


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"custom_id": None}, "missing_required_parameter", "custom_id"),
        ({"custom_id": ""}, "missing_required_parameter", "custom_id"),
        ({"custom_id": 7}, "missing_required_parameter", "custom_id"),
        ({"custom_id": "r1"}, "duplicate_custom_id", "custom_id"),
        ({"method": "GET"}, "invalid_method", "method"),
        ({"url": "/v1/chat/completions"}, "url_mismatch", "url"),
        ({"url": "https://example.com/"}, "invalid_url", "url"),
        ({"url": ["/v1/responses"]}, "invalid_url", "url"),
        ({"body": "text"}, "missing_required_parameter", "body"),
        ({"body": {"input": "x"}}, "missing_required_parameter", "body.model"),
        ({"body": {"model": "other", "input": "x"}}, "mismatched_model", "body.model"),
        ({"body": {"model": "m", "input": "x", "stream": True}}, "streaming_unsupported", "body.stream"),
    ],
)
def test_line_that_openai_refuses_is_named_with_its_number(check, line, change, code, param):
    found = check([line(1), line(2, **change), line(3)])
    assert [(code, param, 2)] == [(fault.code, fault.param, fault.line) for fault in found.faults]


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"null", b'\xef\xbb\xbf{"custom_id":"x"}', b"\xff", b"[" * 100_000])
def test_line_that_is_no_json_object_is_named(check, line, raw):
    found = check([line(1), raw])
    assert [("invalid_json_line", 2)] == [(fault.code, fault.line) for fault in found.faults]


def test_all_faults_are_named_up_to_a_hundred(check):
    found = check(b"{\n" * 250)
    assert list(range(1, 101)) == [fault.line for fault in found.faults]


def test_empty_file_is_refused(check):
    assert ["empty_file"] == [fault.code for fault in check(b"").faults]


def test_file_with_too_many_requests_or_bytes_is_refused(check, line):
    lines = [line(n) for n in range(3)]
    assert () == check(lines, max_requests=3).faults
    assert ["maximum_requests_exceeded"] == [fault.code for fault in check(lines, max_requests=2).faults]
    assert ["maximum_input_file_size_exceeded"] == [fault.code for fault in check(lines, max_bytes=100).faults]


def test_limits_are_those_of_openai(tmp_path):
    settings = ServerSettings(state_dir=tmp_path, concurrency=1)
    assert (50_000, 209_715_200) == (settings.max_requests, settings.max_bytes)


@settings(max_examples=30, derandomize=True)
@given(st.lists(st.text(st.characters(codec="utf-8")), min_size=1, max_size=8))
def test_lines_are_read_back_whatever_their_text(tmp_path_factory, prompts):
    path = tmp_path_factory.getbasetemp() / "lines.jsonl"
    lines = [
        {"custom_id": f"r{n}", "method": "POST", "url": "/v1/responses", "body": {"model": "m", "input": prompt}}
        for n, prompt in enumerate(prompts)
    ]
    # Unescaped, so that U+2028 and its like stand raw in the file; the last line may lack its newline.
    path.write_bytes("\n".join(json.dumps(line, ensure_ascii=False) for line in lines).encode())
    found = check_input(path, "/v1/responses", ServerSettings(state_dir=path.parent, concurrency=1))
    assert (len(prompts), ()) == (found.total, found.faults)
    assert prompts == [line.body["input"] for line in read_lines(path)]


def test_check_ends_early_when_the_server_stops(tmp_path, line, jsonl):
    path = tmp_path / "in.jsonl"
    path.write_bytes(jsonl([line(n) for n in range(100)]))
    asked = []

    def is_stopped():
        asked.append(1)
        return len(asked) == 5

    check_input(path, "/v1/responses", ServerSettings(state_dir=tmp_path, concurrency=1), is_stopped=is_stopped)
    assert 5 == len(asked)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"input_file_id": None}, "input_file_id"),
        ({"endpoint": "/v1/audio"}, "endpoint"),
        ({"endpoint": 5}, "endpoint"),
        ({"completion_window": "1h"}, "completion_window"),
        ({"metadata": []}, "metadata"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"metadata": {str(n): "x" for n in range(17)}}, "metadata"),
        ({"metadata": {"k" * 65: "x"}}, "metadata"),
        ({"metadata": {"k": "v" * 513}}, "metadata.k"),
        ({"output_expires_after": 5}, "output_expires_after"),
        ({"output_expires_after": {"anchor": "created_at"}}, "output_expires_after.seconds"),
        ({"output_expires_after": {"seconds": 3600}}, "output_expires_after.anchor"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 3599}}, "output_expires_after.seconds"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 2_592_001}}, "output_expires_after.seconds"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": True}}, "output_expires_after.seconds"),
    ],
)
def test_create_that_openai_refuses_names_the_parameter(change, param):
    with pytest.raises(RefusedError) as caught:
        read_create({**GOOD, **change})
    assert (400, param) == (caught.value.status, caught.value.body["error"]["param"])


@pytest.mark.parametrize("body", [None, [], "x"])
def test_create_without_an_object_is_refused(body):
    with pytest.raises(RefusedError):
        read_create(body)


def test_create_at_the_limits_is_taken():
    metadata = {f"{n:064}": "v" * 512 for n in range(16)}
    expiry = {"anchor": "created_at", "seconds": 2_592_000}
    created = read_create({**GOOD, "metadata": metadata, "output_expires_after": expiry})
    assert (metadata, 2_592_000) == (created.metadata, created.output_expires_after_seconds)
    assert read_expiry(None, param="expires_after") is None
