"""OMS bundles: those of the public tool are verified, ours say what they should, and every change of either is found."""

from __future__ import annotations

import base64
import contextlib
import copy
import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from muniment.contracts.errors import Rejected
from muniment.contracts.oms.bundle import MAX_BUNDLE, SignatureMalformed, parse_bundle
from muniment.contracts.oms.judging import Judgement, judge, signature_path
from muniment.contracts.oms.keys import SigningKey, new_signing_key
from muniment.contracts.oms.statement import FileDigest, parse_statement, statement_bytes
from muniment.contracts.oms.trust import Trust

GOLDEN = Path(__file__).parent / "golden"
# Broken certificates make the parser warn of what it will refuse one day.
BROKEN = pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
NOW = datetime(2026, 6, 1, tzinfo=UTC)
KEY = "a44db60a36aab1897f5e5ff1fe79817ab76b814ff0009b912233707157a21f7d"


def golden(name: str) -> bytes:
    return (GOLDEN / name).read_bytes()


def model() -> list[FileDigest]:
    root = GOLDEN / "model"
    return [
        FileDigest(
            path.relative_to(root).as_posix(), hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size
        )
        for path in sorted(root.rglob("*"))
        if path.is_file()
    ]


MODEL = model()
TRUST = Trust.of([golden("key.pub"), golden("key384.pub")], [golden("root.crt")])
OURS = SigningKey(new_signing_key())


def judged(raw: bytes, files: list[FileDigest] | None = None, trust: Trust = TRUST, at: datetime = NOW) -> Judgement:
    return judge(raw, MODEL if files is None else files, None, trust, at)


@pytest.mark.parametrize(
    ("name", "method", "signer"),
    [
        ("key.sig", "key", KEY),
        ("key384.sig", "key", None),
        ("certificate.sig", "certificate", "CN=Golden signer"),
        ("shards.sig", "key", KEY),
    ],
)
def test_what_the_public_tool_signed_is_verified(name: str, method: str, signer: str | None) -> None:
    found = judged(golden(name))
    assert (found.status, found.method, found.uncovered) == ("verified", method, ())
    assert signer in (None, found.signer)


def test_files_that_the_signer_left_out_are_told() -> None:
    found = judged(golden("ignoring.sig"))
    assert (found.status, found.uncovered) == ("verified", ("README.md",))
    git = [*MODEL, FileDigest(".gitattributes", "0" * 64, 1)]
    assert judged(golden("key.sig"), git).uncovered == (), "git's own are no part of a model"


@pytest.mark.parametrize(
    ("name", "trust", "at", "code"),
    [
        ("key.sig", Trust.of([golden("key384.pub")]), NOW, "key_unknown"),
        ("key.sig", Trust(), NOW, "key_unknown"),
        ("certificate.sig", Trust.of([golden("key.pub")]), NOW, "chain_untrusted"),
        ("certificate.sig", TRUST, datetime(2025, 12, 31, tzinfo=UTC), "chain_untrusted"),
        ("certificate.sig", TRUST, datetime(2126, 1, 2, tzinfo=UTC), "chain_untrusted"),
        ("pieces.sig", TRUST, NOW, "serialization_unsupported"),
        ("blake2.sig", TRUST, NOW, "serialization_unsupported"),
    ],
)
def test_who_is_not_known_is_not_believed(name: str, trust: Trust, at: datetime, code: str) -> None:
    found = judged(golden(name), trust=trust, at=at)
    assert (found.status, found.code) == ("untrusted", code)


def test_a_chain_without_its_intermediate_is_not_believed() -> None:
    bundle = json.loads(golden("certificate.sig"))
    del bundle["verificationMaterial"]["x509CertificateChain"]["certificates"][1:]
    assert judged(json.dumps(bundle).encode()).code == "chain_untrusted"


