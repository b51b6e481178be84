"""`muniment up`: one process with everything, stopped, killed and started again on the same data."""

from __future__ import annotations

import asyncio
import signal
import stat
from pathlib import Path

from .conftest import muniment, run_folder, server

PUBLISH = ("--model", "digits", "--param", "lr=0.1", "--metric", "accuracy=0.97", "--wait")


async def test_a_second_start_finds_everything_as_it_was(tmp_path: Path) -> None:
    data = tmp_path / "data"
    folder = run_folder(tmp_path / "run")
    environment = {"MUNIMENT_DATA_DIR": str(data)}
    log = tmp_path / "up.log"
    async with server("up", "--data-dir", str(data), "--http", "127.0.0.1:0", log=log) as up:
        assert stat.S_IMODE((data / "credentials.json").stat().st_mode) == 0o600
        assert stat.S_IMODE((data / "parts.env").stat().st_mode) == 0o600
        first = await muniment("publish", str(folder), *PUBLISH, **environment)
        assert (first["number"], first["branch"]) == (1, "main")
        assert first["id"].startswith("sha256:")
        assert await muniment("publish", str(folder), *PUBLISH, **environment) == first
        for verb in ((), ("--yes",)):  # the committed bytes are no leftovers of any place
            swept = await muniment("gc", "--leftovers", *verb, **environment)
            assert (swept["leftovers"], swept["places"], swept["looked_at"] > 0) == (0, [], True)
        doctor = await muniment("doctor", **environment)
        assert doctor["ok"], doctor
        token = (data / "credentials.json").read_text().split('"token":')[1]
        assert await up.stop() == 0
    assert not (data / "parts.env").exists()
    async with server("up", "--data-dir", str(data), "--http", "127.0.0.1:0", log=log) as up:
        assert (data / "credentials.json").read_text().split('"token":')[1] == token
        assert await muniment("publish", str(folder), *PUBLISH, **environment) == first
        entries = await muniment("audit", "ls", **environment)
        assert [entry["index"] for entry in entries] == list(range(len(entries)))
        up.process.send_signal(signal.SIGKILL)
        await up.ended()
    async with server("up", "--data-dir", str(data), "--http", "127.0.0.1:0", log=log):
        assert await muniment("publish", str(folder), *PUBLISH, **environment) == first
        target = tmp_path / "downloaded"
        await muniment("download", "digits@main", str(target), **environment)
        assert (target / "weights.bin").read_bytes() == (folder / "weights.bin").read_bytes()
        await muniment("verify", "digits/1", "--dir", str(target), **environment)
        (target / "weights.bin").write_bytes(b"changed")
        await muniment("verify", "digits/1", "--dir", str(target), expect=1, **environment)


async def test_a_second_stack_on_the_same_data_is_refused(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with server("up", "--data-dir", str(data), "--http", "127.0.0.1:0", log=tmp_path / "up.log"):
        other = await asyncio.create_subprocess_exec(
            *_command("up", "--data-dir", str(data), "--http", "127.0.0.1:0"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(60):
            _, err = await other.communicate()
    assert other.returncode == 1
    assert b"data_dir_in_use" in err


def _command(*arguments: str) -> tuple[str, ...]:
    from .conftest import COMMAND

    return (*COMMAND, *arguments)
