"""Reports are written where somebody asks for them, which may be a directory that others write to."""

from __future__ import annotations

import os

import pytest

from enricher.cli.evaluating import _write
from enricher.errors import OutputError


def test_a_link_that_waits_under_the_name_of_the_unfinished_report_is_not_followed(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("mine")
    planted = tmp_path / f".report.html.{os.getpid()}.part"
    planted.symlink_to(precious)
    with pytest.raises(OutputError, match=r"report.html: cannot be written"):
        _write(tmp_path / "report.html", "the report")
    assert "mine" == precious.read_text()
    _write(tmp_path / "report.html", "the report")
    assert ["precious", "report.html"] == sorted(path.name for path in tmp_path.iterdir())
