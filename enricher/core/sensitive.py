"""What kinds of values must not leave a host, and the form in which it is said where they stand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import re
    from collections.abc import Callable

Kind = Literal["secret", "email", "user", "private-ip", "public-ip", "mac", "card", "iban", "id", "phone", "host"]


@dataclass(frozen=True, slots=True)
class Rule:
    """Where values of one kind stand: in the group `v` of the pattern, if `accept` agrees."""

    kind: Kind
    pattern: re.Pattern[str]
    accept: Callable[[str], bool] = bool
    hints: tuple[str, ...] = ()
    """Lower-case texts, one of which is in every text that the rule can match; a search for them is far cheaper."""
