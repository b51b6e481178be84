"""Checkpoints (C2SP tlog-checkpoint): a log's name, size and root, signed by the log and cosigned by witnesses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from muniment.verifier.encoding import decimal, hash_of
from muniment.verifier.errors import CheckpointError, NoteError
from muniment.verifier.hashing import EMPTY_ROOT
from muniment.verifier.keys import COSIGNATURE, LOG, VerifierKey, distinct
from muniment.verifier.note import Note, Signer, parse_note, signers


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A tree's head as a note says it. `root` has 32 bytes. Nothing is verified until `open_checkpoint` says so."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...]
    note: Note


@dataclass(frozen=True, slots=True)
class Trust:
    """What the reader of a log believes in: keys of the log, keys of witnesses, and how many of those must agree."""

    log: tuple[VerifierKey, ...]
    witnesses: tuple[VerifierKey, ...] = ()
    require: int = 0

    def __post_init__(self) -> None:
        if not self.log or any(key.type != LOG for key in self.log):
            raise ValueError("a log's key is an Ed25519 key of type 1; at least one is needed")
        if any(key.type != COSIGNATURE for key in self.witnesses):
            raise ValueError("a witness's key is an Ed25519 cosignature key of type 4")
        if not 0 <= self.require <= len(distinct(self.witnesses)):
            raise ValueError(
                f"{self.require} cosignatures are required of {len(distinct(self.witnesses))} different witnesses"
            )


@dataclass(frozen=True, slots=True)
class Opened:
    """A checkpoint whose signatures were verified."""

    checkpoint: Checkpoint
    signed_by: tuple[Signer, ...]
    cosigned_by: tuple[Signer, ...]


def parse_checkpoint(raw: bytes) -> Checkpoint:
    """A checkpoint, unverified. Raises `CheckpointError`."""
    try:
        note = parse_note(raw)
    except NoteError as error:
        raise CheckpointError(error.code, error.message, expected=error.expected, actual=error.actual) from error
    lines = note.text.split("\n")[:-1]
    if len(lines) < 3 or not all(lines):
        raise CheckpointError(
            "checkpoint_malformed",
            "the note's text is no checkpoint",
            expected="lines of origin, size and root, none empty",
            actual=repr(note.text[:120]),
        )
    size, root = decimal(lines[1]), hash_of(lines[2])
    if size is None or root is None:
        raise CheckpointError(
            "checkpoint_malformed",
            "the checkpoint's size or root is malformed",
            expected="a decimal without leading zeroes, and 32 bytes in base64",
            actual=repr("\n".join(lines[1:3])[:120]),
        )
    if size == 0 and root != EMPTY_ROOT:
        raise CheckpointError(
            "root_differs", "the empty log has another root", expected=EMPTY_ROOT.hex(), actual=root.hex()
        )
    return Checkpoint(lines[0], size, root, tuple(lines[3:]), note)


def open_checkpoint(raw: bytes, trust: Trust) -> Opened:
    """A checkpoint that a trusted key of the log has signed, and as many witnesses as required.

    The key's name must be the checkpoint's origin: what another log's key says about this one counts for nothing.
    Raises `CheckpointError` (malformed, or by nobody who counts) and `NoteError` (`signature_invalid`).
    """
    checkpoint = parse_checkpoint(raw)
    own = [key for key in trust.log if key.name == checkpoint.origin]
    if not own:
        raise CheckpointError(
            "origin_unknown",
            "the checkpoint is of another log than the keys are",
            expected=", ".join(sorted({key.name for key in trust.log})),
            actual=checkpoint.origin,
        )
    found = signers(checkpoint.note, [*own, *trust.witnesses])
    signed = tuple(one for one in found if one.key.type == LOG)
    cosigned = tuple(one for one in found if one.key.type == COSIGNATURE)
    if not signed:
        raise CheckpointError(
            "not_signed",
            "no trusted key of the log has signed the checkpoint",
            expected=_names(own),
            actual=", ".join(f"{one.name} ({one.id.hex()})" for one in checkpoint.note.signatures) or "none",
        )
    witnesses = distinct(one.key for one in cosigned)
    if len(witnesses) < trust.require:
        raise CheckpointError(
            "not_witnessed",
            "too few of the trusted witnesses have cosigned the checkpoint",
            expected=f"{trust.require} of {_names(trust.witnesses)}",
            actual=_names(witnesses) or "none",
        )
    return Opened(checkpoint, signed, cosigned)


def _names(keys: Sequence[VerifierKey]) -> str:
    return ", ".join(f"{key.name} ({key.id.hex()})" for key in keys)
