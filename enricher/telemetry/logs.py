"""Setting the log up: console lines on a terminal, JSON anywhere else, and nothing hostile on either."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from typing import TextIO


def configure_logging(*, stream: TextIO = sys.stderr, console: bool | None = None, level: int = logging.INFO) -> None:
    """Set structlog up: console lines on a terminal, JSON anywhere else."""
    console = stream.isatty() if console is None else console
    processors: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _escape_controls,
    ]
    if console:
        processors.append(structlog.dev.ConsoleRenderer(colors=stream.isatty()))
    else:
        processors.append(structlog.processors.JSONRenderer())
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )


def log_within_a_program() -> Any:  # noqa: ANN401 - structlog's loggers
    """The log for a part of somebody's program: as they set structlog up, else `enricher` of `logging`."""
    if structlog.is_configured():
        return structlog.get_logger()
    return structlog.wrap_logger(
        logging.getLogger("enricher"),
        wrapper_class=structlog.stdlib.BoundLogger,
        processors=[
            structlog.stdlib.filter_by_level,
            _escape_controls,
            structlog.processors.LogfmtRenderer(key_order=("event",), bool_as_flag=False),
        ],
    )


def _escape_controls(_logger: object, _name: str, event: Any) -> Any:  # noqa: ANN401 - structlog's own signature
    """File names and provider texts are hostile: nothing in them may move a terminal's cursor."""
    return {
        key: value if not isinstance(value, str) or value.isprintable() else ascii(value)[1:-1]
        for key, value in event.items()
    }
