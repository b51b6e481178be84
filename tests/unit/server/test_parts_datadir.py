import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from muniment.server.parts import PartError, datadir
from muniment.server.parts.datadir import DataDir, open_data_dir, port_is_free, write_private


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    return DataDir(tmp_path, lock_fd=-1)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken


def quiet(_: str) -> None:
    pass


def test_ports_differ_and_are_the_same_next_time(data: DataDir) -> None:
    first = data.ports("s3", s3=None, filer=None)
    assert len({*first.values(), *data.ports("kafka", broker=None).values()}) == 3
    assert DataDir(data.root, -1).ports("s3", s3=None, filer=None) == first


def test_a_remembered_port_that_is_taken_is_replaced_for_good(data: DataDir, listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    write_private(data.root / "ports.json", f'{{"kafka.broker": {port}}}')
    chosen = data.ports("kafka", broker=None)
    assert chosen["broker"] != port
    assert data.ports("kafka", broker=None) == chosen


def test_a_wanted_port_is_taken_or_refused(data: DataDir, listener: socket.socket) -> None:
    free = data.ports("kafka", broker=None)["broker"]
    assert data.ports("s3", s3=free) == {"s3": free}
    with pytest.raises(PartError, match="MUNIMENT_KAFKA__PORT") as caught:
        data.ports("kafka", broker=listener.getsockname()[1])
    assert caught.value.code == "port_in_use"


def test_connections_winding_down_do_not_make_a_port_taken() -> None:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        assert not port_is_free(port)
        with socket.create_connection(("127.0.0.1", port)) as client:
            accepted, _ = server.accept()
            accepted.close()  # the server's side closes first: its address stays in TIME_WAIT
            assert client.recv(1) == b""
    assert port_is_free(port)


def test_a_long_path_gets_a_short_socket_folder_of_its_own(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    folder = DataDir(deep, -1).socket_dir()
    try:
        assert len(os.fsencode(folder / datadir.LONGEST_SOCKET)) <= datadir.SOCKET_PATH_LIMIT
        assert folder == DataDir(deep, -1).socket_dir()
        assert folder != DataDir(tmp_path / ("e" * 120), -1).socket_dir()
        assert stat.S_IMODE(folder.stat().st_mode) & 0o022 == 0
    finally:
        folder.rmdir()
        DataDir(tmp_path / ("e" * 120), -1).socket_dir().rmdir()


def test_a_short_socket_folder_that_others_can_write_to_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        monkeypatch.setattr(tempfile, "tempdir", temporary)
        deep = DataDir(tmp_path / ("d" * 120), -1)
        deep.socket_dir().chmod(0o777)
        with pytest.raises(PartError) as caught:
            deep.socket_dir()
    assert caught.value.code == "unsafe_socket_dir"


def test_a_private_file_is_private_from_its_first_byte(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    write_private(file, "one")
    write_private(file, "two")
    assert file.read_text() == "two"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [file]


async def test_a_second_run_on_the_same_folder_is_refused_and_told_who_runs(tmp_path: Path) -> None:
    async with open_data_dir(tmp_path, quiet):
        with pytest.raises(PartError, match=f"process {os.getpid()} already runs") as caught:
            async with open_data_dir(tmp_path, quiet):
                pass
        assert caught.value.code == "data_dir_in_use"
    async with open_data_dir(tmp_path, quiet) as data:
        assert data.root.samefile(tmp_path)


async def test_a_folder_left_by_a_crash_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / "owner.lock").write_text("1\n")  # a process id that is alive, but holds no lock
    async with open_data_dir(tmp_path, quiet):
        assert (tmp_path / "owner.lock").read_text() == f"{os.getpid()}\n"


@pytest.fixture
def leftover(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of an earlier run: it holds the parts' lock until its standard input closes."""
    hold = (
        "import fcntl,sys; f=open(sys.argv[1],'w'); fcntl.flock(f,fcntl.LOCK_EX); print(flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-S", "-c", hold, str(tmp_path / "parts.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process


async def test_leftover_parts_that_stay_are_named(
    tmp_path: Path, leftover: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datadir, "LEFTOVER_PATIENCE", 0.2)
    with pytest.raises(PartError, match=str(leftover.pid)) as caught:
        async with open_data_dir(tmp_path, quiet):
            pass
    assert caught.value.code == "leftover_parts"


async def test_leftover_parts_that_end_are_waited_for(tmp_path: Path, leftover: subprocess.Popen[bytes]) -> None:
    told: list[str] = []

    def end_it(line: str) -> None:
        told.append(line)
        assert leftover.stdin is not None
        leftover.stdin.close()

    async with open_data_dir(tmp_path, end_it):
        assert told == ["waiting for the parts of an earlier run to stop"]


async def test_a_path_that_kafka_would_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PartError, match="comma"):
        async with open_data_dir(tmp_path / "a,b", quiet):
            pass
