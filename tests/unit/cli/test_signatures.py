"""`muniment versions attest` and `verify-signature`: what is verified here is verified by the keys that are named."""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote

import httpx2
import pytest

from muniment.contracts.canonical import sha256_hex
from muniment.contracts.oms.keys import SigningKey, new_signing_key
from muniment.contracts.oms.statement import FileDigest, statement_bytes
from muniment.testing.fake_registry import FakeRegistry
from muniment.testing.small_sigstore import SmallSigstore

from .conftest import Run

OURS, OTHER = SigningKey(new_signing_key()), SigningKey(new_signing_key())


@pytest.fixture
def attested(registry: FakeRegistry, run: Run, folder: Path) -> FakeRegistry:
    """A registry with one version that attests it."""
    assert run("publish", folder, "--model", "digits", "--wait").code == 0
    files = [FileDigest(one["path"], one["sha256"]) for one in registry.versions[0]["files"]]

    def intercept(request: httpx2.Request) -> httpx2.Response | None:
        if not unquote(str(request.url)).endswith("/attestations"):
            return None
        bundle = OURS.sign(statement_bytes("digits", files))
        key = {"hint": OURS.hint, "public_key": OURS.public_key.decode()}
        facts = {"model": "digits", "number": 1, "id": registry.versions[0]["id"], "key": key}
        return httpx2.Response(
            200, json={**facts, "signature": bundle, "provenance": bundle, "provenance_signature": bundle}
        )

    registry.intercept = intercept
    return registry


def test_attestations_are_written_and_verified_by_a_named_key(attested: FakeRegistry, run: Run, tmp_path: Path) -> None:
    done = run("versions", "attest", "digits/1", "-o", tmp_path / "out", "--json")
    assert done.code == 0
    assert [Path(name).name for name in done.json["files"]] == [
        "muniment.sig",
        "provenance.sigstore.json",
        "provenance.sig",
        "muniment.pub",
    ]
    assert json.loads((tmp_path / "out" / "muniment.sig").read_text()) == done.json["signature"]
    ours, other = tmp_path / "out" / "muniment.pub", tmp_path / "other.pub"
    other.write_bytes(OTHER.public_key)
    verified = run("versions", "verify-signature", "digits/1", "--attestation", "--public-key", ours, "--json")
    assert (verified.code, verified.json["status"], verified.json["signer"]) == (0, "verified", OURS.hint)
    wrong = run("versions", "verify-signature", "digits/1", "--attestation", "--public-key", other, "--json")
    assert (wrong.code, wrong.json["status"], wrong.json["code"]) == (1, "untrusted", "key_unknown")
    attested.versions[0]["files"][0]["sha256"] = "0" * 64  # what the server says beside the manifest counts for nothing
    assert run("versions", "verify-signature", "digits/1", "--attestation", "--public-key", ours).code == 0


def test_a_keyless_signature_is_verified_by_the_identity_that_is_named(
    registry: FakeRegistry, folder: Path, run: Run, tmp_path: Path
) -> None:
    sigstore = SmallSigstore(datetime(2026, 1, 1, tzinfo=UTC))
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    digests = [FileDigest(path.relative_to(folder).as_posix(), sha256_hex(path.read_bytes())) for path in files]
    issuer = "https://accounts.example.org"
    bundle = sigstore.sign(statement_bytes("m", digests), identity="ci@example.org", issuer=issuer, at=sigstore.start)
    signature = json.dumps(bundle).encode()
    (folder / "model.sig").write_bytes(signature)
    assert run("publish", folder, "--model", "digits", "--wait").code == 0
    root = tmp_path / "trusted_root.json"
    root.write_text(json.dumps(sigstore.trusted_root()))

    def intercept(request: httpx2.Request) -> httpx2.Response | None:
        return httpx2.Response(200, content=signature) if request.url.path.endswith("/signature") else None

    registry.intercept = intercept
    given = ("versions", "verify-signature", "digits/1", "--sigstore-root", root, "--issuer", issuer)
    done = run(*given, "--identity", "*@example.org", "--json")
    assert (done.code, done.json["status"], done.json["method"]) == (0, "verified", "keyless")
    assert done.json["signer"] == f"ci@example.org ({issuer})"
    other = run(*given, "--identity", "cd@example.org", "--json")
    assert (other.code, other.json["code"]) == (1, "identity_unknown")
    assert run(*given).code == 2, "nobody is named"
    assert run(*given, "--identity", "x", "--record").code == 2


def test_without_a_key_the_recorded_outcome_is_told(attested: FakeRegistry, run: Run) -> None:
    done = run("versions", "verify-signature", "digits/1", "--json")
    assert (done.code, done.json["status"]) == (1, "unsigned")
    attested.versions[0]["signature"] = {"status": "verified", "signer": "abc", "method": "key"}
    assert run("versions", "verify-signature", "digits/1").code == 0
    assert "verified by abc" in run("versions", "show", "digits/1").out
    for wrong in (("--attestation",), ("--record", "--public-key", "x")):
        assert run("versions", "verify-signature", "digits/1", *wrong).code == 2


def test_a_checkpoint_is_written_as_it_was_signed(registry: FakeRegistry, run: Run, tmp_path: Path) -> None:
    root = b64encode(bytes(32)).decode()
    note = f"example.com/log\n7\n{root}\n\n\u2014 example.com/log abc=\n"

    def intercept(request: httpx2.Request) -> httpx2.Response | None:
        return httpx2.Response(200, text=note) if str(request.url).endswith("/audit/log/checkpoint") else None

    registry.intercept = intercept
    done = run("audit", "checkpoint", "-o", tmp_path / "log.checkpoint", "--json")
    assert (done.code, done.json["size"]) == (0, 7)
    assert (tmp_path / "log.checkpoint").read_bytes() == note.encode()
