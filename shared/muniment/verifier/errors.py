"""What can be wrong with what is verified. Each parser raises its own error and no other, whatever the bytes are."""

from __future__ import annotations


class VerifierError(Exception):
    """Something does not verify: a stable code, what it is, what was expected and what is there."""

    def __init__(self, code: str, message: str, *, expected: object = None, actual: object = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.expected = None if expected is None else str(expected)
        self.actual = None if actual is None else str(actual)


class KeyTextError(VerifierError):
    """A verifier key (vkey) is not one."""


class NoteError(VerifierError):
    """A signed note is malformed, or its signatures do not verify."""


class CheckpointError(VerifierError):
    """A note's text is no checkpoint, or another one than it must be."""


class ProofError(VerifierError):
    """A proof does not prove it."""


class TileError(VerifierError):
    """A tile or an entry bundle is malformed. `at`: which hash or entry of it."""

    def __init__(self, code: str, message: str, *, at: int = 0, expected: object = None, actual: object = None) -> None:
        super().__init__(code, message, expected=expected, actual=actual)
        self.at = at


class ReceiptError(VerifierError):
    """A `tlog-proof` file is malformed."""


class EntryError(VerifierError):
    """An entry is not the JSON that an audit entry is."""


class StateError(VerifierError):
    """The file with the last verified checkpoint is not what this program wrote."""


class PackError(VerifierError):
    """A file is no evidence pack, or its container was changed."""


class Unreadable(Exception):
    """A file, archive or server did not give its bytes: nothing is known about the log."""
