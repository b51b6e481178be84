"""A witness's folder: its key, and the newest checkpoint of each log that it has cosigned.

`key`: the 32-byte Ed25519 seed in base64 behind the witness's name, mode 0600. `seen.json`: origin to size, root and
note. Both are made by `init` once. Whose `seen.json` is lost must not start: it could cosign a second history.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from muniment.verifier.checkpoint import Checkpoint
from muniment.verifier.encoding import base64_bytes, decimal, hash_of
from muniment.verifier.errors import StateError
from muniment.verifier.keys import COSIGNATURE, VerifierKey, is_key_name, key_id
from muniment.verifier.note import cosigned
from muniment.verifier.state import write_durably
from muniment.witness.domain import Seen

_EVIDENCE: Final = 100


@dataclass(frozen=True, slots=True)
class WitnessKey:
    """The private key of a witness under its name. Never shown."""

    name: str
    _private: Ed25519PrivateKey = field(repr=False)

    @property
    def public(self) -> VerifierKey:
        """The key that verifies its cosignatures."""
        raw = self._private.public_key().public_bytes_raw()
        return VerifierKey(self.name, key_id(self.name, COSIGNATURE, raw), COSIGNATURE, raw)

    def cosign(self, text: str, time: int) -> str:
        """The signature line for a checkpoint's text at a time (seconds since 1970): cosignature/v1."""
        data = self.public.id + struct.pack(">Q", time) + self._private.sign(cosigned(text, time))
        return f"\u2014 {self.name} {base64.b64encode(data).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> WitnessKey:
        """A key file's text. Raises `StateError`, which does not hold the text."""
        name, _, encoded = text.strip().partition(" ")
        seed = base64_bytes(encoded)
        if not is_key_name(name) or seed is None or len(seed) != 32:
            raise StateError("key_malformed", "the witness's key file is malformed", expected="NAME BASE64(32 bytes)")
        return cls(name, Ed25519PrivateKey.from_private_bytes(seed))


def init(folder: Path, name: str) -> WitnessKey:
    """Make a witness's folder with a new key and nothing seen. Raises `StateError` if there is one, `OSError`."""
    if not is_key_name(name):
        raise StateError("name_malformed", "a witness's name has no spaces and no plus", actual=repr(name[:80]))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if (folder / "key").exists() or (folder / "seen.json").exists():
        raise StateError("witness_exists", f"{folder} is a witness already", expected="a new folder")
    seed = base64.b64encode(Ed25519PrivateKey.generate().private_bytes_raw()).decode()
    descriptor = os.open(folder / "key", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{name} {seed}\n")
        file.flush()
        os.fsync(file.fileno())
    write_durably(folder / "seen.json", b"{}")
    return WitnessKey.parse((folder / "key").read_text("utf-8"))


class WitnessState:
    """An opened folder. One process at a time: the second is refused."""

    def __init__(self, folder: Path, key: WitnessKey, seen: dict[str, dict[str, Any]], lock: IO[bytes]) -> None:
        self.key = key
        self._folder = folder
        self._seen = seen
        self._lock = lock

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Take the folder. Raises `StateError` (not made by `init`, malformed, or in use), `OSError`."""
        if not (folder / "key").exists() or not (folder / "seen.json").exists():
            raise StateError(
                "witness_missing",
                f"{folder} is no witness, or has lost its state: then retire its key and init another one elsewhere",
                expected="the files key and seen.json",
            )
        lock = (folder / "lock").open("wb")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            raise StateError("witness_in_use", f"another process runs the witness in {folder}") from error
        try:
            seen = json.loads((folder / "seen.json").read_bytes())
            key = WitnessKey.parse((folder / "key").read_text("utf-8"))
            valid = isinstance(seen, dict) and all(_seen(one) is not None for one in seen.values())
        except (ValueError, RecursionError):
            valid = False
        if not valid:
            lock.close()
            raise StateError("state_malformed", f"{folder}/seen.json or key is not what this program wrote")
        return cls(folder, key, seen, lock)

    def close(self) -> None:
        """Give the folder back."""
        self._lock.close()

    def seen(self, origin: str) -> Seen:
        """The newest checkpoint of a log that was cosigned."""
        one = self._seen.get(origin)
        return (_seen(one) if one is not None else None) or Seen()

    def record(self, head: Checkpoint) -> None:
        """Remember a checkpoint. When this returns, it is on disk; if it raises `OSError`, nothing was cosigned."""
        entry = {
            "size": str(head.size),
            "root": base64.b64encode(head.root).decode(),
            "note": head.note.raw.decode(),
        }
        after = {**self._seen, head.origin: entry}
        write_durably(self._folder / "seen.json", json.dumps(after).encode())
        self._seen = after

    def keep_evidence(self, body: bytes, time: int) -> None:
        """Keep a request that shows a log's misbehaviour; a hundred at most."""
        folder = self._folder / "evidence"
        folder.mkdir(exist_ok=True)
        if sum(1 for _ in folder.iterdir()) < _EVIDENCE:
            write_durably(folder / f"{time}-{os.urandom(4).hex()}", body)


def _seen(value: Mapping[str, Any]) -> Seen | None:
    try:
        size, root = decimal(value["size"]), hash_of(value["root"])
    except (KeyError, TypeError, AttributeError):
        return None
    return None if size is None or root is None else Seen(size, root)
