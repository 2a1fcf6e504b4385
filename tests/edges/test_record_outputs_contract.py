"""What `ports.RecordOutput` promises, by behaviour, on every output that there is."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

import pytest

from enricher.edges.record_inputs import open_input
from enricher.edges.record_outputs import open_output
from enricher.errors import InputError, OutputError, UsageError
from tests.edges.record_formats import OUTPUTS, all_rows, some_rows

COLUMNS = ("id", "text", "status", "error")


class Written:
    """An output's address, and how to write there and read what lies there."""

    def __init__(self, directory, name):
        self.directory = directory
        self.spec = str(directory / name)
        self.file = directory / name.partition("#")[0]

    def open(self, **options):
        return open_output(self.spec, **{"overwrite": False, **options})

    def write(self, *batches, **options):
        output = self.open(**options)
        output.begin(COLUMNS)
        for rows in batches:
            output.write(rows)
        output.finish()

    def rows(self):
        source = open_input(self.spec)
        try:
            return all_rows(source)[1]
        finally:
            source.close()

    def names(self):
        return sorted(path.name for path in self.directory.iterdir())


@pytest.fixture(params=OUTPUTS)
def written(request, tmp_path):
    return Written(tmp_path, OUTPUTS[request.param])


def full(rows):
    return [{**row, "status": "done", "error": ""} for row in rows]


def test_rows_are_there_in_order_when_it_is_finished(written):
    rows = full(some_rows(10_000))
    written.write(rows[:9000], [], rows[9000:])
    assert written.rows() == rows
    assert written.names() == [written.file.name]


def test_nothing_is_at_the_place_before_it_is_finished(written):
    output = written.open()
    output.begin(COLUMNS)
    output.write(full(some_rows(10)))
    with pytest.raises((InputError, UsageError), match=r"does not exist|there is no table"):
        written.rows()
    output.finish()
    assert len(written.rows()) == 10


def test_nothing_is_left_of_what_is_abandoned_and_what_was_there_stays(written):
    output = written.open()
    output.begin(COLUMNS)
    output.write(full(some_rows(3)))
    output.abandon()
    output.abandon()
    assert written.names() == []
    written.write(full(some_rows(2)))
    before = written.file.read_bytes()
    output = written.open(overwrite=True)
    output.begin(COLUMNS)
    output.write(full(some_rows(3)))
    output.abandon()
    assert (written.file.read_bytes(), written.names()) == (before, [written.file.name])


def test_an_output_that_exists_is_refused_before_anything_is_written(written):
    written.write(full(some_rows(2)))
    with pytest.raises(OutputError, match="exists") as refused:
        written.open()
    assert (written.spec in str(refused.value), "--overwrite" in refused.value.hint) == (True, True)
    assert len(written.rows()) == 2


def test_an_output_is_replaced_when_told_to(written):
    written.write(full(some_rows(2)))
    written.write(full(some_rows(3, start=7)), overwrite=True)
    assert written.rows() == full(some_rows(3, start=7))


def test_an_output_without_rows_is_there_nevertheless(written):
    written.write()
    assert written.file.exists()
    assert written.rows() == []


def test_a_column_that_a_row_lacks_is_empty(written):
    written.write([{"id": "a", "status": "done"}, *full(some_rows(1))])
    first, second = written.rows()
    assert {key: value for key, value in first.items() if value} == {"id": "a", "status": "done"}
    assert second == full(some_rows(1))[0]


def test_a_column_that_comes_late_is_kept(written):
    rows = full(some_rows(10_000))
    written.write(rows, [{**row, "extra": "e"} for row in full(some_rows(2, start=10_001))])
    found = written.rows()
    assert [row.get("extra") or "" for row in found[9998:]] == ["", "", "e", "e"]
    assert found[0]["text"] == "row 1"


def test_a_directory_that_does_not_exist_is_named_and_not_made(tmp_path, written):
    missing = Written(tmp_path / "missing", written.spec.rpartition("/")[2])
    with pytest.raises(OutputError, match="No such file or directory") as refused:
        missing.open()
    assert (missing.spec in str(refused.value), "mkdir" in refused.value.hint) == (True, True)
    assert not missing.directory.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_a_directory_that_may_not_be_written_is_named(written):
    output = written.open()
    for directory in (written.directory, *written.directory.parents[:2]):
        directory.chmod(0o755)
    os.seteuid(65534)
    try:
        with pytest.raises(OutputError, match="Permission denied") as refused:
            output.begin(COLUMNS)
    finally:
        os.seteuid(0)
    assert written.spec in str(refused.value)
    assert "let the user that runs this write there" in refused.value.hint
    output.abandon()
    assert written.names() == []


def write_much(output):
    for start in range(0, 200_000, 1000):
        output.write([{**row, "text": os.urandom(100).hex()} for row in full(some_rows(1000, start=start))])
    output.finish()


def test_a_full_disk_is_an_error_that_leaves_nothing(written):
    """By a limit of the size of files: what the kernel says then differs from a full disk's in its number alone."""
    output = written.open()
    output.begin(COLUMNS)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, before[1]))
    try:
        with pytest.raises(OutputError, match="cannot be written"):
            write_much(output)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    output.abandon()
    assert written.names() == []


def test_a_second_process_that_writes_there_is_refused(written):
    first = written.open()
    first.begin(COLUMNS)
    second = written.open()
    with pytest.raises(OutputError, match=r"another process is writing|database is locked"):
        second.begin(COLUMNS)
    second.abandon()
    first.write(full(some_rows(1)))
    first.finish()
    assert len(written.rows()) == 1


def test_what_a_killed_run_left_is_taken_over(written):
    code = f"""
import os, signal
from enricher.edges.record_outputs import open_output
output = open_output({written.spec!r}, overwrite=False)
output.begin({COLUMNS!r})
output.write([{{"id": str(n), "text": "t" * 1000}} for n in range(5000)])
os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert killed.returncode == -9, killed.stderr
    written.write(full(some_rows(2)))
    assert (len(written.rows()), written.names()) == (2, [written.file.name])


def test_the_file_is_as_readable_as_the_umask_says(written):
    before = os.umask(0o027)
    try:
        written.write(full(some_rows(1)))
    finally:
        os.umask(before)
    assert written.file.stat().st_mode & 0o777 == 0o640
