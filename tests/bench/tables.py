"""`python -m tests.bench.tables PAGE FILES...`: measured tables, from the JSON lines that runs have kept.

A run begins with its machine line. Of each figure the newest line counts, and the table says of which commit and day.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PREFIX = "mlflow_"
NOTHING = "-"


@dataclass(frozen=True)
class Figure:
    """A row: which metric, under which conditions, and what is to be reached. `lower`: less is better."""

    label: str
    metric: str
    unit: str
    reach: str = NOTHING
    lower: bool = True
    where: dict[str, Any] = field(default_factory=dict)
    peer_where: dict[str, Any] = field(default_factory=dict)


ONE = {"files": 1}
FIGURES = (
    Figure("event to available, 1 MiB, 5/s: p50", "event_to_available_ms_p50", "ms", "<= 40"),
    Figure("event to available, 1 MiB, 5/s: p99", "event_to_available_ms_p99", "ms", "<= 150"),
    Figure("versions a second, many models", "verified_versions_per_s", "/s", ">= 300, then 1,000", lower=False),
    Figure("versions a second, one model", "verified_versions_per_s_one_model", "/s", lower=False),
    Figure(
        "publish 1 GiB (one file) over raw PUT + SHA-256, MLflow by proxy",
        "publish_1gib_over_limit",
        "x",
        "<= 1.3",
        where=ONE,
        peer_where={**ONE, "route": "proxy"},
    ),
    Figure(
        "the same, MLflow straight to S3",
        "publish_1gib_over_limit",
        "x",
        "<= 1.3",
        True,
        ONE,
        {**ONE, "route": "direct"},
    ),
    Figure("publish 1 MiB, a whole process", "cli_publish_1mib_s", "s", "<= 0.6"),
    Figure("`--help`, a whole process", "cli_help_s", "s", "<= 0.2"),
    Figure("memory of all services, idle (RSS)", "services_idle_rss_mib", "MiB", "<= 200"),
    Figure("processor of all services, idle", "services_idle_cpu_percent", "% of a core", "< 3"),
    Figure("rise of memory while 8 GiB are validated", "validating_8gib_rss_rise_mib", "MiB", "<= 64"),
    Figure("start when warm (ours with its parts, MLflow's server alone)", "stack_start_warm_s", "s", "<= 10"),
)

GROWTH = (
    ("versions/s", ("growth_verified_versions_per_s", "growth_verified_versions_per_s_one_model")),
    ("available p50 ms", ("growth_event_to_available_ms_p50",)),
    ("available p99 ms", ("growth_event_to_available_ms_p99",)),
    ("resolve p99 ms (<= 5)", ("growth_resolve_ms_p99",)),
    ("list of 100 p99 ms (<= 20)", ("growth_list_100_ms_p99",)),
    ("WAL KiB a version", ("growth_version_postgres_wal_bytes",)),
    ("database MiB", ("growth_database_mib",)),
)


@dataclass(frozen=True)
class Line:
    """One figure with the machine line of its run."""

    fields: dict[str, Any]
    run: dict[str, Any]

    @property
    def value(self) -> float:
        """The figure."""
        return float(self.fields["value"])


def read(texts: Iterable[str]) -> list[Line]:
    """The lines of runs, oldest run first. Raises `ValueError` for a figure before any machine line."""
    lines: list[Line] = []
    for text in texts:
        run: dict[str, Any] | None = None
        for one in text.splitlines():
            fields = json.loads(one)
            if "machine" in fields:
                run = fields
            elif "metric" in fields:
                if run is None:
                    raise ValueError(f"no machine line before {one}")
                lines.append(Line(fields, run))
    return sorted(lines, key=lambda line: str(line.run["at"]))


def newest(lines: Sequence[Line], metric: str, where: dict[str, Any]) -> Line | None:
    """The newest line of a metric whose conditions are these; a condition that a line does not state is no matter."""
    for line in reversed(lines):
        if line.fields["metric"] == metric and all(
            line.fields.get(key, value) == value for key, value in where.items()
        ):
            return line
    return None


def figures_table(lines: Sequence[Line]) -> str:
    """Ours beside what is to be reached and beside the peer. A ratio above 1 means that we are better."""
    rows = [("figure", "to reach", "measured", "MLflow 3.17.2", "ratio", "at")]
    for figure in FIGURES:
        ours = newest(lines, figure.metric, figure.where)
        theirs = newest(lines, PREFIX + figure.metric.replace("stack_start", "start"), figure.peer_where)
        if ours is None and theirs is None:
            continue
        rows.append(
            (
                figure.label,
                figure.reach,
                _shown(ours, figure.unit),
                _shown(theirs, figure.unit),
                _ratio(figure, ours, theirs),
                _at(ours or theirs),
            )
        )
    return markdown(rows)


def growth_table(lines: Sequence[Line]) -> str:
    """One row for each size; sizes as they were measured."""
    grown = [line for line in lines if str(line.fields["metric"]).startswith("growth_")]
    sizes = sorted({(line.fields["versions"], -line.fields["models"]) for line in grown})
    rows = [("versions there already", "models", *(title for title, _ in GROWTH), "at")]
    for versions, minus_models in sizes:
        where = {"versions": versions, "models": -minus_models}
        found = [_first(grown, metrics, where) for _, metrics in GROWTH]
        cells = [
            _number(line.value / 1024 if "wal" in line.fields["metric"] else line.value) if line else NOTHING
            for line in found
        ]
        rows.append((f"{versions:,}", f"{-minus_models:,}", *cells, _at(next(line for line in found if line))))
    return markdown(rows)


def machines(lines: Sequence[Line]) -> str:
    """What it was measured on: one line for each kind of machine and versions."""
    said = {
        f"{run['machine']}, {run['cores']} cores, {run['memory_gib']} GiB, Linux {run['kernel']}, Python {run['python']}": None
        for run in (line.run for line in lines)
    }
    return "\n".join(f"Measured on {one}." for one in said) or "Nothing has been measured yet."


def rewrite(page: str, tables: dict[str, str], *, by: str = "make figures") -> str:
    """The page with each table between its markers, which name the target `by`. Raises `ValueError` without them."""
    for name, table in tables.items():
        begin, end = f"<!-- {name}: generated by {by} -->\n", f"<!-- {name}: end -->"
        if page.count(begin) != 1 or page.count(end) != 1:
            raise ValueError(f"the page needs one pair of the markers {begin.strip()} and {end}")
        before, rest = page.split(begin)
        page = before + begin + table.rstrip("\n") + "\n" + end + rest.split(end)[1]
    return page


def _first(lines: Sequence[Line], metrics: Iterable[str], where: dict[str, Any]) -> Line | None:
    return next((line for metric in metrics if (line := newest(lines, metric, where))), None)


def _ratio(figure: Figure, ours: Line | None, theirs: Line | None) -> str:
    if ours is None or theirs is None or not ours.value or not theirs.value:
        return NOTHING
    return _number(theirs.value / ours.value if figure.lower else ours.value / theirs.value) + " x"


def _shown(line: Line | None, unit: str) -> str:
    return NOTHING if line is None else f"{_number(line.value)} {unit}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _at(line: Line | None) -> str:
    assert line is not None
    return f"{str(line.run['at'])[:10]}, {line.run['commit']}"


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table; the first row is its head."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "| " + " | ".join("---" for _ in rows[0]) + " |", *lines[1:]])


def main() -> None:
    """Rewrite the page given first from the files given after it."""
    page, *kept = map(Path, sys.argv[1:])
    lines = read(file.read_text() for file in kept)
    tables = {"machine": machines(lines), "figures": figures_table(lines), "growth": growth_table(lines)}
    page.write_text(rewrite(page.read_text(), tables))


if __name__ == "__main__":
    main()
