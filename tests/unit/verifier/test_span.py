"""Leaf hashes of a range of a log: every range of every small tree, and nothing else in its place."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from muniment.audit.proofs import ranges_around
from muniment.verifier.errors import ProofError
from muniment.verifier.main import main
from muniment.verifier.span import around, runs_text, verify_span, withheld

from .naive import Signer, Tree, leaf
from .packs import encoded, make_pack, story

LARGEST = 40
LEAVES = [leaf(b"%d" % number) for number in range(LARGEST)]
Verify = Callable[..., tuple[int, dict[str, Any]]]


def span_of(tree: Tree, first: int, end: int, size: int) -> bytes:
    """As the writer makes it, which shares no code with the verifier."""
    outside = [tree.root(one.first, one.end) for one in ranges_around(first, end, size)]
    return b"".join([*LEAVES[first:end], *outside])


@pytest.mark.parametrize("size", range(1, LARGEST + 1))
def test_every_range_of_every_small_tree(size: int) -> None:
    tree = Tree(LEAVES[:size])
    root = tree.root(0, size)
    for first in range(size + 1):
        for end in range(first, size + 1):
            assert [(one.first, one.end) for one in ranges_around(first, end, size)] == list(around(first, end, size))
            raw = span_of(tree, first, end, size)
            assert verify_span(first, end, size, raw, root) == LEAVES[first:end]


@pytest.mark.parametrize(("first", "end", "size"), [(0, 40, 40), (3, 17, 40), (7, 8, 33), (0, 2, 5), (20, 37, 37)])
def test_nothing_else_is_taken_for_it(first: int, end: int, size: int) -> None:
    tree = Tree(LEAVES[:size])
    root, raw = tree.root(0, size), span_of(tree, first, end, size)
    wrong = [raw[:-32], raw + raw[:32], raw[:-1], b""]
    for at in range(0, len(raw), 32):
        wrong.append(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
    if end - first > 1:
        wrong.append(raw[32:64] + raw[:32] + raw[64:])
    for one in wrong:
        with pytest.raises(ProofError):
            verify_span(first, end, size, one, root)
    if end < size:
        with pytest.raises(ProofError):
            verify_span(first, end + 1, size, raw, root)


def test_what_is_withheld_is_told_in_runs() -> None:
    assert runs_text(list(withheld(3, 12, [0, 4, 5, 9, 40]))) == ["3", "6-8", "10-11"]
    assert list(withheld(3, 6, [5, 3, 4])) == []
    assert list(withheld(3, 6, [])) == [(3, 6)]


@pytest.fixture
def verify(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Verify:
    def run(pack: bytes, *entries: bytes) -> tuple[int, dict[str, Any]]:
        (tmp_path / "pack.tar").write_bytes(pack)
        words = []
        for number, one in enumerate(entries):
            (tmp_path / f"{number}.json").write_bytes(one)
            words += ["--entry", str(tmp_path / f"{number}.json")]
        code = main(["evidence", str(tmp_path / "pack.tar"), "--json", "--key", Signer().vkey, *words])
        out, err = capsys.readouterr()
        return code, json.loads(out or err)

    return run


def test_a_pack_tells_what_it_withholds(verify: Verify) -> None:
    code, report = verify(make_pack(first=1))
    assert (code, report["range"], report["leaves"]) == (0, "1 to before 10", 9)
    assert (report["withheld"], report["withheld_indexes"]) == (1, ["2"])


def test_who_holds_an_entry_that_was_left_out_can_show_it(verify: Verify) -> None:
    log, pack = [encoded(one) for one in story()], make_pack(without=8)
    code, report = verify(pack)
    assert (code, report["withheld_indexes"]) == (0, ["8"]), "its maker can do this, and the gap is told"
    code, report = verify(pack, log[8], log[5], log[0], b"{}")
    assert (code, report["first"]["code"], report["first"]["index"]) == (1, "entry_withheld", 8)
    assert [one.partition(".json: ")[2] for one in report["asked"]] == [
        "entry 8, withheld",
        "entry 5, in the pack",
        "not in the range",
        "not in the range",
    ]


def test_an_entry_of_another_model_is_withheld_rightly(verify: Verify) -> None:
    code, report = verify(make_pack(first=1), encoded(story()[2]))
    assert (code, report["asked"][0].partition(".json: ")[2]) == (0, "entry 2, withheld")
