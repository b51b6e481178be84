"""More than can be served: refused early, with a wait, and nothing that was begun is stranded."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from muniment.ingest.intake import Intake

from .conftest import Http, Ingest, client_of, declared

DATA = b"weights of a model"
BODY = json.dumps({"model": "digits", "files": [declared(DATA)]}).encode()


class Upload:
    """A body that arrives when it is let, and knows whether anybody has asked for it."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.go = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self.asked.set()
        await self.go.wait()
        yield BODY


async def post(http: Http, body: Any) -> Any:
    return await http.client.post("/publications", content=body, headers={"authorization": "Bearer ada"})


async def refused(http: Http, code: str) -> None:
    """The next one is refused: with a code and a wait, without a look at its body."""
    body = Upload()
    async with asyncio.timeout(20):
        answer = await post(http, body)
    assert (answer.status_code, answer.json()["code"]) == (503, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert 1 <= int(answer.headers["retry-after"]) <= 30
    assert not body.asked.is_set()


async def test_requests_beyond_the_bound_are_refused_until_a_place_is_free(ingest: Ingest) -> None:
    async with client_of(ingest, Intake(ingest.pool, max_in_flight=2)) as http:
        slow = [Upload(), Upload()]
        served = [asyncio.create_task(post(http, body)) for body in slow]
        for body in slow:
            await body.asked.wait()
        await refused(http, "intake_busy")
        await http.call("GET", "/publications", as_="reader", status=200)
        slow[0].go.set()
        assert (await served[0]).status_code == 201
        await http.begin(declared(DATA))
        slow[1].go.set()
        assert (await served[1]).status_code == 201


async def test_a_request_that_fails_or_is_given_up_frees_its_place(ingest: Ingest) -> None:
    intake = Intake(ingest.pool, max_in_flight=1)
    async with client_of(ingest, intake) as http:
        assert (await post(http, b"{")).status_code == 422
        await http.begin(declared(DATA), as_="nobody", status=401)
        body = Upload()
        given_up = asyncio.create_task(post(http, body))
        await body.asked.wait()
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)
        await http.begin(declared(DATA))
    assert intake.in_flight == 0


async def test_a_full_pipeline_takes_no_new_publication_but_lets_one_that_was_begun_end(ingest: Ingest) -> None:
    intake = Intake(ingest.pool, max_pipeline=2)
    async with client_of(ingest, intake) as http:
        begun = [await http.begin(declared(DATA)) for _ in range(5)]
        said = await http.put(begun[0]["files"][0], DATA)
        for one in begun[:2]:
            await http.complete(one["publication"]["id"], said)
        _count_anew(intake)
        await refused(http, "pipeline_full")
        for one in begun[2:4]:
            await http.complete(one["publication"]["id"], said)
        _count_anew(intake)
        answer = await http.complete(begun[4]["publication"]["id"], said, status=503)
        assert answer["code"] == "pipeline_full"
        await ingest.pool.execute("UPDATE publication SET stage = 'committed', rank = 4 WHERE stage = 'trained'")
        await refused(http, "pipeline_full")  # counted less than a second ago
        _count_anew(intake)
        await http.begin(declared(DATA))
        await http.complete(begun[4]["publication"]["id"], said)


async def test_intake_pauses_while_too_much_waits_for_the_broker(ingest: Ingest) -> None:
    intake = Intake(ingest.pool, max_backlog=3)
    await ingest.pool.execute(
        """INSERT INTO outbox (id, aggregatetype, aggregateid, type, payload, headers)
        SELECT gen_random_uuid(), 't', 'k', 't', '', '[]' FROM generate_series(1, 3)"""
    )
    async with client_of(ingest, intake) as http:
        await refused(http, "intake_paused")
        await ingest.pool.execute("UPDATE outbox SET sent_at = now()")
        _count_anew(intake)
        await http.begin(declared(DATA))


def _count_anew(intake: Intake) -> None:
    """As if the second were over for which a count holds."""
    intake._counted_at = float("-inf")
