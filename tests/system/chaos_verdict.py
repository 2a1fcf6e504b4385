"""What a chaos run must have left behind: every line once, every record whole, books that balance, nothing paid twice.

Faults are sentences, and all of them are told. Output is read a window at a time.
"""

from __future__ import annotations

import re
import sqlite3
import tempfile
from collections import Counter
from contextlib import closing
from pathlib import Path

from tests.system.bench import assert_manifests_true, events
from tests.system.chaos_logs import serial_of

_SHOWN = 10


def faults_of(*, outs, lines, seen, metrics, ledger, state, said):
    """Everything that is not as it must be; `seen` is the status as served and as the command tells it."""
    faults = []
    for name, out in outs.items():
        faults += [f"sink {name}: {fault}" for fault in output_faults(out, lines)]
    for status in seen:
        faults += _status_faults(status, lines)
    if not re.search(r"^enricher_accounting_imbalance_events 0\.0$", metrics, re.MULTILINE):
        faults.append("the books do not balance: enricher_accounting_imbalance_events is not 0")
    faults += _money_faults(state / "enricher.db", ledger)
    if left := [path.name for path in (state / "batches").iterdir()]:
        faults.append(f"batch files were left behind: {left}")
    for text in said:
        if "Traceback" in text or "ResourceWarning" in text or "never retrieved" in text:
            faults.append(f"a process said: {text[-3000:]}")
    return faults


def output_faults(out, lines):
    """Everything that is not as it must be in the directory of one sink, where so many lines were written."""
    found = bytearray(lines)
    ids = Counter()
    faults = []
    for window in sorted(path for path in out.iterdir() if path.is_dir()):
        if litter := [path.name for path in window.iterdir() if not re.match(r"(events-|manifest|digest)", path.name)]:
            faults.append(f"{window.name} holds {litter}")
        # The checks of the other tests read all windows of a directory at once; this is a directory of one.
        with tempfile.TemporaryDirectory() as alone:
            (Path(alone) / window.name).symlink_to(window)
            try:
                assert_manifests_true(Path(alone))
            except (AssertionError, KeyError, ValueError, FileNotFoundError) as error:
                faults.append(f"the manifest of {window.name} is not true: {error!r:.600}")
            for event in events(Path(alone)):
                ids[event["event.id"]] += 1
                for line in event["message"].split("\n"):
                    serial = serial_of(line)
                    if serial is None or serial >= lines:
                        faults.append(f"a line is not as it was written: {line!r}")
                    else:
                        found[serial] = min(255, found[serial] + 1)
    for what, wrong in (
        ("missing", [serial for serial, times in enumerate(found) if times == 0]),
        ("there more than once", [serial for serial, times in enumerate(found) if times > 1]),
        ("ids of two events", [name for name, times in ids.items() if times > 1]),
    ):
        if wrong:
            faults.append(f"{len(wrong)} of {lines} lines {what}: {wrong[:_SHOWN]}")
    return faults


def _status_faults(status, lines):
    books, counted = status["events"], status["lines"]
    wanted = {"read": books["read"], "written": books["read"], "pending": 0, "dead_lettered": 0}
    faults = [] if books == wanted else [f"events do not balance: {books}"]
    if counted["read"] != lines or counted["lost_bytes"] or counted["dropped"]:
        faults.append(f"{lines} lines were produced, and counted as {counted}")
    if set(status["windows"]) != {"done"}:
        faults.append(f"windows are not done: {status['windows']}")
    if status["sink_troubles"] or status["reading_held_by"]:
        faults.append(f"still in trouble: {status['sink_troubles']}, {status['reading_held_by']}")
    return faults


def _money_faults(database, ledger):
    """A kind was answered once, and what the server answered is what the store was given."""
    with closing(sqlite3.connect(database)) as db:
        asked = db.execute("SELECT signature, count(*) FROM request_signatures GROUP BY signature").fetchall()
        # A line that failed by the fault script is counted by the server, and is no answer.
        tries = db.execute("SELECT sum(tries) FROM requests").fetchone()[0] or 0
        states = dict(db.execute("SELECT state, count(*) FROM requests GROUP BY state").fetchall())
        answers = db.execute("SELECT count(*), count(DISTINCT signature) FROM answers").fetchone()
        open_batches = db.execute("SELECT count(*) FROM batches WHERE state != 'done'").fetchone()[0]
        reserved = db.execute("SELECT * FROM requests WHERE state NOT IN ('answered', 'failed', 'done')").fetchall()
    faults = []
    if twice := [signature for signature, times in asked if times > 1]:
        faults.append(f"{len(twice)} kinds were asked for in two requests: {twice[:_SHOWN]}")
    if ledger["lines_answered"] - tries != answers[0] or answers[0] != answers[1]:
        faults.append(f"the server: {ledger}; the store: {answers} answers, {tries} failed lines, requests {states}")
    if open_batches or reserved:
        faults.append(f"{open_batches} batches and {len(reserved)} requests are still open")
    return faults
