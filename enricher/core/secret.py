r"""Secrets in a text: keys, tokens, passwords, JSON web tokens, private keys, connection strings, cookies.

Invariants: linear time whatever the text; the name before a value stays (`password=`), so that one still sees what was
there; what becomes of a value is the caller's business. In doubt it is a secret: a word too many costs clarity, one
too few a secret. Bare hexadecimal of 32 digits or more is an identifier: nobody can tell a digest from a key.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from enricher.core.public_words import SECRET_STATES

if TYPE_CHECKING:
    from collections.abc import Callable

    from enricher.core.sensitive import Kind

# No group here repeats possessively, `(?:…)*+`: before Python 3.11.5 that matches wrongly. `(?>(?:…)*)` is the same.

# The end of a name that a secret is assigned to; only the short ones must begin a word of the name.
_NAME: Final = (
    r"(?:(?:passw(?:or)?d|passphrase|passcode|secret|token|credentials?)(?:[_-][A-Za-z]{1,20}){0,2}"
    r"|pwd|(?:api|access|auth|signing|encryption|account|private|session|secret|license|shared"
    r"|master|storage|webhook|deploy|consumer|subscription|client)[_ -]?key"
    r"|authorization|cookie|sessid|session[_-]?(?:id|key)?|csrf|xsrf|signature|otp|mfa[_-]?code"
    r"|recovery[_-]?codes?|mnemonic|seed[_ -]?phrase"
    r"|(?:security|secret)[_ -]?(?:question[_ -]?)?answer(?:ed)?"
    r"|auth[_-]?code|verification[_ -]?code|dsn|webhook[_-]?url|community|private[_-]?exponent"
    r"|(?<![A-Za-z])(?:pass|pw|sig|pin|psk|sid|jwt|nonce|salt|hmac|auth|assertion|ticket|sas|bearer))"
)
_VALUE: Final = (
    # In `credentials: data.password: x` the second word is a name.
    rf"""(?!(?<=\s)[\w.-]{{0,40}}{_NAME}:\s)"""
    r"""(?:"(?>(?:[^"\\]|\\.)*)"?|'(?>(?:[^'\\]|\\.)*)'?"""
    r"""|\\{1,3}["'][^"'\\]*+(?:\\{1,3}["'])?|[^\s"',;&)\]}]++)"""
)

