"""A process that has imported everything and forks a command for every line that it is told; for the crash sweep.

Starting Python and importing costs 1.5 s, a run of three small windows a tenth of that. `python -m tests.system.zygote`
reads one JSON object a line from standard input: the arguments of a command, where its streams go, and where it kills
itself: before the n-th of the calls that make something durable or, unless it says otherwise, go to the provider. It
answers with the pid, and when the command has ended with its exit code. The seam is in the child alone; the product
knows nothing of it.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import socket
import sys
import tempfile
import threading
import traceback
from pathlib import Path

FILE_CALLS = ("fsync", "rename", "replace", "unlink", "rmdir", "mkdir")
SOCKET_CALLS = ("send", "sendmsg", "recv")


class Seam:
    """Counts calls, and kills the process before the n-th of them."""

    def __init__(self, log_path, kill_at):
        self._kill_at = kill_at
        self._number = 0
        self._lock = threading.Lock()
        self._log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def _count(self, name, detail):
        with self._lock:
            self._number += 1
            os.write(self._log, f"{self._number} {name} {detail}\n".encode())
            if self._number == self._kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    def install(self, *, sees_sockets):
        """Put it around the calls of Python; SQLite makes its own, which only strace sees."""
        for name in FILE_CALLS:
            setattr(os, name, self._around_file(name, getattr(os, name)))
        for name in SOCKET_CALLS if sees_sockets else ():
            setattr(socket.socket, name, self._around_socket(name, getattr(socket.socket, name)))

    def _around_file(self, name, call):
        def counted(*args, **more):
            detail = args[-1 if name in ("rename", "replace") else 0]
            self._count(name, Path(f"/proc/self/fd/{detail}").readlink() if isinstance(detail, int) else detail)
            return call(*args, **more)

        return counted

    def _around_socket(self, name, call):
        def counted(one, *args, **more):
            # The event loop wakes itself up over a pair of local sockets.
            if one.family in (socket.AF_INET, socket.AF_INET6):
                self._count(name, bytes(args[0])[:40] if name == "send" else "")
            return call(one, *args, **more)

        return counted


def be_the_command(order):
    """In the child: become the command, with streams, directory and environment of its own. Never returns."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, path in ((1, order["out"]), (2, order["err"])):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.chdir(order["cwd"])
    sys.argv = ["enricher", *order["args"]]
    if order.get("seam"):
        Seam(order["seam"], order.get("kill_at")).install(sees_sockets=order.get("sees_sockets", True))
    if order.get("stopped"):
        os.kill(os.getpid(), signal.SIGSTOP)  # a tracer attaches, and lets it go on
    code = 1
    try:
        from enricher.cli import main

        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    except BaseException:  # noqa: BLE001 - the streams of the command are all that is left to tell it on
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        if order.get("modules"):
            # In their order: some cannot be imported in another.
            Path(order["modules"]).write_text(json.dumps(list(sys.modules)), encoding="utf-8")
        os._exit(code)


def fork(order):
    """Start the command; its pid."""
    pid = os.fork()
    if pid == 0:
        be_the_command(order)
    return pid


def import_what_a_run_imports(order):
    """Run the command once in a child that tells what it imported, and import that here: a fork has it then."""
    with tempfile.NamedTemporaryFile("r", encoding="utf-8") as told:
        os.waitpid(fork(order | {"modules": told.name}), 0)
        names = json.load(told)
    for name in names:
        if name.startswith("__") or name in sys.modules:
            continue
        with contextlib.suppress(Exception):
            importlib.import_module(name)


def answer(told):
    """Tell a line; so short a one is written whole, whoever else is writing."""
    os.write(1, (json.dumps(told) + "\n").encode())


def supervise(order):
    """In a child of its own, so that several commands run at once: fork the command and tell how it ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = fork(order)
    answer({"order": order["order"], "pid": pid})
    _, status = os.waitpid(pid, 0)
    answer({"order": order["order"], "code": os.waitstatus_to_exitcode(status)})
    os._exit(0)


def main():
    """Serve orders until standard input ends; the first one is only run to learn what to import."""
    first = json.loads(sys.stdin.readline())
    import_what_a_run_imports(first)
    answer({"order": first["order"], "code": 0})
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # supervisors are not waited for
    for line in sys.stdin:
        if os.fork() == 0:
            supervise(json.loads(line))


if __name__ == "__main__":
    main()
