"""The blocking HTTP client, against sockets that behave and sockets that do not."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from muniment.contracts.errors import Misconfigured, MunimentError
from muniment.sdk.exchange import Unanswered
from muniment.sdk.proxies import proxy_for
from muniment.sdk.wire import FileRange, Wire

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Script = Callable[[socket.socket], None]


@contextmanager
def listening(*scripts: Script) -> Iterator[str]:
    """A server that plays one script a connection, in order, and closes it."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        server.settimeout(10)

        def serve() -> None:
            for script in scripts:
                connection, _ = server.accept()
                with closing(connection):
                    script(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        thread.join(10)
        assert not thread.is_alive(), "a script waits for something that never came"


def head(connection: socket.socket) -> str:
    """A request's head."""
    text = b""
    while not text.endswith(b"\r\n\r\n"):
        text += connection.recv(1)
    return text.decode()


def get(wire: Wire, url: str) -> bytes:
    with wire.exchange("GET", url, headers={}) as response:
        return response.read(1000)


@pytest.fixture
def wire() -> Iterator[Wire]:
    with closing(Wire(timeout=5.0)) as made:
        yield made


def test_a_connection_is_used_again(wire: Wire) -> None:
    heads: list[str] = []

    def twice(connection: socket.socket) -> None:
        for _ in range(2):
            heads.append(head(connection))
            connection.sendall(OK)

    with listening(twice) as url:
        assert get(wire, f"{url}/a?b=%2Fc") == b"ok"
        assert get(wire, f"{url}/d") == b"ok"
    assert heads[0].startswith("GET /a?b=%2Fc HTTP/1.1\r\nHost: 127.0.0.1:"), "signed URLs go out as they came"


def test_a_connection_that_was_closed_meanwhile_is_not_used(wire: Wire) -> None:
    closed = threading.Event()

    def once(connection: socket.socket) -> None:
        head(connection)
        connection.sendall(OK)
        connection.shutdown(socket.SHUT_RDWR)
        closed.set()

    with listening(once, once) as url:
        assert get(wire, url) == b"ok"
        assert closed.wait(5)
        assert get(wire, url) == b"ok"


def test_a_connection_with_an_unread_answer_is_not_used(wire: Wire) -> None:
    def long_answer(connection: socket.socket) -> None:
        head(connection)
        with suppress(OSError):  # the client hangs up before the end
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n" + b"x" * 5_000_000)

    def once(connection: socket.socket) -> None:
        head(connection)
        connection.sendall(OK)

    with listening(long_answer, once) as url:
        with pytest.raises(MunimentError) as caught, wire.exchange("GET", url, headers={}) as response:
            response.read(10)
        assert caught.value.code == "answer_too_large"
        assert get(wire, url) == b"ok"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % number for number in range(200)) + b"\r\n",
    ],
    ids=["nothing", "cut off", "cut off in a chunk", "no HTTP", "too many headers"],
)
def test_what_is_no_whole_answer_is_none(wire: Wire, answer: bytes) -> None:
    def script(connection: socket.socket) -> None:
        head(connection)
        connection.sendall(answer)

    with listening(script) as url:
        with pytest.raises(Unanswered) as caught:
            get(wire, f"{url}/x?signature=secret")
        assert caught.value.sent
        assert "secret" not in caught.value.url


def test_silence_ends_by_itself() -> None:
    done = threading.Event()

    def say_nothing(_: socket.socket) -> None:
        done.wait(10)

    with closing(Wire(timeout=0.05)) as wire, listening(say_nothing) as url:
        with pytest.raises(Unanswered) as caught:
            get(wire, url)
        done.set()
    assert caught.value.sent


def test_nobody_there_means_not_sent(wire: Wire) -> None:
    with pytest.raises(Unanswered) as caught:
        get(wire, "http://127.0.0.1:9/")
    assert not caught.value.sent


def test_a_range_of_a_file_is_sent(wire: Wire, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"0123456789" * 1000)
    got: list[bytes] = []

    def take(connection: socket.socket) -> None:
        assert "Content-Length: 5000\r\n" in head(connection)
        body = b""
        while len(body) < 5000:
            body += connection.recv(65536)
        got.append(body)
        connection.sendall(OK)

    moved: list[int] = []
    body = FileRange(tmp_path / "f", 5, 5000, moved.append, lambda: AssertionError("not short"))
    with listening(take) as url, wire.exchange("PUT", url, headers={}, body=body) as response:
        assert response.read(10) == b"ok"
    assert got == [(b"0123456789" * 1000)[5:5005]]
    assert sum(moved) == 5000