_PRIVATE_KEY: Final = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,40}(?:PRIVATE KEY"
    r"|KEY MATERIAL)[A-Z ]{0,8}-----(?>(?:(?!-----END )[\s\S])*)(?:-----END [A-Z0-9 ]{0,40}-----)?"
)
_KEY_END: Final = re.compile(
    r"(?:[A-Za-z0-9+/=<*>\\]{1,200}(?:\s|\\[nr])){0,400}-----END [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,8}-----"
)
_USERINFO: Final = re.compile(r"(?<=://)[^\s/@\"'<>]{0,80}(?:<\*>)?[^\s/@\"']{0,200}(?=@)")
_SCHEME_AUTH: Final = re.compile(
    r"(?i)(authorization[\"']?\s{0,3}[:=]\s{0,3}[\"']?(?:bearer|basic|negotiate|ntlm|token|apikey|key|hmac)"
    r"|\b(?:bearer|basic|digest|negotiate|apikey|ntlm))(\s{1,3})"
    r"(?!(?:username|realm|nonce|uri|response|credential)=)((?:<\*>|[\w.~+/=:-]){6,})"
)
_COOKIE: Final = re.compile(
    r"(?i)((?:set-)?cookies?[\"']?\s{0,3}[:=]\s{0,3}[\"']?)((?:<\*>"
    r"|[\w.%-]){1,80}=(?>[^\s;,\"']*)(?>(?:;\s?[\w.<*>-]{1,80}(?:=[^\s;,\"']*)?)*))"
)
_ASSIGNED: Final = re.compile(rf"""(?i)({_NAME}(?:\\{{0,3}}["'])?)(\s{{0,3}}(?:=>|:=|[=:])\s{{0,3}})({_VALUE})""")
# What stands before a secret (group 1), and the secret.
_FOLLOWED: Final = (
    re.compile(
        r"(?i)(--?(?:password|passwd|pass|passphrase|token|secret|api-?key|auth|access-key|secret-key"
        r"|client-secret|requirepass|storepass|keypass)[\s=]{1,3}"
        r"|\bsshpass\s{1,3}-p\s{0,3}|\bidentified\s(?:with\s\S{1,40}\s)?by\s{1,3}['\"]?"
        r"|\b(?:requirepass|masterauth)\s{1,3}"
        r"|\b(?:mysql|mariadb)[a-z]{0,8}\s(?:[^\n|;]{0,100}\s)?-p|\s-u\s?[^\s-]\S{0,60}\s{1,3}-p\s{0,3}"
        r"|\s-U\s[^\s%]{1,60}%|\bauth-user-pass\s\S{1,80}\s|\bchpasswd\s?<<<\s?"
        r"|\brabbitmq\w{3,5}\s(?:[^\n|;]{0,100}\s)?(?:add_user|change_password|authenticate_user)\s\S{1,80}\s"
        r"|\bnet\suser\s\S{1,80}\s(?=[^/*])"
        r"|\b(?:htpasswd|ldapsearch|redis-cli|sqlplus|mosquitto_pub|smbclient)\s(?:[^\n"
        r"|;]{0,100}\s)?(?:-w|-a|-P)\s{1,3}|\bhtpasswd\s-b\S{0,4}\s\S{1,80}\s\S{1,40}\s"
        r"|\bopenssl\s(?:[^\n|;]{0,100}\s)?-pass(?:in|out)?\spass:|\bldap\w{3,8}\s(?:[^\n|;]{0,160}\s)?-w\s{1,3}"
        r"|\bcurl\s(?:[^\n|;]{0,100}\s)?(?:-u|--user|--proxy-user)[\s=]{1,3})([^\s\"'<-][^\s\"']*+)"
    ),
    re.compile(rf"(?i)(<(?!secret>)[\w:.-]{{0,40}}{_NAME}>)((?:<\*>|[^<]){{1,200}})(?=<)"),
    # `secret wJalr…`, `password "letmein"`, nothing but a blank between: a word of prose is shorter, and not quoted.
    re.compile(
        r"(?i)\b((?:secret|token|key|password|passwd|passphrase|cookie|session|nonce"
        r"|ticket)\s{1,3})((?:<\*>|[\w+/=-]){20,})"
    ),
    re.compile(
        r"(?i)\b((?:password|passwd|passphrase|pin|secret)\s{1,3}(?:(?:is|was|to|of|as|set\sto"
        r"|changed\sto)\s)?(?=[\"'`]))(\"[^\"]{1,80}\"|'[^']{1,80}'|`[^`]{1,80}`)"
    ),
    # A password is not a word: it has a digit or a sign in it.
    re.compile(
        r"(?i)\b((?:password|passwd|passphrase|passcode|pin|otp|secret|api[ -]key|access[ -]key|token"
        r"|credentials?|(?:verification|security|login|auth|one-time|2fa|mfa|sms|pairing|unlock|confirmation|reset"
        r"|recovery|backup|activation)"
        r"\s(?:code|pin|password|token|key)s?)\s(?:(?:for|of)\s\S{1,80}\s)?(?:is|was|to|as|set\sto"
        r"|changed\sto|with|sent|=|entered)?:?\s?)"
        r"(?=[^\s\"'<]{0,60}[0-9!@#$%^&*])([^\s\"'<>,;()\[\]]{4,})"
    ),
    re.compile(
        r"(?i)([?&](?:code|key|k|jwt|t|auth|hash|ticket|assertion|state|id_token|nonce|invite|reset"
        r"|verify|unsubscribe|magic|ott|p)=)((?:<\*>|[^\s&\"'#<]){6,})"
    ),
    re.compile(
        r"(?i)(/(?:reset|verify|confirm|activate|unsubscribe|invite|magic|password-reset"
        r"|reset-password|share)(?:/token)?/)((?:<\*>|[\w.~-]){16,})"
    ),
    re.compile(
        r"(?i)(\becho\s(?:-n\s)?[\"']?)([^\s\"'|]{1,80})(?=[\"']?\s?\|\s?(?:sudo\s-S|passwd|chpasswd|openssl|cryptsetup))"
    ),
    re.compile(
        r"(?i)(\b(?:recovery|backup|scratch)[ _-]codes?[:=]?\s)((?=\S{0,24}[0-9])"
        r"[\w-]{4,24}(?:[,\s]{1,2}[\w-]{4,24}){0,15})"
    ),
    re.compile(
        r"(?i)(\b(?:mnemonic|(?:seed|recovery)[ _-]?phrase)[\"']?\s?[:=]?\s?[\"']?)([a-z]{3,8}(?:\s[a-z]{3,8}){11,23})"
    ),
    re.compile(
        r"(?i)(\.?pgpass\b[^\n:]{0,60}:(?:[0-9*]{1,5}|<\*>):[^\s:]{1,63}:|\bpgpass\b[^\n]{0,60}<\*>:[^\s:]{1,63}:)([^\s:]{1,63}:\S+)"
    ),
    re.compile(r"(?i)(\blogin\s(?:ok|incorrect)[^\[\n]{0,60}\[)([^\]\n]{1,64}/[^\]\n]{1,64})(?=\])"),
    re.compile(r"((?:^|[\s\">:])PASS\s)(?!<secret>)([^\s\"'<:]{4,})(?=[\"'\r\n]|\s*$)"),
    re.compile(
        r"(?i)(\b(?:hooks\.slack\.com/(?:services|workflows)|discord(?:app)?\.com/api/webhooks"
        r"|outlook\.office\.com/webhook|api\.telegram\.org/bot)/?)([\w./:<*>-]{8,})"
    ),
)
_ORACLE: Final = re.compile(
    r"(?i)(?<=jdbc:oracle:)(?:thin|oci|oci8):[^\s/@]{1,80}/[^\s@]{1,80}(?=@)"
    r"|(?<=sqlplus )(?:-\w\s)?[^\s/@]{1,80}/[^\s@]{1,80}(?=@)"
)
_HINTS: Final = (
    *(
        "pass",
        "pwd",
        "pw",
        "secret",
        "token",
        "key",
        "credential",
        "auth",
        "cookie",
        "sess",
        "csrf",
        "xsrf",
        "sig",
        "sid",
    ),
    *(
        "bearer",
        "basic",
        "digest",
        "negotiate",
        "ntlm",
        "pin",
        "otp",
        "mfa",
        "code",
        "mysql",
        "mariadb",
        "curl",
        "-u",
        "psk",
        "jwt",
    ),
    *(
        "nonce",
        "salt",
        "hmac",
        "assertion",
        "ticket",
        "sas",
        "mnemonic",
        "seed",
        "answer",
        "dsn",
        "webhook",
        "community",
        "private",
    ),
    *(
        "identified",
        "login",
        "echo",
        "phrase",
        "rabbitmq",
        "net user",
        "redis",
        "ldap",
        "sqlplus",
        "mosquitto",
        "smbclient",
        "hooks.",
        "telegram",
        "?",
        "&",
        "/invite",
        "/reset",
    ),
    *("/verify", "/confirm", "/activate", "/share", "/magic", "/unsubscribe", "recovery"),
)
_KNOWN: Final = re.compile(
    r"(?<![A-Za-z0-9])(?:eyJ[\w-]{6,}\.[\w<*>-]{4,}(?:\.[\w<*>-]*)*"  # JSON web token
    r"|(?:sk|rk|pk)[-_.](?:(?:live|test|proj|ant|or|svcacct|admin)[-_])?(?:<\*>|[\w-]){8,}"
    r"|(?:gh[pousr]_|github_pat_|gl(?:pat|ptt|dt|rt|cbt|ft|soat|imt|agent|ffct|oas)-|xox[abeprs]-|xapp-|hf_|npm_|pypi-"
    r"|do[opr]_v1_|shp(?:at|ca|pa|ss)_|SG\.|hv[sbr]\.|ya29\."
    r"|AIza|dckr_pat_|whsec_|sq0[a-z]{3}-|EAA[A-Z]|ATATT3|ATCTT3|lin_api_|sntry[su]_|dapi[0-9a-f]"
    r"|figd_|rubygems_|PMAK-|NRAK-|nvapi-|r8_|gsk_|xai-|pplx-|sbp_|pul-|tfp_|AKCp|ntn_"
    r"|AGE-SECRET-KEY-|key-(?:[0-9a-f]{8}|(?=[a-z]{0,24}[0-9])[0-9a-z]{26})|fo1_|dp\.pt\.|hvb\.|atlasv1|oy2|GOCSPX-|1//0|vercel_|phc_|v1\.0-(?=[0-9a-f]{24}-)"
    r"|glc_|eyJr)(?:<\*>|[\w.=-]){6,}"
    r"|[sbr]\.[A-Za-z0-9]{24}\b"  # Vault, the older kind
    r"|(?:A3T[A-Z0-9]|AKIA|ASIA|AGPA|AROA|AIDA|ABIA|ACCA)(?:<\*>|[A-Z0-9]){4,}"
    r"|[0-9]{8,10}:AA[\w-]{30,}"  # a Telegram bot
    r"|(?:AC|SK)[0-9a-f]{32}\b"  # Twilio
    r"|[MNO][\w-]{22,27}\.[\w-]{6,7}\.[\w-]{27,}"  # a Discord bot
    r"|(?:xprv|yprv|zprv)[A-Za-z0-9]{20,})"
)
_HASHED: Final = re.compile(
    r"\$(?:1|2[abxy]|5|6|7|y|gy|apr1|argon2(?:id|i|d)|pbkdf2[\w-]{0,12}|scrypt|P"
    r"|H)\$[^\s:\"',]{8,}|\{S?SHA(?:256|512)?\}[\w+/=]{20,}|\bpbkdf2_sha\w{1,4}\$[^\s:\"',]{8,}"
)
_LONG: Final = re.compile(r"[A-Za-z0-9+/_=-]{24,}")
_HEX: Final = re.compile(r"(?<![0-9A-Za-z])(?:0x)?[0-9A-Fa-f]{32,}(?![0-9A-Za-z])")
# Words that may follow "token:" in a message that says something about the token instead of showing it.
_PLAIN_WORD: Final = re.compile(r"[A-Za-z]?[a-z]{1,15}[.!?]?")
_ALWAYS_SECRET: Final = re.compile(r"(?i)pass|pwd|pw|secret|answer|mnemonic|phrase")


