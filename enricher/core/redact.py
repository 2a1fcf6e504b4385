r"""What must not leave the host, or must not reach a terminal, taken out of text.

Invariants: `mask_template` keeps every hole (`<*>`) in its order, is idempotent and takes linear time; `clean` leaves
no control, escape, bidirectional or invisible character. Neither raises on any text, and neither decides what is sent.

The skeleton of an event holds no number and no varying word by construction; what is masked here are the secrets and
addresses that a constant part can still carry. In doubt it masks: a word too many costs clarity, one too few a secret.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

HOLE: Final = "<*>"
"""A place of a template whose value differs from event to event."""

SECRET: Final = "<secret>"  # noqa: S105 - the mark that replaces a secret
EMAIL: Final = "<email>"

# Terminal escape sequences: CSI, OSC and its kin up to their end (or the end of the text), two-character ones.
_ESCAPE: Final = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*+[ -/]*+[@-~]?"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*+(?:\x07|\x1b\\|\x9c)?|\x1b[ -~]?"
)


def _table() -> dict[int, str]:
    gone = [*range(0x20), *range(0x7F, 0xA0), 0xAD, 0x61C, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFEFF, 0xFFA0]
    gone += [*range(0x180B, 0x1810), *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070)]
    gone += [*range(0xFE00, 0xFE10), *range(0xFFF9, 0xFFFC), *range(0xE0000, 0xE0FFF)]
    table = dict.fromkeys(gone, "")
    table |= dict.fromkeys([0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x85, 0x2028, 0x2029], " ")
    # A lone half of a surrogate pair cannot be written as UTF-8.
    table |= dict.fromkeys(range(0xD800, 0xE000), "\ufffd")
    return table


_INVISIBLE: Final = _table()


def clean(text: str) -> str:
    """Take out control, escape, bidirectional, zero-width and tag characters; line ends and tabs become a blank."""
    if text.isascii() and text.isprintable():
        return text
    return _ESCAPE.sub("", text).translate(_INVISIBLE)


# No group here repeats possessively, `(?:…)*+`: before Python 3.11.5 that matches wrongly. `(?>(?:…)*)` is the same.

# The end of a name that a secret is assigned to; only the short ones must begin a word of the name.
_NAME: Final = (
    r"(?:(?:passw(?:or)?d|passphrase|secret|token|credentials?)(?:[_-][A-Za-z]{1,20}){0,2}"
    r"|pwd|(?:api|access|auth|signing|encryption|account|private|session|secret)[_-]?key"
    r"|authorization|cookie|sessid|session[_-]?id|csrf|signature|(?<![A-Za-z])(?:pass|pw|sig|pin|otp))"
)
_VALUE: Final = (
    r"""(?:"(?>(?:[^"\\]|\\.)*)"?|'(?>(?:[^'\\]|\\.)*)'?"""
    r"""|\\{1,3}["'][^"'\\]*+(?:\\{1,3}["'])?|[^\s"',;&)\]}]++)"""
)

