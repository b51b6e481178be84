"""The few encodings that the formats are made of, each with one spelling alone."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

MAX_SIZE: Final = 2**63 - 1
"""Entries of a log at most, so that a size fits every reader's integer."""
_DECIMAL: Final = re.compile(r"0|[1-9][0-9]{0,18}")


def decimal(text: str) -> int | None:
    """An ASCII decimal without leading zeroes, at most `MAX_SIZE`; None for anything else."""
    if not _DECIMAL.fullmatch(text):
        return None
    value = int(text)
    return value if value <= MAX_SIZE else None


def base64_bytes(text: str) -> bytes | None:
    """The bytes of standard, padded base64 (RFC 4648 section 4); None for anything else, other spellings included."""
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, ValueError):
        return None
    # Unused bits may be anything to the decoder: two texts for one hash would be one proof in two forms.
    return data if base64.b64encode(data).decode() == text else None


def hash_of(text: str) -> bytes | None:
    """A SHA-256 hash in base64; None for anything else."""
    data = base64_bytes(text)
    return data if data is not None and len(data) == 32 else None
