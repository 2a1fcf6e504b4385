"""The test's side of a zygote: commands are ordered from it, and what became of them is heard."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from queue import SimpleQueue

from tests.system.bench import environment

SECONDS = 60


class Zygote:
    """The process that forks commands, and the thread that hears what became of them."""

    def __init__(self, root):
        self.process = subprocess.Popen(
            (sys.executable, "-m", "tests.system.zygote"),
            cwd=root,
            # A pool of threads must not be forked.
            env=environment(root, OPENBLAS_NUM_THREADS="1"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._orders = 0
        self._lock = threading.Lock()
        self._answers = {}
        self._listener = threading.Thread(target=self._listen)
        self._listener.start()

    def _listen(self):
        for line in self.process.stdout:
            told = json.loads(line)
            self._answers[told.pop("order")].put(told)

    def order(self, bench, *args, **more):
        """Start a command on a bench; a queue of what is told about it."""
        answers = SimpleQueue()
        with self._lock:
            self._orders += 1
            self._answers[self._orders] = answers
            order = {
                "order": self._orders,
                "args": [*args, "-c", str(bench.file)],
                "cwd": str(bench.root),
                "out": str(bench.root / "stdout"),
                "err": str(bench.root / "stderr"),
            }
            self.process.stdin.write(json.dumps(order | more) + "\n")
            self.process.stdin.flush()
        return answers

    def end(self):
        self.process.stdin.close()
        self.process.wait(SECONDS)
        self._listener.join()
        self.process.stdout.close()
