"""What is asked of the scrubber: how it stands, what is damaged, and a pass over everything now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from muniment.contracts.errors import Conflict, NotFound
from muniment.contracts.events import Cause, Change
from muniment.contracts.identity import Principal
from muniment.contracts.ids import model_name
from muniment.contracts.model import Payload, Word, rfc3339
from muniment.registry.names import plain
from muniment.registry.references import find_model
from muniment.registry.scrubbing.rules import SMALL, by_model, cycle_rate, damage_json
from muniment.registry.store import MANIFESTS, SCRUBBING
from muniment.runtime.delivery.transaction import Transactions
from muniment.runtime.http.pages import Page
from muniment.runtime.settings import ScrubSettings

Json = dict[str, Any]
MAX_OPEN_RUNS: Final = 20
_RUNS_SHOWN: Final = 10
_FILES_SHOWN: Final = 100


class NewRun(Payload):
    """A pass over a model's bytes, or over all."""

    model: Word | None = None


@dataclass(frozen=True, slots=True)
class Passes:
    """Reads, and the one verb. `wake` tells the scrubber of this process that there is something to do."""

    transactions: Transactions
    settings: ScrubSettings
    wake: Callable[[], None]

    async def status(self) -> Json:
        """What there is to read, at which rate, how old the oldest reading is, and what is wrong."""
        pool = self.transactions.pool
        (row,) = await pool.fetch(SCRUBBING["totals"], SMALL)
        runs = await pool.fetch(SCRUBBING["list_runs"], _RUNS_SHOWN)
        rate = cycle_rate(row["cost"], self.settings.cycle_s, self.settings.max_bytes_per_s, row["oldest_s"])
        return {
            "enabled": self.settings.enabled,
            "cycle_s": self.settings.cycle_s,
            "bytes_per_s": round(rate),
            "max_bytes_per_s": self.settings.max_bytes_per_s,
            "objects": row["objects"],
            "size": row["size"],
            "oldest_scrubbed_at": None if row["oldest_at"] is None else rfc3339(row["oldest_at"]),
            "oldest_s": row["oldest_s"],
            "damaged_objects": row["damaged_objects"],
            "damaged_files": await pool.fetchval(SCRUBBING["damaged_files"]),
            "damaged_manifests": await pool.fetchval(MANIFESTS["damaged"]),
            "waiting": row["waiting"],
            "last_error": row["last_error"],
            "runs": [plain(run) for run in runs],
        }

    async def damaged(self, name: str | None, page: Page) -> Json:
        """Damaged objects, each with the files that hold it; of a model or of all."""
        (after,) = page.after(int) or (0,)
        pool = self.transactions.pool
        model = None if name is None else (await find_model(pool, model_name(name)))["id"]
        rows = await pool.fetch(SCRUBBING["list_damaged"], after, model, page.fetch)
        answer = page.answer(rows, item=lambda row: row, key=lambda row: (row["id"],))
        answer["items"] = [await self._object(row) for row in answer["items"]]
        return answer

    async def _object(self, row: Any) -> Json:
        holders = await self.transactions.pool.fetch(SCRUBBING["holders"], row["id"], _FILES_SHOWN)
        return {
            "sha256": row["sha256"],
            "size": row["size"],
            "location": {name: row[name] for name in ("bucket", "key", "version_id")},
            **(damage_json(row) or {}),
            "files": [
                {"model": held.model, **file.model_dump(mode="json")}
                for held in by_model(holders)
                for file in held.files
            ],
        }

    async def start(self, wanted: NewRun, by: Principal, cause: Cause) -> Json:
        """Ask for a pass: every byte that was not read since now. Raises `Conflict` (`scrub_runs_open`)."""
        async with self.transactions.begin() as tx:
            model = None if wanted.model is None else await find_model(tx.connection, model_name(wanted.model))
            # The row of the pace is what every lease holds for a moment: requests come one after the other.
            await tx.connection.execute(SCRUBBING["borrow"], 0.0)
            if await tx.connection.fetchval(SCRUBBING["count_open_runs"]) >= MAX_OPEN_RUNS:
                raise Conflict(
                    "scrub_runs_open",
                    "too many passes wait already",
                    expected=f"fewer than {MAX_OPEN_RUNS}",
                    hint="wait for one: muniment scrub status",
                )
            model_id, name = (None, None) if model is None else (model["id"], model["name"])
            run = await tx.connection.fetchval(SCRUBBING["start_run"], model_id, by.operator)
            tx.audit(
                action="scrub.requested",
                resource=f"scrub/runs/{run}",
                model=name,
                operator=by.operator,
                authenticated_by=by.authenticated_by,
                cause=cause,
                changes=[Change(path="run", after=run)],
            )
            tx.after_commit(self.wake)
        return await self.run(run)

    async def run(self, run_id: int) -> Json:
        """How far a pass is: `objects_done` of `objects`, `bytes_done` of `size`. Raises `NotFound`."""
        pool = self.transactions.pool
        row = await pool.fetchrow(SCRUBBING["run"], run_id)
        if row is None:
            raise NotFound("scrub_run_not_found", "there is no such pass", actual=run_id, hint="muniment scrub status")
        (left,) = await pool.fetch(SCRUBBING["left_of_run"], row["requested_at"], row["model_id"])
        finished = row["finished_at"] is not None
        return {
            **{name: value for name, value in plain(row).items() if name != "model_id"},
            "objects_done": row["objects"] if finished else max(0, row["objects"] - left["objects"]),
            "bytes_done": row["size"] if finished else max(0, row["size"] - left["size"]),
            "damaged_objects": left["damaged"],
            "waiting": left["waiting"],
            "last_error": left["last_error"],
        }
