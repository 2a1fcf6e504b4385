"""The rows of the ledger: kinds of event to ask about, requests, batches, and what became of them.

Values only. The life cycle of a batch is decided in `core.job`, the bytes of a request in `core.batch`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Literal

DIGEST_PREFIX: Final = "digest:"
"""Begins the signature of a request that asks about a window, whose id follows, and not about a kind of event."""

GOLD_PREFIX: Final = "gold:"
"""Begins the signature of a labelled line that is asked about to judge the task; day and line follow."""


Purpose = Literal["events", "records"]
"""What a batch asks about: kinds of event, with windows and labelled lines, or records."""


class BatchState(StrEnum):
    """Where a batch of ours stands; each arrow is one commit."""

    PLANNED = "planned"  # requests are fixed, nothing was sent
    UPLOADING = "uploading"  # intent: the input file may be on the provider's side
    CREATING = "creating"  # the file is there; the batch may be, too
    OPEN = "open"  # the provider works on it
    CANCELLING = "cancelling"  # we asked to cancel; wait for a terminal state before asking again
    DONE = "done"  # collected and booked


class RequestState(StrEnum):
    """Where a request stands."""

    LIVE = "live"  # in a batch that is not done
    AGAIN = "again"  # to be sent again unchanged
    ANSWERED = "answered"
    FAILED = "failed"  # for good; its signatures have a status that says why
    SPLIT = "split"  # its signatures are asked one by one instead
    SKIPPED = "skipped"  # over budget, not sent


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A signature as plan and write see it: one kind of event in the panes looked at."""

    signature: str
    shapes: tuple[int, ...]
    """Row ids of the shapes that resolve to it and occur in the panes looked at."""
    template: str
    level: str
    program: str
    events: int
    window: int
    """Start of the earliest window that needs it."""
    pane: int
    alone: bool = False
    """It came out of a packed request that failed, and is asked alone now."""
    tries: int = 0
    """How often it was asked in vain already."""
    reason: str = "new"
    """Why it is to be asked: one of `core.catalogue.REASONS`."""
    where: str = ""
    """What holds of a number or word in all its events, where that tells it apart from others of its template."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRequest:
    """One request and its life."""

    id: str
    task: str
    model: str
    endpoint: str
    signatures: tuple[str, ...]
    templates: tuple[str, ...]
    """Beside `signatures`: what each one's template was when it was asked; the slots of an answer name its holes."""
    body: bytes
    tokens: int
    """Upper estimate of its input tokens."""
    reserved_usd: float
    window: int
    state: RequestState
    attempt: int
    """Number of its current or last sending, from 1: part of its custom_id."""
    tries: int
    """Sendings that counted as a failed try (an expired or lost line does not)."""
    changed_at: float = field(default=0.0, compare=False)
    """When its state last changed."""

    @property
    def is_gold(self) -> bool:
        """Whether it asks about labelled lines."""
        return self.signatures[0].startswith(GOLD_PREFIX)

    @property
    def is_digest(self) -> bool:
        """Whether it asks about a window: nothing waits for it, and it is left out first."""
        return self.signatures[0].startswith(DIGEST_PREFIX)


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerBatch:
    """One batch and its life."""

    id: int
    """Row id; 0 before it is stored."""
    name: str
    """File name of its input: window, part, attempt."""
    job: str
    """Our own id in the batch's metadata, by which an orphan is found again."""
    window: int
    part: int
    attempt: int
    windows: int
    """How many windows share the file."""
    task: str
    model: str
    endpoint: str
    state: BatchState
    requests: int
    size_bytes: int
    tokens: int
    """Input tokens reserved from the provider's queue while it is open."""
    reserved_usd: float
    digests: int = 0
    """How many of its requests ask about windows and not about kinds."""
    input_file_id: str | None = None
    batch_id: str | None = None
    status: str | None = None
    """The provider's own word, as last seen."""
    outcome: str | None = None
    """completed, failed, expired, cancelled once done."""
    planned_at: float = 0.0
    intent_at: float | None = None
    """When the last upload, create or cancel was begun."""
    created_at: float | None = None
    expires_at: float | None = None
    """When the provider is to be done with it, by our clock."""
    next_at: float = 0.0
    """Not to be touched before (backoff)."""
    failures: int = 0
    """Transient failures in a row, for the backoff."""
    looks: int = 0
    """How often an unclear create was looked for in the provider's list; of an open batch: whether one was."""
    failing_since: float | None = None
    """When it failed first without having come further since; with an `error`, it fails still."""
    error: str | None = None
    """Why it does not go on, or ended as it did."""
    hint: str = ""
    """What the reader can do about the error."""
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0
    purpose: Purpose = "events"
    is_surplus: bool = False
    """It asks what another of ours asks: it is cancelled, and what it cost until then is booked."""

    @property
    def upload_name(self) -> str:
        """What its file is called at the provider, where other hosts of one account may upload for the same window.

        An upload that may have happened is looked for by this name: with one that they share, we would create a batch
        of their requests, pay for it, and delete what they wait for.
        """
        return f"{self.name.removesuffix('.jsonl')}-{self.job}.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAnswer:
    """What is known of a signature under a task and a model."""

    id: int
    signature: str
    task: str
    model: str
    """The model asked for: part of the key."""
    served_model: str
    status: str
    """ok, invalid, refused or error."""
    body: str
    """JSON of `core.answer.Answer`; empty unless the status is ok."""
    batch_id: str
    answered_at: float
    origin: Literal["asked", "imported"] = "asked"
    """Whether it was asked for here, or came with a file."""
    template: str = ""
    """The one whose holes the slots of the answer name; that of its signature may have grown since."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestResult:
    """What collecting a batch decided about one of its requests."""

    id: str
    custom_id: str
    state: RequestState
    counts: bool
    """Whether this sending counts as a try."""
    error: str
    usage: tuple[int, int, int]
    """Input, cached and output tokens billed."""
    cost_usd: float
    answers: tuple[StoredAnswer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a shape's events of one pane are written with: fixed once, for every sink and every repetition."""

    shape: int
    signature: str
    template: str
    status: str
    """ok, cached, pending, invalid, refused, error, expired, skipped_budget, skipped_policy."""
    answer: StoredAnswer | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One file of a window's output: a range of the events of one round, in (path, generation, offset) order."""

    start: int
    number: int
    """Counted per window, over its panes."""
    pane: int
    round_number: int
    """Which of the pane's decisions it belongs to: 0 at the close, then one for each set of later answers."""
    first: int
    """Ordinal of its first event among the round's."""
    events: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KindSeen:
    """A signature as an operator sees it: how often it was met, and what is known of it."""

    signature: str
    template: str
    level: str
    program: str
    events: int
    """Events of it that were ever read."""
    first_seen_at: float
    answer: StoredAnswer | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """What was booked and what is reserved, in USD."""

    today_usd: float
    month_usd: float
    reserved_usd: float
