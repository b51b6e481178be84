"""Canonical JSON (RFC 8785, JCS) and the digests made from it: one value, one text, one id."""

from __future__ import annotations

import hashlib
from typing import Any

import rfc8785

from muniment.contracts.errors import Rejected
from muniment.contracts.ids import Sha256


def canonical_json(value: Any) -> bytes:
    """The RFC 8785 text of a JSON value. Raises `Rejected` (`not_canonical`) for what JSON cannot carry exactly."""
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError) as error:
        raise Rejected("not_canonical", f"the value has no canonical JSON form: {error}") from error


def sha256_hex(data: bytes) -> Sha256:
    """Lower-case hexadecimal SHA-256 (FIPS 180-4), 64 characters."""
    return Sha256(hashlib.sha256(data).hexdigest())
