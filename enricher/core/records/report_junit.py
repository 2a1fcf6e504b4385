"""An evaluation as JUnit XML, which every CI server shows: a suite for each cell, a test for each case, and the gate.

Valid by the schema of Apache Ant's JUnit task, the strictest of those in use. Text from outside has no character that
XML forbids, and is cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from enricher.core.records.report_text import document, line, money, visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from enricher.core.records.gate import Verdict
    from enricher.core.records.results import Answered, Case, Evaluation, Ranked


@dataclass(frozen=True, slots=True)
class _Test:
    name: str
    kind: str
    """"": passed; "failure" or "error"."""
    message: str = ""
    text: str = ""


def junit(evaluation: Evaluation, verdict: Verdict | None, *, timestamp: str) -> str:
    """Write the report; `timestamp` is UTC, as `2026-11-30T12:00:00`.

    A case failed where most of its repeats did not pass, and is an error where none gave an answer.
    """
    task = line(evaluation.task)
    suites: list[tuple[str, list[_Test], dict[str, str]]] = []
    if verdict is not None:
        reasons = "\n".join(map(line, verdict.reasons))
        tests = [_Test("gate", "" if verdict.passed else "failure", line(reasons, 1_000), reasons)]
        suites.append((f"{task}: gate", tests, {}))
    for one in evaluation.ranking:
        tests = [_test(case, repeats) for case, repeats in zip(evaluation.cases, one.result.answers, strict=True)]
        suites.append((f"{task}: {line(one.name)}", tests, _properties(one)))
    parts = ['<?xml version="1.0" encoding="UTF-8"?>', "<testsuites>"]
    for number, (name, tests, properties) in enumerate(suites):
        parts += _suite(number, name, tests, properties, timestamp)
    return "\n".join([*parts, "</testsuites>"]) + "\n"


def _test(case: Case, repeats: Sequence[Answered]) -> _Test:
    name = line(case.key) or "(no key)"
    failed = [one for one in repeats if not one.score.passed]
    if 2 * len(failed) < len(repeats):
        return _Test(name, "")
    kind = "error" if all(one.answer is None for one in repeats) else "failure"
    first = next((one for one in failed if one.answer is not None), failed[0])
    message = first.error or first.score.reason or "below the threshold"
    if len(repeats) > 1:
        message = f"{len(failed)} of {len(repeats)} repeats: {message}"
    text = f"{message}\n\nexpected\n{document(case.expected)}\n\nanswered\n{document(first.answer)}"
    return _Test(name, kind, line(message), visible(text, 10_000))


def _properties(one: Ranked) -> dict[str, str]:
    summary = one.summary
    return {
        "score": f"{summary.mean:.4f}",
        "score.low": f"{summary.mean_interval.low:.4f}",
        "score.high": f"{summary.mean_interval.high:.4f}",
        "pass_rate": f"{summary.pass_rate:.4f}",
        "repeats": str(summary.repeats),
        "cost": money(one.result.cost.usd),
        "model": line(one.result.cell.model or "the provider's"),
        "prompt": line(one.result.cell.prompt.name),
        "parameters": line(one.result.cell.parameters.name),
    }


def _suite(number: int, name: str, tests: Sequence[_Test], properties: dict[str, str], timestamp: str) -> list[str]:
    counts = {kind: sum(test.kind == kind for test in tests) for kind in ("failure", "error")}
    attributes = {
        "name": name, "timestamp": timestamp, "hostname": "localhost", "tests": len(tests),
        "failures": counts["failure"], "errors": counts["error"], "time": 0,
        "package": "enricher.evaluate", "id": number,
    }  # fmt: skip
    return [
        f"<testsuite{_attributes(attributes)}>",
        "<properties>",
        *(f"<property{_attributes({'name': key, 'value': value})}/>" for key, value in properties.items()),
        "</properties>",
        *(_case(name, test) for test in tests),
        "<system-out/>",
        "<system-err/>",
        "</testsuite>",
    ]


def _case(suite: str, test: _Test) -> str:
    start = f"<testcase{_attributes({'name': test.name, 'classname': suite, 'time': 0})}"
    if not test.kind:
        return start + "/>"
    said = _attributes({"message": test.message, "type": "score" if test.kind == "failure" else "answer"})
    return f"{start}>\n<{test.kind}{said}>{escape(test.text)}</{test.kind}>\n</testcase>"


def _attributes(values: dict[str, object]) -> str:
    return "".join(f' {name}="{escape(str(value))}"' for name, value in values.items())
