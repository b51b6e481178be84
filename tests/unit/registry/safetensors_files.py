"""safetensors files made by hand, in a store in memory."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from muniment.adapters.memory import MemoryBlobStore
from muniment.registry.comparing.headers import StoredFile

Given = tuple[str, list[int], bytes]
"""dtype, shape, bytes."""


def framed(header: bytes, data: bytes = b"") -> bytes:
    return len(header).to_bytes(8, "little") + header + data


def safetensors(tensors: Mapping[str, Given]) -> bytes:
    table: dict[str, Any] = {"__metadata__": {"made": "by hand"}}
    data = b""
    for name, (dtype, shape, raw) in tensors.items():
        table[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    return framed(json.dumps(table).encode(), data)


def stored(blobs: MemoryBlobStore, files: Mapping[str, bytes]) -> list[StoredFile]:
    async def put() -> list[StoredFile]:
        await blobs.ensure_bucket("models", object_lock=False)
        return [
            StoredFile(path, hashlib.sha256(data).hexdigest(), len(data), await blobs.put("models", path, data))
            for path, data in files.items()
        ]

    return asyncio.run(put())