def test_a_keyless_signature_is_told_from_others_and_not_believed() -> None:
    bundle = json.loads(golden("certificate.sig"))
    bundle["verificationMaterial"]["tlogEntries"] = [{"logIndex": "1"}]
    assert judged(json.dumps(bundle).encode()).code == "keyless_unsupported"
    chain = bundle["verificationMaterial"].pop("x509CertificateChain")
    bundle["verificationMaterial"]["certificate"] = chain["certificates"][0]
    found = judged(json.dumps(bundle).encode())
    assert (found.status, found.method, found.code) == ("untrusted", "keyless", "keyless_unsupported")


@pytest.mark.parametrize("name", ["key.sig", "certificate.sig", "shards.sig"])
@pytest.mark.parametrize(
    "change",
    [
        lambda files: files[:-1],
        lambda files: [*files, FileDigest("extra.bin", "0" * 64, 1)],
        lambda files: [FileDigest(files[0].path, "0" * 64, files[0].size), *files[1:]],
        lambda files: [FileDigest("other", files[0].sha256, files[0].size), *files[1:]],
    ],
)
def test_other_files_are_not_what_was_signed(name: str, change: Callable[[Any], Any]) -> None:
    found = judged(golden(name), change(MODEL), trust=Trust())
    assert (found.status, found.code) == ("invalid", "signature_mismatch"), "whoever signed it"


def changed_payload(change: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], None]:
    def apply(bundle: dict[str, Any]) -> None:
        payload = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
        change(payload)
        bundle["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(payload).encode()).decode()

    return apply


MUTATIONS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "other media type": lambda b: b.update(mediaType="application/vnd.dev.sigstore.bundle+json;version=0.2"),
    "other payload type": lambda b: b["dsseEnvelope"].update(payloadType="application/json"),
    "no signature": lambda b: b["dsseEnvelope"].update(signatures=[]),
    "two signatures": lambda b: b["dsseEnvelope"].update(signatures=b["dsseEnvelope"]["signatures"] * 2),
    "signature cut": lambda b: b["dsseEnvelope"]["signatures"][0].update(
        sig=b["dsseEnvelope"]["signatures"][0]["sig"][:-4]
    ),
    "signature empty": lambda b: b["dsseEnvelope"]["signatures"][0].update(sig=""),
    "no material": lambda b: b.update(verificationMaterial={}),
    "no envelope": lambda b: b.pop("dsseEnvelope"),
    "message signature": lambda b: b.update(messageSignature=b.pop("dsseEnvelope")),
    "name of the model": changed_payload(lambda p: p["subject"][0].update(name="other")),
    "two subjects": changed_payload(lambda p: p.update(subject=p["subject"] * 2)),
    "root digest": changed_payload(lambda p: p["subject"][0]["digest"].update(sha256="0" * 64)),
    "a file's digest": changed_payload(lambda p: p["predicate"]["resources"][0].update(digest="0" * 64)),
    "a file's name": changed_payload(lambda p: p["predicate"]["resources"][0].update(name="other")),
    "a file more": changed_payload(lambda p: p["predicate"]["resources"].append(p["predicate"]["resources"][0])),
    "a file less": changed_payload(lambda p: p["predicate"]["resources"].pop()),
    "order of files": changed_payload(lambda p: p["predicate"]["resources"].reverse()),
    "more left out": changed_payload(lambda p: p["predicate"]["serialization"]["ignore_paths"].append("model.bin")),
    "predicate type": changed_payload(lambda p: p.update(predicateType="https://slsa.dev/provenance/v1")),
    "statement type": changed_payload(lambda p: p.update(_type="https://in-toto.io/Statement/v0.1")),
}


STATEMENT_ALONE = {
    "two subjects",
    "root digest",
    "a file's digest",
    "a file's name",
    "a file more",
    "a file less",
    "order of files",
    "predicate type",
    "statement type",
}
"""Changes that no trusted signature makes right."""


@pytest.mark.parametrize("mutation", MUTATIONS)
@pytest.mark.parametrize("name", ["key.sig", "certificate.sig"])
def test_each_mutation_of_a_signature_is_refused(name: str, mutation: str) -> None:
    bundle = json.loads(golden(name))
    MUTATIONS[mutation](bundle)
    found = judged(json.dumps(bundle).encode())
    assert found.status == "invalid", found


