"""`muniment watch`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from muniment.cli.arguments import Command, Option
from muniment.cli.session import DEFAULTS, Common
from muniment.cli.text import cell, moment, short

if TYPE_CHECKING:
    from muniment.sdk.records import Event

app = Command(
    "muniment watch",
    "Print outward events as they come, until interrupted. Restarts of the server are ridden out; with --json each "
    "line has the cursor from which --after goes on, so that no event is missed between two runs.",
    example="muniment watch --model digits --type version-available --json",
)


@app.default
def watch(
    *,
    model: Annotated[str | None, Option("A model, or a pattern with * and ?.")] = None,
    type: Annotated[str | None, Option("An event type, such as version-available.")] = None,  # noqa: A002  # reason: the option's name
    after: Annotated[int | None, Option("Start after this cursor; 0 is the oldest event kept.")] = None,
    once: Annotated[bool, Option("Print what is there and end.")] = False,
    count: Annotated[int, Option("End after that many events.")] = 0,
    common: Common = DEFAULTS,
) -> None:
    """Print events as they come."""
    with common.client() as client:
        events = client.events(0 if once and after is None else after, model=model, type=type, follow=not once)
        for seen, event in enumerate(events, start=1):
            common.line(event.raw, name=event.id, text=_line(event))
            if seen == count:
                return


def _line(event: Event) -> str:
    data = event.data
    number = data.get("number")
    kind = event.type.removeprefix("muniment.").rpartition(".v")[0] or event.type
    said = [
        data.get("kind"),
        f"{event.model}/{number}" if number else event.model,
        data.get("branch"),
        short(data.get("id") or data.get("version")),
        data.get("code"),
        data.get("message"),
    ]
    return "  ".join([moment(event.time), f"{kind:<18}", *(cell(item) for item in said if item)])
