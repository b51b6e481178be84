"""Handing out a damaged version all the same: an admin's decision, with an audit entry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from muniment.contracts.events import Cause, Change
from muniment.contracts.identity import Principal
from muniment.registry.reads import Reads
from muniment.runtime.delivery.transaction import Transactions


@dataclass(frozen=True, slots=True)
class ForcedDownloads:
    """The verb."""

    transactions: Transactions
    reads: Reads

    async def downloads(self, ref: str, by: Principal, cause: Cause) -> dict[str, Any]:
        """As `Reads.downloads`, of a damaged version too. Raises `Forbidden` (`role_missing`): it takes an admin."""
        by.require("admin")
        answer = await self.reads.downloads(ref, force=True)
        damaged = [file for file in answer["files"] if file.get("damaged")]
        if damaged:
            release = answer["release"]
            holder = f"releases/{release['semver']}" if release else f"versions/{answer['number']}"
            async with self.transactions.begin() as tx:
                tx.audit(
                    action="version.handed_out",
                    resource=f"models/{answer['model']}/{holder}",
                    model=answer["model"],
                    operator=by.operator,
                    authenticated_by=by.authenticated_by,
                    cause=cause,
                    changes=[
                        Change(path="force", after=True),
                        *(
                            Change(
                                path=f"files/{file['path']}",
                                before=file["damaged"]["expected"],
                                after=file["damaged"]["actual"],
                            )
                            for file in damaged[:90]
                        ),
                    ],
                    reason="forced: the version is damaged",
                )
        return answer
