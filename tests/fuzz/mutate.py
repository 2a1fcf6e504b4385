"""Changes of seeds that know nothing of their format, the same for the same random numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

BYTES = b"0123456789+-Z:., []{}\"'\n\t\\/=\x00\xff"


def mutated(seeds: list[bytes], rnd: random.Random) -> bytes:
    """A seed with a few of its bytes changed, left out, or repeated, and lines of other seeds in it."""
    data = bytearray(rnd.choice(seeds))
    for _ in range(rnd.randint(1, 6)):
        at = rnd.randrange(len(data)) if data else 0
        end = at + rnd.randint(1, 20)
        match rnd.randrange(6):
            case 0 if data:
                data[at] = rnd.choice(BYTES)
            case 1 if data:
                data[rnd.randrange(min(2, len(data)))] = rnd.randrange(256)
            case 2:
                del data[at:end]
            case 3:
                data[at:at] = data[at:end]
            case 4:
                lines = data.split(b"\n")
                rnd.shuffle(lines)
                data = bytearray(b"\n".join(lines))
            case _:
                lines = data.split(b"\n")
                lines.insert(rnd.randrange(len(lines) + 1), rnd.choice(rnd.choice(seeds).split(b"\n")))
                data = bytearray(b"\n".join(lines))
    return bytes(data)
