"""Server-sent events: read the same however the bytes are cut, and as the specification's examples say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.contracts.errors import MunimentError
from muniment.sdk import sse
from muniment.sdk.sse import Sent, SseParser

PIECES = st.lists(
    st.sampled_from(
        [
            b"data",
            b":",
            b" ",
            b"\n",
            b"\r",
            b"\r\n",
            b"id",
            b"id: 7",
            b"event: end",
            b"retry: 9",
            b"x",
            b"\0",
            "ü".encode(),
            b"data: a\n\n",
            b"id: 12\ndata: {}\n\n",
            b":\n\n",
            b"\xef\xbb\xbf",
            b"\xff",
        ]
    ),
    max_size=30,
)


def read(chunks: list[bytes]) -> tuple[list[Sent], int | None]:
    parser = SseParser()
    return [sent for chunk in chunks for sent in parser.feed(chunk)], parser.retry_ms


@given(st.data(), PIECES)
def test_a_stream_cut_anywhere_is_the_same_stream(data: st.DataObject, pieces: list[bytes]) -> None:
    whole = b"".join(pieces)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(whole)), max_size=12)))
    chunks = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert read(chunks) == read([whole]) == read([whole[at : at + 1] for at in range(len(whole))])


@given(st.lists(st.tuples(st.integers(0, 2**63), st.text().filter(lambda text: not set(text) & {"\r", "\n"}))))
def test_what_is_sent_is_what_is_read(events: list[tuple[int, str]]) -> None:
    stream = "".join(f"id: {cursor}\ndata: {text}\n\n" for cursor, text in events)
    expected = [Sent(str(cursor), text) for cursor, text in events]
    assert read([stream.encode("utf-8", "surrogatepass")])[0] == [
        Sent(one.id, (one.data or "").encode("utf-8", "surrogatepass").decode("utf-8", "replace")) for one in expected
    ]


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"data: YHOO\ndata: +2\ndata: 10\n\n", [Sent("", "YHOO\n+2\n10")]),
        (b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
         [Sent("1", "first event"), Sent("", "second event"), Sent("", " third event")]),
        (b"data\n\ndata\ndata\n\ndata:", [Sent("", ""), Sent("", "\n")]),
        (b"data:test\n\ndata: test\n\n", [Sent("", "test"), Sent("", "test")]),
        (b"event: end\ndata: {}\n\ndata: x\n\n", [Sent("", "{}", "end"), Sent("", "x")]),
        (b"\xef\xbb\xbfdata: a\r\n\r\n", [Sent("", "a")]),
        (b"id: 4\0\ndata: a\n\n", [Sent("", "a")]),
        (b"id: 9\n\n", [Sent("9", None)]),
        (b"id: 9\ndata: cut off", []),
    ],
)  # fmt: skip
def test_the_rules_of_the_specification(stream: bytes, expected: list[Sent]) -> None:
    assert read([stream])[0] == expected


def test_an_id_lasts_until_another_comes() -> None:
    assert [sent.id for sent in read([b"id: 3\ndata: a\n\ndata: b\n\nid: 4\ndata: c\n\n"])[0]] == ["3", "3", "4"]


@pytest.mark.parametrize("stream", [b"data: " + b"x" * 100, b"data: xxxxx\n" * 20])
def test_an_event_without_end_is_refused(stream: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT", 64)
    with pytest.raises(MunimentError) as caught:
        read([stream])
    assert caught.value.code == "stream_event_too_large"