_PRIVATE_KEY: Final = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----(?>(?:(?!-----END )[\s\S])*)(?:-----END [A-Z0-9 ]{0,40}-----)?"
)
_USERINFO: Final = re.compile(r"(?<=://)[^\s/@\"'<>]{0,80}(?:<\*>)?[^\s/@\"']{0,200}(?=@)")
_SCHEME_AUTH: Final = re.compile(
    r"(?i)(authorization[\"']?\s{0,3}[:=]\s{0,3}[\"']?(?:bearer|basic|negotiate|ntlm|token|apikey)"
    r"|\b(?:bearer|basic|digest|negotiate|apikey))(\s{1,3})((?:<\*>|[\w.~+/=-]){6,})"
)
_ASSIGNED: Final = re.compile(rf"""(?i)({_NAME}(?:\\{{0,3}}["'])?)(\s{{0,3}}(?:=>|[=:])\s{{0,3}})({_VALUE})""")
# What stands before a secret (group 1), and the secret.
_FOLLOWED: Final = (
    re.compile(
        r"(?i)(--?(?:password|passwd|pass|passphrase|token|secret|api-?key|auth)\s{1,3}|\bsshpass\s{1,3}-p\s{0,3}"
        r"|(?:\b(?:mysql|mariadb)[a-z]{0,8}\s(?:[^\n|;]{0,100}\s)?|\s-u\s?[^\s-]\S{0,60}\s{1,3})-p"
        r"|\bcurl\s(?:[^\n|;]{0,100}\s)?(?:-u|--user|--proxy-user)\s{1,3})([^\s\"'<-][^\s\"']*+)"
    ),
    re.compile(rf"(?i)(<(?!secret>)[\w:.-]{{0,40}}{_NAME}>)((?:<\*>|[^<]){{1,200}})(?=<)"),
    # `secret wJalr…`, `password "letmein"`, nothing but a blank between: a word of prose is shorter, and not quoted.
    re.compile(r"(?i)\b((?:secret|token|key|password|passwd|passphrase|cookie)\s{1,3})((?:<\*>|[\w+/=-]){20,})"),
    re.compile(r"(?i)\b((?:password|passwd|passphrase)\s{1,3}(?=[\"']))(\"[^\"]{1,80}\"|'[^']{1,80}')"),
)
_ORACLE: Final = re.compile(r"(?i)(?<=jdbc:oracle:)(?:thin|oci|oci8):[^\s/@]{1,80}/[^\s@]{1,80}(?=@)")
_HINTS: Final = (
    *("pass", "pwd", "pw", "secret", "token", "key", "credential", "auth", "cookie", "sess", "csrf", "sig"),
    *("bearer", "basic", "digest", "negotiate", "pin", "otp", "mysql", "mariadb", "curl", "-u"),
)
_KNOWN: Final = re.compile(
    r"\beyJ[\w-]{6,}\.[\w<*>-]{4,}(?:\.[\w<*>-]*)?"  # JSON web token
    r"|\b(?:sk|rk|pk)[-_](?:(?:live|test|proj|ant|or|svcacct|admin)[-_])?(?:<\*>|[\w-]){8,}"
    r"|\b(?:gh[pousr]_|github_pat_|glpat-|glptt-|xox[abeprs]-|xapp-|hf_|npm_|pypi-|dop_v1_|shpat_|SG\.|hv[sbr]\.|ya29\.|AIza|dckr_pat_)"
    r"(?:<\*>|[\w.-]){6,}"
    r"|\b[sbr]\.[A-Za-z]{24}\b"  # Vault, the older kind
    r"|\b(?:AKIA|ASIA|AGPA|AROA|AIDA)(?:<\*>|[A-Z0-9]){4,}"
)
_LONG: Final = re.compile(r"[A-Za-z0-9+_=-]{32,}")
_EMAIL: Final = re.compile(r"(?:<\*>|[\w.+%-]){1,64}@(?:<\*>|[A-Za-z0-9-]){1,63}(?:\.(?:<\*>|[A-Za-z0-9-]){1,63}){1,8}")
# Words that may follow "token:" in a message that says something about the token instead of showing it.
_PLAIN_WORD: Final = re.compile(r"[A-Za-z]?[a-z]{1,15}[.!?]?")
_STATES: Final = frozenset(
    {
        "absent", "accepted", "bad", "basic", "bearer", "denied", "digest", "disabled", "empty", "enabled", "error",
        "expired", "failed", "false", "found", "invalid", "malformed", "mismatch", "missing", "negotiate", "new",
        "no", "none", "not", "ntlm", "null", "ok", "rejected", "required", "revoked", "set", "token", "true",
        "unknown", "unset", "valid", "wrong", "yes",
    }
)  # fmt: skip
_ALWAYS_SECRET: Final = re.compile(r"(?i)pass|pwd|pw|secret")


