"""Deployments: what deployers say of where a version runs. Reports are appended; the newest of each place is current.

A place is a model in an environment, by a deployer. The newest is the one with the latest `at`, since reports may
arrive out of order; of two with the same `at` the one that came later.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from muniment.contracts.errors import Rejected
from muniment.contracts.events import Cause, Change, DeploymentReport
from muniment.contracts.identity import Principal, check_operator
from muniment.contracts.ids import ModelName, model_name
from muniment.contracts.model import rfc3339
from muniment.contracts.reference import parse_reference
from muniment.registry.changing import Changes, Changing
from muniment.registry.long_values import whole
from muniment.registry.names import plain
from muniment.registry.references import find_model
from muniment.registry.store import LINEAGE
from muniment.runtime.http.pages import Page

_CLOCKS_DIFFER: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Deployments:
    """Reports, and what is current."""

    changes: Changes

    async def report(self, model: ModelName, report: DeploymentReport, by: Principal, cause: Cause) -> dict[str, Any]:
        """Keep a report. Raises `Forbidden` (`operator_mismatch`), and what `keep_report` raises."""
        check_operator(report.operator, by)
        async with self.changes.of(model, by, cause) as change:
            return await keep_report(change, report, report.at or change.tx.now)

    async def of_model(self, name: str, page: Page) -> dict[str, Any]:
        """The current deployments of a model, by environment and deployer."""
        after = page.after(str, str) or (None, None)
        model = await find_model(self.changes.pool, model_name(name))
        rows = await self.changes.pool.fetch(LINEAGE["deployments_of_model"], model["id"], *after, page.fetch)
        return page.answer(rows, item=plain, key=lambda row: (row["environment"], row["deployer"]))

    async def everywhere(self, environment: str | None, page: Page) -> dict[str, Any]:
        """The current deployments of all models, by environment."""
        after = page.after(str, int, str) or (None, None, None)
        rows = await self.changes.pool.fetch(LINEAGE["deployments_of_environment"], environment, *after, page.fetch)
        return page.answer(rows, item=_shown, key=lambda row: (row["environment"], row["model_id"], row["deployer"]))


async def keep_report(change: Changing, report: DeploymentReport, at: datetime) -> dict[str, Any]:
    """Append a report of how it was at `at`. A deleted version's is kept, too: it tells what was so.

    Raises `Rejected` (`deployment_in_future`, `reference_elsewhere`), and what references raise.
    """
    now, operator = change.tx.now, change.by.operator
    if at > now + _CLOCKS_DIFFER:
        raise Rejected(
            "deployment_in_future",
            "the report is of a moment to come",
            expected=f"at most {rfc3339(now)}",
            actual=rfc3339(at),
            hint="is the deployer's clock right?",
        )
    version = await change.version(report.ref)
    reference = parse_reference(report.ref)
    release = reference.value if reference.kind == "release" else None
    await change.connection.execute(
        LINEAGE["insert_deployment"],
        change.model.id,
        version["number"],
        release,
        report.environment,
        report.deployer,
        report.state,
        at,
        report.url,
        report.details,
        operator,
        now,
    )
    place = f"deployments/{report.environment}/{report.deployer}"
    changes = [Change(path=place, after={"version": version["id"], "state": report.state, "at": rfc3339(at)})]
    change.tell("deployment-reported", changes, version=version["id"], number=version["number"])
    said = {
        "environment": report.environment,
        "deployer": report.deployer,
        "release": release,
        "url": report.url,
        "details": report.details,
    }
    changes += whole({name: value for name, value in said.items() if value is not None})
    change.audit("deployment.reported", place, changes)
    return {
        "model": change.model.name,
        "number": version["number"],
        "id": version["id"],
        "release": release,
        "environment": report.environment,
        "deployer": report.deployer,
        "state": report.state,
        "at": rfc3339(at),
        "url": report.url,
        "details": report.details,
        "operator": operator,
    }


def _shown(row: Any) -> dict[str, Any]:
    return {name: value for name, value in plain(row).items() if name != "model_id"}
