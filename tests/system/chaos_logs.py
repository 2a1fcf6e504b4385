"""The logs of a chaos run: lines that prove themselves, in files that are rotated by every way there is.

A line carries its serial number and a checksum of all that stands before it. Serials are given out without a gap, so
that what was written is known by one number. A file is rotated by name (the writer goes on in the old one for a
while), by copy and truncation (nobody writes in between: that is the part a reader cannot mend), and what was renamed
is compressed later. Lines are torn between two writes. Never here: a line that is not written in the end.
"""

from __future__ import annotations

import gzip
import os
import random
import re
import shutil
import threading
import time
import zlib
from datetime import timedelta

_WORDS = (
    "disk", "queue", "socket", "lease", "shard", "broker", "tenant", "ledger", "quota", "replica", "cursor", "beacon",
    "cipher", "packet", "mirror", "parcel", "engine", "harbor", "signal", "window", "basket", "ticket", "folder",
    "column", "bridge", "turbine", "valve", "sensor", "garden", "planet",
)  # fmt: skip
_VERBS = ("dropped", "resumed", "refused", "opened", "flushed", "stalled", "rebuilt", "evicted", "throttled", "merged")
_LEVELS = ("DEBUG", "INFO", "WARN", "ERROR")
_PROVED = re.compile(r"(.*) serial=(\d+) check=(\d+)")
TICK_SECONDS = 0.05


def proved(text, serial):
    """A line with its serial and its checksum."""
    head = f"{text} serial={serial}"
    return f"{head} check={zlib.crc32(head.encode())}"


def serial_of(line):
    """The serial of a line that is whole; None if a byte of it is not as it was written."""
    found = _PROVED.fullmatch(line)
    return int(found[2]) if found and line == proved(found[1], int(found[2])) else None


def sentence(kind):
    """The constant words of a kind; any two kinds differ in most of them."""
    chance = random.Random(kind)
    return " ".join([*chance.sample(_WORDS, 3), chance.choice(_VERBS), *chance.sample(_WORDS, 3), "after"])


class LogFile:
    """One log that is appended to and rotated."""

    def __init__(self, path, chance):
        self.path = path
        self._chance = chance
        self._torn = b""
        self._old = None
        self._renamed = []
        self._rotations = 0
        self._file = path.open("ab", buffering=0)

    def append(self, data):
        """Write what the last call tore off, and all of this but perhaps the end."""
        data = self._torn + data
        cut = self._chance.randrange(len(data)) if data and self._chance.random() < 0.2 else len(data)
        self._torn = data[cut:]
        self._file.write(data[:cut])

    def finish(self):
        """Write what was torn off, and go over to the new file."""
        self._file.write(self._torn)
        self._torn = b""
        if self._old is not None:
            self._file.close()
            self._file, self._old = self.path.open("ab", buffering=0), None

    def rotate(self):
        """One rotation, by whichever way; how it was done."""
        self.finish()
        self._rotations += 1
        old = self.path.with_name(f"{self.path.name}.{self._rotations}")
        how = self._chance.choice(("rename", "rename", "copytruncate"))
        if how == "copytruncate":
            shutil.copy2(self.path, old)
            os.truncate(self.path, 0)
        else:
            self.path.rename(old)
            self._old = old
            self.path.touch()
            self._renamed.append(old)
        return how

    def compress(self):
        """Compress the oldest that was renamed, as gzip does: written beside it, then the plain one goes."""
        if not self._renamed or self._renamed[0] == self._old:
            return False
        plain = self._renamed.pop(0)
        packed = plain.with_name(plain.name + ".gz")
        with plain.open("rb") as source, gzip.open(packed, "wb") as target:
            shutil.copyfileobj(source, target, 1 << 14)
        shutil.copystat(plain, packed)
        plain.unlink()
        return True

    def close(self):
        self.finish()
        self._file.close()


class Producer(threading.Thread):
    """Writes lines of several files at a steady rate until it is stopped; event time runs ahead of the clock's."""

    def __init__(self, directory, *, seed, start, hour_seconds, lines_per_second, files=6):
        super().__init__(name="producer", daemon=True)
        self._chance = random.Random(seed)
        directory.mkdir(parents=True, exist_ok=True)
        self._files = [
            LogFile(directory / f"{sentence(n).split()[0]}-{n}.log", random.Random(f"{seed}-{n}")) for n in range(files)
        ]
        self._start, self._pace = start, 3600 / hour_seconds
        self._per_tick = lines_per_second * TICK_SECONDS
        self._kinds = 4
        self._begun = time.monotonic()
        self._run = threading.Event()
        self._idle = threading.Event()
        self._over = threading.Event()
        self.lines = 0
        self.done = {"rename": 0, "copytruncate": 0, "gzip": 0}
        self.error = None

    def run(self):
        try:
            while not self._over.is_set():
                if self._run.is_set():
                    self._tick()
                else:
                    for one in self._files:
                        one.finish()
                    self._idle.set()
                self._over.wait(TICK_SECONDS)
            for one in self._files:
                one.close()
        except BaseException as error:
            self.error = error
            raise
        finally:
            self._idle.set()

    def resume(self):
        self._idle.clear()
        self._run.set()

    def pause(self):
        """Stop writing, with every line whole; returns when that is so."""
        self._run.clear()
        self._idle.clear()
        self._idle.wait()
        if self.error is not None:
            raise RuntimeError("the producer failed") from self.error

    def stop(self):
        self._over.set()
        self.join()

    def _tick(self):
        chance = self._chance
        if chance.random() < TICK_SECONDS:
            self._kinds += 1
        wanted = int(self._per_tick) + (chance.random() < self._per_tick % 1)
        shares = [chance.random() for _ in self._files]
        for one, share in zip(self._files, shares, strict=True):
            one.append(b"".join(self._event() for _ in range(round(wanted * share / sum(shares)))))
            if chance.random() < TICK_SECONDS / 6:
                self.done[one.rotate()] += 1
            elif chance.random() < TICK_SECONDS:
                one.finish()
            elif chance.random() < TICK_SECONDS / 8:
                self.done["gzip"] += one.compress()

    def _event(self):
        chance = self._chance
        # Some are an hour late, so that windows that are closed get instalments.
        late = 3600 if chance.random() < 0.001 else chance.uniform(0, 120)
        elapsed = (time.monotonic() - self._begun) * self._pace
        at = self._start + timedelta(seconds=elapsed - late)
        # New kinds are rare at first, as they are in life.
        kind = self._kinds - 1 - int(min(chance.expovariate(0.3), self._kinds - 1))
        text = f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z {_LEVELS[kind % 4]} {sentence(kind)}"
        lines = [self._proved(f"{text} {chance.randrange(10_000)} ms")]
        while chance.random() < 0.05:
            lines.append(self._proved(f"\tat com.example.Shop.step{len(lines)}(Shop.java:{chance.randrange(400)})"))
        return "".join(line + "\n" for line in lines).encode()

    def _proved(self, text):
        self.lines += 1
        return proved(text, self.lines - 1)
