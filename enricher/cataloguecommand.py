"""The commands `signatures …`: the catalogue listed, looked at, passed on, taken in, forgotten, asked again.

What reads works beside a running daemon; what writes takes the lock of the state directory, or says who has it. Text
out of logs, models and files is shown through `show.safe` only. Never here: SQL, a format (`core.catalogue`).
"""

from __future__ import annotations

import datetime as dt
import sys
import time
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from enricher import private, show
from enricher import provider as providers
from enricher.core.catalogue import (
    Imported,
    Listing,
    Selection,
    export_header,
    exported,
    nearest,
    parse_age,
    parse_export,
)
from enricher.core.meaning import where
from enricher.core.pseudonym import Pseudonyms
from enricher.core.redact import clean, mask_template
from enricher.core.verdict import Answer
from enricher.edges.store_sqlite import SqliteStore
from enricher.errors import ConfigError, EnricherError, LockedError, UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from rich.console import Console

    from enricher.config import Config
    from enricher.core.catalogue import Detail, Entry, Part, Revision
    from enricher.core.ledger import StoredAnswer

_PAGE = 1000
_EXAMPLES = 3
_LEAST_PREFIX = 4
_SPLIT_FROM = ("signature", "slot", "values")


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """Under which task version and model answers are looked for: those that a run would ask with now."""

    task: str
    model: str


def key_of(config: Config, *, config_path: Path | None, environment: Mapping[str, str]) -> Key:
    """Task and model of the provider that would be asked; of the configured one where none can be."""
    now = time.time()
    try:
        provider = providers.choose(config, environment=environment, config_path=config_path, now=now)
    except ConfigError:
        provider = providers.describe(config, environment=environment, config_path=config_path, now=now)
    return Key(task=provider.task.hash, model=provider.model)


# ---------------------------------------------------------------- reading


async def entries(config: Config, key: Key, listing: Listing) -> list[Entry]:
    """The signatures asked for."""
    async with _opened(config, is_read_only=True) as store:
        return await store.entries(listing, key.task, key.model)


async def detail(config: Config, key: Key, wanted: str) -> tuple[Detail, dict[str, list[str]]]:
    """All about a signature, and lines that are still spooled, under pseudonyms. UsageError.

    The lines are up to three of each signature: of this one, and of those that were split off it.
    """
    async with _opened(config, is_read_only=True) as store:
        found = await store.detail(await _resolved(store, wanted), key.task, key.model)
        if found is None:
            raise UsageError(f"signature {wanted}: nothing is known of it any more")
        panes = [(pane.start, pane.number) for pane in (*await store.open_panes(), *await store.closed_panes())]
        shapes = {found.entry.signature: found.shapes} | {one.signature: (one.shape,) for one in found.parts}
        sampled = await store.samples(shapes, panes, _EXAMPLES) if found.shapes and panes else {}
    lines = {name: [line.decode("utf-8", "backslashreplace") for line in own] for name, own in sampled.items()}
    flat = [line for own in lines.values() for line in own]
    redacted = iter(Pseudonyms([found.entry.template, *flat]).redact(flat))
    return found, {name: [clean(next(redacted)) for _ in own] for name, own in lines.items()}


async def export(config: Config, key: Key, out: Path | None) -> int:
    """Write every signature that has an answer, to a file or to standard output; returns how many."""
    async with _opened(config, is_read_only=True) as store:
        if out is None:
            return await _write_export(store, key, sys.stdout.buffer)
        with _made_whole(out) as file:
            return await _write_export(store, key, file)


@contextmanager
def _made_whole(out: Path) -> Iterator[BinaryIO]:
    """Open a file that is there when all of it was written, and not before. UsageError."""
    if out.exists() and not out.is_file():
        raise UsageError(f"--out {out}: is no file", hint="without --out it goes to the standard output")
    unfinished = out.with_name(out.name + ".unfinished")
    try:
        try:
            with open(unfinished, "wb", opener=private.opener) as file:
                yield file
            unfinished.replace(out)
        except BaseException:
            with suppress(OSError):
                unfinished.unlink()
            raise
    except OSError as error:
        raise UsageError(f"--out {out}: cannot be written: {error.strerror}", hint="name another file") from error


