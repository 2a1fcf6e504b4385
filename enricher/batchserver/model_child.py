"""The process that the embedded model runs in: loads it, serves it on loopback, ends with its parent.

It is a process of its own because the engine takes up to 2 GB and aborts where it meets a fault of its own; neither may
reach the daemon. Protocol: one line of JSON on stdout, `{"address", "key"}` when requests are accepted or
`{"error", "hint"}` when they never will be; the end of stdin means that the parent is gone. The engine's own output
goes to stderr. This file is started as a script: it must import nothing but the standard library and the engine.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import platform
import secrets
import sys
import threading
from pathlib import Path
from typing import Any, NoReturn

# Prompts kept beside the one in the slot; the engine's default of 8 GiB is made for machines of its own.
_PROMPT_CACHE_MIB = 256
_INSTALL_HINT = "install it with: pip install 'enricher[local]'"


class UnusableError(Exception):
    """The model cannot run here."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def main() -> NoReturn:
    """Serve until stdin ends."""
    options = _parse(sys.argv[1:])
    report_fd = os.dup(1)
    os.dup2(2, 1)
    parent = threading.Thread(target=_exit_with_parent, daemon=True)
    parent.start()
    _offer_to_oom_killer()
    key = secrets.token_urlsafe(24)
    try:
        server = _serve(options, key)
    except UnusableError as error:
        _report(report_fd, {"error": str(error), "hint": error.hint})
        os._exit(1)
    _report(report_fd, {"address": server.listening_address, "key": key})
    parent.join()
    os._exit(0)


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--file", required=True)
    parser.add_argument("--name", required=True)
    for count in ("threads", "context-tokens", "slots", "idle-seconds"):
        parser.add_argument(f"--{count}", type=int, required=True)
    return parser.parse_args(arguments)


def _exit_with_parent() -> NoReturn:
    sys.stdin.buffer.read()
    # The engine's threads do not end on request; nothing here needs an orderly end.
    os._exit(0)


def _report(fd: int, report: dict[str, str]) -> None:
    os.write(fd, json.dumps(report).encode() + b"\n")


def _offer_to_oom_killer() -> None:
    # When memory runs out the model goes first: it comes back, and the daemon loses nothing.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")


def _serve(options: argparse.Namespace, key: str) -> Any:  # noqa: ANN401 - the engine has no types
    engine = _import_engine()
    params = engine.CommonParams()
    params.model.path = options.file
    params.model_alias = {options.name}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    # Loopback is open to every user of the host.
    params.api_keys = [key]
    params.n_parallel = options.slots
    # The engine shares its context out among the slots.
    params.n_ctx = options.context_tokens * options.slots
    params.cpuparams.n_threads = options.threads
    params.cpuparams_batch.n_threads = options.threads
    params.cache_ram_mib = _PROMPT_CACHE_MIB
    # Idle for this long it gives its memory back, and loads again at the next request.
    params.sleep_idle_seconds = options.idle_seconds
    params.offline = True
    params.ui = False
    params.endpoint_slots = False
    params.verbosity = 1
    try:
        return engine.Server(params)
    except RuntimeError as error:
        raise UnusableError(
            f"the engine cannot load {options.file}: {error}",
            "see that memory is free, or fetch it again: enricher model pull",
        ) from error


def _import_engine() -> Any:  # noqa: ANN401 - the engine has no types
    if platform.machine() in {"x86_64", "AMD64"} and not _has_avx2():
        raise UnusableError(
            "the engine of the embedded model needs a processor with AVX2",
            "use another machine, or serve a model elsewhere and set base_url in [provider]",
        )
    try:
        return importlib.import_module("xllamacpp")
    except ModuleNotFoundError as error:
        raise UnusableError(f"the engine of the embedded model is not installed ({error})", _INSTALL_HINT) from error
    except ImportError as error:
        raise UnusableError(
            f"the engine of the embedded model cannot be loaded: {error}", _library_hint(str(error))
        ) from error


def _library_hint(message: str) -> str:
    # What the engine's wheel takes from the system, and the Debian packages that bring it.
    for library, package in (("libgomp", "libgomp1"), ("libstdc++", "libstdc++6")):
        if library in message:
            return f"on Debian and Ubuntu: apt-get install {package}"
    return _INSTALL_HINT


def _has_avx2() -> bool:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return True  # it cannot be told here: the engine will show it
    return any(line.startswith("flags") and "avx2" in line.split() for line in lines)


if __name__ == "__main__":
    main()
