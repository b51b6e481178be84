"""`muniment evaluate`, `muniment observe`, `muniment series` and `muniment divergences`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from muniment.cli import options
from muniment.cli.arguments import Command, Option
from muniment.cli.failures import Usage
from muniment.cli.points import points
from muniment.cli.session import DEFAULTS, Column, Common, Limit
from muniment.cli.text import cell, moment, short

if TYPE_CHECKING:
    from muniment.sdk.measuring import Given, MeasureOptions

evaluate_app = Command(
    "muniment evaluate",
    "Append evaluations of a version: what was measured on purpose. They count for promotion.",
    example="muniment evaluate digits/3 --metric accuracy=0.97 --dataset test --slice sevens",
)
observe_app = Command(
    "muniment observe",
    "Append observations of a version: what was seen in production.",
    example="muniment observe digits --file last-hour.jsonl",
)
series_app = Command(
    "muniment series",
    "A metric over the versions of a model (newest evaluations, or what the manifests say), or over time: the "
    "observations of one version, by default the baseline.",
    example="muniment series digits accuracy --over time",
)
divergences_app = Command(
    "muniment divergences",
    "How the baseline's tolerances stand, and since when those that are broken are.",
    example="muniment divergences digits --state broken",
)

Metrics = Annotated[tuple[str, ...], Option("NAME=NUMBER; may be repeated.")]
Dataset = Annotated[str | None, Option("The dataset it was measured on.")]
Slice = Annotated[str | None, Option("The slice of the dataset.")]
Unit = Annotated[str | None, Option("The metric's unit; a metric of a model keeps its first one.")]
At = Annotated[str | None, Option("When it was measured (RFC 3339); by default now.")]
File = Annotated[Path | None, Option("JSON lines, or .csv with a header: metric, value, unit, dataset, slice, at.")]
Key = Annotated[str | None, Option("The same key with the same values adds nothing.")]

_BARS: Final = "▁▂▃▄▅▆▇█"
_WIDEST: Final = 60


@evaluate_app.default
def evaluate(
    ref: str,
    /,
    *,
    metric: Metrics = (),
    dataset: Dataset = None,
    slice: Slice = None,  # noqa: A002  # reason: the option's name
    unit: Unit = None,
    at: At = None,
    file: File = None,
    idempotency_key: Key = None,
    common: Common = DEFAULTS,
) -> None:
    """Append evaluations of a version."""
    given = _given(metric, file)
    with common.client() as client:
        answer = client.evaluate(ref, given, **_options(common, dataset, slice, unit, at, idempotency_key))
    _tell(common, answer, metric)


@observe_app.default
def observe(
    ref: str,
    /,
    *,
    metric: Metrics = (),
    dataset: Dataset = None,
    slice: Slice = None,  # noqa: A002  # reason: the option's name
    unit: Unit = None,
    at: At = None,
    file: File = None,
    idempotency_key: Key = None,
    common: Common = DEFAULTS,
) -> None:
    """Append observations of a version."""
    given = _given(metric, file)
    with common.client() as client:
        answer = client.observe(ref, given, **_options(common, dataset, slice, unit, at, idempotency_key))
    _tell(common, answer, metric)


@series_app.default
def series(
    model: str,
    metric: str,
    /,
    *,
    over: Literal["versions", "time"] = "versions",
    ref: Annotated[str | None, Option("Over time: the version; by default the baseline.")] = None,
    dataset: Dataset = None,
    slice: Slice = None,  # noqa: A002  # reason: the option's name
    limit: Limit = 100,
    common: Common = DEFAULTS,
) -> None:
    """Show a metric over versions or time."""
    shown: list[float] = []

    def value(item: Any) -> str:
        shown.append(item["value"])
        return f"{item['value']:.6g}"

    table: tuple[Column, ...] = (
        ("VERSION", lambda item: f"{model}/{item['number']}"),
        ("VALUE", value),
        ("FROM", lambda item: cell(item.get("source"))),
        ("AT", lambda item: moment(item.get("at"))),
    )
    with common.client() as client:
        common.rows(
            client.series(model, metric, dataset=dataset, slice=slice, over=over, ref=ref),
            name=lambda item: item["value"],
            table=table,
            limit=limit,
            empty=f"{metric} was not measured: muniment evaluate REF --metric {metric}=NUMBER",
            then=f"muniment divergences {model}",
        )
    if len(shown) > 1:
        common.say(f"{sparkline(shown)}  {min(shown):.6g} to {max(shown):.6g}")


@divergences_app.default
def divergences(
    model: str,
    /,
    *,
    state: Annotated[Literal["holding", "broken"] | None, Option("Only those that stand so.")] = None,
    limit: Limit = 100,
    common: Common = DEFAULTS,
) -> None:
    """Show how the baseline's tolerances stand."""
    with common.client() as client:
        common.rows(
            client.divergences(model, state=state),
            name=lambda item: item["metric"],
            table=(
                ("METRIC", lambda item: cell(item["metric"])),
                ("DATASET", lambda item: cell(item.get("dataset"))),
                ("SLICE", lambda item: cell(item.get("slice"))),
                ("OF", lambda item: "the baseline" if item["line"] == "baseline" else "newer versions of main"),
                ("STATE", lambda item: cell(item["state"])),
                ("BASELINE", lambda item: _figure(item.get("reference"))),
                ("NEWEST", lambda item: _figure(item.get("value"))),
                ("SINCE VERSION", lambda item: cell(item.get("first_number"))),
                ("SINCE", lambda item: moment(item.get("first_at"))),
            ),
            limit=limit,
            empty=f"nothing was held against tolerances of {model}'s baseline",
        )


