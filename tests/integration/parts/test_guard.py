"""The guard and its children, with small Python programs in the place of the parts."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from muniment.server.parts import PartError
from muniment.server.parts.datadir import DataDir, open_data_dir
from muniment.server.parts.guard import trim
from muniment.server.parts.process import Command, Guard, Process, start_guard

FOREVER = "import time\nprint('up', flush=True)\ntime.sleep(600)"
STUBBORN = f"import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n{FOREVER}"
NEW = Callable[..., Command]


async def up(process: Process) -> bool:
    return "up" in process.log_tail()


async def test_a_child_ends_by_its_stop_signal(guard: Guard, python: NEW) -> None:
    process = await guard.spawn(python(FOREVER))
    await process.until(lambda: up(process), timeout=10)
    await guard.stop(process)
    assert process.exited.result() == -signal.SIGTERM


async def test_a_child_that_will_not_end_is_killed_after_its_grace(guard: Guard, python: NEW) -> None:
    process = await guard.spawn(python(STUBBORN, grace=0.1))
    await process.until(lambda: up(process), timeout=10)
    await guard.stop(process)
    assert process.exited.result() == -signal.SIGKILL


async def test_what_is_left_is_stopped_when_the_guard_closes(data: DataDir, python: NEW) -> None:
    async with start_guard(data.lock_fd) as guard:
        process = await guard.spawn(python(FOREVER))
    assert process.exited.result() == -signal.SIGTERM


async def test_a_child_is_out_of_reach_of_the_terminal(guard: Guard, python: NEW) -> None:
    process = await guard.spawn(python(FOREVER))
    assert os.getsid(process.pid) != os.getsid(0)
    assert os.getpgid(process.pid) == process.pid
    await guard.stop(process)


async def test_a_child_sees_nothing_of_our_environment(
    guard: Guard, python: NEW, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUNIMENT_S3__SECRET_KEY", "hunter2")
    process = await guard.spawn(python("import os; print(sorted(os.environ))"))
    await process.exited
    assert "HUNTER2" not in process.log_tail().upper()
    assert "MUNIMENT" not in process.log_tail()


async def test_a_program_that_is_not_there_is_an_error_that_names_it(guard: Guard, data: DataDir) -> None:
    with pytest.raises(PartError, match="/nowhere/java") as caught:
        await guard.spawn(Command("kafka", ["/nowhere/java"], data.log("kafka"), data.root))
    assert (caught.value.part, caught.value.code) == ("kafka", "part_not_started")


async def test_a_failed_setup_shows_its_own_last_lines_and_no_older_ones(guard: Guard, python: NEW) -> None:
    await guard.run(python("print('of the first')", "toy-setup"), timeout=10)
    with pytest.raises(PartError) as caught:
        await guard.run(python("print('of the second'); raise SystemExit(3)", "toy-setup"), timeout=10)
    assert caught.value.code == "part_setup_failed"
    assert (caught.value.actual, caught.value.log) == ("3", "of the second")


async def test_a_setup_that_takes_too_long_is_ended(guard: Guard, python: NEW) -> None:
    with pytest.raises(PartError, match="still running"):
        await guard.run(python(FOREVER, "toy-setup"), timeout=0.1)


async def test_a_child_that_dies_before_it_is_ready_is_an_error_at_once(guard: Guard, python: NEW) -> None:
    process = await guard.spawn(python("print('no such file'); raise SystemExit(7)"))
    with pytest.raises(PartError, match="exit code 7") as caught:
        await process.until(lambda: up(process), timeout=600)
    assert (caught.value.code, caught.value.log) == ("part_exited", "no such file")


async def test_a_child_that_never_gets_ready_is_an_error_in_time(guard: Guard, python: NEW) -> None:
    async def refused() -> bool:
        raise ConnectionRefusedError("nobody listens")

    process = await guard.spawn(python(FOREVER))
    with pytest.raises(PartError, match="nobody listens") as caught:
        await process.until(refused, timeout=0.2)
    assert caught.value.code == "part_not_ready"
    await guard.stop(process)


async def test_children_do_not_outlive_a_guard_that_is_killed(
    data: DataDir,
    python: NEW,
    alive: Callable[[int], bool],
    until: Callable[[Callable[[], bool]], Awaitable[None]],
) -> None:
    async with start_guard(data.lock_fd) as guard:
        process = await guard.spawn(python(STUBBORN))
        os.kill(parent_of(process.pid), signal.SIGKILL)
        assert await process.exited == -signal.SIGKILL
        await until(lambda: not alive(process.pid))
        with pytest.raises(PartError) as caught:
            await guard.spawn(python(FOREVER))
    assert caught.value.code in ("guard_lost", "part_not_started")


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of its own that holds `tmp_path`/crash and runs one stubborn child there (its grace is 1 s)."""
    program = textwrap.dedent(
        f"""
        import asyncio, pathlib, sys
        from muniment.server.parts.datadir import open_data_dir
        from muniment.server.parts.process import Command, start_guard

        async def main():
            root = pathlib.Path({str(tmp_path / "crash")!r})
            async with open_data_dir(root, print) as data, start_guard(data.lock_fd) as guard:
                argv = [sys.executable, "-I", "-S", "-c", {STUBBORN!r}]
                child = await guard.spawn(Command("toy", argv, data.log("toy"), root, grace=1.0))
                async def up(): return "up" in child.log_tail()
                await child.until(up, timeout=10)
                print(child.pid, flush=True)
                await asyncio.sleep(600)

        asyncio.run(main())
        """
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        yield process
        process.kill()


async def test_a_killed_server_leaves_no_process_and_keeps_the_folder_until_its_children_ended(
    tmp_path: Path, server: subprocess.Popen[bytes], alive: Callable[[int], bool]
) -> None:
    assert server.stdout is not None
    child = int(await asyncio.to_thread(server.stdout.readline))
    with pytest.raises(PartError, match=f"process {server.pid} already runs"):
        async with open_data_dir(tmp_path / "crash", lambda _: None):
            pass

    server.kill()
    server.wait()
    told: list[tuple[str, bool]] = []
    async with open_data_dir(tmp_path / "crash", lambda line: told.append((line, alive(child)))):
        assert not alive(child)
    assert told == [("waiting for the parts of an earlier run to stop", True)]


def test_a_log_is_kept_small_with_its_end_in_the_older_file(tmp_path: Path) -> None:
    log = tmp_path / "toy.log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"".join(b"%07d\n" % line for line in range(1000)))
        trim(str(log), limit=8000, kept=80)
        assert log.stat().st_size == 8000
        writer.write(b"0001000\n")
        trim(str(log), limit=8000, kept=80)
        writer.write(b"0001001\n")
    assert log.read_bytes() == b"0001001\n"
    assert (tmp_path / "toy.log.1").read_bytes() == b"".join(b"%07d\n" % line for line in range(991, 1001))
