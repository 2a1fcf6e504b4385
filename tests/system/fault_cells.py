"""What goes wrong with a batch of ten rows, and the least that it can cost: the table that the README publishes.

Values only. A cell is a fault script of `enricher serve-batches` and what happens to the run besides; ideal are ten
rows delivered, and no batch and no line more than the fault itself makes necessary.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

SMOOTH = (10, 1, 10)
"""Rows delivered, batches created, lines uploaded."""


@dataclass(frozen=True)
class Cell:
    """One row of the table."""

    name: str
    ideal: tuple[int, int, int]
    faults: tuple[dict[str, Any], ...] = ()
    kill_at: int | None = None
    """The rule at whose strike the run is killed; it then holds its answer back."""
    provider: dict[str, Any] = field(default_factory=dict)
    """Changes of `[provider]`."""
    stops_with: int = 0
    """The exit code of the run that meets the fault; the same command then goes on."""
    why: str = ""
    """For the table: why more than one batch is the least."""


def call(on: str, what: str, **more: Any) -> dict[str, Any]:
    """A rule for a call."""
    return {"on": on, "what": what} | more


def batch(what: str, **more: Any) -> dict[str, Any]:
    """A rule for the batch itself."""
    return {"on": "batch", "what": what} | more


def busy(on: str) -> dict[str, Any]:
    """429 with Retry-After, twice."""
    return call(on, "status", status=429, retry_after_seconds=0.05, times=2)


def refused(on: str) -> dict[str, Any]:
    """A key that is not taken for a while."""
    return call(on, "status", status=401, times=2)


REFUSED = 78
IMPATIENT = {"request_timeout_seconds": 0.7}

CELLS = (
    Cell("nothing", SMOOTH),
    Cell("create accepted, then 500", SMOOTH, (call("create", "accepted_status", status=500),)),
    Cell("create accepted, then the connection breaks", SMOOTH, (call("create", "accepted_reset"),)),
    Cell(
        "create accepted, then 500, and the list fails when it is looked for",
        SMOOTH,
        (call("create", "accepted_status", status=500), call("list", "status", status=503, times=3)),
    ),
    Cell("create refused with 500", SMOOTH, (call("create", "status", status=500),)),
    Cell("timeout on create, accepted", SMOOTH, (call("create", "accepted_hang"),), provider=IMPATIENT),
    Cell("timeout on create, not accepted", SMOOTH, (call("create", "hang"),), provider=IMPATIENT),
    Cell("upload accepted, then 500", SMOOTH, (call("upload", "accepted_status", status=500),)),
    Cell("timeout on upload, accepted", SMOOTH, (call("upload", "accepted_hang"),), provider=IMPATIENT),
    Cell("timeout on upload, not accepted", SMOOTH, (call("upload", "hang"),), provider=IMPATIENT),
    Cell("killed while the upload is accepted", SMOOTH, (call("upload", "accepted_hang"),), kill_at=0),
    Cell("killed between create accepted and recorded", SMOOTH, (call("create", "accepted_hang"),), kill_at=0),
    Cell("killed while polling", SMOOTH, (call("retrieve", "hang"),), kill_at=0),
    Cell("killed during the download of the output", SMOOTH, (call("content", "hang"),), kill_at=0),
    Cell(
        "killed after the download of the output, before it is booked",
        SMOOTH,
        # The output is on disk by then, and the second file is awaited.
        (call("content", "hang", skip=1), batch("empty_error_file")),
        kill_at=0,
    ),
    Cell("killed after the output is booked", SMOOTH, (call("delete", "hang"),), kill_at=0),
    Cell("429 with Retry-After on upload", SMOOTH, (busy("upload"),)),
    Cell("429 with Retry-After on create", SMOOTH, (busy("create"),)),
    Cell("429 with Retry-After on poll", SMOOTH, (busy("retrieve"),)),
    Cell("429 with Retry-After on download", SMOOTH, (busy("content"),)),
    Cell(
        "429 with Retry-After on list, after an unclear create",
        SMOOTH,
        (call("create", "accepted_reset"), busy("list")),
    ),
    Cell("429 with Retry-After on delete", SMOOTH, (busy("delete"),)),
    Cell("401 in mid-run, on upload", SMOOTH, (refused("upload"),), stops_with=REFUSED),
    Cell("401 in mid-run, on poll", SMOOTH, (refused("retrieve"),), stops_with=REFUSED),
    Cell("401 in mid-run, on download", SMOOTH, (refused("content"),), stops_with=REFUSED),
    Cell("file not found just after upload", SMOOTH, (call("upload", "file_not_found", lookups=3),)),
    Cell("the download breaks off twice", SMOOTH, (call("content", "reset", times=2),)),
    Cell("shuffled lines", SMOOTH, (batch("shuffle"),)),
    Cell("duplicated custom_ids", SMOOTH, (batch("duplicate", lines=4),)),
    Cell("unknown custom_ids", SMOOTH, (batch("unknown_ids", lines=3),)),
    Cell("bodies as JSON strings", SMOOTH, (batch("string_bodies"),)),
    Cell("no error file is the empty string", SMOOTH, (batch("empty_file_ids"),)),
    Cell("error file of 0 bytes", SMOOTH, (batch("empty_error_file"),)),
    Cell("expired with 6 of 10 done", (10, 2, 14), (batch("expire", after_lines=6),), why="4 asked again"),
    Cell(
        "cancelled from outside with 6 of 10 done", (10, 2, 14), (batch("cancel", after_lines=6),), why="4 asked again"
    ),
    Cell("one line lost", (10, 2, 11), (batch("lose", lines=1),), why="1 asked again"),
    Cell("output truncated mid-line", (10, 2, 11), (batch("truncate"),), why="1 asked again"),
    Cell("a line is not UTF-8", (10, 2, 11), (batch("garbage", lines=1),), why="1 asked again"),
    Cell(
        "two lines fail with 500",
        (10, 2, 12),
        ({"on": "line", "what": "status", "status": 500, "times": 2},),
        why="2 asked again",
    ),
    Cell("`completed` with no output file", (10, 2, 20), (batch("no_output_file"),), why="all asked again"),
    Cell(
        "`completed` with no output file, said as the empty string",
        (10, 2, 20),
        (batch("no_output_file"), batch("empty_file_ids")),
        why="all asked again",
    ),
    Cell("`token_limit_exceeded`, twice", (10, 3, 10), (batch("fail", times=2),), why="the same file, three times"),
)

TIMED = {
    "stuck for ever with 6 of 10 done": ((10, 2, 14), "cancelled an hour after its deadline, 4 asked again"),
    "stuck for ever, and when cancelled": ((10, 2, 20), "given up an hour later, all asked again"),
    "provider down for 6 hours, before the upload": (SMOOTH, ""),
    "provider down for 6 hours, in mid-run": (SMOOTH, ""),
    "a page of HTML in place of the API for 6 hours": (SMOOTH, ""),
}
"""What takes hours, and so has a clock of its own: ideal and why."""


def table(measured: dict[str, tuple[int, int, int]]) -> str:
    """The table of what was measured, as it stands in the README."""
    notes = {cell.name: cell.why for cell in CELLS} | {name: why for name, (_, why) in TIMED.items()}
    rows = [f"| {name} | {'/'.join(map(str, measured[name]))} | {notes[name]} |" for name in notes]
    head = ["| what goes wrong | rows delivered / batches created / lines uploaded | why so |", "|---|---|---|"]
    return "\n".join([*head, *rows])
