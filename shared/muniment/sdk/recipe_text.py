"""The README of a recipe: what to run, in order, and what the run did not say. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Step:
    """One step: commands of ours (strangers' words in them are quoted), remarks, and what is missing for it."""

    title: str
    commands: list[str]
    remarks: list[str]
    missing: list[str] = field(default_factory=list)

    def hint(self, remark: str) -> None:
        """Say one thing more."""
        self.remarks.append(remark)


def readme(ref: str, version_id: str, steps: Sequence[Step], names: Sequence[str]) -> str:
    """The README of a version's folder; `names` are the files beside it."""
    lines = [
        f"# Running {ref} again",
        "",
        f"Version `{version_id}`. Made from its manifest (`manifest.json`, whose SHA-256 is that id). Nothing here was",
        "run or tried; each file holds what the training run said of itself.",
    ]
    for place, step in enumerate(steps, 1):
        lines += ["", f"## {place}. {step.title}", ""]
        lines += [f"- **Missing.** {line}" for line in step.missing]
        lines += [f"- {line}" for line in step.remarks]
        if step.commands:
            lines += ["", "```sh", *step.commands, "```"]
    lines += ["", "## Files", "", *(f"- `{name}`" for name in names), ""]
    return "\n".join(lines)
