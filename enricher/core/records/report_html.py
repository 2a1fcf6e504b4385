"""An evaluation as one HTML file that can be mailed: figures, what was taken for what, and every case to look into.

Nothing is loaded from anywhere. The page's policy allows no network and no script or style but the two written here,
by their hashes; text from data sets and models is escaped, has nothing invisible in it, is set apart from the text
around it in its direction, and is cut.
"""

from __future__ import annotations

import base64
import hashlib
from html import escape
from typing import TYPE_CHECKING, Final

from enricher.core.records.confusion import Confusion, confusions
from enricher.core.records.report import facts, tables
from enricher.core.records.report_page import SCRIPT, STYLE
from enricher.core.records.report_text import document, line, share, visible

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from enricher.core.records.gate import Verdict
    from enricher.core.records.report import Table
    from enricher.core.records.results import Answered, Case, Evaluation, Ranked
    from enricher.core.records.statistics import Interval

MAX_CASES: Final = 1_000
"""Cases that can be looked into: those that failed in any cell first."""
_HEATS: Final = 10


def html(evaluation: Evaluation, verdict: Verdict | None, *, made: str = "") -> str:
    """Write the page; `made` says when, for its foot."""
    return "".join(_page(evaluation, verdict, made))


def _page(evaluation: Evaluation, verdict: Verdict | None, made: str) -> Iterator[str]:
    policy = (
        f"default-src 'none'; style-src 'sha256-{_hash(STYLE)}'; script-src 'sha256-{_hash(SCRIPT)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    title = f"Evaluation of {line(evaluation.task)}"
    yield (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
    )
    yield _head(evaluation, verdict)
    ranking, *others = tables(evaluation, with_failures=False)
    yield _ranking(evaluation, ranking)
    yield from map(_table, others)
    yield "".join(_confusions(evaluation))
    yield from _cases(evaluation)
    foot = f"Written by enricher{f', {escape(made)}' if made else ''}."
    yield f"</main>\n<footer>{foot}</footer>\n<script>{SCRIPT}</script>\n</body>\n</html>\n"


def _head(evaluation: Evaluation, verdict: Verdict | None) -> str:
    best = evaluation.best
    badge = ""
    if verdict is not None:
        word = "passed" if verdict.passed else "failed"
        badge = f' <span class="badge {word}">gate {word}</span>'
    cards = [
        ("best cell", _text(best.name), ""),
        ("its score", share(best.summary.mean), _range(best.summary.mean_interval)),
        ("its pass rate", share(best.summary.pass_rate), _range(best.summary.pass_interval)),
    ]
    rows = dict(facts(evaluation, None))
    cards += [("cost of all cells", _text(rows["cost"]), _text(rows["requests"]))]
    if scoring := rows.get("scoring"):
        cost, _, counts = scoring.partition(": ")
        cards += [("cost of scoring", _text(cost), _text(counts))]
    about = " · ".join(_text(rows[name]) for name in ("data set", "matrix", "model") if name in rows)
    reasons = "" if verdict is None else "".join(f"<li>{_text(reason)}</li>" for reason in verdict.reasons)
    return (
        f"<header><h1>Evaluation of {_text(evaluation.task)}{badge}</h1>"
        f'<p class="muted">{about}</p>'
        + (f'<ul class="reasons">{reasons}</ul>' if reasons else "")
        + '<div class="cards">'
        + "".join(
            f'<div class="card"><div class="muted">{name}</div><div class="figure">{value}</div>'
            f'<div class="muted">{more}</div></div>'
            for name, value, more in cards
        )
        + "</div></header>\n"
    )


def _ranking(evaluation: Evaluation, table: Table) -> str:
    """Write the first table with a bar for each score and its interval."""
    head = "".join(_head_cell(name, at in table.numbers) for at, name in enumerate(table.columns))
    rows = []
    for one, row in zip(evaluation.ranking, table.rows, strict=True):
        cells = [_data_cell(value, at in table.numbers) for at, value in enumerate(row)]
        cells[1:2] = [f'<td class="name">{_text(row[1])}</td>', f"<td>{_bar(one)}</td>"]
        rows.append("<tr>" + "".join(cells) + "</tr>")
    head = head.replace("<th>cell</th>", "<th>cell</th><th>score, 95 % interval</th>", 1)
    return _section(table.title, head, "".join(rows))


def _bar(one: Ranked) -> str:
    mean, interval = one.summary.mean * 120, one.summary.mean_interval
    low, high = interval.low * 120, interval.high * 120
    return (
        f'<svg class="bar" viewBox="0 0 120 16" role="img" aria-label="{share(one.summary.mean)}">'
        '<rect class="track" x="0" y="5" width="120" height="6" rx="3"/>'
        f'<rect class="value" x="0" y="5" width="{mean:.1f}" height="6" rx="3"/>'
        f'<path class="whisker" d="M{low:.1f} 8H{high:.1f}M{low:.1f} 3V13M{high:.1f} 3V13"/></svg>'
    )


def _table(table: Table) -> str:
    head = "".join(_head_cell(name, at in table.numbers) for at, name in enumerate(table.columns))
    rows = "".join(
        "<tr>" + "".join(_data_cell(value, at in table.numbers) for at, value in enumerate(row)) + "</tr>"
        for row in table.rows
    )
    return _section(table.title, head, rows, f'<p class="muted">{escape(table.note)}</p>' if table.note else "")


def _section(title: str, head: str, rows: str, after: str = "") -> str:
    return (
        f'<section><h2>{_text(title)}</h2><div class="wide"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>{after}</section>\n"
    )


def _confusions(evaluation: Evaluation) -> Iterator[str]:
    for one in evaluation.ranking:
        found = confusions(evaluation.scorers, evaluation.cases, one.result)
        if not found:
            continue
        is_open = " open" if one is evaluation.best else ""
        title = f"What {_text(one.name)} took for what"
        yield f'<section><details class="plain"{is_open}><summary><h2>{title}</h2></summary>'
        yield "".join(map(_confusion, found))
        yield "</details></section>\n"


def _confusion(found: Confusion) -> str:
    head = "".join(f'<th class="number"><bdi>{escape(line(name, 40))}</bdi></th>' for name in found.columns)
    rows = []
    for at, (label, counts) in enumerate(zip(found.labels, found.counts, strict=True)):
        total = sum(counts) or 1
        cells = [
            f'<td class="number {"hit" if column == at else "miss"}{_heat(count, total)}">{count:,}</td>'
            for column, count in enumerate(counts)
        ]
        rows.append(f'<tr><th scope="row"><bdi>{escape(line(label, 40))}</bdi></th>{"".join(cells)}</tr>')
    return (
        f"<p>{_text(found.scorer)}: rows are what was expected, columns what was answered.</p>"
        f'<div class="wide"><table class="confusion"><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _heat(count: int, total: int) -> int:
    return 0 if not count else max(1, round(count / total * _HEATS))


def _cases(evaluation: Evaluation) -> Iterator[str]:
    """Write every case with what each cell answered; `data-failed` names the cells that did not pass it."""
    failed_in: list[list[int]] = [[] for _ in evaluation.cases]
    for at, one in enumerate(evaluation.ranking):
        for number, passes in enumerate(one.result.passes):
            if not all(passes):
                failed_in[number].append(at)
    order = sorted(range(len(failed_in)), key=lambda number: (not failed_in[number], number))
    options = "".join(
        f'<option value="{at}">{escape(line(one.name))}</option>' for at, one in enumerate(evaluation.ranking)
    )
    yield (
        '<section id="cases"><h2>Cases</h2><div class="filter">'
        f'<label>cell <select id="cell"><option value="">any</option>{options}</select></label>'
        '<label><input type="checkbox" id="failed"> not passed only</label>'
        '<label>find <input type="search" id="find" placeholder="text in a case"></label>'
        '<span class="muted" id="count" aria-live="polite"></span></div>'
    )
    if len(order) > MAX_CASES:
        what = f"{MAX_CASES:,} of {len(order):,} cases are here, those first that a cell did not pass."
        yield f'<p class="muted">{what}</p>'
    for number in order[:MAX_CASES]:
        yield _case(evaluation, number, failed_in[number])
    yield "</section>\n"


def _case(evaluation: Evaluation, number: int, failed: Sequence[int]) -> str:
    case = evaluation.cases[number]
    marks = "".join(
        f'<i class="{"no" if at in failed else "yes"}" title="{escape(line(one.name))}"></i>'
        for at, one in enumerate(evaluation.ranking)
    )
    answers = "".join(_answers(one, one.result.answers[number], at) for at, one in enumerate(evaluation.ranking))
    return (
        f'<details class="case" data-failed="{" ".join(map(str, failed))}">'
        f'<summary><span class="marks">{marks}</span>'
        f"<code><bdi>{escape(line(case.key, 80))}</bdi></code> "
        f'<span class="muted"><bdi>{escape(_gist(case))}</bdi></span>'
        f'</summary><div class="two"><div><h3>Row</h3>{_values(case)}</div>'
        f"<div><h3>Expected</h3>{_pre(document(case.expected))}</div></div>{answers}</details>\n"
    )


def _answers(one: Ranked, repeats: Sequence[Answered], at: int) -> str:
    parts = []
    for number, again in enumerate(repeats, start=1):
        word = "passed" if again.score.passed else "failed"
        which = f" · repeat {number}" if len(repeats) > 1 else ""
        scores = "".join(
            f'<li><span class="{"yes" if score.passed else "no"}">{share(score.value)}</span> {_text(score.name)}'
            + (f": {_text(score.reason)}" if score.reason else "")
            + "</li>"
            for score in again.score.scores
        )
        missing = f'<p class="no">{_text(again.error or "no answer")}</p>'
        said = missing if again.answer is None else _pre(document(again.answer))
        parts.append(
            f'<div class="answer {word}" data-cell="{at}"><h3>{_text(one.name)}{which} '
            f'<span class="badge {word}">{share(again.score.value)}</span></h3>{said}'
            f'<ul class="scores">{scores}</ul></div>'
        )
    return "".join(parts)


def _values(case: Case) -> str:
    rows = "".join(
        f"<dt><bdi>{escape(line(name, 80))}</bdi></dt><dd>{_pre(document(value))}</dd>"
        for name, value in case.values.items()
    )
    return f"<dl>{rows}</dl>"


def _gist(case: Case) -> str:
    """Give the first text of a row that is not its key, to know a case by."""
    texts = (value for value in case.values.values() if isinstance(value, str) and value != case.key)
    return line(next(texts, ""), 120)


def _head_cell(name: str, is_number: bool) -> str:  # noqa: FBT001 - of the table
    return f'<th class="number">{_text(name)}</th>' if is_number else f"<th>{_text(name)}</th>"


def _data_cell(value: str, is_number: bool) -> str:  # noqa: FBT001 - of the table
    return f'<td class="number">{_text(value)}</td>' if is_number else f"<td>{_text(value)}</td>"


def _pre(text: str) -> str:
    return f'<pre dir="auto">{escape(text)}</pre>'


def _text(text: str) -> str:
    """Escape a text; one with other than ASCII in it gets a direction of its own."""
    shown = escape(visible(text))
    return shown if shown.isascii() else f"<bdi>{shown}</bdi>"


def _range(interval: Interval) -> str:
    return f"95 %: {interval.low * 100:.1f} to {interval.high * 100:.1f}"


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
