"""What is written to a receiver, read back by another HTTP library."""

from __future__ import annotations

import string

import h11
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from muniment.notifier.posting import request_bytes

TOKEN = string.ascii_letters + string.digits + "!#$%&'*+.^_`|~-"
tricky = st.text(st.sampled_from("ab: \t\r\n\x00\x7f\x85\xe9\u2028\u010a,;"), max_size=8)
paths = st.text(st.sampled_from("/a%2F?&=+~"), max_size=20).map(lambda rest: f"/{rest}")
names = st.text(TOKEN, min_size=1, max_size=12).filter(
    lambda name: name.lower() not in {"host", "content-length", "transfer-encoding", "connection"}
)
values = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=30)


def read(raw: bytes) -> tuple[h11.Request, bytes]:
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(raw)
    request = connection.next_event()
    assert isinstance(request, h11.Request)
    body = b""
    while isinstance(event := connection.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert connection.trailing_data == (b"", False)
    return request, body


@given(paths, st.dictionaries(names, values, max_size=5), st.binary(max_size=100))
def test_another_library_reads_what_was_meant(path: str, headers: dict[str, str], body: bytes) -> None:
    request, found = read(request_bytes(path, {"Host": "hook.example", **headers}, body))
    assert (request.method, request.target, found) == (b"POST", path.encode(), body)
    assert [(name.decode(), value.decode()) for name, value in request.headers.raw_items()] == [
        ("Host", "hook.example"),
        *((name, value.strip()) for name, value in headers.items()),
        ("Content-Length", str(len(body))),
    ]


@given(tricky.map(lambda rest: f"/{rest}") | paths, tricky | names, tricky | values)
@example("/", "a", "b\nc: d")
@example("/", "a", "b\r\nc: d")
@example("/", "a\nb", "c")
@example("/", "a: b\nc", "d")
@example("/ HTTP/1.1\nx: y\n", "a", "b")
@example("/\n", "a", "b")
def test_nothing_else_gets_into_a_request(path: str, name: str, value: str) -> None:
    try:
        raw = request_bytes(path, {"Host": "hook.example", name: value}, b"{}")
    except ValueError:
        return
    assert raw.count(b"\r\n") == raw.count(b"\n") == raw.count(b"\r") == 5
    request, body = read(raw)
    assert (request.target, body, len(request.headers)) == (path.encode(), b"{}", 3)


def test_what_is_refused_is_said_without_the_value() -> None:
    with pytest.raises(ValueError, match="header field") as caught:
        request_bytes("/", {"a": "secret\r\nb: c"}, b"")
    assert "secret" not in str(caught.value)
