"""The command line itself: exit codes, messages, what goes to a pipe and what to a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from enricher import __version__
from tests.system.bench import ENRICHER, environment, log_lines, tree

COMMANDS = ("run", "once", "demo", "plan", "validate", "status", "serve-batches", "model")


def run_on_terminal(*args, cwd, **variables):
    """Run a command with a terminal for all its streams; exit code and what the terminal got."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*ENRICHER, *map(str, args)],
        cwd=cwd,
        env=environment(cwd, TERM="xterm-256color", COLUMNS="100", **variables),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    text = b""
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        # A terminal whose other side is closed reads as an error.
        try:
            while some := terminal.read(4096):
                text += some
        except OSError:
            pass
    return process.wait(60), text.decode()


@pytest.mark.parametrize("arguments", [("--version",), ("plan",), ("plan", "--json")], ids=" ".join)
def test_output_for_which_there_is_no_room_is_an_error_and_no_traceback(bench, arguments):
    bench.write("a.log", log_lines(16, hours=1))
    given = () if arguments[0].startswith("--") else ("-c", bench.file)
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*ENRICHER, *arguments, *given],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=bench.root,
            env=environment(bench.root),
            check=False,
        )
    assert 1 == done.returncode
    told = "error: the output cannot be written: No space left on device\n  try: make room"
    assert told in done.stderr
    assert 2 == len(done.stderr.splitlines())


def test_the_version_is_printed(bench):
    assert f"enricher {__version__}\n" == bench.enricher("--version", config=False).out


def test_every_command_explains_itself(bench):
    top = bench.enricher("--help", config=False).out
    running = {name: bench.start(name, "--help", config=False) for name in COMMANDS}

    for name, one in running.items():
        assert re.search(rf"^ *{name} +\w", top, re.MULTILINE)
        assert 0 == one.wait().code
        assert f"enricher {name}" in one.out
        assert "" == one.err


def test_a_wrong_command_line_exits_64_and_names_what_is_wrong(bench):
    wrong = {
        "--fast": ["once", "--fast"],
        "frobnicate": ["frobnicate"],
        "nowhere.log: there is no such file": ["once", "nowhere.log"],
        "--listen here: is HOST:PORT": ["serve-batches", "--listen", "here"],
        "--listen a..b:1: is HOST:PORT": ["serve-batches", "--listen", "a..b:1"],
        "xxx…: a name or path that is too long": ["once", "x" * 300],
    }
    running = {named: bench.start(*args, config=False) for named, args in wrong.items()}

    for named, one in running.items():
        ended = bench.finish(one, code=64)
        assert ended.err.startswith("error: ")
        assert named in ended.err
        assert "" == ended.out


@pytest.mark.parametrize(
    ("arguments", "explained_by"),
    [(("records", "run", "--fast"), "enricher records run --help"), (("records", "fly"), "enricher records --help")],
)
def test_a_wrong_command_line_names_what_explains_that_command(bench, arguments, explained_by):
    assert f"try: {explained_by}\n" in bench.enricher(*arguments, config=False, code=64).err


@pytest.mark.parametrize("arguments", [(), ("records",)])
def test_a_command_without_its_name_is_told_those_there_are_and_of_no_error(bench, arguments):
    told = bench.enricher(*arguments, config=False, code=64).err
    assert told.startswith(" ".join(("Usage: enricher", *arguments)))
    assert "error" not in told


def test_valid_settings_exit_0_and_list_what_was_looked_at(bench, server):
    bench.write("a.log", log_lines(8, hours=1))
    before = tree(bench.root)

    told = json.loads(bench.enricher("validate", "--json").out)

    assert not [one for one in told if one["is_fault"]]
    assert {"configuration", "source logs", "state directory", "sink files", "provider"} <= {
        one["subject"] for one in told
    }
    assert next(one["text"] for one in told if one["subject"] == "source logs").startswith("1 files, ")
    assert "the key and the model are accepted" in [one["text"] for one in told]
    assert before == tree(bench.root)


def test_offline_no_provider_is_called(bench):
    bench.url = "http://127.0.0.1:9/v1"
    bench.configure()

    refusing, passing = bench.start("validate"), bench.start("validate", "--offline")
    refused = bench.finish(refusing, code=78)
    bench.finish(passing)

    assert "FAULT  provider: http://127.0.0.1:9/v1" in refused.out
    assert "can this host reach it?" in refused.out


def test_without_a_key_validate_says_so_and_offline_only_notes_it(bench):
    bench.url = "https://provider.invalid/v1"
    bench.configure()

    refusing, noting = bench.start("validate"), bench.start("validate", "--offline")
    refused, noted = bench.finish(refusing, code=78), bench.finish(noting)

    assert "FAULT  provider: there is no provider" in refused.out
    assert "note   provider: there is no provider" in noted.out


def test_the_status_of_a_place_where_nothing_ran_says_so(bench):
    ended = bench.enricher("status", code=1)

    assert f"error: {bench.root}/state: nothing was run here yet\n" in ended.err
    assert "-c FILE" in ended.err
    assert not (bench.root / "state").exists()


def test_colour_goes_to_a_terminal_only_and_not_where_it_is_not_wanted(bench):
    piped = bench.enricher("status", code=1)
    code, shown = run_on_terminal("status", "-c", bench.file, cwd=bench.root)
    _, plain = run_on_terminal("status", "-c", bench.file, cwd=bench.root, NO_COLOR="1")

    assert 1 == code
    assert "\x1b[1;31m" in shown
    assert "\x1b[1;31m" not in plain
    assert f"error: {bench.root}/state: nothing was run here yet" in re.sub(r"\x1b\[\d*m", "", plain)
    assert "\x1b" not in piped.err


def test_a_run_on_a_terminal_shows_progress_and_no_log_lines(bench):
    bench.write("a.log", log_lines(80, hours=1))

    code, shown = run_on_terminal("once", "-c", bench.file, cwd=bench.root)

    assert 0 == code
    assert "80 events written to" in shown
    assert "asking" in shown
    assert '"event"' not in shown
    status = bench.enricher("status")
    assert "\x1b" not in status.out
    for text in ("80 read", "80 written", "1 done", "process        none", "files: 0 events pending"):
        assert text in status.out
    first_column = "".join(line.split()[0] for line in status.out.splitlines())
    assert str(bench.logs / "a.log") in first_column


def test_a_reader_that_goes_away_is_no_traceback(bench):
    pipe, ours = os.pipe()
    process = subprocess.Popen(
        [*ENRICHER, "--help"], cwd=bench.root, env=environment(bench.root), stdout=ours, stderr=subprocess.PIPE
    )
    os.close(pipe)
    os.close(ours)
    _, err = process.communicate(timeout=60)

    assert b"" == err


def test_an_interrupt_while_commands_are_still_being_imported_says_try_again_without_a_traceback(tmp_path):
    # Python takes most of a second for that, on a busy machine several.
    (tmp_path / "typer.py").write_text(
        "import os, signal\n"
        # It is ignored where the tests run in the background of a shell.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "os.kill(os.getpid(), signal.SIGINT)\n"
    )
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-m", "enricher", "records", "status"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join((str(tmp_path), root))},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (75, "") == (done.returncode, done.stderr)
