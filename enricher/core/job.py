"""The life cycle of a batch, decided purely: (batch, what was seen, now) -> what to do next.

    planned -> uploading -> creating -> open -> done
                   |            |        +-> cancelling -> done
                   |            +-> creating (token queue full: same file again)
                   +-> uploading (unclear: look for the file first)

The invariant: nothing is created a second time before it was looked for twice, each time after a wait that no restart
shortens, since creating is not idempotent and a provider's list may be late; and every request of a batch that ends
goes to exactly one of answered, again, split, failed. Never here: I/O, sleeping.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from enricher.core.ledger import BatchState, LedgerBatch, LedgerRequest, RequestState

if TYPE_CHECKING:
    from collections.abc import Sequence

TERMINAL: Final = frozenset({"completed", "failed", "expired", "cancelled", "canceled"})
"""Provider states after which nothing changes; an unknown word is not one of them."""

TOKEN_LIMIT_CODES: Final = frozenset({"token_limit_exceeded"})
CONFIGURATION_CODES: Final = frozenset(
    {"model_not_found", "invalid_model", "unsupported_model", "endpoint_not_supported"}
)
"""Errors that stay until an operator changes the configuration: wait and say so, lose nothing."""

CREDIT_CODES: Final = frozenset(
    {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "insufficient_balance"}
)
"""The account has no money left, or the limit that was set for it is reached: as with a refused key, what waits goes
out once somebody has acted. It is no fault of a request, and uses up none of its tries.
"""

CREDIT_HINT: Final = "the provider has no money left for this key: see its billing page; nothing is lost meanwhile"

QUEUE_HINT: Final = "it is sent again by itself, seldom; if that goes on, see the account's limits at the provider"

LOOKS_BEFORE_CREATE: Final = 2
"""How often the provider's list is searched after an unclear create before creating again."""

FILE_PATIENCE_SECONDS: Final = 300.0
"""How long a file that was uploaded but is not found yet is waited for before it is uploaded again."""

WINDOW_SECONDS: Final = 86_400.0
"""The completion window that is asked for: the deadline where a provider names none."""

LONGEST_WINDOW_SECONDS: Final = 8 * 86_400.0
"""No provider takes longer; one that names more gives milliseconds for seconds."""

OVERDUE_SECONDS: Final = 3600.0
"""How far beyond the provider's own deadline a batch may run before we cancel it."""

CANCEL_PATIENCE_SECONDS: Final = 3600.0
"""How long a cancelled batch may take to become terminal before it is collected as it is."""

LOST_AFTER_FAILURES: Final = 10
"""Polls in a row that must have failed, over most of an hour, before a batch that is not found counts as lost."""

MAX_ANSWER_BYTES: Final = 1 << 20
"""Of one request: 128,000 tokens, more than models say at once, of 8 bytes in JSON."""

MAX_RESULT_BYTES: Final = 1 << 30
"""Of a whole batch: 50,000 answers of 4,000 tokens, with what stands around them, are 900 MB."""

MAX_WAIT_SECONDS: Final = 3600.0
"""Nobody waits longer, whatever a provider says in Retry-After: by that a wall clock that was set back is told."""

MAX_BACKOFF_SECONDS: Final = 600.0
MAX_COLLECT_BACKOFF_SECONDS: Final = MAX_WAIT_SECONDS
"""Between two tries to fetch the files of a batch that has ended, where the provider gives no usable file: each try
may transfer a gigabyte. It is never given up for that: the answers are paid for, and asking again would pay twice.
Only a file that the provider no longer knows is asked for anew.
"""

MAX_COUNTED_TRIES: Final = 3
"""Sendings of a request that may fail for a reason that counts: the first, and two more."""

MAX_ATTEMPTS: Final = 20
"""Sendings of a request in all, uncounted ones too: a bound for a provider that loses every line."""

_FIRST_RESEND_SECONDS: Final = 60.0

MAX_DIGEST_ATTEMPTS: Final = 3
"""The same for a request about a window or labelled lines: what is said of it after days is of no use."""

_LIMIT_IN_TEXT: Final = re.compile(r"Limit:\s*([0-9][0-9,_.]*)")


class Step(StrEnum):
    """What to do with a batch next."""

    RESERVE = "reserve"  # check budget and token queue, then upload
    FIND_UPLOAD = "find_upload"  # an upload may have happened: look for it
    UPLOAD = "upload"
    FIND_BATCH = "find_batch"  # a create may have happened: look for it
    CREATE = "create"
    POLL = "poll"
    CANCEL = "cancel"
    COLLECT = "collect"
    WAIT = "wait"


def most_result_bytes(batch: LedgerBatch) -> int:
    """How large a result file of this batch can be: an answer for each request, beside what was asked, repeated."""
    return min(batch.requests * MAX_ANSWER_BYTES + 2 * batch.size_bytes, MAX_RESULT_BYTES)


