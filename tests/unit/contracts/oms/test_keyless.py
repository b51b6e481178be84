"""Keyless signatures: what the public library makes of a Sigstore of our own, and that nothing changed is believed."""

from __future__ import annotations

import base64
import copy
import json
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.contracts.errors import Misconfigured
from muniment.contracts.oms.judging import Judgement, judge
from muniment.contracts.oms.keyless import Identity, SigstoreVerifier
from muniment.contracts.oms.statement import statement_bytes
from muniment.contracts.oms.trust import Trust
from muniment.registry.signatures import load_trust
from muniment.runtime.settings import SignatureSettings
from muniment.testing.small_sigstore import SmallSigstore

from .test_oms import BROKEN, MODEL, NOW

ISSUER = "https://accounts.example.org"
WORKFLOW = "https://git.example.org/team/model/.ci/release.yml@refs/tags/v1.2.3"
SMALL = SmallSigstore(NOW - timedelta(days=1))
SIGNED = SMALL.sign(statement_bytes("model", MODEL), identity=WORKFLOW, issuer=ISSUER, at=NOW)
KEY_ID = ("dsseEnvelope", "signatures", 0, "keyid")
"""DSSE: a hint that nothing is decided by."""
CHECKPOINT = ("verificationMaterial", "tlogEntries", 0, "inclusionProof", "checkpoint", "envelope")


def written(folder: Path, sigstore: SmallSigstore = SMALL) -> Path:
    path = folder / "trusted_root.json"
    path.write_text(json.dumps(sigstore.trusted_root()))
    return path


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("sigstore"))


@pytest.fixture(scope="module")
def trust(root: Path) -> Trust:
    return Trust(keyless=SigstoreVerifier(root, [Identity(ISSUER, WORKFLOW)]))


def judged(bundle: dict[str, Any], trust: Trust) -> Judgement:
    return judge(json.dumps(bundle).encode(), MODEL, None, trust, NOW)


def test_it_is_verified_long_after_its_certificate_has_ended(trust: Trust) -> None:
    found = judge(json.dumps(SIGNED).encode(), MODEL, None, trust, NOW + timedelta(days=1000))
    assert (found.status, found.method, found.signer) == ("verified", "keyless", f"{WORKFLOW} ({ISSUER})")


@pytest.mark.parametrize(
    ("issuer", "identity", "believed"),
    [
        (ISSUER, "https://git.example.org/team/model/.ci/release.yml@refs/tags/*", True),
        (ISSUER, "https://git.example.org/*/.ci/release.yml@*", True),
        (ISSUER, "*", True),
        (ISSUER, WORKFLOW[:-1], False),
        (ISSUER, "https://git.example.org/team/*/other.yml@refs/tags/v1.2.3", False),
        (ISSUER, "https://git-example.org/team/model/.ci/release.yml@refs/tags/*", False),
        (ISSUER, "*refs/tags", False),
        ("https://accounts.example.com", WORKFLOW, False),
        ("https://accounts.example.com", "*", False),
    ],
)
def test_only_those_are_believed_that_are_named(root: Path, issuer: str, identity: str, believed: bool) -> None:
    found = judged(SIGNED, Trust(keyless=SigstoreVerifier(root, [Identity(issuer, identity)])))
    assert (found.status, found.code) == (("verified", None) if believed else ("untrusted", "identity_unknown"))


def test_any_of_several_identities_will_do(root: Path) -> None:
    believed = [Identity("https://other.example", "*"), Identity(ISSUER, "ci@example.org"), Identity(ISSUER, WORKFLOW)]
    verifier = SigstoreVerifier(root, believed)
    mailed = SMALL.sign(statement_bytes("model", MODEL), identity="ci@example.org", issuer=ISSUER, at=NOW)
    assert judged(mailed, Trust(keyless=verifier)).signer == f"ci@example.org ({ISSUER})"
    assert judged(SIGNED, Trust(keyless=verifier)).signer == f"{WORKFLOW} ({ISSUER})"


def test_another_sigstore_is_not_believed_whoever_it_vouches_for(tmp_path: Path, trust: Trust) -> None:
    other = SmallSigstore(NOW - timedelta(days=1))
    theirs = other.sign(statement_bytes("model", MODEL), identity=WORKFLOW, issuer=ISSUER, at=NOW)
    assert judged(theirs, trust).code == "keyless_untrusted"
    own = Trust(keyless=SigstoreVerifier(written(tmp_path, other), [Identity(ISSUER, WORKFLOW)]))
    assert judged(theirs, own).status == "verified"


@pytest.mark.parametrize("key", ["certificate_log", "log"])
def test_an_authority_alone_is_not_enough_without_its_logs(key: str, trust: Trust) -> None:
    """Somebody who can have certificates issued, and nothing logged."""
    half = copy.copy(SMALL)
    setattr(half, key, getattr(SmallSigstore(NOW), key))
    theirs = half.sign(statement_bytes("model", MODEL), identity=WORKFLOW, issuer=ISSUER, at=NOW)
    assert judged(theirs, trust).code == "keyless_untrusted"


