"""Deployments: what deployers say of where a version runs. Reports are appended; the newest of each place is current.

A place is a model in an environment, by a deployer. The newest is the one with the latest `at`, since reports may
arrive out of order; of two with the same `at` the one that came later.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from muniment.contracts.errors import Forbidden, Rejected
from muniment.contracts.events import Cause, Change
from muniment.contracts.identity import Principal
from muniment.contracts.ids import ModelName, model_name
from muniment.contracts.model import Line, Payload, Prose, Timestamp, Word, rfc3339
from muniment.contracts.reference import parse_reference
from muniment.registry.changing import Changes
from muniment.registry.names import plain
from muniment.registry.references import find_model
from muniment.registry.store import LINEAGE
from muniment.runtime.http.pages import Page

_CLOCKS_DIFFER: Final = timedelta(minutes=5)
Name = Annotated[Word, Field(min_length=1)]


class DeploymentReported(Payload):
    """A deployer's report on a version or release. `operator` is compared with who reports, never believed."""

    ref: Word
    environment: Name
    deployer: Name
    state: Literal["started", "running", "failed", "stopped"]
    at: Timestamp | None = None
    url: Line | None = None
    details: Prose | None = None
    operator: Word | None = None


@dataclass(frozen=True, slots=True)
class Deployments:
    """Reports, and what is current."""

    changes: Changes

    async def report(self, model: ModelName, report: DeploymentReported, by: Principal, cause: Cause) -> dict[str, Any]:
        """Keep a report. A deleted version's is kept, too: it tells what was so.

        Raises `Forbidden` (`operator_mismatch`), `Rejected` (`deployment_in_future`, `reference_elsewhere`).
        """
        if report.operator not in {None, by.operator}:
            raise Forbidden(
                "operator_mismatch",
                "the report names another operator than the one who sends it",
                expected=by.operator,
                actual=report.operator,
            )
        async with self.changes.of(model, by, cause) as change:
            at = report.at or change.tx.now
            if at > change.tx.now + _CLOCKS_DIFFER:
                raise Rejected(
                    "deployment_in_future",
                    "the report is of a moment to come",
                    expected=f"at most {rfc3339(change.tx.now)}",
                    actual=rfc3339(at),
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
                by.operator,
                change.tx.now,
            )
            place = f"deployments/{report.environment}/{report.deployer}"
            changes = [Change(path=place, after={"version": version["id"], "state": report.state, "at": rfc3339(at)})]
            change.tell("deployment-reported", changes, version=version["id"], number=version["number"])
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
                "operator": by.operator,
            }

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


def _shown(row: Any) -> dict[str, Any]:
    return {name: value for name, value in plain(row).items() if name != "model_id"}