def mask_template(text: str) -> str:
    """Replace keys, tokens, passwords, connection strings and e-mail addresses in a template that leaves this host.

    The name before a value stays (`password=<secret>`), and so does every hole, so that slots keep their numbers.
    """
    masked = clean(text)
    if "PRIVATE KEY-----" in masked:
        masked = _PRIVATE_KEY.sub(_whole(SECRET), masked)
    if "://" in masked:
        masked = _USERINFO.sub(_whole(SECRET), masked)
    if "jdbc:" in masked:
        masked = _ORACLE.sub(_whole(SECRET), masked)
    lowered = masked.lower()
    # A search for a word is some hundred times cheaper than the patterns, and nearly every template has none of them.
    if any(hint in lowered for hint in _HINTS):
        masked = _SCHEME_AUTH.sub(_scheme_auth, masked)
        masked = _ASSIGNED.sub(_assigned, masked)
        for pattern in _FOLLOWED:
            masked = pattern.sub(lambda match: match[1] + _mark(match[2], SECRET), masked)
    masked = _KNOWN.sub(_whole(SECRET), masked)
    masked = _LONG.sub(lambda match: SECRET if _is_random(match.group()) else match.group(), masked)
    return _EMAIL.sub(_whole(EMAIL), masked) if "@" in masked else masked


def _whole(mark: str) -> Callable[[re.Match[str]], str]:
    return lambda match: _mark(match.group(), mark)


def _mark(value: str, mark: str) -> str:
    """Return the mark and the value's holes; a value that is nothing but holes and marks says nothing and stays."""
    holes = value.count(HOLE)
    if not value.replace(HOLE, "").replace(mark, "").strip("\"'"):
        return value
    return mark + HOLE * holes


def _assigned(match: re.Match[str]) -> str:
    name, between, value = match.groups()
    if between.strip() == ":" and between[-1:].isspace() and _is_said(match, name, value):
        return match.group()
    quote = value[: len(value) - len(value.lstrip("\\"))] + value.lstrip("\\")[:1]
    quote = quote if quote[-1:] in ("'", '"') else ""
    closing = quote if quote and len(value) >= 2 * len(quote) and value.endswith(quote) else ""
    inner = value[len(quote) : len(value) - len(closing)]
    return f"{name}{between}{quote}{_mark(inner, SECRET)}{closing}"


def _is_said(match: re.Match[str], name: str, value: str) -> bool:
    """Whether a word after "name: " says something about the secret; nobody but a program says `access_token`."""
    if not _PLAIN_WORD.fullmatch(value) or _ALWAYS_SECRET.search(name):
        return False
    of_program = match.string[max(0, match.start() - 1) : match.start()] in ("_", "-") or re.search("[_-]", name)
    return not of_program or value.lower().rstrip(".!?") in _STATES


def _scheme_auth(match: re.Match[str]) -> str:
    in_header = match[1][:1] in "aA" and match[1][:13].lower() == "authorization"
    said = not in_header and _PLAIN_WORD.fullmatch(match[3])
    return match.group() if said else match[1] + match[2] + _mark(match[3], SECRET)


def _is_random(word: str) -> bool:
    kinds = (any(map(str.isupper, word)), any(map(str.islower, word)), any(map(str.isdigit, word)))
    return all(kinds)


_INSTRUCTION: Final = re.compile(
    r"(?i)\b(?:ignore|disregard|forget|override|bypass)\b.{0,40}\b(?:instruction|prompt|previous|prior|above|rules?|polic)"
    r"|\b(?:system|developer) (?:prompt|message|instruction)"
    r"|\byou (?:are now|must now|are an? (?:ai|assistant|language model))"
    r"|\bas an ai\b|\b(?:respond|reply|answer|classify|output|return) (?:only |this |it |with |as |everything ){1,3}"
    r"|<\|[a-z_]{1,30}\|>|\[/?inst\]|<</?sys>>|\b(?:new|following) instructions?\b|\b(?:assistant|system)\s{0,2}:\s"
    r"|[\"']s[0-9<]|\bs[0-9]{1,3}\b[\"']?\s{0,2}:"
)


def looks_like_instructions(text: str) -> bool:
    """Say whether a text seems to speak to a model; such a kind is asked alone, so that it can harm no other."""
    return _INSTRUCTION.search(text) is not None
