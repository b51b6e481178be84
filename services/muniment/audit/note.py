"""Signed notes, checkpoints and receipts, as texts (C2SP signed-note, tlog-checkpoint, tlog-proof). Pure.

The log signs with Ed25519; its keys have the log's origin for their name.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from muniment.audit.merkle import HASH_SIZE
from muniment.contracts.errors import Rejected
from muniment.ports.signing import Signer

MAX_NOTE: Final = 64 * 1024
"""Bytes of a note that are looked at."""
MAX_SIGNATURES: Final = 64
_ED25519: Final = b"\x01"
_DASH: Final = "\N{EM DASH} "
_NAME: Final = re.compile(r"[^\s+\x00-\x1f\x7f]{1,255}")
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)


def check_origin(origin: str) -> str:
    """The log's name, or `Rejected` (`audit_origin_invalid`): no scheme, no white space, no plus sign."""
    if _NAME.fullmatch(origin) and origin.isprintable() and "://" not in origin:
        return origin
    raise Rejected(
        "audit_origin_invalid",
        "the audit log's origin cannot be a key's name",
        expected="a URL without scheme that you own, such as registry.example.com/audit",
        actual=repr(origin[:100]),
    )


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """An Ed25519 public key (32 bytes) under a name."""

    name: str
    public_key: bytes

    @property
    def key_id(self) -> bytes:
        """The first 4 bytes of SHA-256(name || 0x0A || type || public key)."""
        return hashlib.sha256(self.name.encode() + b"\n" + _ED25519 + self.public_key).digest()[:4]

    @property
    def vkey(self) -> str:
        """As verifiers take it: `name+key id+base64(type || public key)`."""
        return f"{self.name}+{self.key_id.hex()}+{_base64(_ED25519 + self.public_key)}"

    @classmethod
    def parse(cls, vkey: str) -> VerifierKey:
        """The key that `vkey` spells. Raises `Rejected` (`audit_key_invalid`)."""
        name, _, rest = vkey.partition("+")
        key_id, _, encoded = rest.partition("+")
        raw = _decoded(encoded)
        if _NAME.fullmatch(name) and raw is not None and len(raw) == 33 and raw[:1] == _ED25519:
            key = cls(name, raw[1:])
            if key.key_id.hex() == key_id:
                return key
        raise Rejected(
            "audit_key_invalid", "this is no Ed25519 verifier key", expected="NAME+ID+BASE64", actual=repr(vkey[:100])
        )

    def verifies(self, text: str, signature: bytes) -> bool:
        """Whether `signature` (64 bytes) is this key's over the text."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public_key).verify(signature, text.encode())
        except (InvalidSignature, ValueError):
            return False
        return True


def sign(text: str, name: str, signers: Sequence[Signer]) -> str:
    """The note: the text (which ends with a newline), an empty line, and one signature line for each signer."""
    if not text.endswith("\n"):
        raise ValueError("a note's text ends with a newline")
    lines = []
    for signer in signers:
        key = VerifierKey(name, signer.public_key)
        lines.append(f"{_DASH}{name} {_base64(key.key_id + signer.sign(text.encode()))}\n")
    return f"{text}\n{''.join(lines)}"


def open_note(note: bytes, keys: Sequence[VerifierKey]) -> str:
    """The text of a note that at least one of the keys has signed; every line of a known key must verify.

    Raises `Rejected`: `audit_note_malformed`, `audit_note_unsigned`.
    """
    text, lines = _parts(note)
    known = {(key.name, key.key_id): key for key in keys}
    verified = False
    for line in lines:
        name, _, encoded = line.removeprefix(_DASH).partition(" ")
        raw = _decoded(encoded)
        if not line.startswith(_DASH) or not _NAME.fullmatch(name) or raw is None or len(raw) < 5:
            raise _malformed("a signature line", "— NAME BASE64", line)
        if (key := known.get((name, raw[:4]))) is not None:
            if not key.verifies(text, raw[4:]):
                raise Rejected("audit_note_unsigned", "a signature does not verify", actual=name)
            verified = True
    if not verified:
        raise Rejected(
            "audit_note_unsigned", "no known key has signed the note", expected=", ".join(key.vkey for key in keys)
        )
    return text


def _parts(note: bytes) -> tuple[str, list[str]]:
    try:
        whole = note.decode() if len(note) <= MAX_NOTE else ""
    except UnicodeDecodeError:
        whole = ""
    text, separator, signatures = whole.rpartition("\n\n")
    if not separator or not signatures.endswith("\n") or any(ord(c) < 0x20 and c != "\n" for c in whole):
        raise _malformed("the note", f"UTF-8 text of at most {MAX_NOTE} bytes, an empty line, signatures", note[:100])
    lines = signatures[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise _malformed("the note", f"at most {MAX_SIGNATURES} signatures", len(lines))
    return text + "\n", lines


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a checkpoint's text says: the log's name, its size in entries, and its root hash (32 bytes)."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """The note's text, three lines."""
        return f"{self.origin}\n{self.size}\n{_base64(self.root)}\n"

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """The text's first three lines; further ones are somebody's extensions. `Rejected`: `audit_note_malformed`."""
        lines = text.split("\n")
        root = _decoded(lines[2]) if len(lines) >= 4 else None
        if root is None or len(root) != HASH_SIZE or not lines[0] or not _SIZE.fullmatch(lines[1]):
            raise _malformed("the checkpoint", "lines of origin, size and root in base64", text)
        return cls(lines[0], int(lines[1]), root)


def receipt(index: int, hashes: Sequence[bytes], checkpoint: str, extra: bytes | None = None) -> str:
    """The `.tlog-proof` file: proves the entry at `index` under the checkpoint. `extra` is the entry's data."""
    lines = ["c2sp.org/tlog-proof@v1"]
    if extra is not None:
        lines.append(f"extra {_base64(extra)}")
    lines += [f"index {index}", *map(_base64, hashes), "", checkpoint]
    return "\n".join(lines)


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _decoded(text: str) -> bytes | None:
    """Standard base64 in its one spelling; None for anything else."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if _base64(raw) == text else None


def _malformed(what: str, expected: str, actual: object) -> Rejected:
    return Rejected("audit_note_malformed", f"{what} cannot be read", expected=expected, actual=repr(actual)[:200])
