"""A line in front of which the container runtime has written its own: CRI's ``time stdout F line``.

Docker's JSON and the journal's are unwrapped in ``json_lines``. What is keyed is the line inside, so that one program's
lines are of the same kinds whoever carries them.
"""

from __future__ import annotations

import re

from enricher.core.structured.parsed import Parsed

_CRI = re.compile(
    r"[0-9]++-[0-9]++-[0-9]++T[0-9]++:[0-9]++:[0-9]++(?:\.[0-9]++)?(?:Z|[-+][0-9]++:[0-9]++) (stdout|stderr) ([FP]) "
)


def parse_cri(text: str) -> Parsed | None:
    """What the kubelet's runtimes write; None for anything else."""
    match = _CRI.match(text)
    if match is None:
        return None
    return Parsed(format="cri", fields=(("stream", match[1]), ("tag", match[2])), inner=text[match.end() :])
