"""Signed notes (C2SP signed-note): a text, an empty line, and lines `— NAME BASE64(ID || SIGNATURE)`."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from muniment.verifier.encoding import base64_bytes
from muniment.verifier.errors import NoteError
from muniment.verifier.keys import COSIGNATURE, LOG, VerifierKey, is_key_name

MAX_NOTE: Final = 256 * 1024
MAX_SIGNATURES: Final = 100
_DASH: Final = "\u2014 "
_TIME: Final = struct.Struct(">Q")


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line; nothing of it is verified. `data` is what follows the key's 4-byte id."""

    name: str
    id: bytes
    data: bytes


@dataclass(frozen=True, slots=True)
class Note:
    """A note as it was read. `text` includes its last line feed; `raw` is the whole note."""

    text: str
    signatures: tuple[Signature, ...]
    raw: bytes


@dataclass(frozen=True, slots=True)
class Signer:
    """A key whose signature was verified. `time` (seconds since 1970) is what a witness says of its cosignature."""

    key: VerifierKey
    time: int | None = None


def parse_note(raw: bytes) -> Note:
    """A signed note. Raises `NoteError`."""
    if len(raw) > MAX_NOTE:
        raise NoteError("note_too_large", "the note is too large", expected=f"<= {MAX_NOTE} B", actual=f"{len(raw)} B")
    try:
        note = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NoteError("note_malformed", f"the note is not UTF-8 at byte {error.start}") from error
    control = next((character for character in note if character < " " and character != "\n"), None)
    if control is not None:
        raise NoteError("note_malformed", "the note holds a control character", expected="none", actual=repr(control))
    at = note.rfind("\n\n")
    if at < 0 or not note.endswith("\n") or at + 2 == len(note):
        raise NoteError("note_malformed", "the note has no signatures", expected="text, an empty line, signature lines")
    lines = note[at + 2 : -1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise NoteError(
            "note_too_many_signatures", "too many signatures", expected=f"<= {MAX_SIGNATURES}", actual=len(lines)
        )
    return Note(note[: at + 1], tuple(parse_signature(line) for line in lines), raw)


def parse_signature(line: str) -> Signature:
    """One signature line without its line feed. Raises `NoteError`."""
    name, space, encoded = line.removeprefix(_DASH).partition(" ")
    data = base64_bytes(encoded)
    if not line.startswith(_DASH) or not space or not is_key_name(name) or data is None or len(data) < 5:
        raise NoteError(
            "note_malformed",
            "a signature line is malformed",
            expected="\u2014 NAME BASE64(4 bytes of key id, signature)",
            actual=repr(line[:120]),
        )
    return Signature(name, data[:4], data[4:])


def signers(note: Note, keys: Iterable[VerifierKey]) -> list[Signer]:
    """Those of the keys that have signed the note, each once.

    Signatures of other keys are passed over. Raises `NoteError` (`signature_invalid`) if one that names a known key is
    not that key's: such a note was tampered with, whatever its other lines say.
    """
    known = {(key.name, key.id): key for key in keys}
    found: dict[tuple[str, bytes], Signer] = {}
    for signature in note.signatures:
        place = (signature.name, signature.id)
        key = known.get(place)
        if key is None:
            continue
        signer = _signer(note, signature, key)
        if signer is None:
            raise NoteError(
                "signature_invalid",
                f"the signature of {key.name} ({key.id.hex()}) does not verify: the text or the signature was changed",
            )
        found.setdefault(place, signer)
    return list(found.values())


def _signer(note: Note, signature: Signature, key: VerifierKey) -> Signer | None:
    text = note.text.encode()
    if key.type == LOG:
        return Signer(key) if key.verifies(signature.data, text) else None
    if key.type != COSIGNATURE or len(signature.data) != _TIME.size + 64:
        return None
    (time,) = _TIME.unpack_from(signature.data)
    message = cosigned(note.text, time)
    valid = time < 2**63 and key.verifies(signature.data[_TIME.size :], message)
    return Signer(key, time) if valid else None


def cosigned(text: str, time: int) -> bytes:
    """What a witness signs: `cosignature/v1`, the time, and the note's text."""
    return f"cosignature/v1\ntime {time}\n{text}".encode()