def next_step(batch: LedgerBatch, now: float, *, at_once: bool = False) -> Step:
    """What a batch needs now, as far as the ledger alone tells; `at_once`: what waits is tried before its time.

    But what may be there is only looked for then: processes that are killed one after the other would each take a look,
    all within a second of the create, and the last of them would create it again.
    """
    waits = _is_ahead(batch.next_at, now)
    if waits and not at_once:
        return Step.WAIT
    match batch.state:
        case BatchState.PLANNED:
            return Step.RESERVE
        case BatchState.UPLOADING:
            # An intent without a file id means that an upload was begun and its end was never seen.
            return Step.UPLOAD if batch.intent_at is None else Step.FIND_UPLOAD
        case BatchState.CREATING:
            if batch.intent_at is None:
                return Step.CREATE
            return Step.CREATE if batch.looks >= LOOKS_BEFORE_CREATE and not waits else Step.FIND_BATCH
        case BatchState.OPEN | BatchState.CANCELLING:
            return Step.POLL
        case BatchState.DONE:
            return Step.WAIT


def _is_ahead(until: float, now: float) -> bool:
    """Whether a wait goes on. One that ends further away than any was written down before the clock was set back."""
    return now < until <= now + MAX_WAIT_SECONDS


def looked_in_vain(batch: LedgerBatch, now: float, *, until: float) -> LedgerBatch:
    """The batch after the provider's list did not have it, which is looked at again `until` then at the latest.

    A look before its time does not count: see `next_step`. But who answers is there again, so that what was waited for
    longer, for want of an answer, is not.
    """
    is_early = _is_ahead(batch.next_at, now)
    looks, due = (batch.looks, min(batch.next_at, until)) if is_early else (batch.looks + 1, until)
    return replace(batch, looks=looks, next_at=due, failures=0, failing_since=None, error=None, hint="")


def is_due_again(request: LedgerRequest, now: float) -> bool:
    """Whether a request may be sent again."""
    return not _is_ahead(request.changed_at + resend_wait_seconds(request.attempt), now)


def resend_wait_seconds(sendings: int) -> float:
    """How long a request waits after so many sendings: not at first, then doubling, once that has not helped.

    What comes back without an answer so often is no fault of the request, and may be one of the provider's that costs
    money each time.
    """
    vain = sendings - MAX_COUNTED_TRIES
    return 0.0 if vain < 0 else min(MAX_WAIT_SECONDS, _FIRST_RESEND_SECONDS * 2.0 ** min(vain, 20))


def deadline(*, created_at: float | None, expires_at: float | None, now: float) -> float:
    """When a batch that was seen for the first time is to have ended, by our clock.

    Only how long the provider says that it will take is taken from it: two clocks that differ by a day would else have
    every batch cancelled, and paid again, as soon as it is open.
    """
    promised = expires_at - created_at if expires_at is not None and created_at is not None else 0.0
    return now + (min(promised, LONGEST_WINDOW_SECONDS) if promised > 0 else WINDOW_SECONDS)


def within_reach(batch: LedgerBatch, now: float) -> LedgerBatch:
    """The batch without what lies further ahead than it can: it was written down before the wall clock was set back.

    A batch that is stuck would else be cancelled, or given up, only when that time comes: never.
    """
    if batch.expires_at is not None and batch.expires_at > now + LONGEST_WINDOW_SECONDS:
        batch = replace(batch, expires_at=now + WINDOW_SECONDS)
    if batch.intent_at is not None and batch.intent_at > now:
        batch = replace(batch, intent_at=now)
    return batch


def after_poll(batch: LedgerBatch, status: str, now: float) -> Step:
    """What a poll of an open or cancelling batch calls for: collect, cancel, or wait for the next poll."""
    if status in TERMINAL:
        return Step.COLLECT
    if batch.state is BatchState.CANCELLING:
        if batch.intent_at is not None and now >= batch.intent_at + CANCEL_PATIENCE_SECONDS and is_overdue(batch, now):
            return Step.COLLECT
        # The call may have come to nothing; nobody is asked twice who has begun.
        return Step.WAIT if status == "cancelling" else Step.CANCEL
    return Step.CANCEL if batch.is_surplus or is_overdue(batch, now) else Step.WAIT


def is_overdue(batch: LedgerBatch, now: float) -> bool:
    """Whether a batch was to have ended long ago, whatever the provider says of it."""
    return batch.expires_at is not None and now >= batch.expires_at + OVERDUE_SECONDS


def is_lost(batch: LedgerBatch, now: float) -> bool:
    """Whether a batch that was not found, again, is given up: not before it was to have ended, whoever looks how often.

    What the key of another project does not find is there, and is paid for.
    """
    return is_overdue(batch, now) and batch.failures + 1 >= LOST_AFTER_FAILURES


def backoff_seconds(failures: int, *, first: float, jitter: float, most: float = MAX_BACKOFF_SECONDS) -> float:
    """Wait after the nth failure in a row: doubling from `first` to `most`, with jitter in [0, 1) of the half."""
    full = min(most, first * 2.0 ** min(failures, 20))
    return full * (0.5 + jitter / 2)


