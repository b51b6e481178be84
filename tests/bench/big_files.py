"""Big files: `Client.publish` from local hashing to available and `Client.download` with verification, beside a limit.

The limit of publishing is one SHA-256 pass over the files, then the same bytes put raw into the same bucket by the
SDK's own uploader with the same parts and parallelism; nothing is completed or validated, and the upload is given up.
The limit of downloading is the same bytes got raw and thrown away by as many workers, then one SHA-256 pass. Each
action is a client process of its own with an empty cache, timed inside it after its imports. Limit and publish take
turns, with other bytes in each round (every file begins anew); rounds alternate which goes first. The page cache is
warm for both. `validating_..._rss_rise_mib` is the services' highest resident memory from the start of a publish to
its end, minus that before it: it holds the upload's share as well.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from muniment.sdk import Client, calls
from muniment.sdk.facts import event_fields
from muniment.sdk.transfer import store
from muniment.sdk.transfer.cache import Cache
from muniment.sdk.transfer.hashing import hash_files
from muniment.sdk.transfer.pool import Stop, run_all
from muniment.sdk.transfer.progress import Meter
from muniment.sdk.transfer.scan import scan
from muniment.sdk.transfer.upload import WORKERS, Upload
from muniment.sdk.wire import Wire

from .report import Report, quantile
from .stack import Stack, running
from .usage import watching

MODEL = "big"
BLOCK = 8 * 2**20
DISK = 5
"""Disk it takes, in times the size: the files, what the limit and the publish put, a download, and some room."""


async def measure(
    report: Report, *, gib: Sequence[float] = (1, 8), files: Sequence[int] = (1, 64), rounds: int = 3
) -> None:
    """`rounds` of sizes up to 1 GiB and one of larger ones, in one file and in 64, each on a stack of its own."""
    for size in gib:
        for count in files:
            free, need = shutil.disk_usage(tempfile.gettempdir()).free / 2**30, DISK * size
            if free < need:
                report.say(f"big files, {size:g} GiB: left out, {free:.0f} GiB of disk are free and {need:g} needed")
                continue
            await _shape(report, size, count, rounds if size <= 1 else 1)


async def _shape(report: Report, gib: float, files: int, rounds: int) -> None:
    stem = f"{gib:g}gib" + ("" if files == 1 else f"_{files}_files")
    got: dict[str, list[float]] = {}
    rises: list[float] = []
    with tempfile.TemporaryDirectory(prefix="muniment-bench-big-") as place:
        folder = Path(place) / "files"
        await asyncio.to_thread(_write, folder, int(gib * 2**30) // files, files)
        async with running() as stack:
            for number in range(rounds):
                _renew(folder)
                for action in ("limit", "publish") if number % 2 == 0 else ("publish", "limit"):
                    report.say(f"big files, {stem}: {action}, round {number + 1} of {rounds}")
                    async with watching(stack.services) as memory:
                        said = await _client(stack, action, folder, Path(place))
                    if action == "publish":
                        rises.append(memory.rise)
                    for name, value in said.items():
                        got.setdefault(f"{action}_{name}", []).append(value)
            for action in ("get", "download"):
                for name, value in (await _client(stack, action, folder, Path(place))).items():
                    got.setdefault(f"{action}_{name}", []).append(value)
    middle = {name: quantile(values, 50) for name, values in got.items()}
    shape = {"gib": gib, "files": files, "n": rounds}
    for name, value in middle.items():
        what, unit = name.rsplit("_", 1)
        report.add(f"{what}_{stem}_{unit}", value, {"mib": "MiB"}.get(unit, unit), **shape)
    ratios = [a / b for a, b in zip(got["publish_wall_s"], got["limit_wall_s"], strict=True)]
    report.add(f"publish_{stem}_over_limit", quantile(ratios, 50), "1", **shape, all=[round(one, 3) for one in ratios])
    report.add(f"download_{stem}_over_limit", middle["download_wall_s"] / middle["get_wall_s"], "1", gib=gib, n=1)
    report.add(f"validating_{stem}_rss_rise_mib", max(rises), "MiB", **shape)


def _write(folder: Path, size: int, files: int) -> None:
    folder.mkdir()
    for number in range(files):
        with (folder / f"part-{number}.bin").open("wb") as file:
            for start in range(0, size, BLOCK):
                file.write(os.urandom(min(BLOCK, size - start)))


def _renew(folder: Path) -> None:
    """Other first bytes in each file: nothing of it is held already."""
    for path in folder.iterdir():
        with path.open("r+b") as file:
            file.write(os.urandom(32))


async def _client(stack: Stack, action: str, folder: Path, place: Path) -> dict[str, float]:
    """One action in a process of its own; what it measured."""
    with tempfile.TemporaryDirectory(dir=place) as scratch:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.bench.big_files", action, str(folder), f"{scratch}/down"),
            stdout=asyncio.subprocess.PIPE,
            env={**stack.environment, "XDG_CACHE_HOME": scratch},
        )
        out, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"the client's {action} ended with {process.returncode}")
    values: dict[str, float] = json.loads(out)
    return values


def _limit(client: Client, folder: Path) -> dict[str, float]:
    files = scan(folder).files
    began = time.perf_counter()
    digests = hash_files(files, Cache(None), Meter("hash", 0, None), Stop())
    hashed = time.perf_counter()
    declared = [
        {"path": file.path, "sha256": digest, "size": file.size, "role": "file"}
        for file, digest in zip(files, digests, strict=True)
    ]
    started = client._run(calls.begin({**event_fields(MODEL), "files": declared}, str(uuid.uuid4())))
    upload = Upload(client._wire, files, None)
    upload.take(started.files)
    if not upload.left:
        client.abandon(started.id)
        # The publish of this round went first and the bytes are held: other ones, as many, go up in their place.
        _renew(folder)
        return _limit(client, folder)
    putting = time.perf_counter()
    upload.run(Stop())
    put = time.perf_counter() - putting
    if upload.left:
        raise RuntimeError("the store did not take every part")
    client.abandon(started.id)
    return {"hash_s": hashed - began, "put_s": put, "wall_s": hashed - began + put}


def _get(client: Client, folder: Path) -> dict[str, float]:
    version = client.version(f"{MODEL}@main")
    urls = [file.url for file in client._run(calls.files(f"{version.model}@{version.id}"))]
    began = time.perf_counter()
    run_all((partial(_drain, client._wire, url) for url in urls), workers=WORKERS, stop=Stop())
    got = time.perf_counter()
    hash_files(scan(folder).files, Cache(None), Meter("hash", 0, None), Stop())
    return {"raw_s": got - began, "wall_s": time.perf_counter() - began}


def _drain(wire: Wire, url: str) -> None:
    with store.get(wire, url) as chunks:
        for _ in chunks:
            pass


def _act(action: str, folder: Path, destination: Path) -> dict[str, float]:
    with Client() as client:
        if action == "limit":
            return _limit(client, folder)
        if action == "get":
            return _get(client, folder)
        before = _peak_mib()
        began = time.perf_counter()
        if action == "publish":
            client.publish(folder, model=MODEL, wait=True)
        else:
            client.download(f"{MODEL}@main", destination)
        return {"wall_s": time.perf_counter() - began, "client_rise_mib": _peak_mib() - before}


def _peak_mib() -> float:
    # Not getrusage: its maximum is handed on from the parent over fork and exec, and would hide a rise.
    status = Path("/proc/self/status").read_text()
    return int(status.split("\nVmHWM:")[1].split()[0]) / 1024


if __name__ == "__main__":
    print(json.dumps(_act(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))))
