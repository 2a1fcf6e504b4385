"""Programs of others, on loopback and in environments of their own: `make .venv/.peers` installs them with hashes."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.system.bench import environment, eventually

HERE = Path(__file__).parent
DESCRIPTION = HERE / "openai-batch.json"
VENV = Path(sys.prefix)
PRISM = VENV / "prism" / "node_modules" / ".bin" / "prism"
EXAMPLES = int(os.environ.get("ENRICHER_CONFORMANCE_EXAMPLES", "10"))
"""How many requests Schemathesis makes up for each operation and phase; `make conformance` takes more."""


def peer(name):
    """The path of a program of the environment of the peers; skips where it was not made."""
    path = VENV / "peers" / "bin" / name
    if not path.exists():
        pytest.skip(f"{name} is not installed: make test and make conformance do that")
    return str(path)


def prism():
    """The path of Prism; skips where it was not installed."""
    if not PRISM.exists():
        pytest.skip("Prism is not installed: make test and make conformance do that where there is npm")
    return str(PRISM)


def operations():
    """The operations of the description: (method, pattern of the path) by id."""
    paths = json.loads(DESCRIPTION.read_text())["paths"]
    return {
        operation["operationId"]: (method, re.compile(re.sub(r"\{\w+\}", "[^/]+", path)))
        for path, methods in paths.items()
        for method, operation in methods.items()
    }


class Foreign:
    """A process that is not ours; what it says goes into a file."""

    def __init__(self, directory, name, *command, **variables):
        directory.mkdir(parents=True, exist_ok=True)
        self._log = directory / f"{name}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=directory,
                env=environment(directory, PYTHONPATH=None, NO_COLOR="1", **variables),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def said(self):
        return self._log.read_text(errors="replace")

    def until(self, pattern):
        """Wait until it has said this; the match."""

        def found():
            assert self._process.poll() is None, self.said[-3000:]
            return re.search(pattern, self.said)

        return eventually(found)

    def end(self):
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        self._process.kill()
        self._process.wait()


class Prism(Foreign):
    """Stands between a client and a server, and stops what does not conform to the description, either way.

    A request that does not conform is answered with 422 (or 401 and 404), an answer that does not with 500.
    """

    def __init__(self, directory, upstream):
        command = [prism(), "proxy", "--host", "127.0.0.1", "--port", "0", "--errors", str(DESCRIPTION), upstream]
        super().__init__(directory, "prism", *command)
        self.url = self.until(r"listening on (http://127\.0\.0\.1:\d+)")[1]

    @property
    def stopped(self):
        """What was stopped: the lines that Prism logs."""
        return [line for line in self.said.splitlines() if "terminated with error" in line]

    def answered(self):
        """Operations that the server answered: pairs of id and status."""
        known, asked, seen = operations(), None, set()
        for line in self.said.splitlines():
            if forwarded := re.search(r'Forwarding "(\w+)" request', line):
                asked = forwarded[1]
            elif answer := re.search(r"upstream call to (\S+) has returned (\d+)", line):
                path = answer[1].partition("?")[0]
                names = [
                    name for name, (method, pattern) in known.items() if method == asked and pattern.fullmatch(path)
                ]
                seen |= {(name, int(answer[2])) for name in names}
        return seen


class Llmock(Foreign):
    """Llmock (PyPI): files and batches as another has understood them, its faults, and its verdict on the client."""

    def __init__(self, directory, *options):
        super().__init__(directory, "llmock", peer("python"), str(HERE / "serve_llmock.py"), *options)
        self.root = self.until(r"running on (http://127\.0\.0\.1:\d+)")[1]

    def _ask(self, path, told=None):
        data = None if told is None else json.dumps(told).encode()
        request = urllib.request.Request(f"{self.root}/_llmock/{path}", data=data)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read())

    def script(self, *faults):
        """Forget what was, and let these faults strike: status, path and more."""
        self._ask("reset", {})
        if faults:
            told = [
                {"type": "fail", "status": status, "match": {"path": path}, **more} for status, path, more in faults
            ]
            self._ask("scenario", {"behaviors": told})

    def left(self):
        """Scripted faults that did not strike."""
        return self._ask("scenario")["pending"]

    def journal(self):
        """What was asked, in order: method, path and status."""
        return [(one["method"], one["path"], one["status"]) for one in self._ask("requests")["requests"]]

    def verdict(self):
        return self._ask("verdict")
