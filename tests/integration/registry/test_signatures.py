"""Signatures that come with a version, tracks that ask for one, and what the registry signs itself."""

from __future__ import annotations

import hashlib
import json
import stat
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from muniment.contracts import topics
from muniment.contracts.canonical import canonical_json, sha256_hex
from muniment.contracts.oms.bundle import parse_bundle
from muniment.contracts.oms.judging import judge
from muniment.contracts.oms.keys import SigningKey, new_signing_key
from muniment.contracts.oms.statement import FileDigest, statement_bytes
from muniment.contracts.oms.trust import Trust
from muniment.ports.clock import SystemClock
from muniment.runtime.settings import Settings
from muniment.testing.small_sigstore import SmallSigstore

from .conftest import BUCKET, Registry

CI, STRANGER = SigningKey(new_signing_key()), SigningKey(new_signing_key())
SIGSTORE = SmallSigstore(datetime(2026, 1, 1, tzinfo=UTC))
ISSUER = "https://accounts.example.org"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A registry that trusts one key, and keyless signatures of one domain."""
    (tmp_path / "ci.pub").write_bytes(CI.public_key)
    (tmp_path / "trusted_root.json").write_text(json.dumps(SIGSTORE.trusted_root()))
    signatures = {
        "trusted_keys": [tmp_path / "ci.pub"],
        "sigstore_root": tmp_path / "trusted_root.json",
        "identities": [{"issuer": ISSUER, "identity": "*@example.org"}],
        "builder_id": "https://example.com/trainer",
    }
    return Settings.model_validate(
        {"data_dir": tmp_path, "s3": {"bucket": BUCKET}, "registry": {"signatures": signatures}}
    )


def signed(files: dict[str, bytes], key: SigningKey = CI, name: str = "model.sig") -> dict[str, bytes]:
    """The files, and a signature over them."""
    digests = [FileDigest(path, hashlib.sha256(data).hexdigest()) for path, data in files.items()]
    return {**files, name: canonical_json(key.sign(statement_bytes("digits", digests)))}


def keyless(files: dict[str, bytes], identity: str) -> dict[str, bytes]:
    """The files, and a signature over them by a certificate of some months ago."""
    digests = [FileDigest(path, hashlib.sha256(data).hexdigest()) for path, data in files.items()]
    at = SIGSTORE.start + timedelta(days=1)
    bundle = SIGSTORE.sign(statement_bytes("digits", digests), identity=identity, issuer=ISSUER, at=at)
    return {**files, "model.sig": canonical_json(bundle)}


def model(content: bytes = b"") -> dict[str, bytes]:
    return {"model.bin": content or uuid.uuid4().bytes, "config.json": b"{}"}


async def rejected(registry: Registry, files: dict[str, bytes], **given: Any) -> dict[str, Any]:
    """Publish what must be refused; the rejection."""
    publication = str(uuid.uuid4())
    await registry.take(await registry.validated("digits", "main", publication=publication, files=files, **given))
    last = (await registry.sent(topics.MODEL_REJECTED))[-1]
    assert last["publication_id"] == publication
    return last


async def test_the_outcome_stands_on_the_version_and_in_its_entry(registry: Registry) -> None:
    plain = await registry.commit(files=model())
    verified = await registry.commit(files=signed(model()))
    untrusted = await registry.commit(files=signed(model(), STRANGER))
    assert plain["signature"] == {"status": "unsigned"}
    assert {name: verified["signature"][name] for name in ("status", "method", "signer", "path")} == {
        "status": "verified",
        "method": "key",
        "signer": CI.hint,
        "path": "model.sig",
    }
    assert (untrusted["signature"]["status"], untrusted["signature"]["code"]) == ("untrusted", "key_unknown")
    said = [
        next((one["after"] for one in entry["changes"] if one["path"] == "signature"), None)
        for entry in await registry.audits("version.committed")
    ]
    assert said == [
        None,
        {"status": "verified", "method": "key", "signer": CI.hint, "path": "model.sig"},
        {
            "status": "untrusted",
            "method": "key",
            "signer": STRANGER.hint,
            "code": "key_unknown",
            "path": "model.sig",
        },
    ]
    assert await registry.pool.fetchval("SELECT count(*) FROM version_signature") == 2


async def test_keyless_signatures_of_those_who_are_believed_count_as_any_other(registry: Registry) -> None:
    await registry.call("PUT", "/tracks/strict", json={"retention_s": 60, "signature_required": True})
    made = await registry.commit(files=keyless(model(), "ci@example.org"), track="strict")
    assert {name: made["signature"][name] for name in ("status", "method", "signer")} == {
        "status": "verified",
        "method": "keyless",
        "signer": f"ci@example.org ({ISSUER})",
    }
    last = await rejected(registry, keyless(model(), "ci@example.com"), track="strict")
    assert last["code"] == "signature_required"
    other = await registry.commit(files=keyless(model(), "ci@example.com"))
    assert (other["signature"]["status"], other["signature"]["code"]) == ("untrusted", "identity_unknown")
    refused = await rejected(registry, {**keyless(model(), "ci@example.org"), "config.json": b"changed"})
    assert refused["code"] == "signature_invalid"


async def test_a_signature_of_other_bytes_is_refused_before_anything_is_locked(registry: Registry) -> None:
    files = signed(model())
    changed = {**files, "model.bin": b"changed"}
    for wrong in (changed, {**files, "more.bin": b"x"}, {**files, "model.sig": b"{}"}, {**files, "model.sig": b""}):
        last = await rejected(registry, wrong)
        assert (last["code"], last["stage"]) == ("signature_invalid", "commit")
    stranger = {**signed(model(), STRANGER), "config.json": b"changed"}
    assert (await rejected(registry, stranger))["code"] == "signature_invalid", "whoever signed it"
    place = await registry.blobs.stat(BUCKET, f"blobs/sha256/{sha256_hex(b'changed')[:2]}/{sha256_hex(b'changed')}")
    assert place.lock is None
    entries = await registry.audits("commit.rejected")
    assert len(entries) == 5
    assert all(entry["outcome"] == "refused" for entry in entries)


async def test_a_track_takes_only_what_is_signed(registry: Registry) -> None:
    await registry.call("PUT", "/tracks/strict", json={"retention_s": 60, "signature_required": True})
    for files in (model(), signed(model(), STRANGER)):
        last = await rejected(registry, files, track="strict")
        assert last["code"] == "signature_required"
    made = await registry.commit(files=signed(model()), track="strict")
    assert made["track"] == "strict"
    entries = await registry.audits("track.changed")
    assert {one["path"]: one["after"] for one in entries[0]["changes"]}["signature_required"] is True
    shown = await registry.call("PUT", "/tracks/strict", json={"signature_required": False})
    assert shown["signature_required"] is False
    assert (await registry.commit(files=model(), track="strict"))["signature"] == {"status": "unsigned"}


async def test_a_release_into_such_a_track_needs_a_signature(registry: Registry) -> None:
    await registry.call("PUT", "/tracks/strict", json={"retention_s": 60, "signature_required": True})
    await registry.commit(files=model())
    await registry.commit(files=signed(model()))
    body = {"version": "1.0.0", "track": "strict", "ref": "digits/1"}
    await registry.refused("POST", "/models/digits/releases", "signature_required", as_="pam", json=body)
    (refusal,) = await registry.audits("release.published")
    assert refusal["outcome"] == "refused"
    made = await registry.post("/models/digits/releases", as_="pam", **{**body, "ref": "digits/2"})
    assert made["track"] == "strict"


async def test_a_promotion_on_such_a_track_needs_a_signature(registry: Registry) -> None:
    await registry.commit(files=model())
    await registry.commit(files=signed(model()))
    await registry.call("PUT", "/tracks/production", json={"signature_required": True})
    wanted = {"ref": "digits/1", "reason": "go"}
    problem = await registry.refused("POST", "/models/digits/promote", "promotion_refused", as_="pam", json=wanted)
    assert [gate["name"] for gate in problem["details"]["gates"] if not gate["passed"]] == ["signature"]
    assert problem["hint"] == f"muniment versions verify-signature {wanted['ref']} --record"
    await registry.post("/models/digits/promote", as_="pam", ref="digits/2", reason="go")


async def test_a_version_is_judged_again_when_its_key_comes_to_be_trusted(
    registry: Registry, settings: Settings
) -> None:
    await registry.commit(files=signed(model(), STRANGER))
    again = await registry.post("/models/digits/signature-checks", as_="pam", ref="digits/1")
    assert again["signature"]["status"] == "untrusted"
    assert await registry.audits("version.signature_checked") == [], "the same outcome is no change"
    await registry.pool.execute(
        "INSERT INTO version_signature (model_id, number, judged_at, path, status, method, signer) "
        "SELECT model_id, number, now(), path, 'verified', method, signer FROM version_signature"
    )
    back = await registry.post("/models/digits/signature-checks", as_="pam", ref="digits/1", reason="key withdrawn")
    assert back["signature"]["status"] == "untrusted", "the newest outcome counts"
    (entry,) = await registry.audits("version.signature_checked")
    assert [one["path"] for one in entry["changes"]] == ["before", "signature"]
    await registry.refused(
        "POST", "/models/digits/signature-checks", "role_missing", as_="ada", json={"ref": "digits/1"}
    )
    for change in ("UPDATE version_signature SET status = 'verified'", "DELETE FROM version_signature"):
        with pytest.raises(Exception, match="immutable"):
            await registry.pool.execute(change)


async def test_attestations_verify_and_are_the_same_each_time(registry: Registry, settings: Settings) -> None:
    files = signed(model())
    dataset = {"name": "mnist", "digest": "sha256:" + "1" * 64}
    facts = {
        "params": {"lr": 0.1},
        "datasets": [dataset],
        "code": {"repository": "https://example.com/r", "commit": "a" * 40},
    }
    made = await registry.commit(files=files, facts=facts, operator="muniment|ada", accuracy=0.5)
    first, second = [await registry.get("/versions/digits%2F1/attestations") for _ in range(2)]
    assert first == second
    assert first["key"] == await registry.get("/signing-key")
    trust = Trust.of([first["key"]["public_key"].encode()])
    digests = [FileDigest(one["path"], one["sha256"], one["size"]) for one in made["files"]]
    assert len(digests) == 3, "the publisher's signature is a file of the version"
    found = judge(json.dumps(first["signature"]).encode(), digests, None, trust, SystemClock().now())
    assert (found.status, found.signer) == ("verified", first["key"]["hint"])

    bundle = parse_bundle(json.dumps(first["provenance"]).encode())
    assert trust.signer_of(bundle, SystemClock().now()) == first["key"]["hint"]
    text = canonical_json(first["provenance"])
    as_file = FileDigest("provenance.sigstore.json", sha256_hex(text), len(text))
    found = judge(json.dumps(first["provenance_signature"]).encode(), [as_file], None, trust, SystemClock().now())
    assert found.status == "verified", "the provenance as a file, for tools that know signatures of models alone"
    statement = json.loads(bundle.payload)
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    assert {one["name"]: one["digest"]["sha256"] for one in statement["subject"]} == {
        path: hashlib.sha256(data).hexdigest() for path, data in files.items()
    }
    build, run = statement["predicate"]["buildDefinition"], statement["predicate"]["runDetails"]
    assert build["externalParameters"] == {"model": "digits", "params": {"lr": 0.1}}
    assert [one["digest"] for one in build["resolvedDependencies"]] == [{"gitCommit": "a" * 40}, {"sha256": "1" * 64}]
    assert run["builder"] == {"id": "https://example.com/trainer"}
    assert run["metadata"]["invocationId"] == made["manifest"]["run_id"]
    assert run["metadata"]["muniment_committedAt"] == made["committed_at"]
    assert run["byproducts"][0]["digest"] == {"sha256": made["id"].removeprefix("sha256:")}

    key = settings.data_dir / "secrets" / "signing.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert SigningKey(key.read_bytes()).hint == first["key"]["hint"]
    answer = await registry.client.get("/versions/digits%2F1/signature", headers={"authorization": "Bearer rae"})
    assert answer.content == files["model.sig"]
    await registry.commit(files=model())
    await registry.refused("GET", "/versions/digits%2F2/signature", "signature_not_found", as_="rae")
