"""Events for rendering, well-behaved and hostile."""

from __future__ import annotations

from typing import Any

HOSTILE = (
    "<!channel> <https://evil.example|click> [x](https://evil.example) <b onload=x>&amp; *bold* `code`"
    "\r\nBcc: victim@evil.example\n\n\u202egpj.exe\u2066 \u200b\u00ad\x00\x1b[31m \ud800 "
)
LONG = HOSTILE + "A" * 10_000


def available(**changes: Any) -> dict[str, Any]:
    """A version-available event in structured JSON, parsed."""
    data = {
        "publication_id": "00000000-0000-0000-0000-000000000001",
        "model": "digits",
        "number": 3,
        "id": "sha256:" + "ab12cd34" * 8,
        "branch": "main",
        "stability": "stable",
        "track": "production",
        "operator": "muniment|ada",
        "committed_at": "2026-11-23T12:00:00.000000Z",
        "metrics": {"accuracy": 0.9875, "loss": 0.1},
        **changes,
    }
    return event("version-available", data)


def event(name: str, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": "e-1",
        "source": "/muniment/registry",
        "type": f"muniment.{name}.v1",
        "time": "2026-11-23T12:00:01.000000Z",
        "data": data,
    }


def hostile(text: str = LONG) -> dict[str, Any]:
    """Every text of the event is this one, though the schema would have refused most of them."""
    names = ("model", "branch", "stability", "track", "operator", "description")
    return available(**dict.fromkeys(names, text), metrics={text: 1.0}, tags={text: text})
