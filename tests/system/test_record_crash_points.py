"""A run over records, killed before every call that makes a file durable or gives it its name, and started again.

It must end with the same rows, as many batches and lines, and nothing left behind. With `ENRICHER_EVERY_CRASH_POINT`
also before every call that goes to the provider.
"""

from __future__ import annotations

import json
import os
import shutil
import signal

import pytest

from tests.system.bench import Bench, Server
from tests.system.forking import SECONDS, Zygote

EVERY = bool(os.environ.get("ENRICHER_EVERY_CRASH_POINT"))
ROWS = 5
pytestmark = pytest.mark.timeout(1200 if EVERY else 300)


class Desk:
    """A bench for `records run`, forked from a warm process."""

    def __init__(self, root):
        self.server = Server(root / "server")
        self.bench = Bench(root / "bench", self.server.url)
        self.bench.configure(batch={"max_requests": 3, "poll_interval_seconds": 0.01})
        given = root / "in.jsonl"
        given.write_text("".join(f'{{"id": "{number}", "text": "text {number}"}}\n' for number in range(ROWS)))
        self.out = root / "out" / "labelled.jsonl"
        self.out.parent.mkdir()
        self.command = ("records", "run", "label", str(given), "-o", str(self.out), "--json")
        self.zygote = Zygote(root)
        self.zygote.order(self.bench, *self.command).get(timeout=SECONDS)

    def clear(self):
        shutil.rmtree(self.bench.root / "state", ignore_errors=True)
        shutil.rmtree(self.out.parent)
        self.out.parent.mkdir()

    def run(self, **more):
        # How often a batch is polled varies: calls that go to the provider would move the numbers of all after them.
        answers = self.zygote.order(self.bench, *self.command, sees_sockets=EVERY, **more)
        answers.get(timeout=SECONDS)
        return answers.get(timeout=SECONDS)["code"]

    def disturbed(self, **more):
        """Run, and run again; what is there then, and how the first one ended."""
        self.clear()
        before = self.server.ledger()
        first = self.run(**more)
        again = self.run()
        said = (self.bench.root / "stderr").read_text()
        if again != 0:
            return first, f"ended with {again}: {said[-500:]}"
        after = self.server.ledger()
        paid = {name: after[name] - before[name] for name in after}
        left = sorted(
            path.name for place in (self.out.parent, self.bench.root / "state" / "batches") for path in place.iterdir()
        )
        statuses = json.loads((self.bench.root / "stdout").read_text())["statuses"]
        return first, (self.out.read_bytes(), statuses, paid, left)

    def end(self):
        self.zygote.end()
        self.bench.end()
        self.server.end()


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path)
    yield desk
    desk.end()


def test_a_run_over_records_that_is_killed_anywhere_ends_as_if_undisturbed(desk):
    points = desk.bench.root / "points"
    code, undisturbed = desk.disturbed(seam=str(points))
    assert (0, {"ok": ROWS}, ["labelled.jsonl"]) == (code, undisturbed[1], undisturbed[3])
    assert (2, ROWS) == (undisturbed[2]["batches_created"], undisturbed[2]["lines_answered"])
    taken = points.read_text().splitlines()
    outcomes = {line: desk.disturbed(seam=os.devnull, kill_at=int(line.split()[0])) for line in taken}
    assert {} == {line: outcome for line, (_, outcome) in outcomes.items() if outcome != undisturbed}
    killed = sum(code == -signal.SIGKILL for code, _ in outcomes.values())
    assert killed >= len(taken) - 20 if EVERY else killed == len(taken)
