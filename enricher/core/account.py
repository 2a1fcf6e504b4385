"""A model's account of a window: what it is asked once about the window as a whole, and how its answer is read.

It is an ordinary request of the ledger, whose signature is `digest:WINDOW`, under a task of its own. Invariants: it
shows masked templates, counts and what is known of kinds already, never a line; a kind whose text reads like
instructions is shown by its counts alone; an account cites only kinds that its own request showed, and its texts are
cleaned and cut before anything keeps them. Reading never raises, whatever the body is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import pydantic

from enricher.core import batch, pricing
from enricher.core.answer import Usage, last_turn, parse_json, read_text
from enricher.core.ledger import DIGEST_PREFIX, LedgerRequest, RequestState
from enricher.core.prompt import to_body
from enricher.core.redact import HOLE, clean, looks_like_instructions, mask_template
from enricher.core.tokens import estimate_tokens

if TYPE_CHECKING:
    from collections.abc import Collection

    from enricher.core.digest import Digest, KindCount
    from enricher.core.pricing import Prices
    from enricher.core.task import Task
    from enricher.core.verdict import Status

_SHOWN_KINDS: Final = 40
_TEMPLATE_CHARACTERS: Final = 300
_WORD_CHARACTERS: Final = 80
_TEXT_CHARACTERS: Final = 600
_MAX_CITES: Final = 20
_WITHHELD: Final = "(withheld: its text reads like instructions)"
_ID: Final = re.compile(r"\b[0-9a-f]{16}\b")


class Account(pydantic.BaseModel):
    """What a model says about a window; `cites` are ids of kinds that it was shown."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    headline: Annotated[str, pydantic.Field(min_length=1)]
    what_happened: Annotated[str, pydantic.Field(min_length=1)]
    likely_cause: str | None
    action: str | None
    cites: tuple[str, ...]
    model: str = ""
    """Who said so; set by whoever knows, never by the answer."""

    def to_json(self) -> str:
        """As the store keeps it."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str) -> Account:
        """Read back what `to_json` wrote."""
        return cls.model_validate_json(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountReading:
    """A response, read: with an account if the status is ok, else with the reason why there is none."""

    status: Status
    account: Account | None
    reason: str
    usage: Usage
    model: str
    """The one that the response names, "" if none."""


# ---------------------------------------------------------------- what is asked


def account_request(
    task: Task,
    digest: Digest,
    *,
    start: int,
    model: str,
    endpoint: str,
    reasoning_effort: str,
    prices: Prices | None,
) -> LedgerRequest:
    """Build the request for the account of the window that starts at `start`."""
    signature = DIGEST_PREFIX + digest.window
    text = question(digest)
    schema = account_schema(task, shown_ids(text))
    body = to_body(
        task,
        turns=[{"role": "user", "content": text}],
        schema=schema,
        max_tokens=task.max_output_tokens,
        model=model,
        endpoint=endpoint,
        reasoning_effort=reasoning_effort,
    )
    ids = json.dumps(schema["properties"]["cites"])
    tokens = batch.static_tokens(task, 1) + estimate_tokens(text) + estimate_tokens(ids)
    return LedgerRequest(
        id=batch.request_id(task.hash, model, [signature]),
        task=task.hash,
        model=model,
        endpoint=endpoint,
        signatures=(signature,),
        templates=("",),
        body=json.dumps(body, separators=(",", ":")).encode("ascii"),
        tokens=tokens,
        reserved_usd=pricing.reserve(tokens, task, 1, prices),
        window=start,
        state=RequestState.LIVE,
        attempt=1,
        tries=0,
    )


def question(digest: Digest) -> str:
    """What a model is shown of a window: kinds, counts and known answers as JSON, bounded, masked."""
    changed = [
        {**_shown(one.kind), "change": one.change, "usual_events": round(one.usual, 1)}
        for one in digest.changes[:_SHOWN_KINDS]
    ]
    told = {one["id"] for one in changed}
    document = {
        "window": digest.window,
        "events": digest.events,
        "kinds": digest.kinds,
        "compared_with_windows": digest.history_windows,
        "changed": changed,
        "gravest": [_shown(kind) for kind in digest.gravest if kind.signature not in told][: _SHOWN_KINDS // 2],
    }
    return msgspec.json.encode(document).decode()


def _shown(kind: KindCount) -> dict[str, Any]:
    template = mask_template(kind.template.replace("\0", "\n"), kind.program)[:_TEMPLATE_CHARACTERS]
    texts = {
        "template": template,
        "program": mask_template(kind.program)[:_WORD_CHARACTERS],
        "level": clean(kind.level)[:_WORD_CHARACTERS],
        # Answers that came with a file may say anything.
        "summary": mask_template(kind.summary or "")[:_TEMPLATE_CHARACTERS],
    }
    # Orders can hide in what the limit cuts, or in a name; what a model said of such a kind may be what it was told.
    line = f"{kind.program}: {kind.template}"
    if any(map(_gives_orders, (line, kind.template, kind.level, *texts.values()))):
        texts = {"template": _WITHHELD}
    shown = {"id": kind.signature, "events": kind.events, **texts, "severity": kind.severity, "category": kind.category}
    return {key: value for key, value in shown.items() if value not in (None, "")}


def _gives_orders(text: str) -> bool:
    """Whether a text reads like instructions, as it stands or without its holes and what was no text."""
    words = text.replace(HOLE, " ").replace("\ufffd", " ").split()
    return looks_like_instructions(text) or looks_like_instructions(" ".join(words))


def account_schema(task: Task, ids: Collection[str]) -> dict[str, Any]:
    """Return the task's strict JSON Schema, in which only these ids can be cited."""
    assert task.schema is not None
    schema: dict[str, Any] = json.loads(json.dumps(dict(task.schema)))
    if ids:
        schema["properties"]["cites"]["items"]["enum"] = sorted(ids)
    return schema


