"""What a job over records tells: how far it is, and what it came to. Values only."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class JobProgress:
    """How far a job is, for a progress bar."""

    phase: str
    """reading, asking, writing."""
    rows: int
    done: int = 0
    """Items that are answered."""
    failed: int = 0
    total: int = 0
    cost_usd: float = 0.0
    note: str = ""
    """Why it does not go on, if it does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a job came to."""

    task: str
    model: str
    input: str
    output: str
    rows: int
    statuses: dict[str, int]
    """Rows by status."""
    reasons: dict[str, str]
    """By each status but ok: the key of its first row, and why that has it."""
    asked: int
    """Requests that were made for it, by whichever process, one that was sent again counted again. Rows with the same
    text share one, and what was answered before needs none."""
    cost_usd: float
    """Paid for these."""
    notes: tuple[str, ...] = ()
    """What a person should know: an input that changed, a schema that could not be tried."""

    @property
    def failed(self) -> int:
        """Rows without an answer."""
        return self.rows - self.statuses.get("ok", 0)

    def to_json(self) -> dict[str, object]:
        """For a program."""
        return asdict(self) | {"failed": self.failed}
