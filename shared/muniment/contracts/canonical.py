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
    try:
        return _WRITER.encode(value).encode() if _is_plain(value) else rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError) as error:
        raise Rejected("not_canonical", f"the value has no canonical JSON form: {error}") from error


def _is_plain(value: Any) -> bool:
    """Whether Python's own writer gives the canonical text.

    Its numbers are those of ECMAScript where neither has an exponent or a point that says nothing; its order of names,
    by code points, is that by UTF-16 units where they are ASCII.
    """
    kind = type(value)
    if kind is str or value is None or kind is bool:
        return True
    if kind is int:
        return bool(-_MAX_INT <= value <= _MAX_INT)
    if kind is float:
        return 1e-4 <= abs(value) < 1e15 and not value.is_integer()
    if kind is dict:
        return all(type(name) is str and name.isascii() for name in value) and all(map(_is_plain, value.values()))
    return kind in (list, tuple) and all(map(_is_plain, value))


def sha256_hex(data: bytes) -> Sha256:
    """Lower-case hexadecimal SHA-256 (FIPS 180-4), 64 characters."""
    return Sha256(hashlib.sha256(data).hexdigest())
