"""What an inspection says: facts, findings, a verdict. Small and printable, whatever the file held."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Final

from muniment.checksum_validator.formats.spec import Format, FormatError, Json, Severity

FACTS_BYTES: Final = 16 * 1024
MAX_FINDINGS: Final = 32
_ORDER: Final[dict[Severity, int]] = {"blocked": 0, "warning": 1, "info": 2}
_MAX_TEXT: Final = 256
_MAX_DETAIL: Final = 500
_MAX_SAFE_INTEGER: Final = 2**53 - 1  # RFC 7493: facts travel in events


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing worth saying about a file. `code` is stable; `expected` and `actual` are what was compared.

    `hint` is the publisher's next step, where there is a better one than another format.
    """

    code: str
    detail: str
    severity: Severity
    expected: str | None = None
    actual: str | None = None
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Inspection:
    """The format of a file by its content, facts from its header, and whether it may pass.

    `facts` is JSON of less than 16 KiB. `executable` means that loading the file the usual way can run code.
    """

    format: Format
    facts: dict[str, Json]
    findings: tuple[Finding, ...]
    executable: bool

    @property
    def ok(self) -> bool:
        """Whether nothing was found that blocks the file."""
        return all(finding.severity != "blocked" for finding in self.findings)


@dataclass(slots=True)
class Report:
    """An inspection in the making, handed from reader to reader."""

    format: Format = "unknown"
    facts: dict[str, Json] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    executable: bool = False

    def add(
        self,
        severity: Severity,
        code: str,
        detail: str,
        *,
        expected: object = None,
        actual: object = None,
        hint: str | None = None,
    ) -> None:
        """Note a finding; of many, those that block are kept before the others."""
        if len(self.findings) >= MAX_FINDINGS and severity != "blocked":
            return
        self.findings.append(
            Finding(
                code,
                clip(detail, _MAX_DETAIL),
                severity,
                None if expected is None else clip(str(expected), _MAX_TEXT),
                None if actual is None else clip(str(actual), _MAX_TEXT),
                hint,
            )
        )

    def block(self, code: str, detail: str, *, expected: object = None, actual: object = None) -> None:
        """Note a finding that keeps the file out."""
        self.add("blocked", code, detail, expected=expected, actual=actual)

    def warn(self, code: str, detail: str) -> None:
        """Note a finding that a track's policy decides about."""
        self.add("warning", code, detail)

    def refuse(self, error: FormatError) -> None:
        """Note the error that ended a reader."""
        self.add("blocked", error.code, error.message, expected=error.expected, actual=error.actual, hint=error.hint)

    def finish(self) -> Inspection:
        """The inspection: facts within `FACTS_BYTES`, at most `MAX_FINDINGS` findings, what blocks comes first."""
        first = sorted(self.findings, key=lambda finding: _ORDER[finding.severity])
        return Inspection(self.format, _bounded(self.facts), tuple(first[:MAX_FINDINGS]), self.executable)


def clip(text: str, limit: int = 96) -> str:
    """At most `limit` printable characters: what cannot be shown (controls, bidi marks) becomes U+FFFD."""
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    return text if text.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in text)


def _bounded(facts: dict[str, Json]) -> dict[str, Json]:
    kept: dict[str, Json] = {name: _plain(value) for name, value in facts.items()}
    while len(json.dumps(kept)) >= FACTS_BYTES:
        # Halve whatever is largest; lists keep their beginning, texts too.
        name = max(kept, key=lambda known: len(json.dumps(kept[known])))
        kept[name] = _half(kept[name])
        kept["truncated"] = True
    return kept


def _half(value: Json) -> Json:
    if isinstance(value, str):
        return value[: len(value) // 2]
    if isinstance(value, list):
        return value[: len(value) // 2]
    if isinstance(value, dict):
        return dict(list(value.items())[: len(value) // 2])
    return None


def _plain(value: Json) -> Json:
    """The value with texts clipped and integers beyond 2**53 - 1 as text."""
    if isinstance(value, str):
        return clip(value, _MAX_TEXT)
    if isinstance(value, dict):
        return {clip(name, _MAX_TEXT): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, int) and abs(value) > _MAX_SAFE_INTEGER:
        return str(value)[:40]
    return value
