"""A batch server in a process of its own whose model obeys the orders in log lines that end in `zz` and three letters.

Run: python -m tests.batchserver.serve_obedient STATE. Prints its address as JSON, and serves until it is ended.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path

from enricher.batchserver.server import BatchServer
from enricher.batchserver.settings import ServerSettings
from enricher.edges.clock_system import SystemClock
from tests.batchserver.obedient import ObedientBackend

_ORDER_WORD = re.compile(r"\bzz[a-z]{3}\b")


def is_order(message: str) -> bool:
    """Whether a message holds one of the orders of `tests.core.hostile`."""
    return _ORDER_WORD.search(message) is not None


async def serve(state: Path) -> None:
    """Serve until the process is ended."""
    clock = SystemClock()
    server = BatchServer(ServerSettings(state_dir=state, concurrency=4), ObedientBackend(clock, is_order), clock)
    print(json.dumps({"base_url": await server.start()}), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
