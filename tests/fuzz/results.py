"""Any bytes as the result file of a batch: what became of each request.

The first byte chooses the endpoint, the task and what the rest is: a whole file, the text of the answer in a good line,
or the body of a response.
"""

from __future__ import annotations

import json
from pathlib import Path

from enricher.core.answer import MOST_TOKENS, Answer, Asked, Question, parse_json, read_response
from enricher.core.batch import OutputLine, custom_id, line, pack, read_lines, reconcile
from enricher.core.redact import clean
from enricher.core.task import CHAT, RESPONSES, Task, parse_task

TASKS = Path(__file__).parents[2] / "config" / "tasks"
QUESTIONS = [
    Question(signature="a1", template="Failed password for <*> from <*> port <*>", level="", program="sshd",
             examples=("Failed password for root from 10.0.0.7 port 22",)),
    Question(signature="b2", template="disk <*> is full", level="error", program="kernel",
             examples=("disk sda1 is full",)),
    Question(signature="c3", template="started", level="", program="app"),
]  # fmt: skip
ENDPOINTS = (RESPONSES, CHAT)


def _task(name: str) -> Task:
    return parse_task((TASKS / f"{name}.toml").read_text(encoding="utf-8"), name=name)


PACKED = _task("logs")
SINGLE = _task("logs-local")
REQUESTS = {
    (task.name, endpoint): pack(QUESTIONS, task, model="m", endpoint=endpoint, max_signatures=2)
    for task in (PACKED, SINGLE)
    for endpoint in ENDPOINTS
}
IDS = {key: [custom_id(request.id, 1) for request in requests] for key, requests in REQUESTS.items()}


def check(data: bytes) -> None:
    """Every request ends in exactly one class and every kind gets one verdict, whatever came back."""
    if not data:
        return
    knobs, rest = data[0], data[1:]
    knobs, of_endpoint = divmod(knobs, 2)
    knobs, of_task = divmod(knobs, 2)
    endpoint, task = ENDPOINTS[of_endpoint], (PACKED, SINGLE)[of_task]
    knobs, form = divmod(knobs, 3)
    key = (task.name, endpoint)
    if form == 1:
        text = rest.decode("utf-8", "replace")
        rest = b"".join(_good_line(name, endpoint, text) for name in IDS[key])
    elif form == 2:
        rest = b"".join(
            b'{"custom_id":"%s","response":{"status_code":200,"body":%s}}\n' % (name.encode(), rest)
            for name in IDS[key]
        )
    else:
        # Short names, which a mutation does not break.
        for number, name in enumerate(IDS[key]):
            rest = rest.replace(b"@%d" % number, name.encode())
    lines = list(read_lines([rest]))
    step = knobs % 13 + 1
    assert lines == list(read_lines(rest[at : at + step] for at in range(0, len(rest), step)))
    _reconciled(lines, IDS[key])
    for seen in lines:
        _judged(seen, task, endpoint)


def _good_line(name: str, endpoint: str, text: str) -> bytes:
    said = (
        {"output": [{"type": "message", "content": [{"type": "output_text", "text": text}]}], "status": "completed"}
        if endpoint == RESPONSES
        else {"choices": [{"finish_reason": "stop", "message": {"content": text}}]}
    )
    return json.dumps({"custom_id": name, "response": {"status_code": 200, "body": said}}).encode() + b"\n"


def _reconciled(lines: list[OutputLine], ids: list[str]) -> None:
    found = reconcile(ids, lines, lambda _, body: body)
    classes = [set(found.answered), set(found.failed), set(found.missing)]
    assert sum(map(len, classes)) == len(ids)
    assert set().union(*classes) == set(ids)
    assert len(found.missing) == len(classes[2])
    # Every line is counted once: the first of an id, one more of it, nobody's, or unreadable.
    firsts = len(found.answered) + len(found.failed)
    assert firsts + found.duplicates + found.unknown + found.malformed == len(lines)
    for failure in found.failed.values():
        assert failure.kind in ("again", "refused")
        assert failure.code
        assert len(failure.code) <= 100
        assert len(failure.message) <= 500
        assert clean(failure.message) == failure.message


def _judged(seen: OutputLine, task: Task, endpoint: str) -> None:
    """What one line's body says of the kinds of each request."""
    for request in REQUESTS[task.name, endpoint]:
        asked = [
            Asked(signature=signature, holes=template.count("<*>"), template=template)
            for signature, template in zip(request.signatures, request.templates, strict=True)
        ]
        sent = parse_json(line(request, 1, endpoint))
        assert isinstance(sent, dict)
        reading = read_response(task, endpoint, seen.body, asked, sent=request.body)
        assert [one.signature for one in reading.verdicts] == list(request.signatures)
        for verdict in reading.verdicts:
            assert (verdict.answer is not None) == (verdict.status == "ok")
            if verdict.answer is not None:
                text = verdict.answer.to_json()
                text.encode("utf-8")
                assert Answer.from_json(text) == verdict.answer
                assert clean(verdict.answer.summary) == verdict.answer.summary
            else:
                assert len(verdict.reason) <= 200
        usage = reading.usage
        assert 0 <= usage.cached_tokens + usage.cache_write_tokens <= usage.input_tokens <= MOST_TOKENS
        assert 0 <= usage.output_tokens <= MOST_TOKENS
        assert len(reading.model) <= 100
