"""A notice as a Slack message: Block Kit blocks with a text fallback, for an incoming webhook.

Slack reads `&`, `<` and `>` in texts as control characters (`<!channel>`, `<@U1>`, `<url|label>`), so these three are
escaped everywhere. Its limits: header 150 characters, a field 2,000, a section's text 3,000, ten fields a section.
"""

from __future__ import annotations

import json
from typing import Any, Final

from muniment.notifier.channels.notice import Fact, Notice

_HEADER: Final = 150
_FIELD_LENGTH: Final = 2000
_SECTION: Final = 3000
_FIELDS: Final = 10
_ESCAPES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def slack_body(notice: Notice) -> str:
    """The JSON to post."""
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": escaped(notice.title, _HEADER), "emoji": False}}
    ]
    if notice.text:
        blocks.append({"type": "section", "text": _text(escaped(notice.text, _SECTION))})
    for start in range(0, len(notice.facts), _FIELDS):
        fields = [_field(fact) for fact in notice.facts[start : start + _FIELDS]]
        blocks.append({"type": "section", "fields": fields})
    if notice.links:
        # Links in text: buttons ask for an app that answers their clicks.
        links = " | ".join(f"<{escaped(url, _FIELD_LENGTH)}|{escaped(label, 100)}>" for label, url in notice.links)
        blocks.append({"type": "context", "elements": [_text(links)]})
    return json.dumps({"text": escaped(notice.title, _SECTION), "blocks": blocks}, ensure_ascii=False)


def escaped(text: str, limit: int) -> str:
    """The text with its control characters escaped, cut to `limit` characters without cutting an escape."""
    pieces = [_ESCAPES.get(character, character) for character in text]
    length = sum(map(len, pieces))
    if length <= limit:
        return "".join(pieces)
    while length > limit - 1:
        length -= len(pieces.pop())
    return "".join(pieces) + "…"


def _field(fact: Fact) -> dict[str, Any]:
    label, value = fact
    return _text(f"*{escaped(label, 200)}*\n{escaped(value, _FIELD_LENGTH - 300)}")


def _text(text: str) -> dict[str, Any]:
    return {"type": "mrkdwn", "text": text, "verbatim": True}  # verbatim: names and addresses are not made into links