async def _write_export(store: SqliteStore, key: Key, file: BinaryIO) -> int:
    promised = await store.count_answered()
    file.write(export_header(promised, time.time()))
    after, written = "", 0
    while written < promised and (page := await store.answered_page(after, _PAGE, key.task, key.model)):
        lines = [line for entry in page if (line := exported(entry)) is not None]
        # Answers that came after the first line was written wait for the next export.
        for line in lines[: promised - written]:
            file.write(line.to_line())
        written += min(len(lines), promised - written)
        after = page[-1].signature
    file.flush()
    return written


# ---------------------------------------------------------------- writing


async def import_file(config: Config, path: Path, *, keep: bool) -> Imported:
    """Take the answers of an export in: all, or none where the file has a fault. UsageError, LockedError."""
    try:
        with path.open("rb") as file:
            given, faults = parse_export(file)
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be read: {error.strerror}", hint="check the name and the permissions"
        ) from None
    if faults:
        raise ConfigError(
            [f"{path}: {fault}" for fault in faults],
            hint="nothing was taken in; `enricher signatures export` writes files that can be",
        )
    taken = replaced = kept = 0
    async with _opened(config, is_read_only=False) as store:
        for at in range(0, len(given), _PAGE):
            one = await store.import_answers(given[at : at + _PAGE], keep=keep, now=time.time())
            taken, replaced, kept = taken + one.taken, replaced + one.replaced, kept + one.kept
    return Imported(taken=taken, replaced=replaced, kept=kept)


async def forget(config: Config, ids: Sequence[str], *, every: bool, task: str | None) -> int:
    """Drop answers, of these signatures or of all; returns of how many. UsageError, LockedError."""
    _check_choice(ids, every=every, also=False)
    if task is not None and not every:
        raise UsageError("--task goes with --all: of all answers, those of this version of the task")
    async with _opened(config, is_read_only=False) as store:
        names = tuple([await _resolved(store, one) for one in ids])
        return await store.forget(Selection(signatures=names, task=task))


async def refresh(config: Config, ids: Sequence[str], *, every: bool, older_than: str | None) -> int:
    """Have signatures asked again when they are seen next; returns how many. UsageError, LockedError."""
    _check_choice(ids, every=every, also=older_than is not None)
    before = None
    if older_than is not None:
        try:
            before = time.time() - parse_age(older_than)
        except ValueError as fault:
            raise UsageError(f"--older-than {fault}") from None
    async with _opened(config, is_read_only=False) as store:
        names = tuple([await _resolved(store, one) for one in ids])
        return await store.refresh(Selection(signatures=names, answered_before=before))


def _check_choice(ids: Sequence[str], *, every: bool, also: bool) -> None:
    if bool(ids) + every + also != 1:
        raise UsageError(
            "which signatures: give their ids, or one option that says which",
            hint="enricher signatures list shows the ids; the first characters of one are enough",
        )


# ---------------------------------------------------------------- shared


@asynccontextmanager
async def _opened(config: Config, *, is_read_only: bool) -> AsyncIterator[SqliteStore]:
    if not (config.state_dir / SqliteStore.FILE_NAME).exists() and is_read_only:
        raise EnricherError(
            f"{config.state_dir}: nothing was run here yet", hint="give the configuration of the daemon with -c FILE"
        )
    try:
        store = await SqliteStore.open(config.state_dir, read_only=is_read_only)
    except LockedError as error:
        raise LockedError(
            str(error),
            hint=f"{error.hint}; then run this again, and start it anew (list, show and export work beside it)",
        ) from None
    try:
        yield store
    finally:
        await store.close()


