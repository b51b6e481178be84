"""`diff` of two versions with one safetensors file each, every tensor changed, beside merely reading both files.

Reading is the limit: the services' own client of the store, a thread for each file, bytes thrown away. Both take turns
in one run, on one stack, and the store's page cache is warm for both. The diff is one HTTP request, as a user makes it;
`..._rss_rise_mib` is the services' highest resident memory during the diffs minus that before.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from muniment.adapters.minio import MinioBlobStore
from muniment.ports.blobs import Location
from muniment.sdk import Client

from .report import Report, quantile
from .stack import Stack, running
from .usage import watching

DTYPES = {"F32": "<f4", "BF16": "<u2", "F16": "<f2", "F64": "<f8", "I8": "i1", "I64": "<i8"}
"""And how NumPy calls them. Of the integers the narrowest and the widest: most elements in a byte, and most work for one."""
TENSORS = 16
_BLOCK = 2**20
"""Elements written at a time."""


async def measure(report: Report, *, gib: Sequence[float] = (1,), rounds: int = 5) -> None:
    """Each size in each dtype, on a stack of its own so that no more than one pair lies on the disk."""
    for size in gib:
        for dtype in DTYPES:
            async with running() as stack:
                await _pair(report, stack, size, dtype, rounds)


async def _pair(report: Report, stack: Stack, gib: float, dtype: str, rounds: int) -> None:
    stem = f"{gib:g}gib"
    model = f"pair-{dtype.lower()}"
    diffs, reads, rises = [], [], []
    with (
        Client(url=stack.url, token=stack.token) as client,
        tempfile.TemporaryDirectory(prefix="muniment-diff-") as own,
    ):
        for number in (1, 2):
            report.say(f"diff, {stem}, {dtype}: publishing version {number}")
            path = Path(own) / "model.safetensors"
            await asyncio.to_thread(_write, path, int(gib * 2**30), dtype, number)
            await asyncio.to_thread(client.publish, path, model=model, wait=True)
        places = await _places(stack, model)
        blobs = stack.blobs()
        try:
            for number in range(rounds):
                report.say(f"diff, {stem}, {dtype}: round {number + 1} of {rounds}")
                for action in ("read", "diff") if number % 2 == 0 else ("diff", "read"):
                    if action == "read":
                        reads.append(await _read(blobs, places))
                        continue
                    async with watching(stack.services) as memory:
                        began = time.perf_counter()
                        found = await asyncio.to_thread(client.diff, f"{model}/1", f"{model}/2")
                        diffs.append(time.perf_counter() - began)
                    rises.append(memory.rise)
                    if f'"{TENSORS - 1:02}"' not in json.dumps(found):
                        raise RuntimeError(f"the diff has not told of every tensor: {str(found)[:300]}")
        finally:
            await blobs.aclose()
    shape = {"dtype": dtype, "gib_each": gib, "n": rounds}
    name = dtype.lower()
    ratios = [one / other for one, other in zip(diffs, reads, strict=True)]
    report.add(f"diff_{stem}_{name}_s", quantile(diffs, 50), "s", **shape)
    report.add(f"diff_{stem}_{name}_reading_s", quantile(reads, 50), "s", **shape)
    all_of = [round(one, 3) for one in ratios]
    suffix = "" if dtype == "F32" else f"_{name}"
    report.add(f"diff_{stem}_over_reading{suffix}", quantile(ratios, 50), "1", **shape, all=all_of)
    report.add(f"diff_{stem}_{name}_rss_rise_mib", max(rises), "MiB", **shape)


def _write(path: Path, size: int, dtype: str, version: int) -> None:
    """A safetensors file of normal values; another version's differ from them by about a hundredth. Integers are 20
    times as large, so that most are not 0.
    """
    width = np.dtype(DTYPES[dtype]).itemsize
    each = size // TENSORS // width
    table = {
        f"{number:02}": {
            "dtype": dtype,
            "shape": [each],
            "data_offsets": [number * each * width, (number + 1) * each * width],
        }
        for number in range(TENSORS)
    }
    header = json.dumps(table).encode()
    header += b" " * (-len(header) % 8)
    base, noise = np.random.default_rng(1), np.random.default_rng(version)
    with path.open("wb") as out:
        out.write(len(header).to_bytes(8, "little") + header)
        for _ in range(TENSORS):
            for start in range(0, each, _BLOCK):
                count = min(_BLOCK, each - start)
                values = base.standard_normal(count, dtype=np.float32)
                values += np.float32(0.01) * noise.standard_normal(count, dtype=np.float32)
                if dtype == "BF16":
                    values = values.view("<u4") >> 16
                elif dtype.startswith("I"):
                    values *= np.float32(20)
                out.write(values.astype(DTYPES[dtype]).tobytes())


async def _places(stack: Stack, model: str) -> list[Location]:
    import httpx2

    async with httpx2.AsyncClient(headers={"authorization": f"Bearer {stack.token}"}, timeout=30) as http:
        places = []
        for number in (1, 2):
            answer = await http.get(f"{stack.url}/api/v1/resolve", params={"ref": f"{model}/{number}"})
            answer.raise_for_status()
            places += [Location(**file["location"]) for file in answer.json()["files"]]
        return places


async def _read(blobs: MinioBlobStore, places: Sequence[Location]) -> float:
    """Seconds of reading both, each in a thread."""

    def drain(place: Location) -> None:
        with blobs.open(place, cancel=threading.Event()) as reader:
            for _ in reader.read_chunks():
                pass

    began = time.perf_counter()
    await asyncio.gather(*(asyncio.to_thread(drain, place) for place in places))
    return time.perf_counter() - began
