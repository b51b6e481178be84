"""Deployers' reports from Kafka: the same effect as by HTTP, from whoever signed them.

What cannot be attributed, or names nothing that there is, is a dead letter with an audit entry: an operator can give it
to the service again once it fits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from muniment.contracts.cloudevent import check_time, content_event_id
from muniment.contracts.errors import Rejected
from muniment.contracts.events import Cause, DeploymentReported
from muniment.contracts.identity import Principal, Role, check_operator
from muniment.contracts.ids import model_key
from muniment.registry.changing import hold
from muniment.registry.deployments import keep_report
from muniment.runtime.delivery.handler import Handler
from muniment.runtime.delivery.incoming import Incoming
from muniment.runtime.delivery.transaction import Tx
from muniment.runtime.identity.producers import Producers

REFUSED: Final = "deployment.refused"
_MAY: Final = frozenset[Role]({"writer"})
"""What the account of a publisher key may do: HTTP asks the same role for a report."""


@dataclass(frozen=True, slots=True)
class KeepReports(Handler[DeploymentReported, Principal]):
    """deployment-reported: append the report."""

    producers: Producers

    async def prepare(self, item: Incoming[DeploymentReported]) -> Principal:
        """Who reports. Raises `Unauthenticated`, and `Forbidden` (`operator_mismatch`)."""
        author = await self.producers.author_of(item)
        check_operator(item.data.operator, author)
        return Principal(author.operator, _MAY, author.authenticated_by)

    async def apply(self, tx: Tx, items: Sequence[tuple[Incoming[DeploymentReported], Principal]]) -> None:
        """Append the reports, those of a model in their order. Raises what `keep_report` raises, with its author."""
        for item, by in sorted(items, key=lambda pair: model_key(pair[0].data.model)):
            try:
                change = await hold(tx, item.data.model, by, _cause_of(item))
                await keep_report(change, item.data, item.data.at or _made_at(item, tx))
            except Rejected as error:
                error.by(by.operator, by.authenticated_by)
                raise


def _cause_of(item: Incoming[DeploymentReported]) -> Cause:
    """The event as a cause: its id, and digits made from source and id.

    An id is unlike others within its source alone, and audit entries are told apart by their causes: so no deployer
    may be able to repeat another one's, as `cause_of` has it for requests.
    """
    event = item.event
    digits = content_event_id("deployment-report", event.source, event.id).replace("-", "")
    return item.cause.model_copy(update={"id": f"{event.id}.{digits}"})


def _made_at(item: Incoming[DeploymentReported], tx: Tx) -> datetime:
    """When the report was made, as its event tells."""
    return tx.now if item.event.time is None else check_time(item.event.time)