async def _resolved(store: SqliteStore, wanted: str) -> str:
    """The id that begins so. UsageError with what is near, where there is none or more than one."""
    text = wanted.strip().lower()
    found = await store.resolve(text, 4) if text else []
    if len(found) == 1 or text in found:
        return text if text in found else found[0]
    if found and len(text) >= _LEAST_PREFIX:
        raise UsageError(f"signature {wanted}: more than one begins so", hint=f"one of {', '.join(found)}")
    if found:
        raise UsageError(f"signature {wanted}: too short to tell which", hint=f"such as {found[0]}")
    near = nearest(text, await store.neighbours(text))
    hint = f"near it: {', '.join(near)}" if near else "enricher signatures list shows what there is"
    raise UsageError(f"signature {wanted}: there is none of that id", hint=hint)


# ---------------------------------------------------------------- for programs


def entry_json(entry: Entry) -> dict[str, Any]:
    """A signature as JSON."""
    return asdict(entry) | {
        "first_seen_at": _time(entry.first_seen_at),
        "last_seen_at": _time(entry.last_seen_at),
        "answer": None if entry.answer is None else _answer_json(entry.answer),
    }


def detail_json(found: Detail, examples: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """All about a signature as JSON; `examples` by signature."""
    return entry_json(found.entry) | {
        "sources": list(found.sources),
        "members": [asdict(member) for member in found.members],
        "revisions": [asdict(one) | {"at": _time(one.at)} for one in found.revisions],
        "answers": [_answer_json(one) for one in found.answers],
        "examples": list(examples.get(found.entry.signature, ())),
        "split_from": None if found.parent is None else dict(zip(_SPLIT_FROM, found.parent, strict=True)),
        "splits": [asdict(one) | {"at": _time(one.at)} for one in found.splits],
        "matchers": [asdict(one) | {"at": _time(one.at)} for one in found.matchers],
        "parts": [_part_json(one, examples.get(one.signature, ())) for one in found.parts],
    }


def _part_json(part: Part, examples: Sequence[str]) -> dict[str, Any]:
    return {
        "signature": part.signature,
        "slot": part.slot,
        "values": part.bucket,
        "events": part.events,
        "answer": None if part.answer is None else _answer_json(part.answer),
        "examples": list(examples),
    }


def _answer_json(answer: StoredAnswer) -> dict[str, Any]:
    said = Answer.from_json(answer.body).model_dump(mode="json") if answer.status == "ok" else {}
    return {
        "status": answer.status,
        **said,
        "task": answer.task,
        "model": answer.model,
        "served_model": answer.served_model,
        "batch_id": answer.batch_id,
        "answered_at": _time(answer.answered_at),
        "origin": answer.origin,
    }


# ---------------------------------------------------------------- for a person


def print_entries(console: Console, found: Sequence[Entry]) -> None:
    """A line for each signature."""
    rows = []
    for entry in found:
        answer = _said(entry.answer)
        state = answer.severity if answer else "skipped" if entry.is_skipped else _unanswered(entry.answer)
        text = answer.summary if answer else mask_template(entry.template)
        rows.append((entry.signature, state, f"{entry.events:,}", _day(entry.last_seen_at), show.safe(text, limit=70)))
    if not rows:
        console.print("no signature is such")
        return
    show.grid(console, "signatures", ("id", "severity", "events", "last seen", "what it means, or its template"), rows)


def print_detail(console: Console, found: Detail, examples: Mapping[str, Sequence[str]]) -> None:
    """All about a signature; `examples` by signature."""
    entry = found.entry
    facts = [
        ("signature", entry.signature),
        ("template", entry.template or "(never read here)"),
        ("level", entry.level or "none"),
        ("program", entry.program or "none"),
        ("numbers say", where(entry.format) or "nothing"),
        ("sources", ", ".join(found.sources) or "none"),
        ("events", f"{entry.events:,} of {entry.shapes:,} shapes"),
        ("first seen", _time(entry.first_seen_at) or "never"),
        ("last seen", _time(entry.last_seen_at) or "never"),
    ]
    if entry.is_skipped:
        facts.append(("skipped", "its source's breaker opened: nothing is paid for it until it is refreshed by id"))
    if found.parent is not None:
        parent, slot, bucket = found.parent
        facts.append(("split from", f"{parent}, where {slot} is {bucket}"))
    show.facts(console, facts + _answer_facts(entry.answer))
    if len(found.members) > 1:
        rows = [(one.signature, f"{one.events:,}", show.safe(one.template, limit=90)) for one in found.members]
        show.grid(console, "merged into it", ("shape", "events", "template"), rows)
    if found.revisions:
        show.grid(
            console, "revisions", ("no.", "when", "what", "template"), [_revision_row(one) for one in found.revisions]
        )
    if found.matchers:
        rows_of = [(str(one.number), _time(one.at) or "", show.safe(one.template, limit=110)) for one in found.matchers]
        show.grid(console, "wider templates that the model gave", ("no.", "when", "what fits it joins"), rows_of)
    if found.parts:
        _print_parts(console, found, examples)
    if len(found.answers) > 1:
        given = [(_time(one.answered_at) or "", one.status, one.task, one.model, one.origin) for one in found.answers]
        show.grid(console, "answers, newest first", ("when", "status", "task", "model", "origin"), given)
    if lines := examples.get(entry.signature):
        console.print("lines of it, under pseudonyms:")
        for line in lines:
            console.print(f"  {show.safe(line, limit=300)}", soft_wrap=True)


def _print_parts(console: Console, found: Detail, examples: Mapping[str, Sequence[str]]) -> None:
    """What was split off a signature, by which values, and the lines that led there."""
    rows = []
    for part in found.parts:
        answer = _said(part.answer)
        text = answer.summary if answer else "the answer above serves until it has its own"
        said = answer.severity if answer else _unanswered(part.answer)
        rows.append(
            (part.signature, f"{part.slot}: {part.bucket}", f"{part.events:,}", said, show.safe(text, limit=70))
        )
    title = "split off it, since a value changes the answer"
    show.grid(console, title, ("signature", "where", "events", "severity", "what it means"), rows)
    for part in found.parts:
        for line in examples.get(part.signature, ()):
            console.print(f"  {part.signature}: {show.safe(line, limit=300)}", soft_wrap=True)


def _revision_row(one: Revision) -> tuple[str, str, str, str]:
    what = f"kept apart: {one.refused}" if one.refused else f"merged {len(one.members)} into {one.root}"
    return str(one.number), _time(one.at) or "", what, show.safe(one.template, limit=60)


def _answer_facts(stored: StoredAnswer | None) -> list[tuple[str, str]]:
    answer = _said(stored)
    if stored is None or answer is None:
        return [("answer", _unanswered(stored))]
    cause = answer.root_cause_hint
    return [
        ("severity", f"{answer.severity}, {answer.category}"),
        ("summary", answer.summary),
        ("cause", f"{cause} ({answer.root_cause_origin})" if cause else "none given"),
        ("action", answer.action or "none given"),
        ("slots", ", ".join(answer.slots) or "none"),
        ("splits on", answer.splits_on or "nothing"),
        ("tags", ", ".join(answer.tags) or "none"),
        ("answered", f"{_time(stored.answered_at)} by {stored.served_model or stored.model}"),
        ("task", stored.task),
        ("batch", stored.batch_id or "none"),
        ("origin", stored.origin),
    ]


def _said(answer: StoredAnswer | None) -> Answer | None:
    return Answer.from_json(answer.body) if answer is not None and answer.status == "ok" else None


def _unanswered(answer: StoredAnswer | None) -> str:
    return "not asked yet" if answer is None else answer.status


def _time(at: float | None) -> str | None:
    if not at:
        return None
    return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _day(at: float | None) -> str:
    return (_time(at) or "never")[:10]
