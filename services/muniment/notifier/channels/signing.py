"""Signatures of Standard Webhooks 1.0: HMAC-SHA256 (`v1`) and Ed25519 (`v1a`), told apart by the secret's prefix.

`whsec_` is a shared secret of 32 random bytes. `whsk_` is an Ed25519 private key (the 32-byte seed of RFC 8032), which
never leaves the service; `whpk_` is its public key, for anyone to verify with. All are base64 after the prefix.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Final
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

_SHARED: Final = "whsec_"
_PRIVATE: Final = "whsk_"
_PUBLIC: Final = "whpk_"
_SEED_BYTES: Final = 32


def signed_headers(delivery: UUID | str, at: datetime, body: str, secrets: Sequence[str]) -> dict[str, str]:
    """The three headers of Standard Webhooks. The id must hold no dot, since dots part what is signed."""
    name, moment = str(delivery), str(int(at.timestamp()))
    signed = f"{name}.{moment}.{body}".encode()
    return {
        "webhook-id": name,
        "webhook-timestamp": moment,
        "webhook-signature": " ".join([_signature(secret, signed) for secret in secrets]),
    }


def new_private_key() -> str:
    """A new Ed25519 private key: `whsk_` and 32 random bytes in base64."""
    return _PRIVATE + base64.b64encode(secrets.token_bytes(_SEED_BYTES)).decode()


def public_key_of(secret: str | None) -> str | None:
    """The public half (`whpk_...`) of an Ed25519 private key; None of anything else."""
    if secret is None or not secret.startswith(_PRIVATE):
        return None
    return _PUBLIC + base64.b64encode(_private_key(secret).public_key().public_bytes_raw()).decode()


def _signature(secret: str, signed: bytes) -> str:
    if secret.startswith(_PRIVATE):
        return "v1a," + base64.b64encode(_private_key(secret).sign(signed)).decode()
    mac = _keyed(secret).copy()
    mac.update(signed)
    return "v1," + base64.b64encode(mac.finalize()).decode()


@lru_cache(maxsize=1024)
def _keyed(secret: str) -> HMAC:
    """HMAC-SHA256 (RFC 2104) under a shared secret, before any text: to be copied. Half of its work is the key's."""
    return HMAC(base64.b64decode(secret.removeprefix(_SHARED)), SHA256())


def _private_key(secret: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(base64.b64decode(secret.removeprefix(_PRIVATE)))