def test_a_file_that_ends_too_early_raises_its_error(wire: Wire, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"short")
    body = FileRange(tmp_path / "f", 0, 100, lambda _: None, lambda: LookupError("too short"))

    def take(connection: socket.socket) -> None:
        while connection.recv(65536):
            pass

    with listening(take) as url:
        with pytest.raises(LookupError), wire.exchange("PUT", url, headers={}, body=body):
            pass
        wire.close()


def test_a_refusal_in_the_middle_of_a_body_is_heard(wire: Wire, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * 50_000_000)

    def refuse(connection: socket.socket) -> None:
        head(connection)
        connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(1_000_000):  # it reads on for a while, as good servers do
            pass

    body = FileRange(tmp_path / "f", 0, 50_000_000, lambda _: None, lambda: AssertionError("not short"))
    with listening(refuse) as url, wire.exchange("PUT", url, headers={}, body=body) as response:
        assert (response.status, response.read(10)) == (403, b"no")


def test_an_empty_answer_and_an_empty_body(wire: Wire) -> None:
    heads: list[str] = []

    def empty(connection: socket.socket) -> None:
        heads.append(head(connection))
        connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
        heads.append(head(connection))
        connection.sendall(OK)

    with listening(empty) as url:
        with wire.exchange("POST", url, headers={}) as response:
            assert (response.status, response.read(10)) == (204, b"")
        assert get(wire, url) == b"ok"
    assert "Content-Length: 0\r\n" in heads[0]


# -- proxies


@pytest.fixture
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


def test_loopback_is_never_asked_through_a_proxy(wire: Wire, no_proxies: pytest.MonkeyPatch) -> None:
    def once(connection: socket.socket) -> None:
        assert head(connection).startswith("GET / HTTP/1.1")
        connection.sendall(OK)

    no_proxies.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with listening(once) as url:
        assert get(wire, url) == b"ok"


def test_others_are_asked_through_the_proxy(wire: Wire, no_proxies: pytest.MonkeyPatch) -> None:
    heads: list[str] = []

    def proxy(connection: socket.socket) -> None:
        heads.append(head(connection))
        connection.sendall(OK)

    with listening(proxy) as url:
        no_proxies.setenv("http_proxy", url.replace("//", "//me:p%40ss@"))
        assert get(wire, "http://registry.test:8080/x?y=1") == b"ok"
    assert heads[0].startswith("GET http://registry.test:8080/x?y=1 HTTP/1.1\r\nHost: registry.test:8080\r\n")
    assert "Proxy-Authorization: Basic bWU6cEBzcw==\r\n" in heads[0]


def test_https_goes_through_a_tunnel(wire: Wire, no_proxies: pytest.MonkeyPatch) -> None:
    heads: list[str] = []

    def proxy(connection: socket.socket) -> None:
        heads.append(head(connection))
        connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    with listening(proxy) as url:
        no_proxies.setenv("https_proxy", url)
        with pytest.raises(Unanswered, match="403") as caught:
            get(wire, "https://registry.test/x")
    assert heads[0].startswith("CONNECT registry.test:443 HTTP/1.")
    assert not caught.value.sent


def test_exempted_hosts_and_other_proxies(no_proxies: pytest.MonkeyPatch) -> None:
    no_proxies.setenv("all_proxy", "http://proxy.test:3128")
    no_proxies.setenv("no_proxy", "internal.test,10.0.0.1")
    found = proxy_for(urlsplit("https://registry.test"))
    assert found is not None
    assert (found.host, found.port) == ("proxy.test", 3128)
    assert proxy_for(urlsplit("https://s3.internal.test:9000")) is None
    assert proxy_for(urlsplit("http://10.0.0.1:9000")) is None
    no_proxies.setenv("all_proxy", "socks5://me:secret@proxy.test:1080")
    with pytest.raises(Misconfigured) as caught:
        proxy_for(urlsplit("https://registry.test"))
    assert caught.value.code == "proxy_unsupported"
    assert "secret" not in str(caught.value)