@pytest.mark.parametrize("mutation", [name for name in MUTATIONS if name in STATEMENT_ALONE])
def test_a_statement_that_is_wrong_in_itself_is_refused_whoever_signed_it(mutation: str) -> None:
    bundle = json.loads(golden("key.sig"))
    MUTATIONS[mutation](bundle)
    again = OURS.sign(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    found = judged(json.dumps(again).encode(), trust=Trust.of([OURS.public_key]))
    assert found.status == "invalid", found


def test_another_key_behind_a_trusted_name_is_refused() -> None:
    bundle = OURS.sign(statement_bytes("model", MODEL))
    bundle["verificationMaterial"]["publicKey"]["hint"] = KEY
    assert judged(json.dumps(bundle).encode()).code == "signature_wrong"
    bundle["verificationMaterial"]["publicKey"].pop("hint")
    assert judged(json.dumps(bundle).encode()).code == "key_unknown", "no key is named: it may be anybody's"


def test_an_old_signature_that_names_no_key_is_verified_by_the_right_one() -> None:
    bundle = json.loads(golden("key.sig"))
    del bundle["verificationMaterial"]["publicKey"]["hint"]
    for keyid in ("", None, "x"):
        bundle["dsseEnvelope"]["signatures"][0]["keyid"] = keyid
        found = judged(json.dumps(bundle).encode())
        assert (found.status, found.signer) == ("verified", KEY)


def issued(*, ca: bool, signing: bool, issues: bool) -> tuple[ec.EllipticCurvePrivateKey, list[x509.Certificate]]:
    """A signer's key, and its certificate with that of its issuer, which no golden file has."""
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)]) for text in ("root", "leaf")]
    made = []
    for place, is_ca, usage in ((0, ca, (False, issues)), (1, False, (signing, False))):
        usages = x509.KeyUsage(usage[0], False, False, False, False, usage[1], False, False, False)
        builder = (
            x509.CertificateBuilder(names[0], names[place], keys[place].public_key(), x509.random_serial_number())
            .not_valid_before(datetime(2026, 1, 1))
            .not_valid_after(datetime(2027, 1, 1))
            .add_extension(x509.BasicConstraints(is_ca, None), critical=True)
            .add_extension(usages, critical=True)
        )
        made.append(builder.sign(keys[0], hashes.SHA256()))
    return keys[1], made


@pytest.mark.parametrize(
    ("ca", "signing", "issues", "code"),
    [
        (True, True, True, None),
        (True, False, True, "certificate_not_for_signing"),
        (False, True, True, "chain_untrusted"),
        (True, True, False, "chain_untrusted"),
    ],
)
def test_a_certificate_is_believed_only_for_what_it_is_for(ca: bool, signing: bool, issues: bool, code: str) -> None:
    key, (root, leaf) = issued(ca=ca, signing=signing, issues=issues)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    bundle = SigningKey(pem).sign(statement_bytes("model", MODEL))
    der = base64.b64encode(leaf.public_bytes(Encoding.DER)).decode()
    bundle["verificationMaterial"] = {"x509CertificateChain": {"certificates": [{"rawBytes": der}]}}
    trust = Trust.of(roots=[root.public_bytes(Encoding.PEM)])
    assert judged(json.dumps(bundle).encode(), trust=trust).code == code


def test_ours_is_verified_and_is_the_same_each_time() -> None:
    first, second = (OURS.sign(statement_bytes("digits", files)) for files in (MODEL, MODEL[::-1]))
    assert first == second
    found = judged(json.dumps(first).encode(), trust=Trust.of([OURS.public_key]))
    assert (found.status, found.signer) == ("verified", OURS.hint)
    assert parse_statement(parse_bundle(json.dumps(first).encode()).payload).name == "digits"


