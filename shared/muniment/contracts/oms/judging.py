"""What a signature file says of a model's files: verified, untrusted or invalid. Nothing is read but the file itself.

The plan: 1. read bundle and statement, 2. hold the statement against the files' digests, 3. check who signed.
A file that fails 1 or 2, or whose signature is not of its statement, is *invalid*: somebody's mistake or somebody's
doing. One that fails only because its signer is not known here, or its kind is not, is *untrusted*.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from muniment.contracts.errors import Rejected
from muniment.contracts.oms.bundle import Method, SignatureMalformed, parse_bundle
from muniment.contracts.oms.statement import GIT_PATHS, FileDigest, Statement, parse_statement
from muniment.contracts.oms.trust import NotTrusted, SignatureWrong, Trust

FILE_NAME: Final = "model.sig"
"""Where signers put a signature by convention: beside the model's other files."""
PROVENANCE_FILE: Final = "provenance.sigstore.json"
"""What a version's provenance is called where it is a file; the registry signs it as that, too."""
ROLE: Final = "signature"
"""The role of a file that is the version's signature, whatever it is called."""

Status = Literal["unsigned", "verified", "untrusted", "invalid"]


@dataclass(frozen=True, slots=True)
class Judgement:
    """How a signature came out.

    `path` is its own file, where that is among the model's; `signer` is the key's hint or the certificate's subject, as
    far as it is known; `trouble` says why it is not verified; `uncovered` are files that the signer left out on purpose
    (git's own are not counted).
    """

    status: Status
    path: str | None = None
    method: Method | None = None
    signer: str | None = None
    trouble: Rejected | None = None
    uncovered: tuple[str, ...] = ()

    @property
    def code(self) -> str | None:
        """Why it is not verified."""
        return None if self.trouble is None else self.trouble.code

    def as_json(self) -> dict[str, Any]:
        """The outcome as audit entries and answers have it."""
        fields = {
            "status": self.status,
            "method": self.method,
            "signer": self.signer,
            "code": self.code,
            "path": self.path,
        }
        return {name: value for name, value in fields.items() if value is not None} | (
            {"uncovered": len(self.uncovered)} if self.uncovered else {}
        )


UNSIGNED: Final = Judgement("unsigned")


def signature_path(files: Iterable[tuple[str, str]]) -> str | None:
    """Which of the files (path, role) is the signature: the one with the role, else `model.sig`.

    Raises `SignatureMalformed` where two have the role.
    """
    listed = list(files)
    marked = [path for path, role in listed if role == ROLE]
    if len(marked) > 1:
        raise SignatureMalformed("two files are the signature", expected="one", actual=", ".join(marked[:3]))
    if marked:
        return marked[0]
    return FILE_NAME if any(path == FILE_NAME for path, _ in listed) else None


def judge(raw: bytes, files: Iterable[FileDigest], own_path: str | None, trust: Trust, at: datetime) -> Judgement:
    """Judge a signature file over these files; its own path, where it is among them, is left out. Raises nothing."""
    held = {file.path: file for file in files if file.path != own_path}
    method: Method | None = None
    claimed: str | None = None
    uncovered: tuple[str, ...] = ()
    try:
        bundle = parse_bundle(raw)
        method, claimed = bundle.method, bundle.hint
        statement = parse_statement(bundle.payload)
        if statement.unsupported is None:
            uncovered = _hold_against(statement, held, own_path)
        signer = trust.signer_of(bundle, at)
    except (SignatureMalformed, SignatureWrong) as error:
        return Judgement("invalid", own_path, method, claimed, error)
    except NotTrusted as error:
        return Judgement("untrusted", own_path, method, claimed, error, uncovered)
    if statement.unsupported is not None:
        trouble = NotTrusted(
            "serialization_unsupported",
            "the signature is over digests that the registry does not have",
            expected="whole files (or files of one shard) with sha256",
            actual=statement.unsupported,
            hint="sign with the defaults of model-signing",
        )
        return Judgement("untrusted", own_path, method, signer, trouble)
    return Judgement("verified", own_path, method, signer, None, uncovered)


def _hold_against(statement: Statement, held: Mapping[str, FileDigest], own_path: str | None) -> tuple[str, ...]:
    """Files that the statement leaves out on purpose. Raises `SignatureWrong` where it says something else of any."""
    signed = {file.path: file for file in statement.files if file.path != own_path}
    for path, file in signed.items():
        there = held.get(path)
        if there is None:
            raise _mismatch(f"{path} is signed and not there", file.sha256, "no such file")
        if there.sha256 != file.sha256 or (file.size is not None and file.size != there.size):
            raise _mismatch(f"{path} is not what was signed", file.sha256, there.sha256)
    left_out = sorted(held.keys() - signed.keys())
    for path in left_out:
        if not _below(path, statement.ignored):
            raise _mismatch(f"{path} is there and not signed", "signed, or left out by the signer", "neither")
    return tuple(path for path in left_out if not _below(path, GIT_PATHS))


def _below(path: str, places: Iterable[str]) -> bool:
    return any(path == place or path.startswith(place.rstrip("/") + "/") for place in places)


def _mismatch(message: str, expected: str, actual: str) -> SignatureWrong:
    return SignatureWrong("signature_mismatch", message, expected=expected, actual=actual)
