"""The commands: arguments in, exit codes out. Each command builds its configuration and hands over to `app`.

Exit codes: 0 done, 1 failed, 64 usage, 73 state directory locked, 75 try again, 78 configuration. An error names what
was wrong, where, and what to do; a traceback is a bug. Commands import late: only one that runs pays for what it uses.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from enricher import __version__, show
from enricher.cli import checking, enriching, evaluating, records, serving, signatures
from enricher.cli.running import EXIT_AGAIN, EXIT_FAILED, EXIT_USAGE, exit_code
from enricher.errors import EnricherError, OutputError, UsageError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)

if TYPE_CHECKING:
    from rich.console import Console

# typer shows only this subclass of its usage errors.
_ClickUsageError: type[Exception] = typer.BadParameter.__mro__[1]

cli = typer.Typer(
    name="enricher",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Enrich every log event, at the cost of one model request per kind of event.",
)
for command in (
    enriching.run,
    enriching.once,
    enriching.demo,
    checking.plan,
    evaluating.evaluate,
    checking.validate,
    checking.status,
    checking.cost,
):
    cli.command()(command)
cli.command(name="serve-batches")(serving.serve_batches)
cli.add_typer(serving.model_cli, name="model")
cli.add_typer(records.records_cli, name="records")
cli.add_typer(signatures.signatures_cli, name="signatures")


def main() -> NoReturn:
    """Run the command line and exit."""
    _, err = show.consoles()
    try:
        code = cli(prog_name="enricher", standalone_mode=False) or 0
        if sys.stdout is not None:
            sys.stdout.flush()  # an error at the very end would be told by a traceback
        sys.exit(code)
    except _ClickUsageError as fault:
        _explain(err, fault)
        sys.exit(EXIT_USAGE)
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(EXIT_AGAIN)
    except EnricherError as fault:
        show.error(err, fault)
        sys.exit(exit_code(fault))
    except BrokenPipeError:
        # The reader of our output went away, as `| head` does.
        _leave_output(EXIT_FAILED)
    except OSError as fault:
        if fault.errno == errno.ENAMETOOLONG:
            # Wherever a command looks first whether something is there.
            shown = str(fault.filename)[:80]
            show.error(err, UsageError(f"{shown}…: a name or path that is too long", hint="shorten it"))
            sys.exit(EXIT_USAGE)
        if fault.errno not in _NO_ROOM or fault.filename is not None:
            raise
        message = f"the output cannot be written: {fault.strerror}"
        show.error(err, OutputError(message, hint="make room on the disk that it goes to, and run it again"))
        _leave_output(EXIT_FAILED)


def _leave_output(code: int) -> NoReturn:
    """Exit without trying again to write what could not be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def _explain(err: Console, fault: Exception) -> None:
    """Say what is wrong with a command line, and what explains the command; where one is missing, that itself."""
    context: typer.Context | None = getattr(fault, "ctx", None)
    message = fault.format_message() if isinstance(fault, typer.BadParameter) else str(fault)
    if context is not None and message == context.get_help():
        typer.echo(message, err=True)
        return
    command = "enricher" if context is None else context.command_path
    show.error(err, UsageError(message, hint=f"{command} --help"))


@cli.callback(invoke_without_command=True)
def _top(
    *, version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False
) -> None:
    if version:
        typer.echo(f"enricher {__version__}")
        raise typer.Exit
