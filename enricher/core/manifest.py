"""The manifest of a window: what was read, asked, paid and written, as JSON beside the window's files.

Its sums must hold: lines read = lines written + lines left out + dead-lettered lines. Never here: anything that is not
in the store's books, so that a manifest written again is the same.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from enricher.core.block import Pane
    from enricher.core.books import Delivery, FileRange, WindowReport

SUFFIXES: Final = {"none": "", "zstd": ".zst", "gzip": ".gz"}
"""What a compression adds to the name of a part."""


def part_name(number: int, compress: str) -> str:
    """File name of a part: `events-000.jsonl`, with the suffix of its compression."""
    return f"events-{number:03d}.jsonl{SUFFIXES[compress]}"


def imbalance(report: WindowReport, deliveries: Sequence[Delivery]) -> int:
    """Lines (or events, whichever is farther off) of a window that nothing accounts for; 0 once all is delivered.

    The books of a delivery know how many events were left out but not their lines, so with `min_severity` in use the
    events alone are checked; with dead letters, which are booked in lines, the lines alone.
    """
    filtered = sum(one.filtered for one in deliveries)
    dead = sum(report.dead_letters.values())
    lines = sum(file.lines for file in report.files) - sum(one.lines for one in deliveries) - dead
    events = sum(file.events for file in report.files) - sum(one.events for one in deliveries) - filtered
    if filtered and dead:
        return min(0, lines, events)
    if filtered:
        return events
    return lines if dead else max(lines, events, key=abs)


def build_manifest(
    report: WindowReport, deliveries: Sequence[Delivery], *, window: str, final: bool, compress: str
) -> bytes:
    """The manifest as one sink sees the window; `window` is its id, `compress` how the sink's parts are packed."""
    dead_letters = dict(report.dead_letters)
    if refused := sum(one.lines for one in deliveries if one.is_dead):
        dead_letters["backlog"] = refused
    deliveries = [one for one in deliveries if not one.is_dead]
    filtered = sum(one.filtered for one in deliveries)
    dead = sum(dead_letters.values())
    read = sum(file.lines for file in report.files)
    written = sum(one.lines for one in deliveries)
    document = {
        "window": window,
        "final": final,
        "lines": {
            "read": read,
            "written": written,
            # Booked in events only; a line of a window that is complete and was not written was left out.
            "filtered": max(0, read - written - dead) if final and filtered else 0,
            "dead_lettered": dict(sorted(dead_letters.items())),
        },
        "events": {
            "read": sum(file.events for file in report.files),
            "written": sum(one.events for one in deliveries),
            "filtered": filtered,
        },
        "panes": [_pane(pane) for pane in sorted(report.panes, key=lambda pane: pane.number)],
        **_files(report.files),
        "signatures": report.signatures,
        "requests": report.requests,
        "tokens": {"input": report.input_tokens, "cached": report.cached_tokens, "output": report.output_tokens},
        "cost_usd": round(report.cost_usd, 9),
        "batches": list(report.batches),
        "statuses": dict(sorted(report.statuses.items())),
        "outputs": [
            {
                "file": part_name(one.part.number, compress),
                "events": one.events,
                "lines": one.lines,
                "bytes": one.size_bytes,
                "sha256": one.sha256,
                "part": one.part.number,
                "pane": one.part.pane,
            }
            for one in sorted(deliveries, key=lambda one: one.part.number)
        ],
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def _pane(pane: Pane) -> dict[str, Any]:
    closed_at = None if pane.closed_at is None else datetime.fromtimestamp(pane.closed_at, UTC).isoformat()
    return {
        "pane": pane.number,
        "how": pane.how,
        "closed_at": closed_at,
        "late": pane.number > 0,
        "events": pane.events,
        "lines": pane.lines,
    }


def _files(files: Sequence[FileRange]) -> dict[str, Any]:
    named = [file for file in files if file.path]
    named.sort(key=lambda file: (file.path, file.generation, file.first_byte, file.identity))
    summed = [{"lines": file.lines, "events": file.events} for file in files if not file.path]
    return {"files": [_file(file) for file in named]} | ({"files_not_named": summed[0]} if summed else {})


def _file(file: FileRange) -> dict[str, Any]:
    return {
        "path": file.path.decode("utf-8", "backslashreplace"),
        "identity": file.identity,
        "generation": file.generation,
        "bytes": [file.first_byte, file.last_byte],
        "lines": file.lines,
        "events": file.events,
    }
