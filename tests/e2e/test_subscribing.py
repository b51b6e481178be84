"""`docs/subscribing.md`, command by command; and listeners whose server and broker go away and come back."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from pathlib import Path

from .conftest import COMMAND, muniment, run_folder, server
from .test_walkthrough import ROOT, follow

PAGE = ROOT / "docs" / "subscribing.md"


async def test_the_page_shows_what_happens(tmp_path: Path) -> None:
    await follow(PAGE, tmp_path)


async def test_listeners_miss_nothing_while_everything_is_started_again(tmp_path: Path) -> None:
    """Over HTTP and over Kafka, with a command for each event; the stack stops while both listen."""
    data = tmp_path / "data"
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        port, broker = one.getsockname()[1], two.getsockname()[1]
    environment = {"MUNIMENT_DATA_DIR": str(data), "MUNIMENT_KAFKA__BOOTSTRAP": f"127.0.0.1:{broker}"}
    up = ("up", "--data-dir", str(data), "--http", f"127.0.0.1:{port}")
    log = tmp_path / "up.log"
    seen = {way: tmp_path / f"{way}.seen" for way in ("http", "kafka")}

    async def watch(way: str) -> asyncio.subprocess.Process:
        hook = f"{sys.executable} -c \"import os; open('{seen[way]}', 'a').write(os.environ['MUNIMENT_EVENT_NUMBER'] + ' ')\""
        return await asyncio.create_subprocess_exec(
            *(*COMMAND, "watch", "--over", way, "--type", "version-available", "--since", "beginning", "--count", "4"),
            *("--cursor", str(tmp_path / f"{way}.cursor"), "--exec", hook, "--json", "--timeout", "120"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith("MUNIMENT_")},
                **environment,
            },
        )

    async def publish(number: int) -> None:
        folder = run_folder(tmp_path / f"run-{number}")
        await muniment("publish", str(folder), "--model", "digits", "--wait", **environment)

    async def handled(count: int) -> None:
        async with asyncio.timeout(60):
            while not all(file.exists() and len(file.read_text().split()) >= count for file in seen.values()):
                await asyncio.sleep(0.05)

    async with server(*up, log=log, MUNIMENT_KAFKA__PORT=str(broker)) as running:
        listeners = [await watch(way) for way in seen]
        await publish(1)
        await publish(2)
        await handled(2)
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert await running.stop() == 0
        stopped_s = loop.time() - began
    async with server(*up, log=log, MUNIMENT_KAFKA__PORT=str(broker)):
        await publish(3)
        await publish(4)
        for listener in listeners:
            async with asyncio.timeout(90):
                out, err = await listener.communicate()
            assert listener.returncode == 0, err.decode()
            assert [json.loads(line)["data"]["number"] for line in out.splitlines()] == [1, 2, 3, 4]
    assert {way: file.read_text() for way, file in seen.items()} == dict.fromkeys(seen, "1 2 3 4 ")
    print(f"stopped in {stopped_s:.1f} s with a stream open")
