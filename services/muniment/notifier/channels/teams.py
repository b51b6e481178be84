"""A notice as an Adaptive Card for a Teams Workflows webhook ("when a Teams webhook request is received").

Texts are runs in rich text blocks: unlike text blocks, those are shown as they are, without any Markdown, so a name can
neither format nor link. Teams takes 28 KB at most; facts are left out from the end until the card fits.
"""

from __future__ import annotations

import json
from typing import Any, Final

from muniment.notifier.channels.notice import Notice

MAX_BYTES: Final = 27_000
_VERSION: Final = "1.4"


def teams_body(notice: Notice) -> str:
    """The JSON to post."""
    for count in range(len(notice.facts), -1, -1):
        body = json.dumps(_message(notice, count), ensure_ascii=False)
        if len(body.encode()) <= MAX_BYTES:
            break
    return body


def _message(notice: Notice, facts: int) -> dict[str, Any]:
    blocks = [_block(_run(notice.title, size="Large", weight="Bolder"))]
    if notice.text:
        blocks.append(_block(_run(notice.text)))
    blocks += [_block(_run(f"{label}: ", weight="Bolder"), _run(value)) for label, value in notice.facts[:facts]]
    if facts < len(notice.facts):
        blocks.append(_block(_run(f"and {len(notice.facts) - facts} further facts")))
    card: dict[str, Any] = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": _VERSION,
        "fallbackText": notice.title,
        "msteams": {"width": "Full"},
        "body": blocks,
    }
    if notice.links:
        card["actions"] = [{"type": "Action.OpenUrl", "title": label, "url": url} for label, url in notice.links]
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return {"type": "message", "attachments": [attachment]}


def _block(*runs: dict[str, Any]) -> dict[str, Any]:
    return {"type": "RichTextBlock", "inlines": list(runs)}


def _run(text: str, **look: str) -> dict[str, Any]:
    return {"type": "TextRun", "text": text, **look}
