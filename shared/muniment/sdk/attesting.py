"""Calls on signatures: what a version was signed with, and what the registry attests of it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from muniment.contracts.canonical import canonical_json, sha256_hex
from muniment.contracts.errors import Conflict
from muniment.contracts.oms.judging import PROVENANCE_FILE, UNSIGNED, Judgement, judge, signature_path
from muniment.contracts.oms.keyless import Identity, SigstoreVerifier
from muniment.contracts.oms.statement import FileDigest
from muniment.contracts.oms.trust import Trust
from muniment.sdk import calls
from muniment.sdk.calls import parsed
from muniment.sdk.exchange import Call, Work, ask, ask_json, request
from muniment.sdk.manifest import read_manifest
from muniment.sdk.records import Version

BUNDLE: Final = "muniment.sig"
PROVENANCE_SIGNATURE: Final = "provenance.sig"
PUBLIC_KEY: Final = "muniment.pub"

PathLike = str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class SignatureVerification:
    """A signature that was verified on this machine. `signed_by` says which: `publisher` or `registry`."""

    version: Version
    signed_by: str
    judgement: Judgement


def attestations(ref: str) -> Call[dict[str, Any]]:
    """The registry's signature and provenance of a version, the provenance's signature, and its public key."""
    found: dict[str, Any] = yield from ask_json(request("registry", "GET", f"{_place(ref)}/attestations"))
    return found


def attesting(ref: str, directory: PathLike) -> Call[dict[str, Any]]:
    """Write the attestations into a folder; the answer has `files`, which are replaced where they are there."""
    found = yield from attestations(ref)
    folder = Path(directory)
    texts = {
        BUNDLE: canonical_json(found["signature"]),
        PROVENANCE_FILE: canonical_json(found["provenance"]),
        PROVENANCE_SIGNATURE: canonical_json(found["provenance_signature"]),
        PUBLIC_KEY: found["key"]["public_key"].encode(),
    }

    def write() -> list[str]:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_bytes(text)
        return [str(folder / name) for name in texts]

    files: list[str] = yield Work(lambda _stop: write())
    return {**found, "files": files}


@dataclass(frozen=True, slots=True)
class TrustFiles:
    """What a signature is verified by on this machine.

    PEM files with public keys, and with root certificates; Sigstore's `trusted_root.json`, and whose keyless
    signatures are believed: `(issuer, identity)`.
    """

    keys: Sequence[PathLike] = ()
    roots: Sequence[PathLike] = ()
    sigstore_root: PathLike | None = None
    identities: Sequence[tuple[str, str]] = ()

    def trust(self) -> Trust:
        """Read them."""
        keyless = None
        if self.sigstore_root is not None:
            keyless = SigstoreVerifier(Path(self.sigstore_root), [Identity(*one) for one in self.identities])
        keys, roots = ([Path(one).read_bytes() for one in some] for some in (self.keys, self.roots))
        return Trust.of(keys, roots, keyless)


def checking(ref: str, reason: str | None) -> Call[dict[str, Any]]:
    """Let the registry judge a version's signature again and keep the outcome; the version with it."""
    wanted = parsed(ref)
    body = {"ref": str(wanted), **({} if reason is None else {"reason": reason})}
    place = f"/models/{quote(wanted.model, safe='')}/signature-checks"
    found: dict[str, Any] = yield from ask_json(request("registry", "POST", place, body=body, safe=True))
    return found


def verifying(ref: str, by: TrustFiles, *, registry: bool) -> Call[SignatureVerification]:
    """Verify the publisher's signature of a version (or the registry's) here, by these files alone.

    Files are known by the version's manifest, which must have the digest that is its id.
    Raises `NotFound` (`signature_not_found`), `Conflict` (`manifest_mismatch`, `digest_mismatch`), `Rejected`
    (`trusted_key_invalid`, `trusted_root_invalid`), `Misconfigured` (`sigstore_missing`, `sigstore_root_invalid`).
    """
    trust: Trust = yield Work(lambda _stop: by.trust())
    version = yield from calls.version(ref)
    exact = version.ref
    manifest = read_manifest((yield from calls.manifest(exact)), expected_id=version.id)
    files = [FileDigest(file.path, file.sha256, file.size) for file in manifest.files]
    own_path: str | None = None
    if registry:
        raw = json.dumps((yield from attestations(exact))["signature"]).encode()
    else:
        raw = (yield from ask(request("registry", "GET", f"{_place(exact)}/signature"))).body
        own_path = signature_path((one["path"], one["role"]) for one in manifest.content["files"])
        expected = next((file.sha256 for file in manifest.files if file.path == own_path), None)
        if sha256_hex(raw) != expected:
            raise Conflict(
                "digest_mismatch",
                "the registry handed out another signature than the manifest names",
                expected=expected,
                actual=sha256_hex(raw),
            )
    judgement = judge(raw, files, own_path, trust, datetime.now(UTC)) if raw else UNSIGNED
    return SignatureVerification(version, "registry" if registry else "publisher", judgement)


def _place(ref: str) -> str:
    return f"/versions/{quote(str(parsed(ref)), safe='')}"
