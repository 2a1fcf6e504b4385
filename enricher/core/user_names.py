r"""Where the names of users and persons stand in a line: `user=`, `for NAME from`, `/home/NAME`, `DOMAIN\NAME`.

Invariants: a name is known by what stands around it only, never by itself; names that are no person's (`root`, a word
of English behind "user") are none; every rule takes time in proportion to the text, whatever it holds.
"""

from __future__ import annotations

import re
from typing import Final

from enricher.core.public_words import NAMELESS
from enricher.core.sensitive import Rule

_DOMAIN: Final = re.compile(
    r"www\..*|.*\.(?:com|org|net|io|dev|info|gov|edu|service|socket|timer|exception|error|py|js|java|conf|log)"
)


_PACKAGE: Final = re.compile(r"(?:com|org|net|io|java|javax|sun|scala|kotlin|android|system|microsoft|spark)\.")


def is_name(name: str) -> bool:
    """Say whether a word where a name may stand can be one: no word of prose, no system's account, no domain."""
    lowered = name.strip().lower()
    if lowered.count(".") > 1 or _DOMAIN.fullmatch(lowered):
        return False
    return is_owner(name)


def is_account(name: str) -> bool:
    """Say the same of a word behind `user=`: with two dots it is a name there, unless it is a package or a domain."""
    lowered = name.strip().lower()
    return is_owner(name) and not _DOMAIN.fullmatch(lowered) and not _PACKAGE.match(lowered)


def is_owner(name: str) -> bool:
    """Say the same of a directory below that of all users: it may have any dots."""
    lowered = name.strip().lower()
    return lowered not in NAMELESS and lowered.split(" ", 1)[0] not in NAMELESS


