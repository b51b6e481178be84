"""What a verification found, for people and for programs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from muniment.verifier.checkpoint import Opened
from muniment.verifier.errors import VerifierError


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that does not agree. `layer` is where it is wrong, `index` the first entry that it touches.

    Layers: `checkpoint`, `entries` (the bundles), `tile/L`, `topic`, `postgres`, `tile_nodes`, `objects`,
    `receipt`.
    """

    layer: str
    index: int | None
    code: str
    message: str
    expected: str | None = None
    actual: str | None = None

    @classmethod
    def of(cls, layer: str, index: int | None, error: VerifierError) -> Finding:
        """An error of a parser or a proof, at its place."""
        return cls(layer, index, error.code, error.message, error.expected, error.actual)

    def as_json(self) -> dict[str, Any]:
        """Its members, without those that are not known."""
        values = {name: getattr(self, name) for name in ("layer", "index", "code", "message", "expected", "actual")}
        return {name: value for name, value in values.items() if value is not None}

    def text(self) -> str:
        """A few lines for people."""
        place = self.layer if self.index is None else f"entry {self.index} in {self.layer}"
        lines = [f"{place}: {self.message}"]
        lines += [f"  {name + ':':<10}{value}" for name, value in self._sides() if value is not None]
        return "\n".join([*lines, f"  {'code:':<10}{self.code}"])

    def _sides(self) -> tuple[tuple[str, str | None], ...]:
        return (("expected", self.expected), ("actual", self.actual))


@dataclass(slots=True)
class Report:
    """The outcome of one verification. `facts` are what was looked at; the findings are in the order of the log."""

    what: str
    facts: dict[str, Any] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    layers: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What each layer holds: entries, root, and whether it agrees."""

    @property
    def ok(self) -> bool:
        """Whether everything agrees."""
        return not self.findings

    @property
    def first(self) -> Finding | None:
        """The finding with the lowest index; those without an index come last."""
        return min(self.findings, key=_place, default=None)

    def opened(self, opened: Opened) -> None:
        """Note the checkpoint that everything is held against."""
        head = opened.checkpoint
        self.facts |= {
            "origin": head.origin,
            "size": head.size,
            "root": head.root.hex(),
            "signed_by": [one.key.text() for one in opened.signed_by],
            "cosigned_by": [{"key": one.key.text(), "time": one.time} for one in opened.cosigned_by],
        }

    def as_json(self) -> dict[str, Any]:
        """One JSON object."""
        found = sorted(self.findings, key=_place)
        document: dict[str, Any] = {"what": self.what, "ok": self.ok, **self.facts}
        if self.layers:
            document["layers"] = self.layers
        first = self.first
        document["first"] = None if first is None else first.as_json()
        document["findings"] = [one.as_json() for one in found]
        return document

    def text(self) -> str:
        """Lines for people."""
        lines = [f"{self.what}: {'everything agrees' if self.ok else 'DISAGREES'}"]
        lines += [f"  {name:<11} {_shown(value)}" for name, value in self.facts.items() if value not in (None, [], "")]
        lines += [f"  {name:<12}{_shown(value)}" for name, value in self.layers.items()]
        lines += [one.text() for one in sorted(self.findings, key=_place)]
        return "\n".join(lines)


def _place(finding: Finding) -> tuple[bool, int]:
    return finding.index is None, finding.index or 0


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(one)}" for name, one in value.items())
    if isinstance(value, list):
        return "; ".join(_shown(one) for one in value)
    text = str(value)
    return text if text.isprintable() else repr(text)
