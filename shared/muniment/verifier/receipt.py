"""Receipts: `tlog-proof` files (C2SP tlog-proof) that show without any network that an entry is in the log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from muniment.verifier.checkpoint import Opened, Trust, open_checkpoint
from muniment.verifier.encoding import base64_bytes, decimal, hash_of
from muniment.verifier.errors import ReceiptError
from muniment.verifier.hashing import MAX_PROOF, leaf_hash, verify_inclusion
from muniment.verifier.note import MAX_NOTE

HEADER: Final = "c2sp.org/tlog-proof@v1"
MAX_RECEIPT: Final = MAX_NOTE + 128 * 1024


@dataclass(frozen=True, slots=True)
class Receipt:
    """A receipt, unverified. `extra` is anything: no signature covers it."""

    index: int
    proof: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes | None


def parse_receipt(raw: bytes) -> Receipt:
    """A `tlog-proof` file. Raises `ReceiptError`."""
    if len(raw) > MAX_RECEIPT:
        raise _malformed("the receipt is too large", f"<= {MAX_RECEIPT} B", f"{len(raw)} B")
    head, gap, checkpoint = raw.partition(b"\n\n")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise _malformed("the receipt is not ASCII before its checkpoint", "ASCII", f"byte {error.start}") from error
    if lines[0] != HEADER:
        raise _malformed("this is no receipt of a kind that is known", HEADER, repr(lines[0][:80]))
    if not gap:
        raise _malformed("the receipt has no checkpoint", "an empty line and a checkpoint", "none")
    rest = lines[1:]
    extra: bytes | None = None
    if rest and rest[0].startswith("extra "):
        extra = base64_bytes(rest.pop(0).removeprefix("extra "))
        if extra is None:
            raise _malformed("the receipt's extra data is malformed", "base64", "something else")
    index = decimal(rest[0].removeprefix("index ")) if rest and rest[0].startswith("index ") else None
    if index is None:
        raise _malformed(
            "the receipt does not say its entry's index", "index N", repr(rest[0][:80]) if rest else "nothing"
        )
    hashes = [hash_of(line) for line in rest[1:]]
    proof = tuple(one for one in hashes if one is not None)
    if len(proof) != len(hashes) or len(proof) > MAX_PROOF:
        raise _malformed("the receipt's proof is malformed", f"<= {MAX_PROOF} lines of 32 bytes in base64", len(hashes))
    return Receipt(index, proof, checkpoint, extra)


def verify_receipt(receipt: Receipt, entry: bytes, trust: Trust) -> Opened:
    """Show that the entry (a leaf's data, byte for byte) is in the log, at the receipt's index.

    Raises `CheckpointError` and `NoteError` (the checkpoint), `ProofError` (the proof).
    """
    opened = open_checkpoint(receipt.checkpoint, trust)
    head = opened.checkpoint
    verify_inclusion(receipt.index, head.size, leaf_hash(entry), receipt.proof, head.root)
    return opened


def _malformed(message: str, expected: object, actual: object) -> ReceiptError:
    return ReceiptError("receipt_malformed", message, expected=expected, actual=actual)
