"""Signing keys in a file and in the environment (`muniment.ports.signing`).

Both hold the same text: Ed25519 seeds of 32 bytes in base64, oldest first, apart by white space or commas. Lines of a
file that begin with `#` are remarks.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from muniment.contracts.errors import Conflict, Misconfigured
from muniment.ports.signing import Signer

MAX_KEYS: Final = 100
_SEED_BYTES: Final = 32
_REMARK: Final = "# Ed25519 seeds of the audit log, one a line, oldest first. Keep a copy elsewhere; tell nobody.\n"


class Ed25519Signer:
    """A private key in this process."""

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self._public_key = self._key.public_key().public_bytes_raw()

    @property
    def public_key(self) -> bytes:
        """Its public half, 32 bytes."""
        return self._public_key

    def sign(self, message: bytes) -> bytes:
        """The signature, 64 bytes."""
        return self._key.sign(message)


class TextKeys:
    """Keys from a setting: read once, changed by whoever wrote it. `where` names the setting in errors."""

    def __init__(self, text: str, where: str) -> None:
        self._signers = _parse(text, where)
        self._where = where

    def load(self) -> Sequence[Signer]:
        """The keys, oldest first."""
        return self._signers

    def create(self) -> Signer:
        """Refused: `Conflict` (`signing_key_not_ours`)."""
        raise Conflict(
            "signing_key_not_ours",
            f"the keys in {self._where} are made by whoever sets it",
            expected="one more key behind those that are there",
            actual=f"{len(self._signers)}, all in use",
            hint="append 32 random bytes in base64, restart, and rotate again",
        )


class FileKeys:
    """Keys in a file that only its owner can read; it is made with the first key."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> Sequence[Signer]:
        """The file's keys, oldest first; none while there is no file."""
        try:
            text = self._path.read_text("ascii")
        except FileNotFoundError:
            return []
        except (OSError, UnicodeDecodeError) as error:
            raise Misconfigured(
                "signing_key_invalid", f"{self._path} cannot be read", actual=str(error), hint="restore it from a copy"
            ) from error
        return _parse(text, str(self._path))

    def create(self) -> Signer:
        """One more key at the file's end. The file is replaced whole, and stays mode 0600."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _alone(self._path.with_name(f".{self._path.name}.lock")):
            self.load()  # what cannot be read is not written over
            text = self._path.read_text("ascii") if self._path.exists() else _REMARK
            seed = os.urandom(_SEED_BYTES)
            draft = self._path.with_name(f".{self._path.name}.new")
            draft.unlink(missing_ok=True)
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(f"{text.rstrip()}\n{base64.b64encode(seed).decode()}\n")
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._path)
            folder = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        return Ed25519Signer(seed)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _parse(text: str, where: str) -> list[Signer]:
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    words = re.split(r"[\s,]+", "\n".join(lines).strip()) if text.strip() else []
    words = [word for word in words if word]
    if len(words) > MAX_KEYS:
        raise _invalid(where, f"at most {MAX_KEYS} keys", f"{len(words)}")
    return [Ed25519Signer(_seed(word, where)) for word in words]


def _seed(word: str, where: str) -> bytes:
    try:
        seed = base64.b64decode(word, validate=True)
    except (binascii.Error, ValueError):
        seed = b""
    if len(seed) != _SEED_BYTES:
        raise _invalid(where, f"each {_SEED_BYTES} bytes in base64", f"one of {len(word)} characters")
    return seed


def _invalid(where: str, expected: str, actual: str) -> Misconfigured:
    return Misconfigured(
        "signing_key_invalid",
        f"{where} holds something that is no key",
        expected=expected,
        actual=actual,
        hint="restore it from a copy; a new key is added by: muniment audit keys rotate",
    )
