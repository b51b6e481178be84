"""Canonical JSON (RFC 8785): the text of a leaf from the JSON object that a mirror of the log carries."""

from __future__ import annotations

import json
import math
from typing import Any, Final

from muniment.verifier.errors import EntryError

MAX_DEPTH: Final = 64
_SAFE: Final = 2**53 - 1


def canonical(value: Any, depth: int = MAX_DEPTH) -> str:
    """The RFC 8785 text of a JSON value. Raises `EntryError` (`not_canonical`) for what has none."""
    if depth < 0:
        raise EntryError("not_canonical", "the value is nested too deeply", expected=f"<= {MAX_DEPTH}")
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, int):
        if abs(value) > _SAFE:
            raise EntryError("not_canonical", "an integer is not exact in JSON", expected=f"<= {_SAFE}", actual=value)
        return str(value)
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, list):
        return "[" + ",".join(canonical(one, depth - 1) for one in value) + "]"
    if isinstance(value, dict):
        # Names are sorted by their UTF-16 units (section 3.2.3).
        names = sorted(value, key=lambda name: name.encode("utf-16-be", "surrogatepass"))
        return "{" + ",".join(f"{_string(name)}:{canonical(value[name], depth - 1)}" for name in names) + "}"
    raise EntryError("not_canonical", "the value is not JSON", actual=type(value).__name__)


def _string(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise EntryError("not_canonical", "a string holds half a surrogate pair") from error
    return json.dumps(text, ensure_ascii=False)


def _number(value: float) -> str:
    """A double as ECMAScript writes it (section 3.2.2.3): the shortest digits that give it back."""
    if not math.isfinite(value):
        raise EntryError("not_canonical", "a number is not finite", actual=value)
    if value == 0:
        return "0"
    sign, digits, point = "-" if value < 0 else "", *_digits(abs(value))
    if len(digits) <= point <= 21:
        text = digits + "0" * (point - len(digits))
    elif 0 < point <= 21:
        text = f"{digits[:point]}.{digits[point:]}"
    elif -6 < point <= 0:
        text = "0." + "0" * -point + digits
    else:
        fraction = f".{digits[1:]}" if len(digits) > 1 else ""
        text = f"{digits[0]}{fraction}e{'+' if point > 0 else '-'}{abs(point - 1)}"
    return sign + text


def _digits(value: float) -> tuple[str, int]:
    """The shortest decimal digits of a positive double, and where the point is: 0.0012 is `12`, -2."""
    mantissa, _, exponent = repr(value).partition("e")
    whole, _, fraction = mantissa.partition(".")
    fraction = "" if fraction == "0" else fraction
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + int(exponent or 0) - (len(whole + fraction) - len(digits))
    return digits.rstrip("0"), point
