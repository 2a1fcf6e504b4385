"""The fault script: what goes wrong on purpose, so that a client's behaviour can be tested and tried.

A script is a TOML or JSON file with a list `fault` of rules. Each rule names where it strikes, what happens there, how
many times (`times`, default 1, 0 is always) and after how many that it lets pass (`skip`, default 0):

    [[fault]]                       # the second create is carried out, then answered with 500
    on = "create"
    what = "accepted_status"
    status = 500
    skip = 1

    [[fault]]                       # or by method and path, with * and ?
    method = "GET"
    path = "/v1/batches*"
    what = "status"
    status = 429
    retry_after_seconds = 1.5
    times = 3

    [[fault]]                       # the next two batches expire after five answered lines each
    on = "batch"
    what = "expire"
    after_lines = 5
    times = 2

Calls: `on` is one of upload, create, retrieve, list, content, cancel, delete; or `method` and/or `path`.
  status              answered with `status`, not carried out (`code`, `message`, `retry_after_seconds`)
  accepted_status     carried out, then answered with `status`
  hang, accepted_hang never answered; not carried out, or carried out
  reset, accepted_reset  the connection breaks off; not carried out, or carried out
  file_not_found      on upload only: the new file is unknown for the next `lookups` retrieves and creates
Lines: `on = "line"`, for each line of a batch, `custom_id` a pattern with * and ?.
  status              the line fails with `status`, the backend is not asked (`code`, `message`)
Batches: `on = "batch"`; every rule that is due strikes the same batch.
  fail                ends failed with `code` (default token_limit_exceeded) and `message`
  expire, cancel      ends so after `after_lines` answered lines (default 0)
  stuck               stays for ever in `state`: validating, in_progress (after `after_lines`), finalizing, cancelling
  lose, duplicate, garbage  `lines` output lines are missing, come twice, are not UTF-8
  unknown_ids         `lines` answers to a custom_id that nobody sent
  shuffle, truncate   output in another order; cut in the middle of its last line
  string_bodies       each `response.body` is a string that holds JSON
  no_output_file      ends with no output file, though lines were answered
  empty_file_ids      "" where there is no file, in place of null
  empty_error_file    the id of a file of 0 bytes where no line failed

The first call rule that is due strikes, in the order of the file. A strike of a rule is counted on disk, so a restart
does not begin again. Reading a script reports all its faults together. Never here: randomness.
"""

from __future__ import annotations

import fnmatch
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from enricher.core.toml_reader import parse_toml
from enricher.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CALLS = ("upload", "create", "retrieve", "list", "content", "cancel", "delete")
PLACES = (*CALLS, "line", "batch")
CALL_FAULTS = ("status", "accepted_status", "hang", "accepted_hang", "reset", "accepted_reset", "file_not_found")
BATCH_FAULTS = (
    "fail", "expire", "cancel", "stuck", "lose", "duplicate", "garbage", "unknown_ids", "shuffle", "truncate",
    "string_bodies", "no_output_file", "empty_file_ids", "empty_error_file",
)  # fmt: skip
STUCK_STATES = ("validating", "in_progress", "finalizing", "cancelling")


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultRule:
    """One rule of a script; what is empty or null does not apply to it."""

    what: str
    on: str = ""
    method: str = ""
    path: str = ""
    times: int = 1
    skip: int = 0
    status: int = 0
    retry_after_seconds: float | None = None
    code: str = ""
    message: str = ""
    lookups: int = 1
    custom_id: str = "*"
    after_lines: int = 0
    lines: int = 1
    state: str = "in_progress"


