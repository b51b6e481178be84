"""`docs/walkthrough.md`, command by command, on a stack of its own: what the page shows is what is printed."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

from .conftest import server

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "walkthrough.md"
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def steps(page: str) -> list[tuple[str, list[str]]]:
    """Each command of the page's console blocks, with the lines that are shown below it."""
    found: list[tuple[str, list[str]]] = []
    for block in BLOCK.findall(page):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            elif line.startswith("> "):  # the command goes on
                found[-1] = (f"{found[-1][0]}\n{line[2:]}", found[-1][1])
            elif line.strip():
                found[-1][1].append(line)
    return found


def pattern(line: str) -> re.Pattern[str]:
    """A line as it must be found: any width of space, and `...` for whatever stands there."""
    pieces = [r"\s+".join(map(re.escape, piece.split())) for piece in line.strip().split("...")]
    return re.compile(r"\s*.*?\s*".join(pieces))


async def test_the_walkthrough_shows_what_happens(tmp_path: Path) -> None:
    await follow(PAGE, tmp_path)


async def follow(page: Path, tmp_path: Path) -> None:
    """Run a page's commands, one after the other, on a fresh stack, and compare what they print."""
    data = tmp_path / "data"
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("MUNIMENT_")},
        "MUNIMENT_CREDENTIALS": str(data / "credentials.json"),
        "MUNIMENT_DATA_DIR": str(data),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONWARNINGS": "ignore",
    }
    wanted = steps(page.read_text("utf-8"))
    assert len(wanted) > 10
    async with server("up", "--data-dir", str(data), "--http", "127.0.0.1:0", log=tmp_path / "up.log") as up:
        environment["MUNIMENT_URL"] = up.url
        for command, shown in wanted:
            process = await asyncio.create_subprocess_exec(
                "bash",
                "-c",
                command,
                cwd=tmp_path,
                env=environment,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            async with asyncio.timeout(180):
                out, _ = await process.communicate()
            text, at = out.decode(), 0
            for line in shown:
                found = pattern(line).search(text, at)
                assert found, f"$ {command}\nshows no line like\n{line}\nbut\n{text}"
                at = found.end()
            refused = any(line.startswith("error:") for line in shown)
            assert (process.returncode != 0) == refused, f"$ {command}\nended with {process.returncode}\n{text}"
