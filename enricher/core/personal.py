r"""Personal data in a line: mail and network addresses, users, telephone, card and national numbers, private hosts.

Invariants: each rule takes time in proportion to the text, whatever it holds (every repetition is bounded or
possessive); a rule says where a value stands, never what becomes of it; an address that says nothing, such as
127.0.0.1, is left alone. Names are in `core.user_names`.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Final

from enricher.core import checksums
from enricher.core.sensitive import Kind, Rule
from enricher.core.user_names import AT_HOST, USERS, is_name

if TYPE_CHECKING:
    from collections.abc import Callable

# ---------------------------------------------------------------- addresses

_UNIT = r"service|socket|timer|mount|automount|slice|target|scope|device|swap|path"
_EMAIL = Rule(
    "email",
    re.compile(
        r"(?P<v>(?:<\*>|[\w.+%-]){1,64}(?:@|%40|[(\[]at[)\]])(?:<\*>|[\w-]){1,63}(?:\.(?:<\*>|[\w-]){1,63}){0,8}"
        rf"\.(?!(?:{_UNIT})\b)(?:[^\W\d_]{{2,63}}|<\*>))"
    ),
    hints=("@", "%40", "at)", "at]"),
)
_MAC = Rule(
    "mac",
    re.compile(
        r"(?<![0-9A-Za-z:-])(?P<v>[0-9A-Fa-f]{2}(?P<s>[:-])"
        r"(?:[0-9A-Fa-f]{2}(?P=s)){4,18}[0-9A-Fa-f]{2})(?![0-9A-Za-z]"
        r"|[:-][0-9A-Fa-f])"
        r"|(?<![\w.])(?P<c>[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4})(?![\w.])"
        r"|(?i:(?<=mac[=: ])|(?<=bssid[=: ])|(?<=hwaddr[=: ])|(?<=ether[=: ])|(?<=station[=: ]))"
        r"[0-9A-Fa-f]{6}-?[0-9A-Fa-f]{6}(?!\w)"
    ),
)
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|[01]?[0-9]?[0-9])"
_IPV4 = re.compile(
    rf"(?<![0-9A-Za-z.])(?<![Vv]ersion )(?<![Vv]ersion[:=])(?P<v>{_OCTET}(?:\.{_OCTET}){{3}})(?![0-9A-Za-z]|\.[0-9])"
    rf"|(?<![A-Za-z])(?:ip|ec2|host|node)(?:-{_OCTET}){{4}}(?![0-9-])"
    # As providers name their customers' hosts, and as tcpdump writes a port behind an address.
    rf"|(?<![\w.-])[a-z]{{1,12}}(?:-{_OCTET}){{4}}(?=(?:\.[a-z][a-z0-9-]{{0,62}}){{2}})"
    rf"|(?<![0-9A-Za-z.]){_OCTET}(?:\.{_OCTET}){{3}}(?=\.[0-9]{{1,5}}(?: >|: ))"
)
_IPV6 = re.compile(
    r"(?<![0-9A-Za-z:.])[0-9A-Fa-f]{0,4}:(?:[0-9A-Fa-f]{0,4}:){1,7}(?:[0-9A-Fa-f]{1,4}"
    r"|(?:[0-9]{1,3}\.){3}[0-9]{1,3})?(?:%\w{1,15})?(?![0-9A-Za-z])"
)
_PRIVATE_HOST = Rule(
    "host",
    re.compile(
        r"(?<![\w.@/\\-])(?P<v>(?:[a-z0-9_-]{1,63}\.){2,8}(?:internal|corp|lan|local|localdomain|intranet)"
        r"|(?=[a-z]*[0-9-])[a-z][a-z0-9-]{1,62}\.(?:internal|corp|lan|local|localdomain|intranet))(?![\w(]|\.\w)"
    ),
    accept=lambda name: not name.endswith("svc.cluster.local"),
    hints=(".internal", ".corp", ".lan", ".local", ".intranet"),
)

_NAMED_HOST = Rule(
    "host",
    re.compile(
        r"(?i)\b(?:workstation|computer)(?:[ _-]?name)?(?:\\{0,3}[\"'])?\s{0,2}[=:]\s{0,8}"
        r"(?:\\{0,3}[\"']|\\\\)?(?P<v>(?=[\w.-]*[0-9-])[A-Z][\w.-]{2,62})"
        r"|(?<![\w.-])(?P<w>[a-z]{0,4}[0-9A-F]{8})(?=\.(?:dip|dyn|dsl|cable|pool|static|cust|client)[\w-]{0,20}\.)"
    ),
    hints=(
        "workstation",
        "computer",
        ".dip",
        ".dyn",
        ".dsl",
        ".cable",
        ".pool",
        ".static",
        ".cust",
        ".client",
    ),
)

# ---------------------------------------------------------------- numbers

_GROUPED_CARD = (
    r"[0-9]{4}(?P<s>[ -])[0-9]{4}(?P=s)[0-9]{4}(?P=s)[0-9]{4}(?:(?P=s)[0-9]{1,3})?"
    r"|[0-9]{4}(?P<t>[ -])[0-9]{6}(?P=t)[0-9]{4,5}"
)
_NUMBERS: Final = (
    Rule(
        "iban",
        re.compile(
            r"(?<![0-9A-Za-z])(?P<v>[A-Z]{2}[0-9]{2}(?:[ -]?[A-Z0-9]{4}){2,7}(?:[ -]?[A-Z0-9]{1,3})?)(?![0-9A-Za-z])"
        ),
        checksums.is_iban,
    ),
    Rule(
        "card",
        re.compile(rf"(?<![\w.,-])(?P<v>{_GROUPED_CARD}|[0-9]{{13,19}})(?![0-9])(?!\.[0-9])"),
        checksums.is_card,
    ),
    # A United States social security number: parts that were never given out are no number.
    Rule(
        "id",
        re.compile(
            r"(?<![\w.-])(?P<v>(?!000|666|9)[0-9]{3}([- ])(?!00)[0-9]{2}\2(?!0000)[0-9]{4}"
            r"|9[0-9]{2}-[5-9][0-9]-[0-9]{4})(?![\w-]|\.[0-9])"
        ),
    ),
    Rule("id", re.compile(r"(?<![\w.-])(?P<v>[0-9]{3}([- ])[0-9]{3}\2[0-9]{3})(?![\w-]|\.[0-9])"), checksums.has_luhn),
    Rule(
        "id",
        re.compile(
            r"(?<!\w)(?P<v>(?!BG|GB|NK|KN|TN|NT|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z](?: ?[0-9]{2}){3} ?[A-D])(?!\w)"
        ),
    ),
    Rule("id", re.compile(r"(?<![\w-])(?P<v>(?:[0-9]{8}|[XYZ]-?[0-9]{7})-?[A-HJ-NP-TV-Z])(?![\w-])"), checksums.is_dni),
    Rule("id", re.compile(r"(?<![\w.])(?P<v>[0-9]{3}\.[0-9]{3}\.[0-9]{3}-[0-9]{2})(?!\w)"), checksums.is_cpf),
    Rule(
        "id",
        re.compile(r"(?<!\w)(?P<v>[1-9][0-9]{5}(?:19|20)[0-9]{2}[01][0-9][0-3][0-9]{4}[0-9Xx])(?!\w)"),
        checksums.is_resident_id,
    ),
    Rule("id", re.compile(r"(?<![\w.])(?P<v>756\.?[0-9]{4}\.?[0-9]{4}\.?[0-9]{2})(?!\w)"), checksums.is_ahv),
    Rule(
        "id",
        re.compile(r"(?<!\w)(?P<v>[12] ?[0-9]{2} ?[01][0-9] ?[0-9]{2} ?[0-9]{3} ?[0-9]{3} ?[0-9]{2})(?!\w)"),
        checksums.is_nir,
    ),
    Rule("id", re.compile(r"(?<![\w.-])(?P<v>[2-9][0-9]{3}([ -])[0-9]{4}\2[0-9]{4})(?![\w-])"), checksums.has_verhoeff),
    Rule(
        "id",
        re.compile(r"(?<![\w.-])(?P<v>(?:[0-9]{2})?[0-9]{2}[01][0-9][0-3][0-9][-+][0-9]{4})(?![\w-])"),
        lambda text: checksums.has_luhn(text[-11:]),
    ),
    Rule("id", re.compile(r"(?<!\w)(?P<v>[A-Z]{6}[0-9]{2}[A-EHLMPR-T][0-9]{2}[A-Z][0-9]{3}[A-Z])(?!\w)")),
    Rule(
        "id",
        re.compile(
            r"(?i)\b(?:ssn|social[ _-]?security(?:[ _-]?(?:no|number|num))?|sin|nino|national[ _-]?(?:id"
            r"|insurance)|passport"
            r"|tax[ _-]?(?:id|payer[ _-]?id|number)|tin|steuer[ _-]?id|personal[ _-]?(?:id|number|code)"
            r"|bsn|pesel|nif|dni|cpf|cnpj|aadhaar|pan|itin|nhs|medicare|steuer[ _-]?(?:nr|nummer)|imei|imsi|iccid"
            r"|(?:licen[cs]e|number)[ _-]?plate"
            r"|driver'?s?[ _-]?licen[cs]e|licen[cs]e[ _-]?(?:no|number)|(?:date[ _-]?of[ _-]?birth"
            r"|birth[ _-]?date|dob|born)"
            r"|(?:card|account|iban|routing|policy|patient|insurance|member)[ _-]?(?:no|number|num)|mrn|cvv2?|cvc2?)"
            r"(?:[ _-]?(?:no|number|num))?[\"']?(?:\s?[=:#.]\s?|\s(?:is|was"
            r"|on)?\s?)[\"']?(?P<v>[0-9]{2,4}(?: [0-9]{2,4}){2,4}|(?=[A-Z]{0,4}[ -]?[0-9])[0-9A-Z][0-9A-Z./-]{2,24})"
        ),
    ),
    Rule("id", re.compile(r"\bS-1-5-21-(?P<v>[0-9]{4,10}(?:-[0-9]{3,10}){2,3})"), hints=("s-1-5-21-",)),
    # The first line of a passport that machines read.
    Rule("id", re.compile(r"(?<!\w)(?P<v>[PIAC][A-Z<][A-Z]{3}[A-Z]{1,30}<[A-Z0-9<]{5,40})"), hints=("<",)),
    Rule("id", re.compile(r"(?i)\bvin\W{1,3}(?P<v>[A-HJ-NPR-Z0-9]{17})(?!\w)"), hints=("vin",)),
    # Subjects of tokens: a provider, a bar, and who it is there.
    Rule("id", re.compile(r"\bsub(?:ject)?[\"']?\s?[=:]\s?[\"']?(?P<v>[\w-]{2,20}\|[\w|.-]{4,64})"), hints=("|",)),
    # Addresses of wallets.
    Rule("id", re.compile(r"(?<!\w)(?P<v>(?:bc|tb|ltc)1[02-9ac-hj-np-z]{25,60})(?!\w)"), hints=("bc1", "tb1", "ltc1")),
    Rule(
        "id",
        re.compile(
            r"(?P<v>(?:<\*>|(?<!\w)[0-9]{1,5}[A-Za-z]?)\s(?:[A-Z][\w'.-]{1,20}\s){1,3}"
            r"(?:Street|St|Road|Rd|Avenue|Ave|Lane|Ln|Boulevard|Blvd|Court|Terrace)\b)"
            r"|(?<!\w)(?P<w>[A-Z][^\W\d_]{1,30}(?:straße|strasse|gasse|platz|allee)\s(?:<\*>|[0-9]{1,4}[a-z]?))(?!\w)"
        ),
    ),
    Rule("phone", re.compile(r"(?<![\w+.])(?P<v>\+[1-9](?:[ .()/-]{0,2}[0-9]){6,14})(?![0-9])")),
    Rule(
        "phone",
        re.compile(
            r"(?<![\w.+-])(?P<v>(?:1[-. ])?(?:\([0-9]{3}\) ?|[0-9]{3}[-.])[0-9]{3}[-.][0-9]{4})(?![\w-]|\.[0-9])"
        ),
    ),
    Rule(
        "phone",
        re.compile(
            r"(?i)\b(?:phone|telephone|tel|mobile|msisdn|fax|cell|caller(?:[ _-]?id)?|callee|sips?:|sms (?:sent )?to"
            r"|calling|whatsapp|dialed|dialled)"
            r"(?:[ _-]?(?:no|number"
            r"|num))?[\"'.]?\s{0,2}[=:]?\s{0,2}[\"']?(?P<v>[+(]?[0-9](?:[ .()/-]{0,2}[0-9]){5,14})(?![0-9])"
        ),
    ),
)


def mark_personal(text: str, mark: Callable[[str, Kind], str]) -> str:
    """Replace every personal value in a text by what `mark` makes of it and its kind."""
    lowered = text.lower()
    text = _marked(_EMAIL, text, lowered, mark)
    if any(map(str.isdigit, text)) or ":" in text or "<" in text:
        text = _MAC.pattern.sub(lambda match: mark(match.group(), "mac"), text)
        text = _IPV4.sub(lambda match: _mark_address(match, mark), text)
        if text.count(":") > 1:
            text = _IPV6.sub(lambda match: _mark_address(match, mark), text)
        for rule in _NUMBERS:
            text = _marked(rule, text, lowered, mark)
    for rule in USERS:
        text = _marked(rule, text, lowered, mark)
    text = _marked(AT_HOST, text, lowered, mark)
    text = _marked(_NAMED_HOST, text, lowered, mark)
    return _marked(_PRIVATE_HOST, text, lowered, mark)


def _marked(rule: Rule, text: str, lowered: str, mark: Callable[[str, Kind], str]) -> str:
    if rule.hints and not any(hint in lowered for hint in rule.hints):
        return text
    accept = is_name if rule.kind == "user" and rule.accept is bool else rule.accept

    def replaced(match: re.Match[str]) -> str:
        group = next(name for name in ("v", "w", "x", "y", "z", "t") if match.groupdict().get(name) is not None)
        value = match[group]
        if not accept(value):
            return match.group()
        start, end = match.start(group) - match.start(), match.end(group) - match.start()
        whole = match.group()
        return whole[:start] + mark(value, rule.kind) + whole[end:]

    return rule.pattern.sub(replaced, text)


_PRIVATE_NETWORKS: Final = tuple(
    map(
        ipaddress.ip_network,
        ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10", "fc00::/7", "fe80::/10"),
    )
)


def _mark_address(match: re.Match[str], mark: Callable[[str, Kind], str]) -> str:
    """Replace an address; loopback, the unspecified address and what is none (a time) stay."""
    text = match.group()
    bare = text if text.endswith("::") else text.rstrip(":")
    plain = bare.split("-", 1)[1].replace("-", ".") if "-" in bare else bare.partition("%")[0]
    if ":" not in plain:
        # A zero before a part, "010.001.002.003", is no address to Python, but one to whoever wrote it.
        plain = ".".join(str(int(part)) for part in plain.split("."))
    try:
        address = ipaddress.ip_address(plain)
    except ValueError:
        return text
    address = getattr(address, "ipv4_mapped", None) or address
    if address.is_loopback or address.is_unspecified:
        return text
    is_private = any(address in network for network in _PRIVATE_NETWORKS)
    return mark(bare, "private-ip" if is_private else "public-ip") + text[len(bare) :]
