"""JSON as Muniment takes it from strangers: RFC 8259 within I-JSON (RFC 7493), and bounded.

Refused, each with its own code: other encodings than UTF-8, a byte order mark, duplicate names, NaN and Infinity,
integers beyond 2**53 - 1, nesting beyond a limit, NUL and lone surrogates in strings. A hostile text can therefore
neither crash a reader, nor mean two things to two readers, nor reach a database that cannot hold it.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final, NoReturn

from muniment.contracts.errors import Rejected, TooLarge

MAX_BYTES: Final = 1024 * 1024
MAX_DEPTH: Final = 64
MAX_SAFE_INTEGER: Final = 2**53 - 1  # RFC 7493 section 2.2: what every JSON reader holds exactly

# A string matches even when it is cut off, so no start is tried twice: the scan stays linear on hostile input.
_OPENERS: Final = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[\[{]|[\]}]', re.DOTALL)


def loads(raw: bytes, *, max_bytes: int = MAX_BYTES, max_depth: int = MAX_DEPTH) -> Any:
    """The value of one JSON text.

    Raises `TooLarge` (`json_too_large`) and `Rejected` with code `json_empty`, `json_encoding`, `json_malformed`,
    `json_duplicate_name`, `json_not_finite`, `json_integer_range`, `json_too_deep` or `json_forbidden_character`.
    """
    if not raw:
        raise Rejected("json_empty", "the body is empty", expected="a JSON text", actual="0 bytes")
    if len(raw) > max_bytes:
        raise TooLarge("json_too_large", "the body is too large", expected=f"<= {max_bytes} B", actual=f"{len(raw)} B")
    if raw.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise Rejected("json_encoding", "the body starts with a byte order mark", expected="UTF-8 without one")
    _check_depth(raw, max_depth)
    try:
        text = raw.decode("utf-8", errors="strict")
    except UnicodeDecodeError as error:
        raise Rejected(
            "json_encoding", "the body is not UTF-8", expected="UTF-8", actual=f"byte {error.start} is not"
        ) from error
    # Escapes are the only way a NUL or a lone surrogate gets through valid UTF-8, so most texts need no walk.
    suspicious = "\\u" in text or "\x00" in text
    try:
        value = _DECODER.decode(text)
    except RecursionError as error:  # unreachable below MAX_DEPTH; kept so that no reader of ours can die of it
        raise Rejected("json_too_deep", "the body is nested too deeply", expected=f"<= {max_depth}") from error
    except ValueError as error:
        raise Rejected("json_malformed", f"the body is not JSON: {error}", expected="a JSON text") from error
    if suspicious:
        _check_strings(value)
    return value


def _check_depth(raw: bytes, limit: int) -> None:
    if raw.count(b"[") + raw.count(b"{") <= limit:
        return
    depth = 0
    for token in _OPENERS.finditer(raw):
        first = raw[token.start()]
        if first in b"[{":
            depth += 1
            if depth > limit:
                raise Rejected(
                    "json_too_deep", "the body is nested too deeply", expected=f"<= {limit}", actual=f"> {limit}"
                )
        elif first in b"]}":
            depth -= 1


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise Rejected("json_duplicate_name", f"the name {name!r} appears twice in one object")
            seen.add(name)
    return members


def _integer(digits: str) -> int:
    if len(digits) > 17 or abs(value := int(digits)) > MAX_SAFE_INTEGER:
        raise Rejected(
            "json_integer_range",
            "an integer is beyond what JSON readers hold exactly",
            expected="|n| <= 2**53 - 1",
            actual=digits[:40],
            hint="send it as a string",
        )
    return value


def _float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise Rejected("json_not_finite", "a number is too large for a double", actual=digits[:40])
    return value


def _constant(word: str) -> NoReturn:
    raise Rejected("json_not_finite", f"{word} is not JSON", expected="a finite number", actual=word)


def _check_strings(value: Any) -> None:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            check_text(item)
        elif isinstance(item, dict):
            stack.extend(item.keys())
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)


def check_text(text: str) -> None:
    """Refuse NUL and lone surrogates: no store of ours can hold them (`json_forbidden_character`)."""
    if text.isprintable():
        return
    for character in text:
        if character == "\x00" or "\ud800" <= character <= "\udfff":
            raise Rejected(
                "json_forbidden_character",
                "a string holds a NUL or a lone surrogate",
                actual=f"U+{ord(character):04X}",
            )


def verbatim(text: str) -> str:
    """The text itself, if every store can hold it."""
    check_text(text)
    return text


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_members, parse_int=_integer, parse_float=_float, parse_constant=_constant
)
