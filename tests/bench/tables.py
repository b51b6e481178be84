"""`python -m tests.bench.tables PAGE FILES...`: measured tables, from the JSON lines that runs have kept.

A run begins with its machine line. Of each figure the newest line counts, and the table says of which commit and day. A
row of the page for which the files have no figure stays as it is.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PREFIX = "mlflow_"
NOTHING = "-"
PARTS = ("python", "kafka", "postgres", "seaweedfs", "mlflow")


@dataclass(frozen=True)
class Figure:
    """A row: which metric, what it is, and what is to be reached."""

    metric: str
    label: str
    unit: str
    reach: str = NOTHING
    direct: bool = False
    """Beside MLflow's client straight to S3 rather than through its server."""


FIGURES = (
    Figure("event_to_available_ms_p50", "training-completed to version-available, 1 MiB, 5/s", "ms", "<= 40"),
    Figure("event_to_available_ms_p99", "the same", "ms", "<= 150"),
    Figure("verified_versions_per_s", "4 KiB, 8 publishers, many models", "/s", ">= 300, then 1,000"),
    Figure("verified_versions_per_s_one_model", "the same in one model", "/s"),
    Figure("publish_1gib_over_limit", "one file, over raw PUT + SHA-256; MLflow by proxy", "x", "<= 1.3"),
    Figure("publish_1gib_over_limit", "the same; MLflow straight to S3", "x", "<= 1.3", direct=True),
    Figure("publish_1gib_64_files_over_limit", "in 64 files; MLflow by proxy", "x", "<= 1.3"),
    Figure("publish_1gib_64_files_over_limit", "the same; MLflow straight to S3", "x", "<= 1.3", direct=True),
    Figure("publish_wall_0.25gib_s", "256 MiB, publish to available; MLflow by proxy", "s"),
    Figure("publish_wall_0.25gib_s", "the same; MLflow straight to S3", "s", direct=True),
    Figure("download_wall_0.25gib_s", "256 MiB; ours verified, MLflow's not, by proxy", "s"),
    Figure("download_wall_0.25gib_s", "the same; MLflow straight from S3", "s", direct=True),
    Figure("validating_8gib_rss_rise_mib", "memory of the services while 8 GiB are validated", "MiB", "<= 64"),
    Figure("cli_publish_1mib_s", "`publish --wait`, a whole process", "s", "<= 0.6"),
    Figure("cli_help_s", "`--help`, a whole process", "s", "<= 0.2"),
    Figure("services_idle_rss_mib", "all services, idle", "MiB", "<= 200"),
    Figure("services_idle_cpu_percent", "all services, idle, of one core", "%", "< 3"),
    Figure("history_log_s", "a page of 1,000 of the log of a model with 10,000 versions", "s", "<= 2"),
    Figure("history_blame_s", "blame of its head, all fields", "s", "<= 2"),
    Figure("history_bisect_s", "automatic bisect over it, with what changed", "s", "<= 2"),
    Figure("diff_1gib_f32_s", "`diff` of two versions of 1 GiB float32, all tensors changed", "s"),
    Figure("diff_1gib_over_reading", "the same, over merely reading both", "x", "<= 1"),
    Figure("diff_1gib_over_reading_bf16", "bfloat16, twice as many values", "x", "<= 1"),
    Figure("diff_1gib_over_reading_f16", "float16", "x", "<= 1"),
    Figure("diff_1gib_over_reading_f64", "float64", "x", "<= 1"),
    Figure("diff_1gib_over_reading_i8", "integers of 8 bits, four times as many values", "x", "<= 1"),
    Figure("diff_1gib_over_reading_i64", "integers of 64 bits", "x", "<= 1"),
    Figure(
        "list_100_versions_ms_p99", "a page of 100 versions of a model, 10,000 there; MLflow: search", "ms", "<= 20"
    ),
    Figure("resolve_ms_p99", "one version by its name; MLflow: get_model_version", "ms", "<= 5"),
    Figure("audit_append_per_s", "audit entries appended, the publisher beside", "/s", ">= 5,000"),
    Figure("audit_checkpoint_ms_p99", "an entry to its published checkpoint", "ms", "<= 1,000"),
    Figure("audit_receipt_ms_p99", "the receipt of an entry of 1,000,000", "ms", "<= 5"),
    Figure("audit_consistency_ms_p99", "a consistency proof of two of its sizes", "ms", "<= 5"),
    Figure("audit_verify_1m_s", "an exported log of 1,000,000 entries verified, from cold, on one core", "s", "<= 30"),
    Figure("audit_verify_1m_rss_mib", "its memory at the peak", "MiB", "<= 200"),
    Figure(
        "audit_cost_percent",
        "of the pipeline's throughput, with the audit service and without it in turn",
        "%",
        "<= 10",
    ),
    Figure("webhook_ms_p50", "an event to its webhook, 200 a second, 50 subscriptions", "ms", "<= 20"),
    Figure("webhook_ms_p99", "the same", "ms", "<= 100"),
    Figure("webhook_1m_rows_ms_p99", "the same with 1,000,000 rows in the ledger", "ms", "<= 100"),
    Figure("webhook_10k_one_hangs_ms_p99", "the same with 10,000 endpoints of which one hangs", "ms", "-"),
    Figure("webhook_deliveries_per_s", "a burst of 20,000 webhooks", "/s", ">= 2,000"),
    Figure("stack_start_warm_s", "ours with its parts, MLflow's server alone", "s", "<= 10"),
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


def newest(lines: Sequence[Line], metric: str, where: dict[str, Any] | None = None) -> Line | None:
    """The newest line of a metric under these conditions."""
    for line in reversed(lines):
        if line.fields["metric"] == metric and (where or {}).items() <= line.fields.items():
            return line
    return None


def figures_table(lines: Sequence[Line]) -> str:
    """Ours beside what is to be reached and beside the peer. A ratio above 1 means that we are better."""
    rows = [("figure", "what", "to reach", "measured", "MLflow 3.17.2", "ratio", "at")]
    for figure in FIGURES:
        peer = PREFIX + figure.metric + ("_direct" if figure.direct else "")
        ours, theirs = newest(lines, figure.metric), newest(lines, peer)
        if theirs is None and (ours is None or figure.direct):
            continue
        ratio = better(figure.metric, ours.value, theirs.value) if ours and theirs else None
        rows.append(
            (
                f"`{figure.metric}`",
                figure.label,
                figure.reach,
                _shown(ours, figure.unit),
                _shown(theirs, figure.unit),
                f"{_number(ratio)} x" if ratio else NOTHING,
                _at(ours or theirs),
            )
        )
    return markdown(rows)


def better(metric: str, ours: float, theirs: float) -> float | None:
    """How many times better ours is; None where one of them is nothing. Of rates more is better, of the rest less."""
    if not ours or not theirs:
        return None
    return ours / theirs if "_per_s" in metric else theirs / ours


def ratios(figures: Mapping[str, float]) -> dict[str, float]:
    """`ratio_...` of each of the peer's figures whose like we have."""
    found = {}
    for name, theirs in figures.items():
        metric = name.removeprefix(PREFIX)
        ours = figures.get(metric.removesuffix("_direct"))
        if name != metric and ours is not None and (ratio := better(metric, ours, theirs)) is not None:
            found[f"ratio_{metric}"] = ratio
    return found


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
    """What it was measured on: one line for each machine, with the newest versions and calibration."""
    said: dict[str, str] = {}
    versions: dict[str, dict[str, str]] = {}
    for run in (line.run for line in lines):
        name = f"{run['machine']}, {run['cores']} cores, {run['memory_gib']} GiB, Linux {run['kernel']}"
        seen = versions.setdefault(name, {})
        seen.update({"python": run["python"], **run["versions"]})
        parts = ", ".join(f"{part} {seen[part]}" for part in PARTS if part in seen)
        calibration = ", ".join(f"{what} {value:g}" for what, value in run.get("calibration", {}).items())
        said[name] = f"Measured on {name}; {parts}. Calibration: {calibration or 'none'}."
    return "\n".join(said.values()) or "Nothing has been measured yet."


def rewrite(page: str, tables: dict[str, str], *, by: str = "make figures") -> str:
    """The page with each table between its markers, which name the target `by`. Raises `ValueError` without them."""
    for name, table in tables.items():
        begin, end = f"<!-- {name}: generated by {by} -->\n", f"<!-- {name}: end -->"
        if page.count(begin) != 1 or page.count(end) != 1:
            raise ValueError(f"the page needs one pair of the markers {begin.strip()} and {end}")
        before, rest = page.split(begin)
        page = before + begin + table.rstrip("\n") + "\n" + end + rest.split(end)[1]
    return page


def with_rows_of(
    page: str, name: str, table: str, order: Sequence[tuple[str, str]] = (), *, by: str = "make figures"
) -> str:
    """The table, and the rows that only the page has under `name`. Rows are told apart by their first two cells.

    `order` names the rows that there may be; without it the cells are numbers, the first one rising and then the second
    one falling.
    """
    begin, end = f"<!-- {name}: generated by {by} -->\n", f"<!-- {name}: end -->"
    before = page.partition(begin)[2].partition(end)[0].splitlines()
    head, *fresh = table.splitlines()
    rows = {_key(row): row for row in before[2:]} | {_key(row): row for row in fresh[1:]}
    if order:
        rows = {key: rows[key] for key in order if key in rows}
    else:
        rows = dict(sorted(rows.items(), key=lambda one: (_count(one[0][0]), -_count(one[0][1]))))
    return "\n".join([head, *fresh[:1], *rows.values()])


def _count(cell: str) -> int:
    return int(cell.replace(",", ""))


def _key(row: str) -> tuple[str, str]:
    first, second = (cell.strip() for cell in row.split("|")[1:3])
    return first, second


def _first(lines: Sequence[Line], metrics: Iterable[str], where: dict[str, Any]) -> Line | None:
    return next((line for metric in metrics if (line := newest(lines, metric, where))), None)


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
    text = page.read_text()
    order = [(f"`{figure.metric}`", figure.label) for figure in FIGURES]
    figures = with_rows_of(text, "figures", figures_table(lines), order)
    growth = with_rows_of(text, "growth", growth_table(lines))
    page.write_text(rewrite(text, {"machine": machines(lines), "figures": figures, "growth": growth}))


if __name__ == "__main__":
    main()
