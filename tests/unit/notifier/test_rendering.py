"""The forms that channels give a notice: golden for a plain event, and nothing readable as markup for a hostile one."""

from __future__ import annotations

import json
import re
import uuid
from datetime import UTC, datetime
from email import message_from_bytes
from email.policy import default
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.contracts.errors import Rejected
from muniment.notifier.channels.mail import mail_of, mailbox
from muniment.notifier.channels.notice import Notice, clean, notice_of
from muniment.notifier.channels.slack import escaped, slack_body
from muniment.notifier.channels.teams import MAX_BYTES, teams_body

from .events import HOSTILE, LONG, hostile

DELIVERY = uuid.UUID(int=5)
AT = datetime(2026, 11, 23, 12, 0, 1, tzinfo=UTC)
PLAIN = Notice(
    "digits 3 is available", (("Model", "digits"), ("a<b", "1 & 2")), "Better.", (("Model", "https://x/m?a=1&b=2"),)
)
NASTY = [
    notice_of(hostile(text), links_to="https://x.example", title=title)
    for text in (HOSTILE, LONG)
    for title in (None, "{model}")
]


def test_slack_blocks() -> None:
    assert json.loads(slack_body(PLAIN)) == {
        "text": "digits 3 is available",
        "blocks": [
            {"type": "header", "text": {"type": "plain_text", "text": "digits 3 is available", "emoji": False}},
            {"type": "section", "text": {"type": "mrkdwn", "text": "Better.", "verbatim": True}},
            {
                "type": "section",
                "fields": [
                    {"type": "mrkdwn", "text": "*Model*\ndigits", "verbatim": True},
                    {"type": "mrkdwn", "text": "*a&lt;b*\n1 &amp; 2", "verbatim": True},
                ],
            },
            {
                "type": "context",
                "elements": [{"type": "mrkdwn", "text": "<https://x/m?a=1&amp;b=2|Model>", "verbatim": True}],
            },
        ],
    }


@pytest.mark.parametrize("notice", NASTY)
def test_slack_reads_no_control_sequence_in_a_hostile_name(notice: Notice) -> None:
    body = json.loads(slack_body(notice))
    *blocks, context = body["blocks"]
    texts = [body["text"], *_texts(blocks)]
    assert not [text for text in texts if re.search("[<>]|&(?!amp;|lt;|gt;)", text)]
    [links] = _texts(context)
    assert re.fullmatch(
        r"<https://x\.example/[^<>|]+\|[A-Z][a-z ]+>( \| <https://x\.example/[^<>|]+\|[A-Z][a-z ]+>)*", links
    )
    assert len(blocks[0]["text"]["text"]) <= 150
    for block in blocks[1:]:
        assert len(block.get("fields", ())) <= 10
        assert all(len(text) <= (2000 if "fields" in block else 3000) for text in _texts(block))


@given(st.text("ab&<>", max_size=60), st.integers(6, 40))
def test_escapes_are_never_cut(text: str, limit: int) -> None:
    cut = escaped(text, limit)
    assert len(cut) <= limit
    back = cut.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    assert back == text or (back.endswith("…") and text.startswith(back[:-1]))
    assert not re.search("[<>]|&(?!amp;|lt;|gt;)", cut)


def test_a_teams_card() -> None:
    assert json.loads(teams_body(PLAIN)) == {
        "type": "message",
        "attachments": [
            {
                "contentType": "application/vnd.microsoft.card.adaptive",
                "contentUrl": None,
                "content": {
                    "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                    "type": "AdaptiveCard",
                    "version": "1.4",
                    "fallbackText": "digits 3 is available",
                    "msteams": {"width": "Full"},
                    "body": [
                        _block(("digits 3 is available", {"size": "Large", "weight": "Bolder"})),
                        _block(("Better.", {})),
                        _block(("Model: ", {"weight": "Bolder"}), ("digits", {})),
                        _block(("a<b: ", {"weight": "Bolder"}), ("1 & 2", {})),
                    ],
                    "actions": [{"type": "Action.OpenUrl", "title": "Model", "url": "https://x/m?a=1&b=2"}],
                },
            }
        ],
    }


@pytest.mark.parametrize("notice", [*NASTY, Notice("字" * 140, (("字" * 60, "字" * 300),) * 20, "字" * 1500)])
def test_a_teams_card_fits_and_holds_texts_only_where_no_markdown_is_read(notice: Notice) -> None:
    body = teams_body(notice)
    assert len(body.encode()) <= MAX_BYTES
    card = json.loads(body)["attachments"][0]["content"]
    assert {block["type"] for block in card["body"]} == {"RichTextBlock"}
    assert {run["type"] for block in card["body"] for run in block["inlines"]} == {"TextRun"}
    assert all(action["url"].startswith("https://x.example/") for action in card.get("actions", ()))
    if len(notice.facts) == 20:
        assert "further facts" in card["body"][-1]["inlines"][0]["text"]


