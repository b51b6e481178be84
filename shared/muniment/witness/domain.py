"""What a witness answers to a submitted checkpoint. Pure: the state goes in, the answer and the new state come out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from muniment.verifier.checkpoint import Checkpoint, Trust, open_checkpoint, parse_checkpoint
from muniment.verifier.encoding import decimal, hash_of
from muniment.verifier.errors import CheckpointError, NoteError, ProofError, VerifierError
from muniment.verifier.hashing import EMPTY_ROOT, MAX_PROOF, verify_consistency
from muniment.verifier.keys import VerifierKey
from muniment.verifier.note import MAX_NOTE

MAX_REQUEST: Final = MAX_NOTE + 16 * 1024
TEXT: Final = "text/plain; charset=utf-8"
SIZE: Final = "text/x.tlog.size"


class RequestError(VerifierError):
    """The body of an add-checkpoint request is malformed."""


@dataclass(frozen=True, slots=True)
class Submission:
    """An add-checkpoint request; the checkpoint is unverified."""

    old_size: int
    proof: tuple[bytes, ...]
    checkpoint: bytes


@dataclass(frozen=True, slots=True)
class Seen:
    """The newest checkpoint of a log that the witness has cosigned."""

    size: int = 0
    root: bytes = EMPTY_ROOT


@dataclass(frozen=True, slots=True)
class Refused:
    """An answer that cosigns nothing. `evidence`: the log has signed what cannot be true beside what was seen."""

    status: int
    body: str
    content_type: str = TEXT
    evidence: bool = False


def parse_submission(body: bytes) -> Submission:
    """A request: `old SIZE`, at most 63 hashes, an empty line, a checkpoint. Raises `RequestError`."""
    head, gap, checkpoint = body.partition(b"\n\n")
    if len(body) > MAX_REQUEST or not gap:
        raise _malformed("old size, proof, an empty line and a checkpoint", f"{len(body)} B")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise _malformed("ASCII before the checkpoint", f"byte {error.start}") from error
    old_size = decimal(lines[0].removeprefix("old ")) if lines[0].startswith("old ") else None
    if old_size is None:
        raise _malformed("old SIZE", repr(lines[0][:80]))
    hashes = [hash_of(line) for line in lines[1:]]
    proof = tuple(one for one in hashes if one is not None)
    if len(proof) != len(hashes) or len(proof) > MAX_PROOF:
        raise _malformed(f"at most {MAX_PROOF} hashes in base64", f"{len(hashes)} lines")
    return Submission(old_size, proof, checkpoint)


def origin_of(submission: Submission) -> str | Refused:
    """Which log the checkpoint says it is of."""
    try:
        return parse_checkpoint(submission.checkpoint).origin
    except CheckpointError as error:
        return Refused(400, f"{error.message}\n")


def judge(submission: Submission, keys: Sequence[VerifierKey], seen: Seen) -> Checkpoint | Refused:
    """The checkpoint to be cosigned, or why not. `keys` are those of the log; none: it is not known here.

    The order of the checks is the specification's, so that 409 is only told to who holds the log's signature.
    """
    if not keys:
        return Refused(404, "this witness does not know the log\n")
    try:
        head = open_checkpoint(submission.checkpoint, Trust(tuple(keys))).checkpoint
    except (CheckpointError, NoteError) as error:
        return Refused(403, f"{error.message}\n")
    if submission.old_size > head.size:
        return Refused(400, f"the old size {submission.old_size} is above the checkpoint's {head.size}\n")
    if submission.old_size != seen.size:
        return Refused(409, f"{seen.size}\n", SIZE)
    if head.size == seen.size and head.root != seen.root:
        return Refused(422, f"another root of size {seen.size} was seen before\n", evidence=True)
    try:
        verify_consistency(seen.size, head.size, submission.proof, seen.root, head.root)
    except ProofError as error:
        return Refused(422, f"{error.message}\n", evidence=True)
    return head


def _malformed(expected: str, actual: str) -> RequestError:
    return RequestError("request_malformed", "the request is malformed", expected=expected, actual=actual)
