"""Verifier keys: `NAME+HEX(ID)+BASE64(TYPE || KEY)` (C2SP signed-note)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from muniment.verifier.encoding import base64_bytes
from muniment.verifier.errors import KeyTextError

LOG: Final = 0x01
"""Ed25519 over the note's text: how a log signs."""
COSIGNATURE: Final = 0x04
"""Ed25519 over a time and the note's text: how a witness signs (cosignature/v1)."""
_ID: Final = re.compile(r"[0-9a-f]{8}")
_MAX: Final = 1024


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key under a name. `id` has 4 bytes."""

    name: str
    id: bytes
    type: int
    public: bytes

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Whether it is this key's Ed25519 signature (RFC 8032) over the message."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True

    def text(self) -> str:
        """The key as a vkey."""
        import base64

        return f"{self.name}+{self.id.hex()}+{base64.b64encode(bytes([self.type]) + self.public).decode()}"


def key_id(name: str, kind: int, public: bytes) -> bytes:
    """The first 4 bytes of SHA-256(name || 0x0A || type || key)."""
    return hashlib.sha256(name.encode() + b"\n" + bytes([kind]) + public).digest()[:4]


def is_key_name(name: str) -> bool:
    """A key's name: not empty, no spaces of any script, no plus, no control characters."""
    return bool(name) and "+" not in name and not any(c.isspace() or c < " " or "\ud800" <= c <= "\udfff" for c in name)


def parse_key(text: str) -> VerifierKey:
    """A vkey of a log (type 1) or a witness (type 4). Raises `KeyTextError`."""
    name, _, rest = text.partition("+")
    hexadecimal, _, encoded = rest.partition("+")
    data = base64_bytes(encoded) if len(text) <= _MAX else None
    if not is_key_name(name) or not _ID.fullmatch(hexadecimal) or not data:
        raise KeyTextError(
            "key_malformed", "not a verifier key", expected="NAME+8 hexadecimal digits+base64", actual=repr(text[:120])
        )
    if data[0] not in (LOG, COSIGNATURE) or len(data) != 33:
        raise KeyTextError(
            "key_type",
            f"the key of {name} is of a kind that this program does not know",
            expected="type 1 (Ed25519) or 4 (Ed25519 cosignature), 32 bytes",
            actual=f"type {data[0]}, {len(data) - 1} bytes",
        )
    expected = key_id(name, data[0], data[1:])
    if expected.hex() != hexadecimal:
        raise KeyTextError(
            "key_id", f"the key of {name} has another id than it says", expected=expected.hex(), actual=hexadecimal
        )
    return VerifierKey(name, expected, data[0], data[1:])


def parse_keys(text: str, where: str = "the text") -> list[VerifierKey]:
    """The keys of a file: one a line; empty lines and lines that start with `#` are left out. Raises `KeyTextError`,
    which names `where` it came from when there is none.
    """
    lines = (line.strip() for line in text.splitlines())
    keys = [parse_key(line) for line in lines if line and not line.startswith("#")]
    if not keys:
        raise KeyTextError("no_key", f"{where} holds no key", expected="one verifier key a line", actual="none")
    return keys


def distinct(keys: Iterable[VerifierKey]) -> list[VerifierKey]:
    """The keys without repetitions of one public key: under two names it is still one witness."""
    return list({key.public: key for key in keys}.values())