def mark_secrets(text: str, mark: Callable[[str, Kind], str]) -> str:
    """Replace every secret in a cleaned text by what `mark` makes of it."""

    def whole(match: re.Match[str]) -> str:
        return mark(match.group(), "secret")

    if "PRIVATE KEY" in text or "KEY MATERIAL" in text:
        text = _KEY_END.sub(whole, _PRIVATE_KEY.sub(whole, text))
    if "://" in text:
        text = _USERINFO.sub(whole, text)
    lowered = text.lower()
    if "jdbc:" in lowered or "sqlplus" in lowered:
        text = _ORACLE.sub(whole, text)
    # A search for a word is some hundred times cheaper than the patterns, and nearly every template has none of them.
    if any(hint in lowered for hint in _HINTS):
        text = _COOKIE.sub(lambda match: match[1] + mark(match[2], "secret"), text)
        text = _SCHEME_AUTH.sub(lambda match: _scheme_auth(match, mark), text)
        text = _ASSIGNED.sub(lambda match: _assigned(match, mark), text)
        for pattern in _FOLLOWED:
            text = pattern.sub(lambda match: match[1] + mark(match[2], "secret"), text)
    if "$" in text or "{" in text:
        text = _HASHED.sub(whole, text)
    text = _KNOWN.sub(whole, text)
    text = _LONG.sub(lambda match: _random(match, mark), text)
    return _HEX.sub(lambda match: mark(match.group(), "id"), text)


def _assigned(match: re.Match[str], mark: Callable[[str, Kind], str]) -> str:
    name, between, value = match.groups()
    if between.strip() == ":" and between[-1:].isspace() and _is_said(match, name, value):
        return match.group()
    quote = value[: len(value) - len(value.lstrip("\\"))] + value.lstrip("\\")[:1]
    quote = quote if quote[-1:] in ("'", '"') else ""
    closing = quote if quote and len(value) >= 2 * len(quote) and value.endswith(quote) else ""
    inner = value[len(quote) : len(value) - len(closing)]
    return f"{name}{between}{quote}{mark(inner, 'secret') if inner else ''}{closing}"


def _is_said(match: re.Match[str], name: str, value: str) -> bool:
    """Whether a word after "name: " says something about the secret; nobody but a program says `access_token`."""
    if not _PLAIN_WORD.fullmatch(value) or _ALWAYS_SECRET.search(name):
        return False
    of_program = match.string[max(0, match.start() - 1) : match.start()] in ("_", "-") or re.search("[_-]", name)
    return not of_program or value.lower().rstrip(".!?") in SECRET_STATES


def _scheme_auth(match: re.Match[str], mark: Callable[[str, Kind], str]) -> str:
    in_header = match[1][:1] in "aA" and match[1][:13].lower() == "authorization"
    said = not in_header and _PLAIN_WORD.fullmatch(match[3])
    return match.group() if said else match[1] + match[2] + mark(match[3], "secret")


def _random(match: re.Match[str], mark: Callable[[str, Kind], str]) -> str:
    """Mark what no one spelled: all three kinds of characters, and mixed, which no path, name or word is."""
    word = match.group()
    sorts = ["u" if c.isupper() else "l" if c.islower() else "d" if c.isdigit() else "" for c in word]
    if len({sort for sort in sorts if sort}) < len("uld"):
        return word
    changes = sum(bool(one and other) and one != other for one, other in pairwise(sorts))
    longest = max(map(len, re.split("[/_=-]", word)))
    is_mixed = changes * 10 >= len(word) * 3
    return mark(word, "secret") if is_mixed or longest >= 32 else word