def shown_ids(question_text: str) -> frozenset[str]:
    """Ids of the kinds that a question shows; none where the text is no question."""
    document = parse_json(question_text)
    if not isinstance(document, Mapping):
        return frozenset()
    rows = [row for key in ("changed", "gravest") for row in document.get(key) or ()]
    return frozenset(row["id"] for row in rows)


# ---------------------------------------------------------------- what comes back


def read_account(endpoint: str, body: object, *, sent: bytes) -> AccountReading:
    """Read the body of a response with HTTP status 200; `sent` is that of the request: it says what may be cited."""
    said = read_text(endpoint, body)
    status, reason, account = said.status, said.reason, None
    if status == "ok":
        try:
            account = parse_account(said.text, shown_ids(last_turn(sent)))
        except ValueError as error:
            status, reason = "invalid", str(error)
    return AccountReading(
        status=status, account=account, reason=clean(reason)[:200], usage=said.usage, model=said.model
    )


def parse_account(text: str, known: Collection[str]) -> Account:
    """Check a model's answer. Raises ValueError where it is none; ids that are not `known` are dropped from `cites`.

    Texts are cleaned and cut: they are shown on terminals and written into Markdown.
    """
    parsed = parse_json(text)
    root = parsed if isinstance(parsed, Mapping) else {}
    cleaned = {key: _bounded(value, known) if isinstance(value, str) else value for key, value in root.items()}
    for name in ("likely_cause", "action"):
        if cleaned.get(name) == "":
            cleaned[name] = None
    try:
        account = Account.model_validate(cleaned)
    except pydantic.ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))[:60] or 'the answer'}: {first['msg']}") from None
    cites = tuple(dict.fromkeys(one for one in account.cites if one in known))[:_MAX_CITES]
    return account.model_copy(update={"cites": cites, "model": ""})


def _bounded(text: str, known: Collection[str]) -> str:
    named = _ID.sub(lambda match: match.group() if match.group() in known else "another kind", clean(text[:100_000]))
    return " ".join(named.split())[:_TEXT_CHARACTERS].strip()
