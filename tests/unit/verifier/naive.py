"""A log written the slow way, from the definitions: what the verifier is held against. Shares nothing with it."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ORIGIN = "example.com/log"


def leaf(data: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + data).digest()


def node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def split(count: int) -> int:
    half = 1
    while half * 2 < count:
        half *= 2
    return half


@dataclass
class Tree:
    """RFC 6962 section 2.1 as it is written, with its hashes remembered."""

    leaves: Sequence[bytes]
    known: dict[tuple[int, int], bytes] = field(default_factory=dict)

    def root(self, start: int, end: int) -> bytes:
        if start == end:
            return hashlib.sha256(b"").digest()
        if end - start == 1:
            return self.leaves[start]
        if (start, end) not in self.known:
            middle = start + split(end - start)
            self.known[start, end] = node(self.root(start, middle), self.root(middle, end))
        return self.known[start, end]

    def path(self, index: int, start: int, end: int) -> list[bytes]:
        if end - start == 1:
            return []
        middle = start + split(end - start)
        if index < middle:
            return [*self.path(index, start, middle), self.root(middle, end)]
        return [*self.path(index, middle, end), self.root(start, middle)]

    def consistency(self, old: int, start: int, end: int, whole: bool = True) -> list[bytes]:
        if old == end - start:
            return [] if whole else [self.root(start, end)]
        half = split(end - start)
        if old <= half:
            return [*self.consistency(old, start, start + half, whole), self.root(start + half, end)]
        return [*self.consistency(old - half, start + half, end, False), self.root(start, start + half)]


@dataclass
class Signer:
    """A key of a log (type 1) or a witness (type 4)."""

    name: str = ORIGIN
    kind: int = 1
    seed: bytes = b"k" * 32

    def __post_init__(self) -> None:
        self.private = Ed25519PrivateKey.from_private_bytes(self.seed)
        self.public = self.private.public_key().public_bytes_raw()
        self.id = hashlib.sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public).digest()[:4]

    @property
    def vkey(self) -> str:
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(bytes([self.kind]) + self.public).decode()}"

    def line(self, text: str, time: int = 1_700_000_000) -> str:
        if self.kind == 1:
            signature = self.private.sign(text.encode())
        else:
            message = f"cosignature/v1\ntime {time}\n{text}".encode()
            signature = struct.pack(">Q", time) + self.private.sign(message)
        return f"— {self.name} {base64.b64encode(self.id + signature).decode()}\n"


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def checkpoint(size: int, root: bytes, *signers: Signer, origin: str = ORIGIN) -> bytes:
    text = f"{origin}\n{size}\n{b64(root)}\n"
    return (text + "\n" + "".join(one.line(text) for one in signers)).encode()


def entry(index: int, **changes: object) -> bytes:
    value = {
        "action": "version.committed",
        "changes": [],
        "event_id": f"e-{index}",
        "log_time": f"2026-05-17T{10 + index // 3600:02d}:{index // 60 % 60:02d}:{index % 60:02d}Z",
        "operator": "muniment|alice",
        "service": "registry",
        "v": 1,
        **changes,
    }
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def number_path(number: int) -> str:
    text = f"{number:03d}"
    text = text.zfill(-(-len(text) // 3) * 3)
    groups = [text[at : at + 3] for at in range(0, len(text), 3)]
    return "/".join([*(f"x{one}" for one in groups[:-1]), groups[-1]])


def write_log(folder: Path, entries: Sequence[bytes], *signers: Signer) -> Tree:
    """The log as tlog-tiles in a folder, with its checkpoint."""
    tree = Tree([leaf(one) for one in entries])
    row, level = list(tree.leaves), 0
    while row:
        for start in range(0, len(row), 256):
            part = row[start : start + 256]
            tail = "" if len(part) == 256 else f".p/{len(part)}"
            put(folder / f"tile/{level}/{number_path(start // 256)}{tail}", b"".join(part))
        step = 256 ** (level + 1)
        row = [tree.root(at, at + step) for at in range(0, len(entries) // step * step, step)]
        level += 1
    for start in range(0, len(entries), 256):
        part = entries[start : start + 256]
        tail = "" if len(part) == 256 else f".p/{len(part)}"
        bundle = b"".join(struct.pack(">H", len(one)) + one for one in part)
        put(folder / f"tile/entries/{number_path(start // 256)}{tail}", bundle)
    put(folder / "checkpoint", checkpoint(len(entries), tree.root(0, len(entries)), *(signers or (Signer(),))))
    return tree


def receipt(tree: Tree, index: int, note: bytes, extra: bytes | None = None) -> bytes:
    size = len(tree.leaves)
    lines = ["c2sp.org/tlog-proof@v1"]
    lines += [f"extra {b64(extra)}"] if extra is not None else []
    lines += [f"index {index}", *(b64(one) for one in tree.path(index, 0, size)), ""]
    return "\n".join(lines).encode() + b"\n" + note


def put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