def sparkline(values: Sequence[float]) -> str:
    """The values as a line of bars, lowest to highest; of many, as many as fit, evenly taken."""
    count = min(len(values), _WIDEST)
    taken = [values[place * (len(values) - 1) // max(count - 1, 1)] for place in range(count)]
    low, high = min(taken), max(taken)
    step = (high - low) / (len(_BARS) - 1)
    return "".join(_BARS[round((value - low) / step) if step else 0] for value in taken)


def _given(metric: tuple[str, ...], file: Path | None) -> Given:
    if bool(metric) == (file is not None):
        raise Usage("nothing is measured, or twice", expected="--metric NAME=NUMBER, or --file FILE")
    return points(file) if file is not None else options.numbers(metric, "--metric")


def _options(
    common: Common, dataset: str | None, slice_: str | None, unit: str | None, at: str | None, key: str | None
) -> MeasureOptions:
    def told(count: int) -> None:
        if count >= 1000 and not common.quiet:
            sys.stderr.write(f"recorded  {count:,}\n")

    return {
        "dataset": dataset,
        "slice": slice_,
        "unit": unit,
        "at": at,
        "idempotency_key": key,
        "on_progress": told,
    }


def _tell(common: Common, answer: dict[str, Any], metric: tuple[str, ...]) -> None:
    turned = [
        (
            "holds again" if one.get("recovered") else "DIVERGED",
            f"{_named(one)}: {one['actual']:.6g}, {one['expected']}",
        )
        for one in answer["divergences"]
    ]
    common.show(
        answer,
        name=answer["batches"][0],
        facts=[
            ("version", f"{answer['model']}/{answer['number']}"),
            ("id", short(answer["id"])),
            (answer["kind"] + "s", f"{answer['count']:,}" + (" (recorded before)" if answer["repeated"] else "")),
            *turned,
        ],
    )
    name = metric[0].partition("=")[0] if metric else "METRIC"
    over = "" if answer["kind"] == "evaluation" else f" --over time --ref {answer['model']}/{answer['number']}"
    common.next(f"muniment series {answer['model']} {name}{over}")


def _named(one: dict[str, Any]) -> str:
    where = f"[{one['slice']}]" if one.get("slice") else ""
    return f"{one['metric']}{where}" + (f" on {one['dataset']}" if one.get("dataset") else "")


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
