"""What may change on a version without making another one: its description and its tags. Each change is kept."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any

import asyncpg
from pydantic import Field

from muniment.contracts.errors import Rejected
from muniment.contracts.events import Cause, Change
from muniment.contracts.identity import Principal
from muniment.contracts.ids import ModelName
from muniment.contracts.model import Line, Payload, Prose, Word
from muniment.registry.changing import Changes, Changing
from muniment.registry.store import POINTERS

_MAX_TAGS = 200


class Description(Payload):
    """New texts of a version. What is left out stays; null takes a text or a tag away."""

    ref: Word
    description: Prose | None = None
    tags: Annotated[dict[Word, Word | None], Field(max_length=_MAX_TAGS)] = {}
    reason: Line | None = None


@dataclass(frozen=True, slots=True)
class Describing:
    """The verb."""

    changes: Changes

    async def describe(self, model: ModelName, wanted: Description, by: Principal, cause: Cause) -> None:
        """Change a version's description and tags. Raises `Rejected` (`too_many_tags`) and what `find_version` does."""
        async with self.changes.of(model, by, cause) as change:
            row = await change.version(wanted.ref)
            before = texts_of(row)
            given = {name: value for name, value in wanted.tags.items() if value is not None}
            kept = {name: value for name, value in before["tags"].items() if name not in wanted.tags}
            says = "description" in wanted.model_fields_set
            after = {
                "description": wanted.description if says else before["description"],
                "tags": {**kept, **given},
            }
            await write_texts(change, row["number"], before, after, wanted.reason)


def texts_of(row: asyncpg.Record) -> dict[str, Any]:
    """A version's description and tags."""
    return {"description": row["description"], "tags": json.loads(row["tags"])}


async def write_texts(
    change: Changing, number: int, before: dict[str, Any], after: dict[str, Any], reason: str | None
) -> None:
    """Write both, with the event and the entry, where they differ."""
    if len(after["tags"]) > _MAX_TAGS:
        raise Rejected(
            "too_many_tags", "a version has too many tags", expected=f"<= {_MAX_TAGS}", actual=len(after["tags"])
        )
    if after == before:
        return
    await change.connection.execute(
        POINTERS["describe"], change.model.id, number, after["description"], json.dumps(after["tags"])
    )
    changes = []
    if before["description"] != after["description"]:
        changes.append(Change(path="description", before=before["description"], after=after["description"]))
    names = sorted({*before["tags"], *after["tags"]})
    changes += [
        Change(path=f"tags/{name}", before=before["tags"].get(name), after=after["tags"].get(name))
        for name in names
        if before["tags"].get(name) != after["tags"].get(name)
    ]
    if len(changes) > 100:  # the bound of an entry's list
        changes = [Change(path="tags", before=before["tags"], after=after["tags"])]
    change.tell("version-changed", changes, number=number, reason=reason)
    event = change.audit("version.described", f"versions/{number}", changes, reason=reason)
    await change.keep(event, "version.described", str(number), before, after)
