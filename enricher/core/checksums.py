"""Numbers that carry a check digit: payment cards, bank accounts, national numbers.

Invariant: every function takes the number's text with its separators, in time that grows with its length, and never
raises. A number that fails its check is none: a counter of sixteen digits stays what it is, nine times in ten.
"""

from __future__ import annotations

import re
from typing import Final

_NOT_ALNUM: Final = re.compile(r"[^0-9A-Za-z]+")
# ISO/IEC 7812 ranges: Visa, Mastercard, American Express, Discover, JCB, Diners Club, UnionPay, Maestro.
_CARD: Final = re.compile(
    r"4\d{12}(?:\d{3}){0,2}|(?:5[1-5]|2[2-7])\d{14}|3[47]\d{13}|6(?:011|5\d\d|4[4-9]\d)\d{12}|35\d{14}|3[068]\d{12}"
    r"|62\d{14,17}|(?:50|5[6-9]|6[0-9])\d{10,17}"
)
_DNI_LETTERS: Final = "TRWAGMYFPDXBNJZSQVHLCKE"
_VERHOEFF_TIMES: Final = tuple(
    tuple(map(int, row))
    for row in (
        *("0123456789", "1234067895", "2340178956", "3401289567", "4012395678"),
        *("5987604321", "6598710432", "7659821043", "8765932104", "9876543210"),
    )
)
_VERHOEFF_PERMUTE: Final = tuple(
    tuple(map(int, row))
    for row in (
        *("0123456789", "1576283094", "5803796142", "8916043527"),
        *("9453126870", "4286573901", "2793806415", "7046913258"),
    )
)


def _digits(text: str) -> str:
    return "".join(character for character in text if character in "0123456789")


def has_luhn(text: str) -> bool:
    """Check by ISO/IEC 7812-1 annex B: from the right, every second digit doubled."""
    digits = [int(digit) for digit in reversed(_digits(text))]
    doubled = (2 * digit - 9 * (digit > 4) for digit in digits[1::2])
    return bool(digits) and any(digits) and (sum(digits[::2]) + sum(doubled)) % 10 == 0


def is_card(text: str) -> bool:
    """Say whether it is in a range that cards are issued from and has their check digit."""
    return _CARD.fullmatch(_digits(text)) is not None and has_luhn(text)


def is_iban(text: str) -> bool:
    """Check by ISO 13616: the first four characters behind the others, letters as 10 to 35, modulo 97 is 1."""
    plain = _NOT_ALNUM.sub("", text).upper()
    if not 15 <= len(plain) <= 34:
        return False
    return int("".join(str(int(character, 36)) for character in plain[4:] + plain[:4])) % 97 == 1


def is_dni(text: str) -> bool:
    """Check the letter of a Spanish DNI (eight digits) or NIE (X, Y or Z and seven digits)."""
    plain = _NOT_ALNUM.sub("", text).upper()
    number = plain[:-1].translate(str.maketrans("XYZ", "012"))
    return number.isdigit() and _DNI_LETTERS[int(number) % 23] == plain[-1]


def is_cpf(text: str) -> bool:
    """Check both digits of a Brazilian CPF."""
    digits = [int(digit) for digit in _digits(text)]

    def check(count: int) -> int:
        return (
            sum(digit * weight for digit, weight in zip(digits, range(count + 1, 1, -1), strict=False)) * 10 % 11 % 10
        )

    return len(digits) == 11 and len(set(digits)) > 1 and (check(9), check(10)) == (digits[9], digits[10])


def is_resident_id(text: str) -> bool:
    """Check a Chinese resident identity number by ISO 7064 MOD 11-2."""
    plain = text.upper()
    total = sum(int(digit) * (1 << (17 - at)) for at, digit in enumerate(plain[:17]))
    return len(plain) == 18 and "10X98765432"[total % 11] == plain[17]


def is_ahv(text: str) -> bool:
    """Check a Swiss AHV number, an EAN-13."""
    digits = [int(digit) for digit in _digits(text)]
    return len(digits) == 13 and (sum(digits[::2]) + 3 * sum(digits[1::2])) % 10 == 0


def is_nir(text: str) -> bool:
    """Check the key of a French NIR of a department without letters: 97 less the number modulo 97."""
    digits = _digits(text)
    return len(digits) == 15 and 97 - int(digits[:13]) % 97 == int(digits[13:])


def has_verhoeff(text: str) -> bool:
    """Check by Verhoeff's scheme, as Indian Aadhaar numbers do."""
    check = 0
    for at, digit in enumerate(reversed(_digits(text))):
        check = _VERHOEFF_TIMES[check][_VERHOEFF_PERMUTE[at % 8][int(digit)]]
    return check == 0