def test_the_signatures_own_file_is_no_part_of_what_it_signs() -> None:
    raw = golden("key.sig")
    own = FileDigest("model.sig", hashlib.sha256(raw).hexdigest(), len(raw))
    assert judge(raw, [*MODEL, own], "model.sig", TRUST, NOW).status == "verified"
    assert judge(raw, [*MODEL, own], None, TRUST, NOW).status == "invalid"


def test_which_file_is_the_signature() -> None:
    assert signature_path([("a", "file"), ("model.sig", "file")]) == "model.sig"
    assert signature_path([("model.sig", "file"), ("other.json", "signature")]) == "other.json"
    assert signature_path([("a", "file"), ("sub/model.sig", "file")]) is None
    with pytest.raises(SignatureMalformed):
        signature_path([("a", "signature"), ("b", "signature")])


def test_keys_of_other_kinds_are_refused() -> None:
    for wrong in (b"", b"no key", golden("root.crt"), new_signing_key()):
        with pytest.raises(Rejected) as refused:
            Trust.of([wrong])
        assert refused.value.code == "trusted_key_invalid"
    with pytest.raises(Rejected) as refused:
        Trust.of(roots=[golden("key.pub")])
    assert refused.value.code == "trusted_root_invalid"
    for wrong in (b"", b"x", golden("key.pub")):
        with pytest.raises(Rejected) as refused:
            SigningKey(wrong)
        assert refused.value.code == "signing_key_invalid"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=8,
)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, one in inner for place in _places(one, (*path, key)))][:200]


def _put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    made = copy.copy(value)
    made[path[0]] = _put(value[path[0]], path[1:], new)
    return made


@BROKEN
@given(data=st.data())
@settings(max_examples=150)
def test_a_hostile_bundle_never_raises_and_a_hostile_statement_is_invalid(data: st.DataObject) -> None:
    bundle = json.loads(golden(data.draw(st.sampled_from(["key.sig", "certificate.sig"]))))
    payload = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    if data.draw(st.booleans()):
        payload = _put(payload, data.draw(st.sampled_from(_places(payload))), data.draw(JSON))
        bundle["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(payload).encode("utf-8", "replace")).decode()
        assert judged(json.dumps(bundle).encode()).status == "invalid", "it is another text, if of the same value"
    else:
        place = data.draw(st.sampled_from(_places(bundle)))
        found = judged(json.dumps(_put(bundle, place, data.draw(JSON))).encode())
        assert found.status in {"invalid", "untrusted", "verified"}


@BROKEN
@given(
    raw=st.binary(max_size=300)
    | st.builds(
        lambda at, new: golden("key.sig")[:at] + new + golden("key.sig")[at + 1 :],
        st.integers(0, 2300),
        st.binary(max_size=4),
    )
    | st.builds(lambda at: golden("certificate.sig")[:at], st.integers(0, 3400))
)
@settings(max_examples=150)
def test_bytes_of_any_kind_end_in_a_judgement(raw: bytes) -> None:
    found = judged(raw)
    assert found.status in {"invalid", "untrusted", "verified"}
    with contextlib.suppress(SignatureMalformed):
        parse_statement(raw)


@BROKEN
@given(der=st.builds(lambda at, new: (at, new), st.integers(0, 400), st.binary(min_size=1, max_size=3)))
@settings(max_examples=100)
def test_certificates_of_any_kind_end_in_a_judgement(der: tuple[int, bytes]) -> None:
    bundle = json.loads(golden("certificate.sig"))
    certificates = bundle["verificationMaterial"]["x509CertificateChain"]["certificates"]
    for one in certificates:
        at, new = der
        raw = base64.b64decode(one["rawBytes"])
        one["rawBytes"] = base64.b64encode(raw[:at] + new + raw[at + len(new) :]).decode()
    untouched = bundle == json.loads(golden("certificate.sig"))
    assert (judged(json.dumps(bundle).encode()).status == "verified") == untouched


def test_a_file_beyond_the_limit_is_refused_unread() -> None:
    assert judged(b"[" * (MAX_BUNDLE + 1)).status == "invalid"
    assert judged(b"[" * 100_000).status == "invalid"
