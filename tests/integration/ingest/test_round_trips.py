"""How often the hot paths ask the database and the store: a guard against a statement that slips in per event."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import pytest

from muniment.contracts.ids import publication_id_of

from .conftest import SOURCE, Http, Ingest, declared, internal, training
from .test_following_stages import available

DATA = b"weights of a model"
_OF_THE_POOL: Final = (
    "SELECT pg_advisory_unlock_all();",
    "SELECT current_setting('jit')",
    "WITH RECURSIVE typeinfo_tree",
)
"""What the driver asks by itself: to reset a connection, and once a connection for types it does not know."""


@dataclass
class Asked:
    """The statements that were sent since the last look."""

    statements: list[str] = field(default_factory=list)

    def note(self, record: Any) -> None:
        words = " ".join(record.query.split())
        if not words.startswith(_OF_THE_POOL):
            self.statements.append(words[:60])

    def count(self) -> int:
        """How many, and forget them."""
        count = len(self.statements)
        self.statements.clear()
        return count


@pytest.fixture
async def asked(ingest: Ingest) -> Asked:
    """What ingest asks the database. Every connection is opened now, so that none is missed."""
    asked = Asked()
    held = [await ingest.pool.acquire() for _ in range(ingest.pool.get_max_size())]
    for connection in held:
        connection.add_query_logger(asked.note)
    for connection in held:
        await ingest.pool.release(connection)
    return asked


async def test_a_batch_of_events_costs_as_many_statements_as_one(ingest: Ingest, asked: Asked) -> None:
    file = await ingest.land(DATA)
    await ingest.take(ingest.record(training(file, event_id="first")))
    assert asked.count() == 6  # known, begin, claim, insert publications, insert outbox, commit
    ingest.blobs.stats = 0
    await ingest.take(*(ingest.record(training(file, event_id=f"run-{number}")) for number in range(100)))
    assert asked.count() == 6
    assert ingest.blobs.stats == 100


async def test_a_batch_of_later_events_costs_one_statement_more_than_delivery(ingest: Ingest, asked: Asked) -> None:
    file = await ingest.land(DATA)
    await ingest.take(*(ingest.record(training(file, event_id=f"run-{number}")) for number in range(50)))
    asked.count()
    ends = [available(publication_id_of(SOURCE, f"run-{number}")) for number in range(50)]
    await ingest.take(*(ingest.record(internal(end)) for end in ends))
    assert asked.count() == 4  # begin, advance, hold, commit: a stage only rises, so nothing is claimed


async def test_an_upload_costs_few_statements_however_many_files_it_has(
    ingest: Ingest, http: Http, asked: Asked
) -> None:
    contents = [f"file {number}".encode() for number in range(40)]
    files = [declared(content, f"{number}.bin") for number, content in enumerate(contents)]
    begun = await http.begin(*files, key="k1")
    assert (
        asked.count() <= 8
    )  # backlog and pipeline (once a second), key, held, begin, insert publication, insert uploads, commit
    assert ingest.blobs.stats == 0
    said = [await http.put(slot, content) for slot, content in zip(begun["files"], contents, strict=True)]
    await http.complete(begun["publication"]["id"], *said)
    assert asked.count() <= 7  # backlog and pipeline (once a second), draft, begin, accept, insert outbox, commit
    assert ingest.blobs.stats == 40
