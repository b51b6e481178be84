"""Calling `client.py` in the peer's own environment."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from .server import PYTHON, Server

CLIENT = Path(__file__).with_name("client.py")


async def ask(server: Server, task: str, **settings: Any) -> dict[str, Any]:
    """Run a task of `client.py`; its answer."""
    process = await asyncio.create_subprocess_exec(
        *(PYTHON, CLIENT, task, json.dumps({"uri": server.url, **settings})),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**server.parts.environment, "BENCH_FOLDER": str(server.parts.folder)},
        cwd=server.parts.folder,
    )
    out, err = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"mlflow's client failed at {task}: {err.decode(errors='replace')[-3000:]}")
    answer: dict[str, Any] = json.loads(out.splitlines()[-1])
    return answer
