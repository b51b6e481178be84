"""`muniment watch`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shlex
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from muniment.cli.arguments import Command, Option
from muniment.cli.failures import Usage
from muniment.cli.running import Runner
from muniment.cli.session import DEFAULTS, Common
from muniment.cli.subscribing import Filters, moment_from
from muniment.cli.text import cell, moment, short
from muniment.contracts.errors import Transient

if TYPE_CHECKING:
    from muniment.sdk.records import Event

app = Command(
    "muniment watch",
    "Print outward events as they come, or run a command for each, until interrupted. Restarts of the server and of "
    "the broker are ridden out. With --cursor the place is kept in a file after each event that was handled, so that "
    "the next run misses nothing; an event may come twice, with the same id.",
    example="muniment watch --model digits --type version-available --cursor place --exec './deploy.sh'",
)


@app.default
def watch(
    *,
    filters: Filters = Filters(),  # noqa: B008  # reason: frozen
    since: Annotated[
        str | None,
        Option("Start at a time (RFC 3339, or 12h or 30d ago), after an event's cursor, or at the beginning."),
    ] = None,
    cursor: Annotated[Path | None, Option("Keep the place in this file; it comes before --since.")] = None,
    exec: Annotated[  # noqa: A002  # reason: the option's name
        str | None, Option("Run this for each event: CloudEvents JSON on stdin, MUNIMENT_EVENT_ID, _TYPE, _MODEL, ...")
    ] = None,
    retries: Annotated[int, Option("Run a command that failed so many times again, then stop.")] = 5,
    exec_timeout: Annotated[float, Option("Kill a command after so many seconds; 0 is never.")] = 3600.0,
    over: Annotated[
        Literal["kafka", "http"] | None,
        Option("Read the topics, or the server's stream; without it Kafka where MUNIMENT_KAFKA__BOOTSTRAP answers."),
    ] = None,
    once: Annotated[bool, Option("Handle what is there, from the beginning without --since, and end.")] = False,
    count: Annotated[int, Option("End after that many events.")] = 0,
    end_after: Annotated[
        float, Option("End after that many seconds; 7 where --count has not come.", ("--timeout",))
    ] = 0.0,
    common: Common = DEFAULTS,
) -> None:
    """Print events as they come."""
    if retries < 0 or count < 0 or end_after < 0 or exec_timeout < 0:
        raise Usage("a number is negative", expected=">= 0")
    command = () if exec is None else tuple(shlex.split(exec))
    if exec is not None and not command:
        raise Usage("--exec needs a command", expected="--exec 'deploy.sh --now'")
    fields = filters.fields()
    wanted: dict[str, Any] = {
        "since": "beginning" if once and since is None else None if since is None else moment_from(since),
        "cursor": cursor,
        "limit": count or None,
        "type": fields.pop("types", ()),
        **fields,
    }
    runner = Runner(command, retries, exec_timeout, common.json, common.say) if command else None
    asyncio.run(_watch(wanted, runner, common, over, follow=not once, end_after=end_after))


async def _watch(
    wanted: dict[str, Any],
    runner: Runner | None,
    common: Common,
    over: Literal["kafka", "http"] | None,
    *,
    follow: bool,
    end_after: float,
) -> None:
    seen = 0
    try:
        async with (
            asyncio.timeout(end_after or None),
            contextlib.aclosing(_events(wanted, common, over, follow=follow)) as events,
        ):
            async for event in events:
                common.line(event.raw, name=event.id, text=_line(event))
                if runner is not None:
                    await runner.run(event)
                seen += 1
    except TimeoutError:
        if (count := wanted["limit"]) is not None:
            raise Transient(
                "watch_timeout",
                f"{seen} of {count} events came in time",
                expected=f"{count} within {end_after:g} s",
                actual=seen,
            ) from None


async def _events(
    wanted: dict[str, Any], common: Common, over: Literal["kafka", "http"] | None, *, follow: bool
) -> AsyncGenerator[Event, None]:
    from muniment.sdk.events_clients import events_over_kafka
    from muniment.sdk.hearing import choose
    from muniment.sdk.listening import Asked

    start = Asked(wanted["since"], wanted["cursor"], wanted, None).start
    broker = await choose(start, over, None)
    if broker is not None:
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # its outages are ridden out; what ends us is an error
        common.say(f"listening to Kafka at {broker.bootstrap}")
        async for event in events_over_kafka(broker, follow=follow, **wanted):
            yield event
        return
    async with common.async_client() as client:
        common.say("listening over HTTP")
        async for event in client.events(over="http", follow=follow, **wanted):
            yield event


def _line(event: Event) -> str:
    data = event.data
    number = data.get("number")
    said = [
        data.get("kind"),
        f"{event.model}/{number}" if number else event.model,
        data.get("release"),
        data.get("branch"),
        short(data.get("id") or data.get("version")),
        data.get("code"),
        data.get("message"),
    ]
    return "  ".join([moment(event.time), f"{event.kind:<18}", *(cell(item) for item in said if item)])
