"""Signing with a private key: ECDSA on P-256 with SHA-256, the kind that the public tool's key method verifies.

Signatures are deterministic (RFC 6979): the same statement under the same key is the same bundle, byte for byte.
"""

from __future__ import annotations

import hashlib
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from muniment.contracts.errors import Rejected
from muniment.contracts.oms.bundle import key_bundle, pae


def key_hint(key: ec.EllipticCurvePublicKey) -> str:
    """The name of a public key in bundles: SHA-256 of its PEM text (SubjectPublicKeyInfo), in hexadecimal."""
    return hashlib.sha256(public_pem(key)).hexdigest()


def public_pem(key: ec.EllipticCurvePublicKey) -> bytes:
    """A public key in PEM."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def new_signing_key() -> bytes:
    """A new private key in PEM (PKCS #8)."""
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


class SigningKey:
    """A private key that signs statements."""

    def __init__(self, pem: bytes) -> None:
        """Read the key. Raises `Rejected` (`signing_key_invalid`), which says nothing of its bytes."""
        try:
            key = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            # The cause is cut off on purpose: a parser's words about a key's bytes do not belong in a log.
            raise _invalid(type(error).__name__) from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise _invalid("a key of another kind")
        self._key = key
        self.public_key = public_pem(key.public_key())
        self.hint = key_hint(key.public_key())

    def sign(self, payload: bytes) -> dict[str, Any]:
        """The bundle of an in-toto payload, as JSON-ready values."""
        algorithm = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
        return key_bundle(payload, self._key.sign(pae(payload), algorithm), self.hint)


def _invalid(actual: str) -> Rejected:
    return Rejected(
        "signing_key_invalid",
        "the signing key cannot be used",
        expected="an EC private key on P-256 in PEM (PKCS #8), without a passphrase",
        actual=actual,
        hint="openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256",
    )
