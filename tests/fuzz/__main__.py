"""`python -m tests.fuzz [TARGET…] --seconds 60`: fuzz each target with atheris, from its seeds; then look for growth.

What is found is printed as the line that belongs into the target's corpus. A target runs in a process of its own, since
a fuzzer never gives one back.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz.corpus import TARGETS, as_line, check_of, seeds
from tests.fuzz.growth import slow_growth

MOST_BYTES = 4096
SLOW_SECONDS = 10


def main() -> int:
    """Fuzz the targets one after the other; 1 if anything was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; all of them")
    parser.add_argument(
        "--seconds", type=int, default=60, help="how long each target is fuzzed; a quarter more for growth"
    )
    parser.add_argument("--in-process", nargs=2, metavar=("TARGET", "DIRECTORY"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.in_process:
        fuzz_here(*given.in_process, given.seconds)
    unknown = sorted({*given.targets} - {*TARGETS})
    if unknown:
        parser.error(f"there is no target {unknown[0]}: it is one of {', '.join(TARGETS)}")
    return max(fuzz(target, given.seconds) for target in given.targets or TARGETS)


def fuzz(target: str, seconds: int) -> int:
    """Fuzz one target in a process of its own; 1 if it found anything."""
    print(f"{target}: {seconds} s", flush=True)
    with tempfile.TemporaryDirectory() as directory:
        for number, (_, data) in enumerate(seeds(target)):
            (Path(directory) / f"seed-{number}").write_bytes(data)
        command = [sys.executable, "-m", "tests.fuzz", "--in-process", target, directory, "--seconds", str(seconds)]
        done = subprocess.run(command, check=False)
        for found in sorted(Path(directory).glob("found-*")):
            print(as_line(found.name, found.read_bytes()))
        slow = slow_growth(check_of(target), [data for _, data in seeds(target)], seconds / 4, random.Random(seconds))
        for data in slow:
            print(as_line("grew like a square", data))
        return int(done.returncode != 0 or bool(slow))


def fuzz_here(target: str, directory: str, seconds: int) -> None:
    """Fuzz one target in this process, which ends with it."""
    try:
        import atheris
    except ImportError:
        sys.exit("atheris is not installed here: `make fuzz` installs it where there is a wheel of it")
    with atheris.instrument_imports(include=["enricher"]):
        check = check_of(target)
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={MOST_BYTES}",
        f"-timeout={SLOW_SECONDS}",
        f"-artifact_prefix={directory}/found-",
    ]

    def checked(data: bytes) -> None:
        try:
            check(data)
        except BaseException:
            # The library writes what was slow, but not always what raised.
            (Path(directory) / f"found-{target}-{hashlib.sha256(data).hexdigest()[:8]}").write_bytes(data)
            raise

    atheris.Setup([sys.argv[0], *options, "-print_final_stats=1", directory], checked)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
