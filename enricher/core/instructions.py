"""Whether a text from a log seems to speak to a model instead of to people.

Such a kind of event is asked alone, so that it can harm the answer for no other kind. A guess too many costs one
request, once; it decides nothing else, and no text is ever changed or dropped for it. Linear time whatever the text.

Obfuscation is looked through as far as it is cheap: characters that cannot be seen or that look like others, letters
spaced out, base64. What no rule knows is still only data in a JSON string, and its answer is still checked.
"""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from typing import Final

# Longer texts are not shown whole to a model; what is behind is never read.
_MAX_CHARACTERS: Final = 8_000

_ORDER: Final = re.compile(
    r"\b(?:ignore|disregard|forget|override|bypass|neglect|discard|skip)\b.{0,40}\b(?:instruct"
    r"|prompt|previous|prior|above|earlier"
    r"|preceding|rules?|polic|everything|guard|restrict|system message|context|schema|safety)"
    r"|\b(?:system|developer|hidden|initial|original|secret|admin)[ _](?:prompt|message|instructions?|override|mode)\b"
    r"|\byou(?:'re| are| will| shall| must| should| can) (?:now |no longer |from now on )?(?:an? "
    r"|the )?(?:now|must|ai|assistant|language model"
    r"|model|chatbot|free|unrestricted|dan|evil|obey|comply|act|answer|respond|reply|output"
    r"|classify|mark|pretend|be|only|always|never|say|write|return|in)\b"
    r"|\b(?:as|i am|i'm) an? (?:ai|assistant|language model)\b|\bpretend (?:to|that|you)"
    r"|\bact as\b|\brole ?play|\bjailbreak|\bdeveloper mode|\bdo anything now"
    r"|\b(?:respond|reply|answer|classify|output|return|print|write|say|label|mark|rate|treat"
    r"|report|summari[sz]e|categori[sz]e|translate|repeat)\s"
    r"(?:back |only|this|it |with |as |everything|all |every |each |the (?:above|following"
    r"|previous|next|word|system|prompt|severity|category|text)"
    r"|these|them |nothing|in json|exactly|true|severity|\"|')"
    r"|\b(?:set|change|make|assign|give|use) (?:the |its |their |all |every |a )?(?:severity"
    r"|category|summary|confidence|outcome|tags|root_cause|action|slots)\b"
    r"|\b(?:severity|category|confidence|outcome)\W{0,3}(?:=|:|must be|should be|is now"
    r"|to be)\W{0,3}(?:trace|debug|info|notice|fatal|critical|none|null|other|success|[01]\b)"
    r"|<\|[a-z_ ]{1,30}\|>|\[/?inst\]|<</?sys>>|</?(?:system|assistant|user|instructions?|prompt"
    r"|data|context|log|s[0-9<]{1,4})>"
    r"|\b(?:new|following|updated|additional|important|special|real|actual) (?:instructions?|orders?|task|rules?)\b"
    r"|(?:\b|\\n)(?:assistant|system|human|ai)\s{0,2}:\s{0,2}(?:$|[a-z\"'{])"
    r"|^\s{0,3}#{1,6}\s?(?:system|assistant|instructions?|user|response|task)\b"
    r"|[\"'`{,]\s{0,2}s[0-9<]|\bs[0-9]{1,3}\b[\"']?\s{0,2}:|\bs<\*>[\"']?\s{0,2}:"
    r"|\b(?:end|start|begin|stop) of (?:log data|log lines|user input|prompt|instructions?|context|message"
    r"|conversation|user)"
    r"|\b(?:note|message|attention|hint|request|dear|hey|hello|important)\b.{0,12}\b(?:to"
    r"|for) (?:the )?(?:ai|llm|model|assistant|analyst bot|classifier|gpt|chatgpt|claude|gemini"
    r"|language model)\b"
    r"|\b(?:chatgpt|gpt-[0-9]|claude|gemini|llama|copilot|llms?|language model"
    r"|chatbot)\b.{0,40}\b(?:please|must|should|you|ignore|say|mark|will|do|answer)\b"
    r"|\b(?:dear|hey|hello) (?:language model|model|ai|llm|assistant|classifier)\b"
    r"|\b(?:assistant|language model|classifier|llm)s? (?:must|should|shall|will|has to)\b"
    r"|\btool_?calls?\b|\bfunction_?calls?\b|\bthe (?:user|operator|developer"
    r"|administrator) (?:wants|asks|told|has asked|instructs) you"
    r"|\b(?:reveal|leak|print|show|repeat|output|exfiltrate|send)\b.{0,30}\b(?:system prompt"
    r"|instructions|your prompt|api key|credentials|the other (?:kinds|events|lines))"
    r"|\bignor(?:iere?|ez|a|ar|e)\b.{0,40}\b(?:anweisung|instruc|vorherig|anterior|pr[ée]c[ée]dent"
    r"|istruzioni|regeln)|игнорируй|忽略|無視|무시|تجاهل"
    r"|\bvergiss\b.{0,30}\b(?:anweisung|regeln|alles)|\boublie[zr]?\b.{0,40}\binstruc|\bolvida\b.{0,40}\binstruc"
)
# Letters that look like Latin ones, Cyrillic and Greek, and digits written for letters.
_LOOK_ALIKES: Final = str.maketrans(
    "авеёкмнорстухіјѕԁһԛԝαβεηικνορτυχγωΑΒΕΗΙΚΜΝΟΡΤΥΧΖАВЕКМНОРСТУХІЈЅ",
    "abeekmhopctyxijsdhqwabeniknoptuxywABEHIKMNOPTYXZABEKMHOPCTYXIJS",
)
_LEET: Final = re.compile(r"(?<=[a-z])[013457@$!]{1,2}(?=[a-z])|(?<![\w.])[013457@$!](?=[a-z]{2})")
_LEET_LETTERS: Final = str.maketrans("013457@$!", "oieastasi")
_HIDDEN: Final = re.compile(
    r"[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\uffff\U000e0000-\U000e0fff]"
    r"|\x1b\[[0-9;]{0,16}m"
)
_SPACED: Final = re.compile(r"(?<!\w)(?:\w[ ._*|/-]{1,3}){5,}\w(?!\w)")
_GAPS: Final = re.compile(r"[ ._*|/-]")
_BLANKS: Final = re.compile(r"\s+")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]{16,4000}={0,2}")
_HEX: Final = re.compile(r"(?<![0-9A-Za-z])(?:[0-9a-fA-F]{2}){12,2000}(?![0-9A-Za-z])")
_MAX_DECODED: Final = 8


