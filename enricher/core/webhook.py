"""Webhooks by the scheme of Standard Webhooks, which OpenAI uses: with an id, dated, and signed by a shared secret.

A webhook is a hint that a batch has ended, never the news itself: nothing is taken from it but the batch's id, and that
only to be looked at sooner. Never here: I/O, a clock, or a secret in an error.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

ID_HEADER: Final = "webhook-id"
TIMESTAMP_HEADER: Final = "webhook-timestamp"
SIGNATURE_HEADER: Final = "webhook-signature"

TOLERANCE_SECONDS: Final = 300.0
"""How far its date may be from our clock, either way: as much as the SDK of OpenAI allows."""

MAX_BODY_BYTES: Final = 64 * 1024
"""That of a batch has 200."""

BATCH_ENDS: Final = ("batch.completed", "batch.failed", "batch.expired", "batch.cancelled")
"""The types of event that are about a batch."""

_PREFIX: Final = "whsec_"
_LEAST_KEY_BYTES: Final = 16
_MAX_REMEMBERED: Final = 10_000
_ID: Final = re.compile(r"[!-~]{1,256}")
_TIMESTAMP: Final = re.compile(r"[0-9]{1,12}")


def to_key(secret: str) -> bytes:
    """The key that a secret stands for: base64 after `whsec_`, else the text itself. Raises ValueError."""
    key = secret.encode()
    if secret.startswith(_PREFIX):
        try:
            key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
        except (binascii.Error, ValueError):
            raise ValueError(f"what follows {_PREFIX} is not base64") from None
    if len(key) < _LEAST_KEY_BYTES:
        raise ValueError(f"is shorter than {_LEAST_KEY_BYTES} bytes: anybody could find it out")
    return key


def sign(key: bytes, *, webhook_id: str, timestamp: int, body: bytes) -> str:
    """The value of the signature's header; `timestamp` in whole epoch seconds."""
    signed = f"{webhook_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode("ascii")


def fault_of(key: bytes, headers: Mapping[str, str], body: bytes, *, now: float) -> str:
    """Why a webhook is not to be believed, in one word: unsigned, untimely or forged; empty if it is.

    `headers` finds names in lower case, `body` is as it came over the wire, `now` in epoch seconds.
    """
    webhook_id, timestamp = headers.get(ID_HEADER, ""), headers.get(TIMESTAMP_HEADER, "")
    given = headers.get(SIGNATURE_HEADER, "")
    if not (_ID.fullmatch(webhook_id) and _TIMESTAMP.fullmatch(timestamp) and given):
        return "unsigned"
    if abs(now - int(timestamp)) > TOLERANCE_SECONDS:
        return "untimely"
    expected = sign(key, webhook_id=webhook_id, timestamp=int(timestamp), body=body).encode()
    # Several while a secret is replaced; each is compared, however many came before it.
    matching = [hmac.compare_digest(expected, one.encode("utf-8", "surrogateescape")) for one in given.split(" ")]
    return "" if any(matching) else "forged"


def ended_batch(body: bytes) -> str | None:
    """Id of the batch that an event says has ended; None if it is about anything else or is no event."""
    try:
        event = json.loads(body)
    except (ValueError, RecursionError):
        return None
    data = event.get("data") if isinstance(event, dict) and event.get("type") in BATCH_ENDS else None
    batch_id = data.get("id") if isinstance(data, dict) else None
    return batch_id if isinstance(batch_id, str) and _ID.fullmatch(batch_id) else None


class SeenIds:
    """The ids of webhooks that were believed, for as long as their dates let them be believed again."""

    def __init__(self) -> None:
        self._until: OrderedDict[str, float] = OrderedDict()

    def is_new(self, webhook_id: str, *, now: float) -> bool:
        """Whether this id comes for the first time; it does not from then on."""
        while self._until and next(iter(self._until.values())) < now:
            self._until.popitem(last=False)
        if webhook_id in self._until:
            return False
        # Forgetting one too early, for want of room or for a clock that was set, has a batch polled twice at worst.
        if len(self._until) >= _MAX_REMEMBERED:
            self._until.popitem(last=False)
        self._until[webhook_id] = now + 2 * TOLERANCE_SECONDS
        return True
