"""Plain scalars as YAML 1.2 reads them: `no`, `on` and `1:30` are words, not values."""

import math
import re
from typing import Final

TRUE: Final = frozenset({"true", "True", "TRUE"})
FALSE: Final = frozenset({"false", "False", "FALSE"})
NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
INTEGER: Final = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
NUMBER: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
NOT_FINITE: Final = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
FIRST_OF_A_NUMBER: Final = frozenset("+-.0123456789")

# Beyond this Python itself refuses or slows down; no field comes near it.
MOST_DIGITS: Final = 18


class NotANumber(ValueError):
    """Looks like a number, and is none that can be used; the message says why."""


def resolve(text: str) -> bool | int | float | str | None:
    """Return the value of a plain scalar.

    Raises:
        NotANumber: not finite, or with too many digits.
    """
    if text in NULL:
        return None
    if text in TRUE or text in FALSE:
        return text in TRUE
    if text[0] not in FIRST_OF_A_NUMBER:
        return text
    if INTEGER.fullmatch(text):
        return _integer(text)
    if NUMBER.fullmatch(text):
        value = float(text)
        if not math.isfinite(value):
            raise NotANumber(f"{text} is too large a number")
        return value
    if NOT_FINITE.fullmatch(text):
        raise NotANumber(f"{text} is not a finite number")
    return text


def _integer(text: str) -> int:
    if len(text) > MOST_DIGITS:
        raise NotANumber(f"a number of {len(text)} digits is too long")
    base = {"0x": 16, "0o": 8}.get(text[:2], 10)
    return int(text, base)
