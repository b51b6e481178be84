"""A witness over HTTP and the log's side of it: what it cosigns, what it refuses, and that it never forgets."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.audit.witnessing import Witnesses
from muniment.contracts.errors import Misconfigured
from muniment.runtime.settings import WitnessingSettings, WitnessSettings
from muniment.verifier.checkpoint import Trust, open_checkpoint
from muniment.verifier.errors import StateError
from muniment.verifier.keys import parse_key
from muniment.witness.domain import Refused, RequestError, parse_submission
from muniment.witness.main import main
from muniment.witness.server import Witness, WitnessServer
from muniment.witness.state import WitnessState, init
from tests.unit.verifier.naive import Signer, Tree, b64, checkpoint, leaf

LOG = Signer()
TREE = Tree([leaf(b"%d" % number) for number in range(40)])
FORK = Tree([leaf(b"%d" % number) for number in range(5)] + [leaf(b"other %d" % number) for number in range(35)])


def note(size: int, tree: Tree = TREE, *signers: Signer) -> bytes:
    return checkpoint(size, tree.root(0, size), *(signers or (LOG,)))


def request(old: int, size: int, tree: Tree = TREE, proof: Sequence[bytes] | None = None) -> bytes:
    path = tree.consistency(old, 0, size) if 0 < old <= size and proof is None else proof or []
    return "\n".join([f"old {old}", *map(b64, path), "", ""]).encode() + note(size, tree)


@pytest.fixture
def state(tmp_path: Path) -> Iterator[WitnessState]:
    init(tmp_path / "w", "witness.example/w1")
    state = WitnessState.open(tmp_path / "w")
    yield state
    state.close()


@pytest.fixture
def witness(state: WitnessState) -> Witness:
    return Witness(state, [parse_key(LOG.vkey)], now=lambda: 1_800_000_000.0)


def refusal(answer: Refused | str) -> tuple[int, str]:
    assert isinstance(answer, Refused)
    return answer.status, answer.body


def test_it_cosigns_a_log_that_grows(witness: Witness, state: WitnessState) -> None:
    for old, size in ((0, 1), (1, 7), (7, 7), (7, 40)):
        line = witness.add_checkpoint(request(old, size))
        assert isinstance(line, str)
        trust = Trust((parse_key(LOG.vkey),), (state.key.public,), 1)
        opened = open_checkpoint(note(size) + line.encode(), trust)
        assert [(one.key.name, one.time) for one in opened.cosigned_by] == [("witness.example/w1", 1_800_000_000)]


def test_it_refuses_what_is_stale_inconsistent_forked_or_not_signed(witness: Witness, tmp_path: Path) -> None:
    assert isinstance(witness.add_checkpoint(request(0, 10)), str)
    assert refusal(witness.add_checkpoint(request(0, 20))) == (409, "10\n")
    assert refusal(witness.add_checkpoint(request(7, 20))) == (409, "10\n")
    assert refusal(witness.add_checkpoint(request(7, 9))) == (409, "10\n"), "a rollback"
    assert refusal(witness.add_checkpoint(request(20, 10)))[0] == 400
    assert refusal(witness.add_checkpoint(request(10, 20, FORK)))[0] == 422
    assert refusal(witness.add_checkpoint(request(10, 10, FORK)))[0] == 422, "another root of the same size"
    assert refusal(witness.add_checkpoint(request(10, 20, proof=[])))[0] == 422
    assert len(list((tmp_path / "w/evidence").iterdir())) == 3
    body = request(10, 20)
    for other, status in (
        (body.replace(note(20), note(20, TREE, Signer(seed=b"x" * 32))), 403),
        (body.replace(note(20), checkpoint(20, TREE.root(0, 20), LOG, origin="example.com/else")), 404),
        (body.replace(note(20), b"no note"), 400),
        (body.replace(b"old 10", b"old 010"), 400),
        (body.replace(b"old 10", b"old 10\nAAAA"), 400),
    ):
        assert refusal(witness.add_checkpoint(other))[0] == status
    assert isinstance(witness.add_checkpoint(body), str), "none of them has moved it"


def test_of_two_histories_at_once_one_is_cosigned(witness: Witness) -> None:
    assert isinstance(witness.add_checkpoint(request(0, 3)), str)
    bodies = [request(3, 30, tree) for tree in (TREE, FORK) * 8]
    start = threading.Barrier(len(bodies))

    def ask(body: bytes) -> bool:
        start.wait()
        return isinstance(witness.add_checkpoint(body), str)

    with ThreadPoolExecutor(len(bodies)) as pool:
        answers = list(pool.map(ask, bodies))
    assert sum(answers) == 1


def test_it_remembers_over_a_restart_and_does_not_start_without_its_memory(tmp_path: Path) -> None:
    folder = tmp_path / "w"
    key = init(folder, "witness.example/w1")
    assert oct((folder / "key").stat().st_mode & 0o777) == "0o600"
    assert "PRIVATE" not in repr(key).upper()
    first = WitnessState.open(folder)
    with pytest.raises(StateError, match="another process"):
        WitnessState.open(folder)
    Witness(first, [parse_key(LOG.vkey)]).add_checkpoint(request(0, 10))
    first.close()
    second = WitnessState.open(folder)
    assert refusal(Witness(second, [parse_key(LOG.vkey)]).add_checkpoint(request(0, 20, FORK))) == (409, "10\n")
    second.close()
    with pytest.raises(StateError, match="witness already"):
        init(folder, "again.example/w1")
    (folder / "seen.json").write_bytes(b'{"example.com/log": {"size": "1"}}')
    with pytest.raises(StateError, match="not what this program wrote"):
        WitnessState.open(folder)
    (folder / "seen.json").unlink()
    with pytest.raises(StateError, match="lost its state"):
        WitnessState.open(folder)


def test_what_cannot_be_recorded_is_not_cosigned(witness: Witness, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("muniment.witness.state.write_durably", full)
        with pytest.raises(OSError, match="No space"):
            witness.add_checkpoint(request(0, 10))
    assert isinstance(witness.add_checkpoint(request(0, 10, FORK)), str), "nothing was cosigned before"


@given(st.binary(max_size=400))
def test_a_request_is_read_or_refused(body: bytes) -> None:
    with suppress(RequestError):
        parse_submission(body)


def test_the_process_survives_kill(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(tmp_path / "w")
    assert main(["init", "--state", folder, "--name", "witness.example/w1"]) == 0
    key = parse_key(capsys.readouterr().out.strip())
    words = [sys.executable, "-m", "muniment.witness.main", "run", "--state", folder, "--log", LOG.vkey]
    words += ["--listen", "127.0.0.1:0"]
    for kill, (old, size, status) in ((signal.SIGKILL, (0, 10, 200)), (signal.SIGTERM, (0, 20, 409))):
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=dict(os.environ))
        assert process.stdout is not None
        url = process.stdout.readline().decode().removeprefix("ready ").strip()
        answer, kind, body = post(f"{url}/add-checkpoint", request(old, size))
        process.send_signal(kill)
        process.wait()
        process.stdout.close()
        assert answer == status
        if status == 200:
            open_checkpoint(note(size) + body, Trust((parse_key(LOG.vkey),), (key,), 1))
        else:
            assert (kind, body) == ("text/x.tlog.size", b"10\n")


def post(url: str, body: bytes) -> tuple[int, str, bytes]:
    try:
        with urlopen(Request(url, data=body, method="POST"), timeout=10) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read()
    except HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read()


@pytest.fixture
def served(witness: Witness) -> Iterator[WitnessServer]:
    with WitnessServer(("127.0.0.1", 0), witness) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def witnesses(*pairs: tuple[str, str], timeout_s: float = 10.0) -> Witnesses:
    listed = tuple(WitnessSettings(url=url, vkey=vkey) for url, vkey in pairs)
    return Witnesses(WitnessingSettings(witnesses=listed, timeout_s=timeout_s))


async def proof_of(old: int, new: int) -> list[bytes]:
    return TREE.consistency(old, 0, new)


async def test_the_log_collects_lines_and_learns_what_a_witness_holds(
    served: WitnessServer, state: WitnessState
) -> None:
    vkey = state.key.public.text()
    stranger = Signer("witness.example/w1", 4, b"s" * 32).vkey
    own = witnesses((served.url, vkey), ("http://127.0.0.1:9", vkey), (served.url, stranger))
    for size in (4, 11):
        lines = await own.cosign(note(size).decode(), size, proof_of)
        opened = open_checkpoint(
            note(size) + "".join(lines).encode(), Trust((parse_key(LOG.vkey),), (parse_key(vkey),), 1)
        )
        assert len(lines) == len(opened.cosigned_by) == 1
    again = witnesses((served.url, vkey))
    assert len(await again.cosign(note(30).decode(), 30, proof_of)) == 1, "a log that has forgotten asks once more"
    assert await again.cosign(note(20).decode(), 20, proof_of) == [], "and is told when it has gone back"
    assert [one.failed for one in own.known] == [0, 2, 2]
    await own.aclose()
    await again.aclose()


async def test_a_witness_that_says_nothing_costs_its_time_out() -> None:
    import asyncio

    async def silent(reader: Any, writer: Any) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    own = witnesses((f"http://127.0.0.1:{port}", Signer("w", 4).vkey), timeout_s=0.05)
    assert await own.cosign(note(4).decode(), 4, proof_of) == []
    await own.aclose()
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("vkey", [LOG.vkey, "w+00000000+AAAA", "w", Signer("w", 4).vkey.replace("w+", "v+")])
def test_a_key_that_is_no_witness_is_refused_at_start(vkey: str) -> None:
    with pytest.raises(Misconfigured):
        witnesses(("http://127.0.0.1:9", vkey))
