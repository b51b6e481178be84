"""Signatures that come with a version's files: read from the store, judged, and let in or not.

Only the signature's own file is read. The other files are known by the digests that the validator has read from every
byte of them; a signature over anything else is refused before a byte is locked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from muniment.contracts.canonical import sha256_hex
from muniment.contracts.errors import Misconfigured, NotFound, Rejected, Transient
from muniment.contracts.events import ValidatedFile, VersionFile
from muniment.contracts.oms.bundle import MAX_BUNDLE, SignatureMalformed
from muniment.contracts.oms.judging import UNSIGNED, Judgement, judge, signature_path
from muniment.contracts.oms.keyless import Identity, SigstoreVerifier
from muniment.contracts.oms.keys import SigningKey, new_signing_key
from muniment.contracts.oms.statement import FileDigest
from muniment.contracts.oms.trust import Trust
from muniment.ports.blobs import BlobStore, Location
from muniment.registry.domain import Track
from muniment.runtime.secret_files import kept_secret
from muniment.runtime.settings import SignatureSettings

File = ValidatedFile | VersionFile
_MAX_PEM: Final = 1024 * 1024


async def judged(blobs: BlobStore, files: Sequence[File], trust: Trust, at: datetime) -> Judgement:
    """How the signature among these files comes out now.

    Raises `Rejected` (`bytes_missing`) and `Transient` where the store does not give the signature's bytes.
    """
    try:
        path = signature_path((file.path, file.role) for file in files)
        if path is None:
            return UNSIGNED
        raw = await signature_bytes(blobs, next(file for file in files if file.path == path))
    except SignatureMalformed as error:
        return Judgement("invalid", trouble=error)
    return judge(raw, [FileDigest(file.path, file.sha256, file.size) for file in files], path, trust, at)


async def signature_bytes(blobs: BlobStore, file: File) -> bytes:
    """The bytes of a signature's file. Raises `SignatureMalformed` (too large), and as `judged`."""
    if file.size > MAX_BUNDLE:
        raise SignatureMalformed(
            f"{file.path} is too large for a signature", expected=f"<= {MAX_BUNDLE} B", actual=f"{file.size} B"
        )
    place = Location(file.location.bucket, file.location.key, file.location.version_id)
    try:
        raw = await blobs.read_whole(place, at_most=MAX_BUNDLE) or b""
    except NotFound as error:
        raise Rejected(
            "bytes_missing",
            f"the validated bytes of {file.path} are gone from the store",
            expected=f"{place.key} version {place.version_id}",
            actual="deleted",
            hint="publish the files again",
        ) from error
    if sha256_hex(raw) != file.sha256:
        raise Transient(
            "store_inconsistent", f"{file.path} was read as other bytes", expected=file.sha256, actual=sha256_hex(raw)
        )
    return raw


def admit(judgement: Judgement, track: Track) -> None:
    """Let a publication with this signature into the track. Raises `Rejected` (`signature_invalid`) and `Conflict`
    (`signature_required`).
    """
    trouble = judgement.trouble
    if judgement.status == "invalid" and trouble is not None:
        raise Rejected(
            "signature_invalid",
            f"the signature does not hold: {trouble.message}",
            expected=trouble.expected,
            actual=trouble.actual,
            hint="sign just these files again, or publish them without the signature",
        ) from trouble
    track.check_signature(judgement.status, judgement.code, len(judgement.uncovered))


def load_trust(settings: SignatureSettings) -> Trust:
    """The trusted keys, roots and identities.

    Raises `Misconfigured` (`trusted_key_invalid`, `trusted_root_invalid`, `sigstore_missing`, `sigstore_root_invalid`,
    `sigstore_incomplete`).
    """
    keys = [_checked(path, "trusted_key_invalid", lambda pem: Trust.of(keys=[pem])) for path in settings.trusted_keys]
    roots = [
        _checked(path, "trusted_root_invalid", lambda pem: Trust.of(roots=[pem])) for path in settings.trusted_roots
    ]
    return Trust.of(keys, roots, _keyless(settings))


def load_signing_key(settings: SignatureSettings, data_dir: Path) -> SigningKey:
    """The registry's own key: the setting's, or `secrets/signing.key` in the data folder, made on first start.

    Raises `Misconfigured` (`signing_key_invalid`).
    """
    if settings.signing_key is not None:
        where, pem = "MUNIMENT_REGISTRY__SIGNATURES__SIGNING_KEY", settings.signing_key.get_secret_value().encode()
    else:
        path = data_dir / "secrets" / "signing.key"
        where, pem = str(path), kept_secret(path, new_signing_key)
    try:
        return SigningKey(pem)
    except Rejected as error:
        raise Misconfigured(
            error.code, f"{where}: {error.message}", expected=error.expected, actual=error.actual, hint=error.hint
        ) from error


def _keyless(settings: SignatureSettings) -> SigstoreVerifier | None:
    if settings.sigstore_root is None and not settings.identities:
        return None
    if settings.sigstore_root is None or not settings.identities:
        prefix = "MUNIMENT_REGISTRY__SIGNATURES__"
        raise Misconfigured(
            "sigstore_incomplete",
            "keyless signatures need to be told both Sigstore's root and who is believed",
            expected=f"{prefix}SIGSTORE_ROOT and {prefix}IDENTITIES",
            actual="only one of them",
            hint=f'{prefix}IDENTITIES is a list: [{{"issuer": "https://ISSUER", "identity": "ci@example.org"}}]',
        )
    return SigstoreVerifier(settings.sigstore_root, [Identity(one.issuer, one.identity) for one in settings.identities])


def _checked(path: Path, code: str, read: Callable[[bytes], object]) -> bytes:
    try:
        with path.open("rb") as file:
            pem = file.read(_MAX_PEM)
        read(pem)
    except OSError as error:
        raise Misconfigured(code, f"{path} cannot be read: {error.strerror}", expected="a PEM file") from error
    except Rejected as error:
        raise Misconfigured(
            code, f"{path}: {error.message}", expected=error.expected, actual=error.actual, hint=error.hint
        ) from error
    return pem
