"""systemd's notify protocol: READY=1, STATUS=, WATCHDOG=1, RELOADING=1, STOPPING=1 over `$NOTIFY_SOCKET`.

Where the variable is not set every call does nothing. See sd_notify(3).
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


_PATIENCE_SECONDS: Final = 0.02
"""How long a message waits for room in the manager's queue: the event loop waits with it."""


class Notifier:
    """Speaks to the service manager that started us, if one did."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        # A leading @ means Linux's abstract namespace.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._is_reloading = False
        usec = environment.get("WATCHDOG_USEC", "")
        for_us = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watchdog_seconds: float | None = int(usec) / 1e6 if usec.isdigit() and for_us else None

    def ready(self) -> None:
        """Start-up, or a reload, is complete."""
        self._send("READY=1")

    def reloading(self) -> None:
        """A reload has begun: what drains now starts again, and `ready` follows."""
        self._is_reloading = True
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The drain has begun. Not told of a reload: a unit that said it once is killed after TimeoutStopSec."""
        if not self._is_reloading:
            self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send("STATUS=" + text.replace("\n", " "))

    def alive(self) -> None:
        """Feed the watchdog."""
        self._send("WATCHDOG=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        # A manager that is gone, or too busy to read, must not take the daemon along; the watchdog is its own judge.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.settimeout(_PATIENCE_SECONDS)
            channel.connect(self._address)
            channel.send(message.encode())
