"""What a rebuild found, bounded, for people and programs. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from muniment.registry.rebuilding.comparing import Difference

MAX_SHOWN: Final = 1000
"""Differences and problems that a report holds; all are counted."""


@dataclass(slots=True)
class Report:
    """What came of it. `unknown`: actions that the rebuild has no function for, and how often they were met."""

    models: int = 0
    versions: int = 0
    entries: int = 0
    unknown: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    problem_count: int = 0
    rows_compared: Counter[str] = field(default_factory=Counter)
    by_digest: Counter[str] = field(default_factory=Counter)
    """Rows by table that the log tells by digest alone: the fresh database has not got them."""
    differences: list[Difference] = field(default_factory=list)
    difference_count: int = 0
    unsent: int = 0
    """Events of the live registry that had not left its outbox: what they tell may not be in the log yet."""

    @property
    def ok(self) -> bool:
        """Whether nothing is missing and nothing differs."""
        return not self.difference_count and not self.problem_count

    def tell(self, problems: Iterable[str]) -> None:
        """Add problems."""
        for problem in problems:
            self.problem_count += 1
            if len(self.problems) < MAX_SHOWN:
                self.problems.append(problem)

    def add(self, differences: Sequence[Difference]) -> None:
        """Add differences."""
        self.difference_count += len(differences)
        self.differences += differences[: MAX_SHOWN - len(self.differences)]

    def as_json(self) -> dict[str, Any]:
        """The report as one JSON object."""
        return {
            "ok": self.ok,
            "models": self.models,
            "versions": self.versions,
            "entries": self.entries,
            "unknown_actions": dict(sorted(self.unknown.items())),
            "problems": self.problems,
            "problem_count": self.problem_count,
            "rows_compared": dict(self.rows_compared),
            "by_digest": {table: count for table, count in self.by_digest.items() if count},
            "differences": [one.as_json() for one in self.differences],
            "difference_count": self.difference_count,
            "unsent": self.unsent,
        }


def summary(report: Mapping[str, Any], *, compared: bool) -> list[str]:
    """The report in lines for people; `report` as `Report.as_json` gives it."""
    lines = [f"rebuilt {report['models']} models, {report['versions']} versions from {report['entries']} entries"]
    if report["unknown_actions"]:
        named = ", ".join(f"{action} ({count})" for action, count in report["unknown_actions"].items())
        lines.append(f"not rebuilt: {named}")
    lines += [
        f"not in the fresh database: {count} rows of {table}, which the log tells by digest alone"
        for table, count in report["by_digest"].items()
    ]
    lines += [f"problem: {problem}" for problem in report["problems"]]
    if not compared:
        lines.append("next: the same into another fresh database with --compare holds the live one against it")
        return lines
    for one in report["differences"]:
        where = f"{one['table']} {one['key']}" + (f" {one['column']}" if one["column"] else "")
        lines.append(f"differs: {where}: live {one['live']!r}, rebuilt {one['rebuilt']!r}")
    rows = sum(report["rows_compared"].values())
    lines.append(f"{rows} rows compared, {report['difference_count']} differences")
    if report["unsent"]:
        lines.append(
            f"{report['unsent']} events wait in the outbox: what they tell may not be in the log yet; try again"
        )
    if report["differences"]:
        lines.append(
            "next: muniment audit ls --model MODEL tells what was done; docs/rebuilding.md what comes from where"
        )
    return lines
