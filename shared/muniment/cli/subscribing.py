"""Options of `muniment subscriptions` about who is told of what, and when."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal
from uuid import UUID

from muniment.cli.arguments import Option
from muniment.cli.failures import Usage
from muniment.contracts.errors import NotFound

if TYPE_CHECKING:
    from muniment.sdk import Client

FILTER_FIELDS: Final = ("types", "model", "branch", "stability", "track", "tags", "metrics")
_SPAN: Final = re.compile(r"([0-9]{1,5})([hd])")


@dataclass(frozen=True, slots=True)
class Filters:
    """What an event must be."""

    type: Annotated[tuple[str, ...], Option("An event type, such as version-available; all without it.")] = ()
    model: Annotated[str | None, Option("A model, or a pattern with * and ?.")] = None
    branch: Annotated[str | None, Option("A branch, or a pattern; * also crosses /.")] = None
    stability: Annotated[str | None, Option("experimental, candidate or stable.")] = None
    track: str | None = None
    tag: Annotated[tuple[str, ...], Option("A tag that must be there: KEY or KEY=VALUE.")] = ()
    metric: Annotated[tuple[str, ...], Option("A condition that must hold, such as 'accuracy>=0.95'.")] = ()

    def fields(self) -> dict[str, Any]:
        """As the API takes them, those that are given."""
        given = {
            "types": list(self.type),
            "model": self.model,
            "branch": self.branch,
            "stability": self.stability,
            "track": self.track,
            "tags": list(self.tag),
            "metrics": list(self.metric),
        }
        return {name: value for name, value in given.items() if value}


@dataclass(frozen=True, slots=True)
class Times:
    """When to tell."""

    expires: Annotated[str | None, Option("Until when: a time (RFC 3339), or so long from now, 12h or 30d.")] = None
    digest: Annotated[Literal["hourly", "daily"] | None, Option("Gather events, and tell of them together.")] = None
    quiet_hours: Annotated[str | None, Option("When to be silent: '22:00-07:00 Europe/Berlin'.")] = None
    damp_minutes: Annotated[int | None, Option("Tell of one alert that flaps once in so many minutes.")] = None

    def fields(self) -> dict[str, Any]:
        """As the API takes them, those that are given."""
        given = {
            "expires_at": None if self.expires is None else moment_from(self.expires, ahead=True),
            "digest": self.digest,
            "quiet_hours": self.quiet_hours,
            "damp_minutes": self.damp_minutes,
        }
        return {name: value for name, value in given.items() if value is not None}


CHANGEABLE: Final = (*FILTER_FIELDS, "title", "expires", "digest", "quiet-hours", "damp-minutes")
"""What `subscriptions change --no NAME` takes away."""
_NAMES: Final = {"expires": "expires_at", "quiet-hours": "quiet_hours", "damp-minutes": "damp_minutes"}


def taken_away(names: Sequence[str], given: Mapping[str, Any]) -> dict[str, None]:
    """The fields that lose their value. Raises `Usage` where a name is unknown, or also given a value."""
    for name in names:
        if name not in CHANGEABLE or _NAMES.get(name, name) in given:
            raise Usage(
                "--no takes one thing away",
                expected="one of " + ", ".join(CHANGEABLE) + ", and no value for the same",
                actual=repr(name),
            )
    return {_NAMES.get(name, name): None for name in names}


def moment_from(text: str, *, ahead: bool = False) -> str:
    """`12h` and `30d` as a time, ago or ahead; anything else as it is, for the server to judge."""
    found = _SPAN.fullmatch(text)
    if found is None:
        return text
    span = timedelta(hours=int(found[1]) * (24 if found[2] == "d" else 1))
    now = datetime.now(UTC).replace(microsecond=0)
    return (now + span if ahead else now - span).isoformat().replace("+00:00", "Z")


def filters_of(subscription: Mapping[str, Any]) -> dict[str, Any]:
    """The filter of a subscription as the server shows it."""
    return {name: subscription[name] for name in FILTER_FIELDS if subscription.get(name)}


def id_of(client: Client, subscription: str) -> str:
    """The id of a subscription that is named by its id, or by its name, whatever the case.

    Raises `NotFound` (`subscription_unknown`).
    """
    try:
        return str(UUID(subscription))
    except ValueError:
        pass
    wanted = subscription.lower()
    for one in client.subscriptions():
        if str(one["name"]).lower() == wanted:
            return str(one["id"])
    raise NotFound(
        "subscription_unknown",
        "no subscription has this name or id",
        actual=repr(subscription),
        hint="muniment subscriptions ls",
    )