# What a rule may say besides where and when it strikes.
_DETAILS: dict[str, tuple[str, ...]] = {
    "status": ("status", "code", "message", "retry_after_seconds"),
    "accepted_status": ("status", "code", "message", "retry_after_seconds"),
    "file_not_found": ("lookups",),
    "fail": ("code", "message"),
    "expire": ("after_lines",),
    "cancel": ("after_lines",),
    "stuck": ("state", "after_lines"),
    "lose": ("lines",),
    "duplicate": ("lines",),
    "garbage": ("lines",),
    "unknown_ids": ("lines",),
}
_NUMBERS = {"times": 0, "skip": 0, "status": 400, "lookups": 1, "after_lines": 0, "lines": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultScript:
    """The rules of a script, in their order."""

    rules: tuple[FaultRule, ...]

    @classmethod
    def from_file(cls, path: Path) -> FaultScript:
        """Read a script; `.json` is JSON, everything else TOML. Raises `ConfigError` with every fault of it."""
        try:
            text = path.read_text(encoding="utf-8")
            content = json.loads(text) if path.suffix == ".json" else parse_toml(text)
        except OSError as error:
            raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from error
        except (ValueError, RecursionError) as error:
            raise ConfigError(
                [f"{path}: {error}"], hint="a fault script is TOML, or JSON if its name ends so"
            ) from error
        return cls.from_mapping(content, name=str(path))

    @classmethod
    def from_mapping(cls, content: object, *, name: str = "faults") -> FaultScript:
        """Build a script from what its file holds. Raises `ConfigError` with every fault of it."""
        if not isinstance(content, dict) or set(content) != {"fault"} or not isinstance(content["fault"], list):
            raise ConfigError([f"{name}: a fault script has one list named fault and nothing else"])
        rules: list[FaultRule] = []
        faults: list[str] = []
        for number, entry in enumerate(content["fault"], 1):
            found = _check(entry)
            faults += [f"{name}: fault {number}: {fault}" for fault in found]
            if not found:
                rules.append(FaultRule(**entry))
        if faults:
            raise ConfigError(faults, hint="the format is described in enricher/batchserver/faults.py")
        return cls(rules=tuple(rules))


def _check(entry: object) -> list[str]:
    if not isinstance(entry, dict):
        return ["is not a table"]
    faults = [*_check_place(entry)]
    what = entry.get("what")
    allowed = {"what", "on", "method", "path", "times", "skip", *_DETAILS.get(str(what), ())}
    if entry.get("on") == "line":
        allowed.add("custom_id")
        allowed.discard("retry_after_seconds")
    faults += [f"{key} has no meaning with {what}" for key in entry if key not in allowed]
    for key in ("what", "on", "method", "path", "code", "message", "custom_id", "state"):
        if key in entry and not isinstance(entry[key], str):
            faults.append(f"{key} must be a string")
    for key, least in _NUMBERS.items():
        value = entry.get(key, least)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            faults.append(f"{key} must be a whole number of at least {least}")
    if "status" in _DETAILS.get(str(what), ()) and not 400 <= _int(entry.get("status")) <= 599:
        faults.append("status is needed, from 400 to 599")
    wait = entry.get("retry_after_seconds", 0)
    if isinstance(wait, bool) or not isinstance(wait, int | float) or not 0 <= wait < 1e6:
        faults.append("retry_after_seconds must be a number of at least 0")
    if entry.get("state", "in_progress") not in STUCK_STATES:
        faults.append(f"state must be one of {', '.join(STUCK_STATES)}")
    return faults


def _int(value: object) -> int:
    return value if isinstance(value, int) else 0


def _check_place(entry: dict[str, Any]) -> list[str]:
    on, what = entry.get("on"), entry.get("what")
    if on is None:
        if not ("method" in entry or "path" in entry):
            return [f"needs on ({', '.join(PLACES)}), or method and path"]
        known: tuple[str, ...] = CALL_FAULTS[:-1]
    elif "method" in entry or "path" in entry:
        return ["on and method or path exclude each other"]
    elif on == "batch":
        known = BATCH_FAULTS
    elif on == "line":
        known = ("status",)
    elif on == "upload":
        known = CALL_FAULTS
    elif on in CALLS:
        known = CALL_FAULTS[:-1]
    else:
        return [f"on must be one of {', '.join(PLACES)}"]
    return [] if what in known else [f"what must be one of {', '.join(known)}"]


class FaultCounters:
    """How often each rule was due, and so which one strikes now."""

    def __init__(self, script: FaultScript | None, counts: list[int] | None = None) -> None:
        """`counts` are those of an earlier run of the same script."""
        self._rules = script.rules if script else ()
        fits = counts is not None and len(counts) == len(self._rules)
        self.counts = list(counts) if counts is not None and fits else [0] * len(self._rules)

    def _due(self, index: int) -> bool:
        rule = self._rules[index]
        seen = self.counts[index]
        self.counts[index] += 1
        return seen >= rule.skip and (rule.times == 0 or seen < rule.skip + rule.times)

    def _first(self, matches: Callable[[FaultRule], bool]) -> FaultRule | None:
        for index, rule in enumerate(self._rules):
            if matches(rule) and self._due(index):
                return rule
        return None

    def strike_call(self, operation: str, method: str, path: str) -> FaultRule | None:
        """Return the rule that strikes this call, if any, and count it."""

        def matches(rule: FaultRule) -> bool:
            if rule.on:
                return rule.on == operation
            return rule.method.upper() in {"", method} and fnmatch.fnmatchcase(path, rule.path or "*")

        return self._first(matches)

    def strike_line(self, custom_id: str) -> FaultRule | None:
        """Return the rule that strikes this line, if any, and count it."""
        return self._first(lambda rule: rule.on == "line" and fnmatch.fnmatchcase(custom_id, rule.custom_id))

    def strike_batch(self) -> tuple[FaultRule, ...]:
        """Return all rules that strike a new batch, and count them."""
        return tuple(rule for index, rule in enumerate(self._rules) if rule.on == "batch" and self._due(index))
