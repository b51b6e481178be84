"""Evidence packs: a whole one agrees; whatever is done to one is found, and the file or entry is named."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muniment.verifier.errors import PackError, VerifierError
from muniment.verifier.evidence import verify_evidence
from muniment.verifier.keys import parse_key
from muniment.verifier.main import main
from muniment.verifier.pack import Pack, header

from .naive import Signer, Tree, b64, leaf, receipt
from .packs import HOSTILE, MANIFEST, VERSION, encoded, make_pack, put_together, story, taken_apart

LOG = Signer()
PACK = make_pack()
MEMBERS = taken_apart(PACK)
NAMES = [name for name, _ in MEMBERS]
Verify = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def verify(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Verify:
    def run(pack: bytes, *words: str, key: str | None = LOG.vkey) -> tuple[int, dict[str, Any]]:
        (tmp_path / "pack.tar").write_bytes(pack)
        given = [] if key is None else ["--key", key]
        code = main([str(tmp_path / "pack.tar"), "--json", *given, *words])
        out, err = capsys.readouterr()
        return code, json.loads(out or err)

    return run


def changed(name: str, content: bytes) -> list[tuple[str, bytes]]:
    return [(one, content if one == name else held) for one, held in MEMBERS]


def test_a_whole_pack_agrees(verify: Verify) -> None:
    code, report = verify(PACK)
    assert (code, report["findings"]) == (0, [])
    assert (report["model"], report["size"], report["entries"], report["manifests"]) == ("digits", 10, 9, 1)
    assert report["keys_from"] == "you"
    assert put_together(MEMBERS, new_sums=False) == PACK == make_pack()


def test_without_a_key_the_report_says_what_it_is_worth(verify: Verify) -> None:
    code, report = verify(PACK, key=None)
    assert (code, report["keys_from"][:15]) == (0, "THE PACK ITSELF")
    forged = make_pack(signer=Signer(seed=b"m" * 32))
    assert verify(forged, key=None)[0] == 0  # which is why
    code, report = verify(forged)
    assert (code, report["first"]["layer"], report["first"]["code"]) == (1, "checkpoint", "not_signed")


@pytest.mark.parametrize("name", NAMES)
def test_one_flipped_bit_of_each_member(verify: Verify, name: str) -> None:
    content = dict(MEMBERS)[name]
    for at in {0, len(content) // 2, len(content) - 1}:
        broken = bytearray(content)
        broken[at] ^= 1
        code, report = verify(put_together(changed(name, bytes(broken)), new_sums=False))
        assert code == 1
        named = {one["layer"] for one in report["findings"]}
        assert name in named or name == "SHA256SUMS", report


@pytest.mark.parametrize("name", [name for name in NAMES if name != "SHA256SUMS"])
def test_one_flipped_bit_with_new_digests(verify: Verify, name: str) -> None:
    broken = bytearray(dict(MEMBERS)[name])
    broken[len(broken) // 2] ^= 1
    code, report = verify(put_together(changed(name, bytes(broken))))
    index = name.split("/")[-1].split(".")[0]
    assert code == 1
    assert any(name == one["layer"] or f"entries/{index}.json" == one["layer"] for one in report["findings"]), report


def test_every_bit_of_the_container_counts() -> None:
    contents = set()
    pack = Pack(io.BytesIO(PACK))
    for one in pack.members:
        contents |= set(range(one.offset, one.offset + one.size))
    outside = sorted(set(range(len(PACK))) - contents)
    for at in [*outside[:512], *outside[512::37], *outside[-3:]]:
        broken = bytearray(PACK)
        broken[at] ^= 1
        with pytest.raises(PackError):
            Pack(io.BytesIO(broken))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("new_sums", [False, True])
def test_a_dropped_member(verify: Verify, name: str, new_sums: bool) -> None:
    if name == "SHA256SUMS":
        pack = b"".join(header(one, len(held)) + held + bytes(-len(held) % 512) for one, held in MEMBERS[:-1])
        pack += bytes(1024)
    else:
        pack = put_together([one for one in MEMBERS if one[0] != name], new_sums=new_sums)
    code, report = verify(pack)
    if name.startswith("manifests/") and new_sums:  # the lists and the report still say that it is there
        assert (code, report["manifests_missing"]) == (1, [name])
        return
    assert (code, report["findings"][0]["layer"]) == (1, name), report


@pytest.mark.parametrize("name", ["entries/2.json", "manifests/" + "a" * 64 + ".json", "entries/77.json"])
def test_an_added_member(verify: Verify, name: str) -> None:
    place = NAMES.index("versions.jsonl")
    members = [*MEMBERS[:place], (name, encoded(story()[2])), *MEMBERS[place:]]
    for new_sums in (False, True):
        code, report = verify(put_together(members, new_sums=new_sums))
        number = name.split("/")[1].split(".")[0]
        named = {one["layer"] for one in report["findings"]}
        assert code == 1
        assert named & {name, f"receipts/{number}.tlog-proof"}, report


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "entries/../../x", "notes.txt", "entries/01.json", "a\nb"])
def test_other_files_are_refused(verify: Verify, name: str) -> None:
    block = bytearray(header("checkpoint", 3))
    block[:100] = name.encode().ljust(100, b"\0")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    code, report = verify(bytes(block) + b"abc".ljust(512, b"\0") + PACK)
    assert (code, report["first"]["layer"], report["first"]["code"]) == (1, "pack", "member_unknown")


def test_twice_too_large_cut_and_no_pack_at_all(verify: Verify) -> None:
    first = header("pack.json", len(MEMBERS[0][1])) + MEMBERS[0][1] + bytes(-len(MEMBERS[0][1]) % 512)
    cases = {
        "member_repeated": first + PACK,
        "pack_truncated": header("report.html", 8**11 - 1) + b"x",
        "pack_end": PACK + b"x",
        "header_malformed": b"checkpoint".ljust(100, b"\0") + b"\xff" * 412,
        "member_unknown": b"PK\x03\x04".ljust(1024, b"x"),
    }
    for code, pack in cases.items():
        assert (verify(pack)[0], verify(pack)[1]["first"]["code"]) == (1, code)
    for end in (0, 100, 512, 700, len(PACK) - 1024, len(PACK) - 1):
        assert verify(PACK[:end])[1]["first"]["layer"] == "pack"
    large = changed("entries/3.json", b" " * 70_000)
    assert "member_too_large" in {one["code"] for one in verify(put_together(large))[1]["findings"]}


def test_a_list_of_digests_that_is_none(verify: Verify) -> None:
    good = dict(MEMBERS)["SHA256SUMS"]
    last = good.splitlines(keepends=True)[-1]
    for forged in (good + last, good[:-1], b"", good.replace(b"  ", b" *"), good + b"\xff\n", good + b"\n"):
        code, report = verify(put_together(changed("SHA256SUMS", forged), new_sums=False))
        assert (code, report["first"]["code"]) == (1, "sums_malformed"), forged[-80:]


def test_entries_in_another_order(verify: Verify) -> None:
    swapped = list(MEMBERS)
    a, b = NAMES.index("entries/3.json"), NAMES.index("entries/5.json")
    swapped[a], swapped[b] = swapped[b], swapped[a]
    for new_sums in (False, True):
        code, report = verify(put_together(swapped, new_sums=new_sums))
        assert (code, report["first"]["code"], report["first"]["layer"]) == (1, "order_differs", "entries/5.json")


def test_entries_that_changed_places(verify: Verify) -> None:
    held = dict(MEMBERS)
    members = [
        (name, held[{"entries/3.json": "entries/5.json", "entries/5.json": "entries/3.json"}.get(name, name)])
        for name in NAMES
    ]
    code, report = verify(put_together(members))
    assert (code, report["first"]["layer"], report["first"]["code"]) == (1, "entries/3.json", "root_differs")


def test_a_forged_report(verify: Verify) -> None:
    page = dict(MEMBERS)["report.html"]
    for forged in (page.replace(b"muniment|alice", b"muniment|mallo", 1), page[:-9], page + b"<p>All is well.</p>\n"):
        code, report = verify(put_together(changed("report.html", forged)))
        assert (code, report["first"]["layer"], report["first"]["code"]) == (1, "report.html", "retold_differs")


def test_an_entry_left_out_with_its_receipt_of_which_the_lists_still_speak(verify: Verify) -> None:
    members = [one for one in MEMBERS if one[0] not in {"entries/5.json", "receipts/5.tlog-proof"}]
    code, report = verify(put_together(members))
    assert (code, report["first"]["layer"]) == (1, "report.html")


def test_entries_that_do_not_belong(verify: Verify) -> None:
    facts = json.loads(dict(MEMBERS)["pack.json"])
    for name, value in (("first", 4), ("end", 8), ("model", "digit"), ("from", "2026-05-17T12:00:05Z"), ("size", 9)):
        text = encoded({**facts, name: value})
        code, report = verify(put_together(changed("pack.json", text)))
        assert code == 1, name
        assert report["first"]["code"] in {"entry_elsewhere", "facts_differ"}, (name, report)


def test_another_manifest(verify: Verify) -> None:
    name = f"manifests/{VERSION.removeprefix('sha256:')}.json"
    code, report = verify(put_together(changed(name, MANIFEST.replace(b"digits", b"digots"))))
    assert (code, report["first"]["layer"], report["first"]["code"]) == (1, name, "manifest_differs")


def test_a_receipt_under_another_checkpoint(verify: Verify) -> None:
    tree = Tree([leaf(encoded(one)) for one in story()])
    text = f"example.com/log\n10\n{b64(tree.root(0, 10))}\n"
    note = f"{text}\n{Signer(seed=b'm' * 32).line(text)}".encode()
    code, report = verify(put_together(changed("receipts/3.tlog-proof", receipt(tree, 3, note))))
    assert (code, report["first"]["layer"], report["first"]["code"]) == (1, "receipts/3.tlog-proof", "receipt_differs")


def test_the_report_runs_nothing_and_asks_nobody() -> None:
    page = dict(MEMBERS)["report.html"].decode()
    for word in ("<script", "http:", "https:", "src=", "href", HOSTILE, "\u202e", "\x1b"):
        assert word not in page
    assert "\\u202e&amp;&quot;&#x27;\\u0000\\u001b[2J" in page
    production = page.split("What ran in production")[1].split("</table>")[0]
    assert "2026-05-17T12:00:01Z</td><td>2026-05-17T12:00:09Z" in production
    exceptions = page.split("<h2>Exceptions")[1].split("</table>")[0]
    assert exceptions.count("<tr>") == 1 + 4  # the refused promotion, the forced download, the damage, the rollback


def test_cosignatures_can_be_required(verify: Verify) -> None:
    witness = Signer("witness.example/w1", 4, b"w" * 32)
    code, report = verify(PACK, "--witness", witness.vkey)
    assert (code, report["first"]["code"]) == (1, "not_witnessed")


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=2048),
        st.lists(st.tuples(st.integers(0, len(PACK)), st.binary(max_size=3), st.integers(0, 600)), max_size=3),
    )
)
def test_any_bytes_give_findings_and_no_other_error(tmp_path_factory: pytest.TempPathFactory, edits: Any) -> None:
    data = edits if isinstance(edits, bytes) else PACK
    if not isinstance(edits, bytes):
        for at, piece, cut in edits:
            data = data[:at] + piece + data[at + cut :]
    file = tmp_path_factory.getbasetemp() / "fuzzed.tar"
    file.write_bytes(data)
    report = verify_evidence(file, (parse_key(LOG.vkey),), (), 0, lambda *_: None)
    assert report.ok == (data == PACK)
    json.dumps(report.as_json()).encode()


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(NAMES[:-1]), st.binary(max_size=200))
def test_any_content_gives_findings_and_no_other_error(
    tmp_path_factory: pytest.TempPathFactory, name: str, content: bytes
) -> None:
    file = tmp_path_factory.getbasetemp() / "forged.tar"
    file.write_bytes(put_together(changed(name, content)))
    try:
        report = verify_evidence(file, (parse_key(LOG.vkey),), (), 0, lambda *_: None)
    except VerifierError as error:
        raise AssertionError("an error that no finding tells") from error
    assert not report.ok
    report.text().encode()
