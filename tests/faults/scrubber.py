"""The registry killed in the middle of a pass of the scrubber, and of a repair."""

from __future__ import annotations

import contextlib
import hashlib
import random
import signal
from typing import Any

import asyncpg
import httpx2

from muniment.contracts.errors import MunimentError
from muniment.ports.blobs import QUICK

from .facts import Acknowledged
from .fleet import Fleet
from .replicas import Replica

REPAIR_STEPS = ("registry.repair-locked", "registry.repair-recorded")
SCRUB_STEPS = ("registry.scrub-mid-file",)
PATH = "model.bin"


async def scrub_killed(fleet: Fleet, step: str) -> None:
    """A pass over a file that is read in ranges: asked for, killed, and ended by whoever starts next."""
    model = f"scrub-{step.rpartition('.')[2]}"
    await _publish(fleet, model, random.Random(fleet.seed).randbytes(2 * QUICK + 1))
    replica = await _armed(fleet, step)
    async with fleet.cluster.client("registry") as client:
        with contextlib.suppress(MunimentError, OSError):
            await client.scrub(model=model)
    await _died(fleet, replica, step)
    async with fleet.cluster.client("registry") as client:
        done = await client.scrub(model=model)
    assert done["finished_at"] is not None
    assert done["damaged_objects"] == 0


async def repair_killed(fleet: Fleet, step: str) -> None:
    """Good bytes for a file that counts as damaged: the asking that died is asked again, word for word."""
    model = f"repair-{step.rpartition('.')[2]}"
    data = random.Random(fleet.seed).randbytes(5_000) + model.encode()
    await _publish(fleet, model, data)
    connection = await asyncpg.connect(fleet.cluster.dsn)
    try:
        changed = await connection.execute(
            "UPDATE registry.stored_object SET damaged_at = now(), damage_code = 'bytes_damaged', damage_actual = 'told' "
            "WHERE sha256 = $1",
            hashlib.sha256(data).hexdigest(),
        )
    finally:
        await connection.close()
    assert changed == "UPDATE 1"
    replica = await _armed(fleet, step)
    file: dict[str, Any] = {"ref": f"{model}/1", "path": PATH}
    begun = await _ask(fleet, f"models/{model}/repairs", file)
    assert begun is not None
    async with httpx2.AsyncClient(trust_env=False) as http:
        put = await http.put(begun["upload"]["url"], content=data)
    wanted = {**file, "version_id": put.headers["x-amz-version-id"]}
    with contextlib.suppress(httpx2.TransportError):
        await _ask(fleet, f"models/{model}/repairs/complete", wanted)
    await _died(fleet, replica, step)
    repaired = await _ask(fleet, f"models/{model}/repairs/complete", wanted)
    assert "damaged" not in repaired
    assert repaired["location"]["version_id"] == wanted["version_id"]


async def _publish(fleet: Fleet, model: str, data: bytes) -> None:
    folder = fleet.cluster.folder / model
    folder.mkdir()
    (folder / PATH).write_bytes(data)
    async with fleet.cluster.client("ingest") as client:
        done = await client.publish(folder, model=model, run_id=model, idempotency_key=model, wait=False)
    fleet.acknowledged.append(Acknowledged(done.id, model, "version"))
    await fleet.caught_up()


async def _armed(fleet: Fleet, step: str) -> Replica:
    replica = fleet.replica("registry")
    await replica.stop()
    await replica.start(MUNIMENT_STOP_AT=step)
    return replica


async def _died(fleet: Fleet, replica: Replica, step: str) -> None:
    try:
        code = await replica.ended()
    except TimeoutError as error:
        raise AssertionError(fleet.why(f"{step} was not reached", replica)) from error
    assert code == -signal.SIGKILL, fleet.why(f"{step} ended with {code}", replica)
    await replica.start()


async def _ask(fleet: Fleet, path: str, said: dict[str, Any]) -> Any:
    headers = {"authorization": f"Bearer {fleet.cluster.token}"}
    async with httpx2.AsyncClient(trust_env=False, headers=headers, timeout=30) as http:
        answer = await http.post(f"{fleet.replica('registry').url}/api/v1/{path}", json=said)
    assert answer.status_code == 200, fleet.why(answer.text)
    return answer.json()
