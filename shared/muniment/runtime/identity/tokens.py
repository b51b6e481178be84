"""API tokens as text: `mnt_`, 36 random base62 characters, and six of a CRC-32 over what stands before them.

The prefix lets scanners find a leaked token. The checksum lets us refuse a mistyped or made-up one without asking the
database; it is no secret and proves nothing. A token carries 214 random bits, so its plain SHA-256 is kept: there is
nothing to guess that a slow hash would protect, and lookups are by hash, so no comparison leaks its progress.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import zlib
from typing import Final

PREFIX: Final = "mnt_"
_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RANDOM: Final = 36
_CHECKSUM: Final = 6  # 62**6 > 2**32
_FORM: Final = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{_RANDOM + _CHECKSUM}}}")


def new_token() -> tuple[str, bytes]:
    """A fresh token and its SHA-256. The text is shown once and kept nowhere."""
    body = PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM))
    text = body + _checksum(body)
    return text, token_hash(text)


def looks_like_token(text: str) -> bool:
    """Whether the text has a token's form and its checksum fits. Says nothing about whether such a token exists."""
    return _FORM.fullmatch(text) is not None and _checksum(text[:-_CHECKSUM]) == text[-_CHECKSUM:]


def token_hash(text: str) -> bytes:
    """What is kept of a token: 32 bytes."""
    return hashlib.sha256(text.encode()).digest()


def _checksum(body: str) -> str:
    number = zlib.crc32(body.encode())
    digits = ""
    for _ in range(_CHECKSUM):
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits
