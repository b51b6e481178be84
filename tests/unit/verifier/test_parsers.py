"""Parsers on anything: they read it or raise their own error; and what the specifications forbid is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import rfc8785
from hypothesis import example, given, settings
from hypothesis import strategies as st

from muniment.verifier.canonical import canonical
from muniment.verifier.checkpoint import Trust, open_checkpoint, parse_checkpoint
from muniment.verifier.entry import committed_manifest, parse_entry
from muniment.verifier.errors import (
    CheckpointError,
    EntryError,
    KeyTextError,
    NoteError,
    ReceiptError,
    TileError,
    VerifierError,
)
from muniment.verifier.keys import parse_key, parse_keys
from muniment.verifier.note import parse_note, signers
from muniment.verifier.receipt import parse_receipt, verify_receipt
from muniment.verifier.tiles import entries_of, entries_path, hashes_of, tile_path

from .naive import Signer, Tree, b64, checkpoint, entry, leaf, number_path, receipt

LOG = Signer()
WITNESS = Signer("witness.example/w1", 4, b"w" * 32)
TREE = Tree([leaf(entry(number)) for number in range(11)])
ROOT = TREE.root(0, 11)
NOTE = checkpoint(11, ROOT, LOG, WITNESS)
RECEIPT = receipt(TREE, 3, NOTE, extra=entry(3))
BUNDLE = b"".join(len(entry(n)).to_bytes(2, "big") + entry(n) for n in range(11))
TRUST = Trust((parse_key(LOG.vkey),), (parse_key(WITNESS.vkey),), 1)

PARSERS: list[tuple[str, bytes, type[VerifierError], Callable[[bytes], Any]]] = [
    ("note", NOTE, NoteError, parse_note),
    ("checkpoint", NOTE, CheckpointError, parse_checkpoint),
    ("receipt", RECEIPT, ReceiptError, parse_receipt),
    ("tile", ROOT * 11, TileError, lambda data: hashes_of(data, 11)),
    ("bundle", BUNDLE, TileError, lambda data: list(entries_of(data, 11))),
    ("key", LOG.vkey.encode(), KeyTextError, lambda data: parse_key(data.decode("utf-8", "replace"))),
    ("entry", entry(0), EntryError, parse_entry),
]


def changed(good: bytes) -> st.SearchStrategy[bytes]:
    """The good text cut, with bytes replaced and inserted: nearer to it than anything drawn at random."""
    edits = st.lists(
        st.tuples(st.integers(0, len(good)), st.integers(0, 3), st.binary(max_size=4)), min_size=1, max_size=4
    )

    def apply(places: list[tuple[int, int, bytes]]) -> bytes:
        data = good
        for at, drop, insert in places:
            data = data[:at] + insert + data[at + drop :]
        return data

    return st.one_of(st.binary(max_size=300), edits.map(apply))


@pytest.mark.parametrize(("name", "good", "own", "parse"), PARSERS, ids=[one[0] for one in PARSERS])
def test_a_parser_reads_or_raises_its_own_error(
    name: str, good: bytes, own: type[VerifierError], parse: Callable[[bytes], Any]
) -> None:
    parse(good)

    @given(changed(good))
    def anything(data: bytes) -> None:
        try:
            parse(data)
        except VerifierError as error:
            assert type(error) is own

    anything()


@given(changed(NOTE))
@example(NOTE)
def test_whatever_opens_is_what_the_log_signed(data: bytes) -> None:
    try:
        opened = open_checkpoint(data, TRUST)
    except (CheckpointError, NoteError):
        return
    assert (opened.checkpoint.origin, opened.checkpoint.size, opened.checkpoint.root) == (LOG.name, 11, ROOT)


@given(changed(RECEIPT))
@example(RECEIPT)
def test_whatever_a_receipt_proves_is_its_entry(data: bytes) -> None:
    try:
        parsed = parse_receipt(data)
        verify_receipt(parsed, entry(3), TRUST)
    except VerifierError:
        return
    assert parsed.index == 3


@given(st.binary(max_size=200))
def test_an_entry_of_any_form_names_a_manifest_or_none(data: bytes) -> None:
    committed_manifest(0, data)
    committed_manifest(0, json.dumps({"action": "version.committed", "changes": [data.hex()]}).encode())


TEXT = f"example.com/log\n11\n{b64(ROOT)}\n"
BAD_TEXTS = {
    "leading zero": TEXT.replace("\n11\n", "\n011\n"),
    "sign": TEXT.replace("\n11\n", "\n+11\n"),
    "space": TEXT.replace("\n11\n", "\n11 \n"),
    "other digits": TEXT.replace("\n11\n", "\n١١\n"),
    "too large": TEXT.replace("\n11\n", f"\n{2**63}\n"),
    "no root": "example.com/log\n11\n",
    "short root": TEXT.replace(b64(ROOT), b64(ROOT[:31])),
    "root in another spelling": TEXT.replace(b64(ROOT), b64(ROOT)[:-2] + "B="),
    "root without padding": TEXT.replace(b64(ROOT), b64(ROOT).rstrip("=")),
    "no origin": "\n" + TEXT.partition("\n")[2],
    "empty extension": TEXT + "\nmore\n",
    "empty log with another root": f"example.com/log\n0\n{b64(ROOT)}\n",
}


@pytest.mark.parametrize("name", BAD_TEXTS)
def test_a_signed_text_that_is_no_checkpoint(name: str) -> None:
    text = BAD_TEXTS[name]
    with pytest.raises(CheckpointError):
        open_checkpoint(f"{text}\n{LOG.line(text)}".encode(), Trust(TRUST.log))


BAD_NOTES = {
    "no signature": f"{TEXT}\n",
    "no empty line": TEXT + LOG.line(TEXT),
    "no last line feed": f"{TEXT}\n{LOG.line(TEXT)}"[:-1],
    "hyphen for the dash": f"{TEXT}\n{LOG.line(TEXT)}".replace("—", "-"),
    "tab": f"{TEXT}\n{LOG.line(TEXT)}".replace("— ", "—\t"),
    "carriage return": f"{TEXT}\n{LOG.line(TEXT)}".replace("\n", "\r\n"),
    "no name": f"{TEXT}\n— {b64(b'signature')}\n",
    "plus in a name": f"{TEXT}\n— a+b {b64(b'signature')}\n",
    "short signature": f"{TEXT}\n— a {b64(b'1234')}\n",
    "too many signatures": f"{TEXT}\n" + LOG.line(TEXT) * 101,
}


@pytest.mark.parametrize("name", BAD_NOTES)
def test_a_malformed_note(name: str) -> None:
    with pytest.raises(NoteError):
        parse_note(BAD_NOTES[name].encode())


def test_unknown_signatures_are_passed_over_and_known_false_ones_are_not() -> None:
    keys = [parse_key(LOG.vkey), parse_key(WITNESS.vkey)]
    same_name = Signer(seed=b"o" * 32)
    note = parse_note(checkpoint(11, ROOT, same_name, LOG, WITNESS, LOG))
    assert [(one.key.name, one.time) for one in signers(note, keys)] == [
        (LOG.name, None),
        (WITNESS.name, 1_700_000_000),
    ]
    for one in (LOG, WITNESS):
        false = f"{TEXT}\n{LOG.line(TEXT)}{WITNESS.line(TEXT)}".replace(one.line(TEXT), one.line(TEXT + "x\n"))
        with pytest.raises(NoteError, match="does not verify"):
            signers(parse_note(false.encode()), keys)


def test_k_of_n_counts_witnesses_and_not_names() -> None:
    twice = Signer("witness.example/again", 4, b"w" * 32)
    other = Signer("witness.example/w2", 4, b"v" * 32)
    three = tuple(parse_key(one.vkey) for one in (WITNESS, twice, other))
    with pytest.raises(CheckpointError, match="too few") as caught:
        open_checkpoint(checkpoint(11, ROOT, LOG, WITNESS, twice), Trust(TRUST.log, three, 2))
    assert caught.value.code == "not_witnessed"
    open_checkpoint(checkpoint(11, ROOT, LOG, WITNESS, other), Trust(TRUST.log, three, 2))
    with pytest.raises(ValueError, match="2 different"):
        Trust(TRUST.log, three, 3)


def test_the_key_of_the_specification() -> None:
    key = parse_key("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k")
    assert (key.name, key.id.hex(), key.type) == ("example.com/foo", "530d903a", 1)
    assert key.text() == "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"


def test_paths() -> None:
    assert tile_path(0, 1234067) == "tile/0/x001/x234/067"
    assert entries_path(0, 17) == "tile/entries/000.p/17"
    for number in (0, 9, 999, 1000, 999_999, 1_000_000):
        assert tile_path(3, number) == f"tile/3/{number_path(number)}"


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=40, deadline=None)
@given(JSON)
@example([1e21, 1e-7, 1e20, 123456789012345680000.0, 0.000001, -0.0, 5e-324, 1.5, 100.0])
@example({"\U0001f600": 1, "\ufb33": 2})
def test_canonical_json_as_another_implementation_writes_it(value: Any) -> None:
    assert canonical(value).encode() == rfc8785.dumps(value)


def test_a_file_without_a_key_is_named() -> None:
    with pytest.raises(KeyTextError, match=r"^keys\.txt holds no key"):
        parse_keys("# nothing yet\n\n", "keys.txt")