def held_back(batch: LedgerBatch, error: str, *, hint: str, now: float, wait: float) -> LedgerBatch:
    """The batch after a call that failed for now: same state, touched again after `wait` seconds."""
    since = now if batch.failing_since is None else min(batch.failing_since, now)
    return replace(batch, failures=batch.failures + 1, failing_since=since, next_at=now + wait, error=error, hint=hint)


def cancelling(batch: LedgerBatch, now: float) -> LedgerBatch:
    """The batch when it is asked, or asked again, to be cancelled: how long that may take runs from the first time."""
    return batch if batch.state is BatchState.CANCELLING else replace(batch, state=BatchState.CANCELLING, intent_at=now)


def went_well(batch: LedgerBatch, status: str) -> LedgerBatch:
    """The batch after a poll that found it at work.

    One that is still looked at by the provider has come no further: if it was refused for a full queue before, it may
    be again, and is to wait longer then.
    """
    if status == "validating":
        return replace(batch, status=status, error=None, hint="")
    return replace(batch, status=status, failures=0, failing_since=None, error=None, hint="")


def queue_was_full(batch: LedgerBatch, error: str, *, hint: str, now: float, wait: float) -> LedgerBatch:
    """The batch after the provider's token queue was full: created again from the same file, no attempt used up."""
    return replace(
        held_back(batch, error, hint=hint, now=now, wait=wait),
        state=BatchState.CREATING,
        batch_id=None,
        status=None,
        intent_at=None,
        created_at=None,
        expires_at=None,
    )


def surplus(batch: LedgerBatch, batch_id: str) -> LedgerBatch:
    """A batch that was found beside `batch`, which is open: the next poll cancels it.

    It keeps its place in the provider's queue, and its money is reserved, until it has ended.
    """
    return replace(
        batch,
        id=0,
        name=f"{batch.name.removesuffix('.jsonl')}-surplus.jsonl",
        job=f"{batch.job}-{batch_id}",
        state=BatchState.OPEN,
        batch_id=batch_id,
        status=None,
        intent_at=None,
        next_at=0.0,
        failures=0,
        looks=0,
        error=None,
        is_surplus=True,
    )


def is_too_large(batch: LedgerBatch, limit: int | None) -> bool:
    """Whether a batch that the queue refused can never fit into it, and its requests are to be cut anew."""
    return limit is not None and batch.tokens > limit and batch.requests > 1


def token_limit_in(message: str) -> int | None:
    """The queue limit that a token_limit_exceeded message names ("... Limit: 2,000,000 enqueued tokens.")."""
    found = _LIMIT_IN_TEXT.search(message)
    digits = re.sub(r"[^0-9]", "", found.group(1)) if found else ""
    # A number of more digits is no limit of anything, and would not fit the ledger's column.
    return int(digits) if 0 < len(digits) <= 15 else None


def believed_limit(tokens: int, *, learned_at: float, now: float) -> int:
    """What a limit of the token queue is taken for now: as it was told for a day, then twice as much with each day.

    A provider tells of a limit only to who meets it, and raises it with what an account has paid. To ask for more than
    there is costs a refusal, which tells the limit anew, and no money. A limit that was told in what is yet to be, by a
    clock that has been set back, is as old as that is far away.
    """
    days = int(abs(now - learned_at) / WINDOW_SECONDS)
    return tokens << min(days, 30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What becomes of a request after a sending."""

    state: RequestState
    counts: bool
    status: str | None
    """For FAILED: the status that its signatures get (invalid, refused, error)."""


def fate_of_unanswered(
    *, packed: bool, again: bool, counts: bool, tries: int, attempt: int, max_attempts: int = MAX_ATTEMPTS
) -> Fate:
    """A request with no usable response line.

    `again`: the error is one that may pass (5xx, expired, cancelled, lost line); `counts`: it uses up a try.
    """
    if again:
        used_up = (counts and tries + 1 >= MAX_COUNTED_TRIES) or attempt >= max_attempts
        if not used_up:
            return Fate(state=RequestState.AGAIN, counts=counts, status=None)
    elif packed:
        # One bad signature may have sunk the others: ask each alone.
        return Fate(state=RequestState.SPLIT, counts=True, status=None)
    return Fate(state=RequestState.FAILED, counts=True, status="error")


def fate_of_answered(statuses: Sequence[str], *, tries: int) -> Fate:
    """A request with a response: `statuses` of its signatures, each ok, invalid, incomplete or refused."""
    bad = [status for status in statuses if status != "ok"]
    if not bad:
        return Fate(state=RequestState.ANSWERED, counts=False, status=None)
    if len(statuses) > 1:
        return Fate(state=RequestState.SPLIT, counts=True, status=None)
    if bad[0] == "refused":
        return Fate(state=RequestState.FAILED, counts=True, status="refused")
    if tries + 1 < MAX_COUNTED_TRIES:
        return Fate(state=RequestState.AGAIN, counts=True, status=None)
    return Fate(state=RequestState.FAILED, counts=True, status="invalid")
