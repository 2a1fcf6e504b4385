"""The directory of batch files is emptied at a start: of what is its own, and of nothing else."""

from __future__ import annotations

import pytest

from enricher.edges.batch_files import DirectoryBatchFiles
from enricher.errors import StoreError


def test_what_a_killed_process_left_is_removed(tmp_path):
    directory = tmp_path / "batches"
    directory.mkdir()
    (directory / "2026-11-22T10Z-p000-a1.jsonl.part").write_bytes(b"x")
    (directory / "elsewhere").symlink_to(tmp_path)
    DirectoryBatchFiles(directory)
    assert ([], True) == ([*directory.iterdir()], tmp_path.exists())


def test_a_link_in_its_place_is_refused_and_nothing_is_deleted_where_it_leads(tmp_path):
    logs, directory = tmp_path / "logs", tmp_path / "batches"
    logs.mkdir()
    (logs / "a.log").write_bytes(b"precious\n")
    directory.symlink_to(logs)
    with pytest.raises(StoreError, match="batches: is a link") as caught:
        DirectoryBatchFiles(directory)
    assert "remove the link" in caught.value.hint
    assert b"precious\n" == (logs / "a.log").read_bytes()