def looks_like_instructions(text: str) -> bool:
    """Say whether a text seems to speak to a model; such a kind is asked alone, so that it can harm no other."""
    shown = text[:_MAX_CHARACTERS]
    if _HIDDEN.search(shown) and not shown.isascii():
        # Nobody but an attacker, or a script that needs them, puts these between letters: the text is read without.
        shown = _HIDDEN.sub("", shown)
    if not shown.isascii():
        shown = unicodedata.normalize("NFKC", shown)
    plain = _BLANKS.sub(" ", _HIDDEN.sub("", shown)).lower()
    return any(_ORDER.search(one) for one in (plain, *_uncovered(plain), *_decoded(shown)))


def _uncovered(plain: str) -> list[str]:
    """Read the text in the other ways in which a person would read it."""
    found = []
    if not plain.isascii():
        bare = "".join(one for one in unicodedata.normalize("NFD", plain) if not unicodedata.combining(one))
        found.append(bare.translate(_LOOK_ALIKES))
    if _SPACED.search(plain):
        # Two blanks or more are lost by now; between single letters the words run together, and so are looked for.
        joined = _SPACED.sub(lambda match: _GAPS.sub("", match.group()), plain)
        found.append(_RUN_TOGETHER.sub(r" \1 ", joined))
    if _LEET.search(plain):
        found.append(_LEET.sub(lambda match: match.group().translate(_LEET_LETTERS), plain))
    return found


_RUN_TOGETHER: Final = re.compile(
    r"(ignore|disregard|forget|override|all|previous|prior|above|instructions?|rules?|system"
    r"|prompt|respond|answer|only|with|severity|info)"
)


def _decoded(text: str) -> list[str]:
    """Decode words that are base64 or hexadecimal of a readable text."""
    found: list[str] = []
    for match in (*_BASE64.finditer(text), *_HEX.finditer(text)):
        word = match.group()
        try:
            if match.re is _HEX:
                raw = bytes.fromhex(word)
            else:
                body = word.rstrip("=")
                raw = base64.urlsafe_b64decode(body.replace("+", "-").replace("/", "_") + "=" * (-len(body) % 4))
        except (ValueError, binascii.Error):
            continue
        if raw.isascii() and sum(byte >= 32 for byte in raw) >= len(raw) - 2:
            found.append(raw.decode("ascii").lower())
        if len(found) == _MAX_DECODED:
            break
    return found
