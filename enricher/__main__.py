"""`enricher`, and `python -m enricher`: the commands, of which an interrupt may come before they are even imported."""

from __future__ import annotations

import sys

_EXIT_AGAIN = 75


def main() -> None:
    """Run the command line and exit."""
    try:
        from enricher.cli import main as run  # noqa: PLC0415 - it takes most of a second, on a busy machine seconds

        run()
    except KeyboardInterrupt:
        sys.exit(_EXIT_AGAIN)


if __name__ == "__main__":
    main()
