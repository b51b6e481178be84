"""Receipts, a living log over HTTP with a memory, gossip, and the size of what is held in memory."""

from __future__ import annotations

import functools
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from muniment.verifier.main import main

from .naive import Signer, Tree, checkpoint, entry, leaf, put, receipt, write_log

LOG = Signer()
WITNESS = Signer("witness.example/w1", 4, b"w" * 32)
Verify = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def verify(capsys: pytest.CaptureFixture[str]) -> Verify:
    def run(*words: object) -> tuple[int, dict[str, Any]]:
        code = main([*map(str, words), "--json", "--key", LOG.vkey])
        out, err = capsys.readouterr()
        return code, json.loads(out or err)

    return run


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def url(folder: Path) -> Iterator[str]:
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def entries(size: int, **changed: int) -> list[bytes]:
    other = {index: mark for mark, index in changed.items()}
    return [entry(index, **({"operator": other[index]} if index in other else {})) for index in range(size)]


def grow(folder: Path, size: int, **changed: int) -> Tree:
    shutil.rmtree(folder / "tile", ignore_errors=True)
    return write_log(folder, entries(size, **changed))


def test_a_receipt_offline(tmp_path: Path, verify: Verify) -> None:
    tree = write_log(tmp_path, entries(30), LOG, WITNESS)
    note = (tmp_path / "checkpoint").read_bytes()
    put(tmp_path / "7.tlog-proof", receipt(tree, 7, note))
    put(tmp_path / "8.tlog-proof", receipt(tree, 8, note, extra=entry(8)))
    put(tmp_path / "7.json", entry(7))
    words = ("receipt", tmp_path / "7.tlog-proof", "--entry", tmp_path / "7.json", "--witness", WITNESS.vkey)
    code, report = verify(*words)
    assert (code, report["index"], report["size"], report["cosigned_by"][0]["time"]) == (0, 7, 30, 1_700_000_000)
    assert verify("receipt", tmp_path / "8.tlog-proof")[0] == 0
    assert verify("receipt", tmp_path / "7.tlog-proof")[0] == 2, "it does not hold its entry"
    code, report = verify("receipt", tmp_path / "8.tlog-proof", "--entry", tmp_path / "7.json")
    assert (code, report["first"]["index"], report["first"]["code"]) == (1, 8, "root_differs")
    put(tmp_path / "9.tlog-proof", receipt(tree, 8, note).replace(b"index 8", b"index 30"))
    assert (
        verify("receipt", tmp_path / "9.tlog-proof", "--entry", tmp_path / "7.json")[1]["first"]["code"]
        == "index_out_of_range"
    )
    put(tmp_path / "10.tlog-proof", receipt(tree, 8, checkpoint(30, tree.root(0, 30), LOG), extra=entry(8)))
    code, report = verify("receipt", tmp_path / "10.tlog-proof", "--witness", WITNESS.vkey, "--require", "1")
    assert (code, report["first"]["code"]) == (1, "not_witnessed")


def test_a_living_log_is_verified_from_where_the_last_run_ended(
    url: str, folder: Path, tmp_path: Path, verify: Verify
) -> None:
    state = tmp_path / "seen.json"
    for size, new in ((300, 300), (300, 0), (600, 300), (1100, 500)):
        grow(folder, size)
        code, report = verify("log", "--url", url, "--state", state)
        assert (code, report["entries"], report["size"]) == (0, new, size)
    for size, changed, index, name in (
        (1090, {}, 1090, "rolled_back"),
        (1100, {"mallory": 1000}, None, "log_forked"),
        (1200, {"mallory": 1090}, 1090, "entry_changed"),
        (1200, {"mallory": 3}, 0, "hash_differs"),
    ):
        grow(folder, size, **changed)
        code, report = verify("log", "--url", url, "--state", state)
        assert code == 1
        assert (report["first"].get("index"), report["first"]["code"]) == (index, name), report
    grow(folder, 1200)
    assert verify("log", "--url", url, "--state", state)[0] == 0, "a finding does not move what is remembered"
    saved = json.loads(state.read_text())
    saved["pending"][0][0] = "00" * 32
    state.write_text(json.dumps(saved))
    assert verify("log", "--url", url, "--state", state)[1]["first"]["code"] == "state_changed"
    assert verify("log", "--url", "http://127.0.0.1:9")[0] == 3


def test_gossip(folder: Path, tmp_path: Path, verify: Verify, capsys: pytest.CaptureFixture[str]) -> None:
    tree = grow(folder, 700)
    fork = Tree([leaf(one) for one in entries(700, mallory=20)])
    notes = {
        "whole": checkpoint(700, tree.root(0, 700), LOG),
        "begin": checkpoint(400, tree.root(0, 400), LOG),
        "fork": checkpoint(700, fork.root(0, 700), LOG),
        "early": checkpoint(400, fork.root(0, 400), LOG),
    }
    for name, note in notes.items():
        put(tmp_path / name, note)
    place = {name: tmp_path / name for name in notes}
    assert verify("gossip", place["whole"], folder / "checkpoint")[0] == 0
    assert verify("gossip", place["begin"], place["whole"], "--tiles", folder)[0] == 0
    assert verify("gossip", place["begin"], place["whole"])[0] == 3, "without a proof nothing is known"
    assert verify("gossip", place["early"], place["whole"], "--tiles", folder)[0] == 1
    code, report = verify("gossip", place["whole"], place["fork"], "--out", tmp_path / "proof")
    assert (code, report["first"]["code"]) == (1, "log_forked")
    proof = (tmp_path / "proof").read_text()
    assert notes["whole"].decode() in proof
    assert notes["fork"].decode() in proof
    assert f"key {LOG.vkey}" in proof
    assert main(["gossip", str(place["whole"]), str(place["fork"]), "--key", LOG.vkey]) == 1
    assert proof in capsys.readouterr().out


def test_memory_stays_bounded_while_the_log_grows(tmp_path: Path, verify: Verify) -> None:
    import tracemalloc

    peaks = []
    for size in (1_024, 8_192):
        folder = tmp_path / str(size)
        write_log(folder, entries(size))
        tracemalloc.start()
        assert verify("bundle", folder)[0] == 0
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 1_000_000, peaks
