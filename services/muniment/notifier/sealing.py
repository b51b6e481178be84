"""Secrets at rest (of signatures, and secret URLs): AES-256-GCM under one key, bound to the row they belong to."""

from __future__ import annotations

import base64
import binascii
import secrets
from functools import lru_cache
from pathlib import Path
from typing import Final
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import SecretStr

from muniment.contracts.errors import Misconfigured
from muniment.runtime.secret_files import kept_secret

_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_HINT: Final = 'python -c "import base64, secrets; print(base64.b64encode(secrets.token_bytes(32)).decode())"'


class Sealer:
    """Encrypts and opens secrets. A sealed secret opens only for the subscription it was sealed for."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)
        self.open = lru_cache(maxsize=1024)(self._open)
        """The secret that was sealed for its owner; the last ones used are kept opened.

        Raises `Misconfigured` (`secret_unreadable`) under another key, owner or text.
        """

    def seal(self, secret: str, owner: UUID) -> bytes:
        """The nonce and the ciphertext."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, secret.encode(), owner.bytes)

    def _open(self, sealed: bytes, owner: UUID) -> str:
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], owner.bytes).decode()
        except (InvalidTag, ValueError) as error:
            raise Misconfigured(
                "secret_unreadable",
                "a secret does not open with the present key",
                hint="restore the key it was sealed with (secrets/notifier.key or MUNIMENT_NOTIFIER__SECRET_KEY), "
                "or give the subscription a new secret or URL",
            ) from error


def new_secret() -> str:
    """A signing secret in the form of Standard Webhooks: `whsec_` and 32 random bytes in base64."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def load_key(setting: SecretStr | None, data_dir: Path) -> bytes:
    """The key from the setting, or from `secrets/notifier.key` in the data folder, made on first use.

    Raises `Misconfigured` (`secret_key_invalid`).
    """
    if setting is not None:
        return _decoded(setting.get_secret_value(), "MUNIMENT_NOTIFIER__SECRET_KEY")
    path = data_dir / "secrets" / "notifier.key"
    kept = kept_secret(path, lambda: base64.b64encode(secrets.token_bytes(_KEY_BYTES)))
    return _decoded(kept, str(path))


def _decoded(text: str | bytes, where: str) -> bytes:
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != _KEY_BYTES:
        raise Misconfigured(
            "secret_key_invalid",
            f"{where} holds no key",
            expected="32 bytes in base64",
            actual=f"{len(key)} bytes",
            hint=_HINT,
        )
    return key