AT_HOST: Final = Rule(
    "user",
    re.compile(
        r"(?<![\w.@/+%-])(?P<v>[A-Za-z_][\w.-]{0,31})@(?!if[0-9]|tty|pts)(?=[A-Za-z<])(?![\w-]{1,63}\.[a-z]{5,9}\b)"
    ),
    accept=lambda name: is_name(name) and name.lower() not in _UNITS,
    hints=("@",),
)
_UNITS: Final[frozenset[str]] = frozenset(
    ["getty", "serial-getty", "user", "ssh", "sshd", "systemd-fsck", "lvm2-pvscan", "blockdev"]
)
_NAME = r"(?P<v>[^\W\d][\w.$+-]{0,63}(?<![.+]))"
# The next word may be the name of the next field.
_FULL_NAME = (
    r"(?P<v>[^\W\d_][\w.'-]{1,40}"
    r"(?: (?!\w{1,24}=|(?:\w{0,12}name|last|first|family|given|role|e?mail|phone|id|dob)[\"']?\s?:)"
    r"[^\W\d_][\w.'-]{0,40}){0,3})"
)
_USER_KEY = (
    r"(?:[a-z]{0,12}[_.-]?user(?:[ _-]?name|[ _-]?id)?|usr(?:name)?|usrname|[rsdet]?uname"
    r"|log[ _-]?(?:in|name)(?:[ _-]?name)?|[sd]user|ruser|acct"
    r"|[a-z]{0,12}[ _-]?account(?:[ _-]?name)?|owner(?:[ _-]?name)?|principal|actor|author"
    r"|assignee|requester|reporter|reviewer"
    r"|operator|nick(?:name)?|member|employee|customer|patient|e?uid|auid|samaccountname|identity"
    r"|impersonated|onbehalfof|[a-z]{1,12}[_-]by|by)"
)
USERS: Final = (
    Rule(  # user=alice, "username": "alice", Account Name: alice, user=<alice>, login=CORP\alice
        "user",
        re.compile(
            rf"(?i)(?<![A-Za-z0-9]){_USER_KEY}(?:\\{{0,3}}[\"'])?\s{{0,3}}(?:=>"
            rf"|[=:])\s{{0,16}}(?:\\{{0,3}}[\"']|[\[(<{{](?!\*>)){{0,2}}"
            r"(?:[\w.-]{1,30}\\{1,2})?" + _NAME + r"(?![\w=]|:\S|\s=)"
        ),
        accept=is_account,
        hints=(
            "u",
            "log",
            "acc",
            "own",
            "act",
            "ass",
            "by",
            "prin",
            "req",
            "rep",
            "rev",
            "oper",
            "nick",
            "mem",
            "emp",
            "pat",
            "id",
        ),
    ),
    Rule(  # user alice from, user 'alice'@'…', role "alice" does not exist
        "user",
        re.compile(
            r"(?i)(?<![\w-])(?:user(?:name)?|role|account|principal|member|login"
            r"|usr)\s{1,2}(?:name\s)?[\"'`(\[<]?(?:[\w.-]{1,30}\\{1,2})?" + _NAME + r"(?!\*>)"
        ),
        hints=("user", "role", "account", "principal", "member", "login", "usr"),
    ),
    Rule(  # Failed password for invalid user alice from, session opened for alice
        "user",
        re.compile(
            r"(?i)\b(?:password|publickey|pubkey|keyboard-interactive/pam|gssapi-with-mic|hostbased|none"
            r"|key|certificate|log-?[io]n|log-?out|sign-?in|auth\w{0,12}"
            r"|session|access|accounts?|credentials?|ticket|mail|mailbox|token|attempts?|opened|closed"
            r"|failures?|denied|granted|locked|disabled"
            r"|enabled|reset|changed|created|expired|updated|issued|requested|accepted|failed|rejected"
            r"|quota|exceeded|mfa|otp|2fa|sudo|invoice|order|report"
            r"|profile|record|comment|feedback|review|approval|keys|privileges|permissions?|impersonation|delegation)\s"
            r"(?:\w{1,15}\s){0,2}?(?:for|of|to|from|by)\s(?:the\s)?(?:invalid\s|illegal\s|unknown\s"
            r"|locked\s)?(?:user\s|account\s|principal\s|role\s)?[\"'`<(\[]?(?:[\w.-]{1,30}\\{1,2})?" + _NAME
        ),
        hints=(" for ", " of ", " to ", " from ", " by "),
    ),
    Rule(
        "user",
        re.compile(
            r"(?i)\bfor\s(?:invalid\suser\s)?"
            + _NAME
            + r"\sfrom\s(?:[\[(]?(?:private|public)-ip-|<|[\w.-]{1,60}\sport)"
        ),
        hints=(" from ",),
    ),
    Rule(  # logged in as alice, approved by alice
        "user",
        re.compile(
            r"(?i)\b(?:as|logged\sin|logged\sout|signed\sin|disconnected|connected|(?:approv|chang|modifi"
            r"|creat|delet|deploy|kill|lock|unlock|own|request|start"
            r"|stopp|trigger|assign|submitt|updat|releas|upload|download|cancell|edit|review|merg|committ"
            r"|invok|launch|initiat|authoriz|issu|revok|reset|execut|renam|remov|add|grant|report|post"
            r"|sign|open|clos)e?d?\sby|impersonating|"
            r"assigned\sto|authenticated|authenticating|on\sbehalf\sof|(?:welcome|hello|dear),?"
            r")\s(?:back,?\s)?(?:user\s)?[\"'`<(]?(?:[\w.-]{1,30}\\{1,2})?" + _NAME
        ),
        accept=lambda name: is_name(name) and not name.lower().endswith("ly"),
    ),
    Rule(
        "user",
        re.compile(_NAME + r"(?=\(uid=)|[ug]id=(?:[0-9]{1,10}|<\*>)\((?P<w>[^\W\d][\w.-]{0,63})\)"),
        hints=("uid=", "gid="),
    ),
    Rule(
        "user",
        re.compile(
            r"(?i)(?:^|[\s\"'])@?"
            + _NAME
            + r"\s(?:has\s|was\s|is\s|just\s)?(?:logged\s(?:in|out|on|off)|signed\s(?:in|out|up|on)|joined"
            r"|authenticated|connected\sfrom|left\sthe)\b"
        ),
    ),
    Rule(
        "user",
        re.compile(
            r"(?:^|:)\s{0,8}" + _NAME + r"\s:\s(?:TTY=|(?:\d{1,3}|<\*>) incorrect|command not|user NOT|a password)"
        ),
        hints=(" : ",),
    ),
    Rule(
        "user",
        re.compile(
            r"\((?P<v>[^\W\d][\w.-]{0,63})\)\s(?:CMD|RELOAD|LIST|BEGIN EDIT|END EDIT|REPLACE|DELETE"
            r"|STARTUP|MAIL|ORPHAN|AUTH|CMDOUT|CMDEND)\b"
        ),
    ),
    Rule(
        "user",
        re.compile(
            r"(?:^|\s)(?:\(to\s[\w.-]{1,40}\)\s"
            + _NAME
            + r"\son\s|to\s(?P<w>[^\W\d][\w.-]{0,63})\son\s(?:pts|tty)|\bfrom\s(?P<x>[^\W\d][\w.-]{0,63})\sto\sroot)"
        ),
    ),
    Rule(  # /home/alice, C:\Users\Alice Smith\…, /var/mail/alice
        "user",
        re.compile(
            r"(?i)(?:(?<![a-z0-9])/(?:home|users|export/home|data/home|usr/home|mnt/home"
            r"|var/(?:spool/)?mail|var/spool/cron(?:/crontabs)?|var/lib/systemd/linger|home/users)/"
            r"|\b[a-z]:(?:\\{1,4}|/)(?:users|documents and settings)(?:\\{1,4}|/)"
            r"|\\(?:users|homes?|profiles)\$?\\{1,4}|\\\\<\*>\\{1,4}(?=[^\\\s]{1,64}\\)"
            r"|%2fhome%2f)(?P<v>[^\W_][\w.$+@-]{0,63}(?: [\w.-]{1,40}){0,2}(?=[\\])|[^\W_][\w.$+-]{0,63})"
        ),
        accept=is_owner,
        hints=("home", "users", "profiles", "mail/", "cron", "linger", "documents and", "\\\\"),
    ),
    Rule("user", re.compile(r"(?<!\w)~(?P<v>[a-z][\w.-]{1,31})(?=[/\s:]|$)"), hints=("~",)),
    Rule(  # CORP\alice, where no path of files stands
        "user",
        re.compile(
            r"(?<![\w\\/:.$-])(?!HKLM|HKCU|HKCR|HKEY"
            r"|HKU\b)[A-Z][A-Z0-9_.-]{1,24}\\{1,2}(?P<v>[^\W\d_][\w.$-]{0,63})(?![\\\w])"
        ),
        hints=("\\",),
    ),
    Rule(  # cn=Alice Smith,ou=people / uid=alice,ou=people
        "user",
        re.compile(
            r"(?i)(?<![a-z])(?:cn|givenname|surname|sn|displayname"
            r"|gecos)=[\"']?(?P<v>[^,;=\"'/\\<>\n+]{2,60})(?=[\"'+]?,\s?(?:ou|dc|o|cn)=|[\"'])"
        ),
        accept=lambda name: "." not in name and is_name(name),
        hints=("=",),
    ),
    Rule(
        "user",
        re.compile(
            r"(?i)(?<![a-z])(?:full|first|last|given|family|middle|display|customer|patient|employee"
            r"|contact|card[ _-]?holder|holder|recipient|sender|beneficiary|billing|shipping|maiden|sur)"
            r"[ _-]?(?:name)?(?:\\{0,3}[\"'])?\s{0,2}[=:]\s{0,2}(?:\\{0,3}[\"'])?" + _FULL_NAME
        ),
        hints=("name", "holder", "recipient", "sender", "customer", "patient", "employee", "contact", "beneficiary"),
    ),
    Rule(
        "user",
        re.compile(
            r"(?i)\"(?:user|actor|author|owner|account|customer|person"
            r"|operator)\\{0,3}\"\s?:\s?\{[^{}]{0,200}?\"(?:user|login|name|username"
            r"|id)\\{0,3}\"\s?:\s?\\{0,3}\"" + _FULL_NAME
        ),
        hints=("{",),
    ),
    Rule(
        "user",
        re.compile(
            r"(?i)\b(?:mr|mrs|ms|dr|prof|herr|frau|mme|sr)\.?\s(?P<v>[A-Z][\w'-]{1,40}(?:\s[A-Z][\w'-]{1,40})?)(?<=\w)"
        ),
        accept=lambda name: name[:1].isupper() and is_name(name),
    ),
    Rule(
        "user",
        re.compile(
            r"(?i)\b(?:from|to|cc|bcc|reply-to|sender|author|signed-off-by|reviewed-by)\b[:=]?\s{0,2}\"?"
            + _FULL_NAME
            + r"\"?\s?<(?=<|email|secret)"
        ),
        hints=("from", "to", "cc", "sender", "author", "-by"),
    ),
    Rule(  # the user of an access log, in brackets behind it the time
        "user", re.compile(r"(?:^|[\s\"'<>*:-])" + _NAME + r"\s\[(?=(?:<\*>|[0-9]{1,2})/)"), hints=(" [",)
    ),
    Rule("user", re.compile(r"\[(?P<v>[^\W\d][\w.-]{0,63})\]\s(?:OK|FAIL)\s[A-Z]{4}"), hints=("] ok", "] fail")),
    Rule("user", re.compile(rf"\"{_FULL_NAME}\"\s?<(?=<|email|secret)"), hints=("<",)),
    Rule(  # what is done with persons, or who they are, and two words that are names by their capitals
        "user",
        re.compile(
            r"\b(?i:on\sbehalf\sof|patient|employee|student|pupil|passenger|visitor|candidate|applicant|tenant|customer|nurse|doctor|teacher"
            r"|policyholder|subscriber|attendee|payee|payer"
            r"|(?:ship(?:ped|ping|ment)|deliver(?:ed|y)|invoice|booking|reservation|appointment|meeting|payment|refund(?:ed)?"
            r"|addressed|prescription|contract|organi[sz]ed)\s(?:\w{1,15}\s)?(?:to|for|with|from|of))"
            r"\s(?P<v>[A-Z][\w'’-]{1,30} [A-Z][\w'’.-]{0,30})"
        ),
    ),
    Rule(
        "user",
        re.compile(
            r"\b(?:add_user|change_password|authenticate_user|delete_user|set_user_tags)\s(?P<v>[^\W\d][\w.-]{0,63})"
            r"|\bauth-user-pass\s(?P<x>[^\W\d][\w.-]{0,63})|\s-[uU]\s(?P<w>[^\W\d][\w.-]{0,63})(?=\s(?:-p|--pass))"
        ),
        hints=("_user", "_password", "-u ", "auth-user-pass"),
    ),
    Rule("user", re.compile(r"\]\\{1,2}\[(?P<v>[^\W\d][\w.$-]{0,63})\]"), hints=("]\\",)),
    Rule(
        "user",
        re.compile(rf"(?i)<[\w:]{{0,20}}(?:user(?:name)?|login|owner|account|author|name)>{_FULL_NAME}<(?=[/<])"),
        hints=(">",),
    ),
    Rule("user", re.compile(r"'(?P<v>[^\W\d][\w.-]{0,63})'@'"), hints=("'@'",)),
    Rule(  # commands: su - alice, sudo -u alice, crontab -u alice, psql -U alice, useradd -m alice
        "user",
        re.compile(
            r"\bsu\s(?:-\s|-l\s|--login\s)?" + _NAME + r"(?=\s*(?:$|[;\"'&|)-]))"
            r"|\b(?:sudo|(?:docker|podman|helm|az|oc)\slogin|crontab|psql|pg_dump|mysql|runuser|ssh|rsync"
            r"|smbclient|chage|curl)\s(?:[^\n|;]{0,80}\s)?(?:-u|-U|-l"
            r"|--user(?:name)?)[\s=]{0,2}(?P<w>[^\W\d][\w.-]{0,63})"
            r"|<\*>\s(?:[^\n|;]{0,40}\s)?-[uU]\s(?P<t>[^\W\d][\w.-]{0,63})"
            r"|\bhtpasswd\s(?:-\w{1,6}\s){0,3}\S{1,80}\s(?P<z>[^\W\d][\w.-]{0,63})\s"
            r"|\b(?:useradd|userdel|usermod|adduser|deluser|chage|passwd|gpasswd|chfn|finger|pkill -u"
            r"|groups"
            r"|id)\s(?:-{1,2}[\w=/,-]{1,60}\s(?:[\w/.,-]{1,60}\s)?){0,4}(?P<x>[^\W\d][\w.-]{0,63})(?=\s*(?:$"
            r"|[\"';&|)]))"
            r"|\b(?:chown|chgrp)\s(?:-\w{1,4}\s)?(?P<y>[^\W\d][\w.-]{0,63})[:\s]"
        ),
        hints=("su ", "sudo", "-u", "-l", "user", "passwd", "chage", "chown", "chgrp", "finger", "groups", "id "),
    ),
    Rule(
        "user",
        re.compile(
            r"(?i)\b(?:new|delete|add|removed?|change|modify)\s(?:user|group|member"
            r"|account)?:?\s{0,2}(?:name=|')(?P<v>[^\W\d][\w.-]{0,63})"
        ),
        hints=("name=", "'"),
    ),
    Rule(
        "user",
        re.compile(
            r"(?:^|\s|\")(?:USER|user:)\s(?P<v>[^\W\d][\w.@-]{0,63})|\bsshd:\s(?P<w>[^\W\d][\w.-]{0,63})\s?(?:\[|@|$)"
        ),
    ),
)
