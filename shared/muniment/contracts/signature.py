"""Signatures of events: which publisher key signed a CloudEvent, in one Kafka header.

`muniment-signature: v1;kid=<16 hex digits>;<base64>`: an Ed25519 signature (RFC 8032) over `cloudevent.signed_bytes`.
The key id is the first 16 hexadecimal digits of the SHA-256 of the raw public key, so it cannot be chosen freely.
Keys are looked up elsewhere; everything here is pure. `cryptography` is imported when a key is used, not before.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from muniment.contracts.canonical import sha256_hex
from muniment.contracts.cloudevent import CloudEvent, signed_bytes
from muniment.contracts.errors import Rejected, Unauthenticated

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

HEADER: Final = "muniment-signature"
PUBLIC_KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
_MAX_PEM: Final = 4096

# 64 bytes are 86 base64 characters and two of padding. What follows the length is left to the decoder.
_VALUE: Final = re.compile(rb"v1;kid=([0-9a-f]{16});([A-Za-z0-9+/]{86}==)")
_FORM: Final = "v1;kid=<16 hex digits>;<88 characters of base64>"


@dataclass(frozen=True, slots=True)
class Signature:
    """A parsed header: the id of the key it claims, and the 64 bytes of the signature."""

    kid: str
    value: bytes


def key_id(public_key: bytes) -> str:
    """The id of a raw public key: 16 hexadecimal digits."""
    return sha256_hex(public_key)[:16]


def parse(raw: bytes) -> Signature:
    """The header's value. One signature has one spelling. Raises `Unauthenticated` (`signature_malformed`)."""
    match = _VALUE.fullmatch(raw)
    if match is not None:
        value = base64.b64decode(match[2])
        if base64.b64encode(value) == match[2]:  # the last character carries four bits that must be zero
            return Signature(match[1].decode(), value)
    raise Unauthenticated(
        "signature_malformed",
        "the event's signature cannot be read",
        expected=_FORM,
        actual=f"{raw[:120]!r}",
        hint=f"let muniment.sdk sign the event, or write the {HEADER} header in this form",
    )


def render(signature: Signature) -> bytes:
    """The header's value: the inverse of `parse`."""
    return b"v1;kid=" + signature.kid.encode() + b";" + base64.b64encode(signature.value)


def sign(event: CloudEvent, private_key: bytes) -> bytes:
    """The header's value for an event, signed with an Ed25519 private key in PEM (PKCS #8, without a passphrase).

    Raises `Rejected` (`private_key_invalid`), and what `signed_bytes` raises.
    """
    key = _private_key(private_key)
    kid = key_id(key.public_key().public_bytes_raw())
    return render(Signature(kid, key.sign(signed_bytes(event))))


def verify(event: CloudEvent, signature: Signature, public_key: bytes) -> None:
    """Return if the owner of the raw public key signed the event. Raises `Unauthenticated` (`signature_invalid`)."""
    from cryptography.exceptions import InvalidSignature

    try:
        if key_id(public_key) == signature.kid:
            _public_key(public_key).verify(signature.value, signed_bytes(event))
            return
    except InvalidSignature:
        pass
    raise Unauthenticated(
        "signature_invalid",
        "the signature does not fit the event",
        expected=f"a signature of this event by key {signature.kid}",
        actual=f"event {event.id[:100]} was changed after signing, or another key signed it",
        hint="sign the event as it is sent: attributes (trace context aside) and data are covered",
    )


def public_key_of_pem(pem: bytes) -> bytes:
    """The raw 32 bytes of an Ed25519 public key in PEM (SubjectPublicKeyInfo, RFC 8410).

    Raises `Rejected` (`public_key_invalid`), for a private key as well: nobody but its owner should see one.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    actual = f"{len(pem)} bytes"
    if len(pem) <= _MAX_PEM:
        if b"PRIVATE KEY" in pem:
            raise Rejected(
                "public_key_invalid",
                "this is a private key",
                expected="an Ed25519 public key in PEM",
                actual="a private key",
                hint="it has left its owner's machine: throw it away, make a new one, send its public half alone",
            )
        try:
            key = load_pem_public_key(pem)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            actual = "something else"
        else:
            if isinstance(key, Ed25519PublicKey):
                return key.public_bytes_raw()
            actual = type(key).__name__
    raise Rejected(
        "public_key_invalid",
        "the public key cannot be used",
        expected="an Ed25519 public key in PEM (-----BEGIN PUBLIC KEY-----)",
        actual=actual,
        hint="make one with muniment.sdk.new_publisher_key or: openssl genpkey -algorithm ed25519",
    )


def _private_key(pem: bytes) -> Ed25519PrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm, binascii.Error) as error:
        # The cause is cut off on purpose: a parser's words about a key's bytes do not belong in a log.
        raise Rejected(
            "private_key_invalid",
            "the private key cannot be read",
            expected="an Ed25519 private key in PEM (PKCS #8), without a passphrase",
            actual=type(error).__name__,
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise Rejected(
            "private_key_invalid",
            "the private key is of another kind",
            expected="Ed25519",
            actual=type(key).__name__,
        )
    return key


@lru_cache(maxsize=1024)
def _public_key(raw: bytes) -> Ed25519PublicKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    return Ed25519PublicKey.from_public_bytes(raw)
