"""Signed notes, checkpoints and receipts: the specifications' own examples, and no other outcome for any bytes."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.adapters.signing_keys import Ed25519Signer, TextKeys
from muniment.audit.note import Checkpoint, VerifierKey, check_origin, open_note, receipt, sign
from muniment.contracts.errors import Misconfigured, Rejected

SPEC_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
SPEC_NOTE = (
    "This is an example message.\n\n"
    "\u2014 example.com/foo "
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
# The signer of golang.org/x/mod/sumdb/note: its signatures, made from its seed, are known.
GO_SEED = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
GO_SIGNATURE = (
    "\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)


def test_the_example_of_the_specification_opens() -> None:
    key = VerifierKey.parse(SPEC_KEY)
    assert (key.key_id.hex(), key.vkey) == ("530d903a", SPEC_KEY)
    assert open_note(SPEC_NOTE.encode(), [key]) == "This is an example message.\n"


def test_a_note_is_signed_as_others_sign_it() -> None:
    assert sign(GO_TEXT, "PeterNeumann", [Ed25519Signer(GO_SEED)]) == f"{GO_TEXT}\n{GO_SIGNATURE}"
    assert VerifierKey("PeterNeumann", Ed25519Signer(GO_SEED).public_key).vkey == GO_KEY


def test_two_keys_sign_beside_each_other() -> None:
    signers = [Ed25519Signer(bytes([number]) * 32) for number in (1, 2)]
    keys = [VerifierKey("log", signer.public_key) for signer in signers]
    text = Checkpoint("log", 5, bytes(32)).text()
    note = sign(text, "log", signers).encode()
    for known in ([keys[0]], [keys[1]], keys):
        assert Checkpoint.parse(open_note(note, known)) == Checkpoint("log", 5, bytes(32))
    with pytest.raises(Rejected, match="no known key"):
        open_note(note, [VerifierKey("log", bytes(32))])


@pytest.mark.parametrize(
    "changed",
    [
        SPEC_NOTE.replace("example m", "examplf m"),
        SPEC_NOTE.replace("Uw2QOkn8", "Uw2QOkn9"),
        SPEC_NOTE.replace("\n\n", "\n"),
        SPEC_NOTE.replace("\u2014", "-"),
        SPEC_NOTE[:-1],
        SPEC_NOTE.replace("message", "mes\rsage"),
        SPEC_NOTE + "no signature\n",
        "",
    ],
)
def test_a_changed_note_is_refused(changed: str) -> None:
    with pytest.raises(Rejected):
        open_note(changed.encode(), [VerifierKey.parse(SPEC_KEY)])


@given(st.binary(max_size=300) | st.text(max_size=200).map(lambda text: f"{text}\n\n\u2014 a AAAAAAA=\n".encode()))
def test_no_bytes_make_a_note_fail_otherwise(raw: bytes) -> None:
    with pytest.raises(Rejected) as caught:
        open_note(raw, [VerifierKey.parse(SPEC_KEY)])
    assert caught.value.code in {"audit_note_malformed", "audit_note_unsigned"}


@given(st.text(max_size=100) | st.from_regex(r"a\n[0-9]{1,3}\n[A-Za-z0-9+/=]{0,46}\n", fullmatch=True))
def test_a_checkpoint_is_read_to_what_it_says_or_refused(text: str) -> None:
    try:
        found = Checkpoint.parse(text)
    except Rejected as error:
        assert error.code == "audit_note_malformed"
    else:
        assert text.startswith(found.text())


def test_a_receipt_has_the_form_of_the_specification() -> None:
    hashes = [b"\x01" * 32, b"\x02" * 32]
    assert receipt(7, hashes, "log\n8\nroot\n\nsignatures\n", b"{}").split("\n") == [
        "c2sp.org/tlog-proof@v1",
        "extra e30=",
        "index 7",
        "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=",
        "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=",
        "",
        "log",
        "8",
        "root",
        "",
        "signatures",
        "",
    ]
    assert receipt(0, [], "log\n") == "c2sp.org/tlog-proof@v1\nindex 0\n\nlog\n"


@pytest.mark.parametrize("origin", ["", "https://example.com/log", "a b", "a+b", "a\nb", "x" * 256, "a\u202eb"])
def test_an_origin_can_be_a_keys_name(origin: str) -> None:
    with pytest.raises(Rejected, match="origin"):
        check_origin(origin)


def test_keys_of_a_setting_are_read_strictly() -> None:
    seed = base64.b64encode(GO_SEED).decode()
    assert [one.public_key for one in TextKeys(f"{seed},\n{seed} ", "X").load()] == [
        Ed25519Signer(GO_SEED).public_key
    ] * 2
    with pytest.raises(Misconfigured, match="no key") as caught:
        TextKeys("c2hvcnQ=", "X")
    assert "c2hvcnQ" not in str(caught.value)