def test_a_mail() -> None:
    raw = mail_of(PLAIN, sender="muniment@example.org", recipient="ada@example.org", delivery=DELIVERY, at=AT)
    assert raw.decode("ascii") == (
        "Subject: digits 3 is available\r\n"
        "From: Muniment <muniment@example.org>\r\n"
        "To: ada@example.org\r\n"
        "Date: Mon, 23 Nov 2026 12:00:01 +0000\r\n"
        "Message-ID: <00000000-0000-0000-0000-000000000005@example.org>\r\n"
        "Auto-Submitted: auto-generated\r\n"
        "X-Muniment-Delivery-Id: 00000000-0000-0000-0000-000000000005\r\n"
        "MIME-Version: 1.0\r\n"
        'Content-Type: multipart/alternative;\r\n boundary="=_00000000000000000000000000000005"\r\n'
        "\r\n"
        "--=_00000000000000000000000000000005\r\n"
        'Content-Type: text/plain; charset="utf-8"\r\n'
        "Content-Transfer-Encoding: quoted-printable\r\n"
        "\r\n"
        "digits 3 is available\r\n\r\nBetter.\r\n\r\nModel: digits\r\na<b: 1 & 2\r\n\r\nModel: https://x/m?a=3D1&b=3D2\r\n"
        "\r\n"
        "--=_00000000000000000000000000000005\r\n"
        'Content-Type: text/html; charset="utf-8"\r\n'
        "Content-Transfer-Encoding: quoted-printable\r\n"
        "MIME-Version: 1.0\r\n"
        "\r\n"
        "<!doctype html><html><body><h2>digits 3 is available</h2>\r\n<p>Better.</p>\r\n<table>\r\n"
        "<tr><th align=3D'left'>Model</th><td>digits</td></tr>\r\n"
        "<tr><th align=3D'left'>a&lt;b</th><td>1 &amp; 2</td></tr>\r\n"
        "</table>\r\n<p><a href=3D'https://x/m?a=3D1&amp;b=3D2'>Model</a> </p></body></html>\r\n"
        "\r\n"
        "--=_00000000000000000000000000000005--\r\n"
    )


@pytest.mark.parametrize("notice", NASTY)
def test_a_hostile_name_adds_no_header_no_recipient_and_no_tag_to_a_mail(notice: Notice) -> None:
    raw = mail_of(notice, sender="muniment@example.org", recipient="ada@example.org", delivery=DELIVERY, at=AT)
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    assert b"\n" not in raw.replace(b"\r\n", b"")
    mail = message_from_bytes(raw, policy=default)
    assert mail.defects == []
    assert [name for name in mail if name not in ("MIME-Version", "Content-Type")] == [
        *("Subject", "From", "To", "Date", "Message-ID", "Auto-Submitted", "X-Muniment-Delivery-Id")
    ]
    assert mail["To"] == "ada@example.org"
    assert mail["Subject"] == notice.title
    page = mail.get_body(("html",))
    assert page is not None
    tags = _Tags()
    tags.feed(page.get_content())
    assert tags.found <= {"html", "body", "h2", "p", "table", "tr", "th", "td", "a"}
    assert tags.attributes <= {"href", "align"}
    assert all(link.startswith("https://x.example/") for link in tags.links)


@given(
    st.lists(
        st.sampled_from(["=?utf-8?q?=0D=0ABcc:_x?=", "\r\n", ",", "größe", "字 ", "a ", '"', "\ud800"]), max_size=60
    )
)
def test_a_subject_says_what_the_title_said_and_nothing_else(parts: list[str]) -> None:
    title = clean("".join(parts), 140) or "x"
    raw = mail_of(Notice(title), sender="m@example.org", recipient="a@example.org", delivery=DELIVERY, at=AT)
    mail = message_from_bytes(raw, policy=default)
    assert mail["Subject"] == title
    assert mail["Bcc"] is None
    assert len(mail.keys()) == 9


@pytest.mark.parametrize(
    "address", ["ada@example.org", "a.b+c@x-y.example", "o'neil@example.org", "a@b", "A_1@EXAMPLE.org"]
)
def test_addresses(address: str) -> None:
    assert mailbox(address) == address


@pytest.mark.parametrize(
    "address",
    [
        None,
        7,
        "",
        "ada",
        "@example.org",
        "ada@",
        "ada@example.org\r\nBcc: x@evil.example",
        "ada@example.org\n",
        "ada@example.org,eve@evil.example",
        "Ada <ada@example.org>",
        "<ada@example.org>",
        "ada @example.org",
        "a..b@example.org",
        ".a@example.org",
        "a.@example.org",
        "a@-x.example",
        "a@x..example",
        "a@[127.0.0.1]",
        '"a b"@example.org',
        "größe@example.org",
        "a@grö.example",
        "a" * 65 + "@example.org",
        "a@" + ("b" * 60 + ".") * 5 + "example",
        "ada@example.org\x00",
    ],
)
def test_what_is_no_single_address_is_refused(address: object) -> None:
    with pytest.raises(Rejected) as caught:
        mailbox(address)
    assert caught.value.code == "email_invalid"


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.attributes: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [value or "" for name, value in attrs if name == "href"]


def _texts(value: Any) -> list[str]:
    """Every text object's text within a block."""
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    if isinstance(value, dict):
        own = [value["text"]] if isinstance(value.get("text"), str) else []
        return own + [text for item in value.values() if isinstance(item, list | dict) for text in _texts(item)]
    return []


def _block(*runs: tuple[str, dict[str, str]]) -> dict[str, Any]:
    return {"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": text, **look} for text, look in runs]}
