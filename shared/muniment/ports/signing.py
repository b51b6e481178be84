"""Keys that sign, wherever they are kept: a file, the environment, a module that never gives a private key away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Signer(Protocol):
    """One Ed25519 private key, that can be asked for signatures and no more."""

    @property
    def public_key(self) -> bytes:
        """Its public half, 32 bytes (RFC 8032)."""
        ...

    def sign(self, message: bytes) -> bytes:
        """The signature of the message, 64 bytes (RFC 8032, Ed25519). May block for as long as a module takes."""
        ...


class SigningKeys(Protocol):
    """A place that keeps signing keys. Blocking: for worker threads."""

    def load(self) -> Sequence[Signer]:
        """All keys that are there now, oldest first. Raises `Misconfigured` (`signing_key_invalid`)."""
        ...

    def create(self) -> Signer:
        """Make one more key and keep it, durably, before it is returned.

        Raises `Conflict` (`signing_key_not_ours`) where keys are made by somebody else.
        """
        ...