@pytest.mark.parametrize("late", [timedelta(minutes=11), timedelta(days=30), -timedelta(minutes=1)])
def test_what_was_logged_outside_of_the_certificates_minutes_is_not_believed(late: timedelta, trust: Trust) -> None:
    stolen = SMALL.sign(statement_bytes("model", MODEL), identity=WORKFLOW, issuer=ISSUER, at=NOW, logged_at=NOW + late)
    assert judged(stolen, trust).code == "keyless_untrusted"


def test_a_signature_over_other_files_is_refused(trust: Trust) -> None:
    fewer = SMALL.sign(statement_bytes("model", MODEL[:-1]), identity=WORKFLOW, issuer=ISSUER, at=NOW)
    assert (judged(fewer, trust).status, judged(fewer, trust).code) == ("invalid", "signature_mismatch")


def test_a_signature_that_is_not_its_certificates_is_refused_with_and_without_a_verifier(trust: Trust) -> None:
    mixed = copy.deepcopy(SIGNED)
    other = SMALL.sign(statement_bytes("model", MODEL), identity=WORKFLOW, issuer=ISSUER, at=NOW)
    mixed["dsseEnvelope"]["signatures"] = other["dsseEnvelope"]["signatures"]
    for one in (trust, Trust()):
        assert (judged(mixed, one).status, judged(mixed, one).code) == ("invalid", "signature_wrong")


def test_without_settings_it_is_told_what_to_do() -> None:
    found = judged(SIGNED, Trust())
    assert (found.status, found.method, found.code) == ("untrusted", "keyless", "keyless_unsupported")
    assert found.trouble is not None
    assert "muniment[sigstore]" in str(found.trouble.hint)


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    if isinstance(value, dict):
        for name, member in value.items():
            yield from leaves(member, (*path, name))
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from leaves(item, (*path, place))
    else:
        yield path


LEAVES = list(leaves(SIGNED))


def same(one: str, other: str) -> bool:
    """Equal, or base64 of the same bytes: the last character has bits that belong to none."""
    try:
        return one == other or base64.b64decode(one, validate=True) == base64.b64decode(other, validate=True)
    except ValueError:
        return False


@BROKEN
@given(st.sampled_from(LEAVES), st.integers(0, 10_000), st.sampled_from("A0z+1"))
def test_no_bundle_that_was_changed_is_verified(
    trust: Trust, path: tuple[str | int, ...], at: int, character: str
) -> None:
    changed = copy.deepcopy(SIGNED)
    place = changed
    for step in path[:-1]:
        place = place[step]
    before = place[path[-1]]
    at %= max(len(before), 1)
    place[path[-1]] = before[:at] + character + before[at + 1 :]
    dash = before.rfind("\N{EM DASH}")  # behind it is the name of the key, which the library does not hold against any
    named = path == CHECKPOINT and dash <= at <= before.rfind(" ")
    if path == KEY_ID or named or same(before, place[path[-1]]):
        return
    assert judged(changed, trust).status in {"untrusted", "invalid"}


@BROKEN
@given(st.sampled_from([path[:cut] for path in LEAVES for cut in range(1, len(path) + 1)]), st.data())
def test_no_bundle_that_lacks_something_is_verified(trust: Trust, path: tuple[str | int, ...], data: Any) -> None:
    changed = copy.deepcopy(SIGNED)
    place = changed
    for step in path[:-1]:
        place = place[step]
    if data.draw(st.booleans()):
        del place[path[-1]]
    else:
        place[path[-1]] = data.draw(st.sampled_from([None, {}, [], "", 0, -1, "x" * 1000]))
    if path == KEY_ID:
        return
    assert judged(changed, trust).status in {"untrusted", "invalid"}


def test_settings_that_are_not_enough_end_the_start(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    identities = [{"issuer": ISSUER, "identity": WORKFLOW}]
    spoilt = tmp_path / "spoilt.json"
    spoilt.write_text('{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}')
    for given_, code in (
        ({"sigstore_root": root}, "sigstore_incomplete"),
        ({"identities": identities}, "sigstore_incomplete"),
        ({"sigstore_root": spoilt, "identities": identities}, "sigstore_root_invalid"),
        ({"sigstore_root": tmp_path / "none.json", "identities": identities}, "sigstore_root_invalid"),
    ):
        with pytest.raises(Misconfigured) as caught:
            load_trust(SignatureSettings.model_validate(given_))
        assert caught.value.code == code
    whole = SignatureSettings.model_validate({"sigstore_root": root, "identities": identities})
    assert judged(SIGNED, load_trust(whole)).status == "verified"
    monkeypatch.setitem(sys.modules, "sigstore.models", None)
    with pytest.raises(Misconfigured) as caught:
        load_trust(whole)
    assert (caught.value.code, "muniment[sigstore]" in str(caught.value.hint)) == ("sigstore_missing", True)
