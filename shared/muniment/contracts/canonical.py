"""Canonical JSON (RFC 8785, JCS) and the digests made from it: one value, one text, one id."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

import rfc8785

from muniment.contracts.errors import Rejected
from muniment.contracts.ids import Sha256

_MAX_INT: Final = 2**53 - 1
_WRITER: Final = json.JSONEncoder(
    ensure_ascii=False, sort_keys=True, separators=(",", ":"), check_circular=False, allow_nan=False
)


def canonical_json(value: Any) -> bytes:
    """The RFC 8785 text of a JSON value. Raises `Rejected` (`not_canonical`) for what JSON cannot carry exactly.

    Most values are written by the standard library, several times as fast: of strings, and of numbers and names within
    `_is_plain`, it writes the very same text.
    """
    return canonical_form(value)[0]


def canonical_form(value: Any) -> tuple[bytes, bool]:
    """The same text, and whether whoever reads it with any JSON reader and writes it again gets it back for certain.

    Not so for a float such as 2^53, whose text is that of an integer which JSON does not carry exactly.
    """
    plain = _is_plain(value)
    try:
        return _WRITER.encode(value).encode() if plain else rfc8785.dumps(value), plain
    except (rfc8785.CanonicalizationError, UnicodeEncodeError) as error:
        raise Rejected("not_canonical", f"the value has no canonical JSON form: {error}") from error


def _is_plain(value: Any) -> bool:
    """Whether Python's own writer gives the canonical text.

    Its numbers are those of ECMAScript where neither has an exponent or a point that says nothing; its order of names,
    by code points, is that by UTF-16 units where they are ASCII.
    """
    waiting = [value]
    for one in waiting:  # grows while it is read: a function call for each value would take twice as long
        kind = type(one)
        if kind is str or one is None or kind is bool:
            continue
        if kind is dict:
            for name, member in one.items():
                if type(name) is not str or not name.isascii():
                    return False
                if type(member) is not str:
                    waiting.append(member)
        elif kind is int:
            if not -_MAX_INT <= one <= _MAX_INT:
                return False
        elif kind is list or kind is tuple:
            waiting.extend(one)
        elif kind is not float or not 1e-4 <= abs(one) < 1e15 or one.is_integer():
            return False
    return True


def sha256_hex(data: bytes) -> Sha256:
    """Lower-case hexadecimal SHA-256 (FIPS 180-4), 64 characters."""
    return Sha256(hashlib.sha256(data).hexdigest())
