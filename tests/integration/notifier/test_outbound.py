"""The guarded client against real listeners, which must never be reached where the policy refuses."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from muniment.contracts.errors import MunimentError, Transient
from muniment.notifier.addresses import LOOPBACK, PRIVATE, AddressPolicy
from muniment.notifier.outbound import Outbound, Refused, target_of
from muniment.notifier.posting import Answer

from .receiver import Receiver, answer

DEVELOPMENT = AddressPolicy(LOOPBACK)
PUBLIC = AddressPolicy()
ONE = AddressPolicy((ip_network("127.0.0.1/32"),))
INTRANET = AddressPolicy((ip_network("10.0.0.0/8"),))
SPELLINGS = [
    "127.0.0.1",
    "127.0.0.1.",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0177.0.0.1",
    "017700000001",
    "0.0.0.0",
    "0",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[0:0:0:0:0:0:0:1]",
    "[::127.0.0.1]",
    "[64:ff9b::127.0.0.1]",
    "[2002:7f00:1::]",
]


class Names:
    """A resolver that answers as told, one list a time; the last one holds."""

    def __init__(self, *answers: list[str] | OSError) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(found, OSError):
            raise found
        return found


async def post(client: Outbound, url: str, body: bytes = b"{}") -> Answer:
    return await client.post(target_of(url, client.policy), headers={"webhook-id": "1"}, body=body)


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("host", SPELLINGS)
async def test_no_spelling_of_loopback_is_reached(host: str, scheme: str) -> None:
    policy = INTRANET if scheme == "http" else PUBLIC
    async with Receiver() as receiver, Outbound(policy, connections=2) as client:
        with pytest.raises(MunimentError) as caught:
            await post(client, f"{scheme}://{host}:{receiver.port}/")
        assert receiver.connections == 0
    assert caught.value.code in {"address_refused", "name_not_resolved", "url_invalid"}


async def test_the_listener_of_these_tests_can_be_reached() -> None:
    async with Receiver() as receiver, Outbound(DEVELOPMENT, connections=2) as client:
        for host in ("127.0.0.1", "localhost", "127.1", "[::ffff:127.0.0.1]"):
            assert (await post(client, f"http://{host}:{receiver.port}/")).status == 204
    assert receiver.connections >= 3


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "192.168.1.1",
        "fd00::1",
        "fe80::1%lo",
        "::ffff:10.0.0.1",
        "224.0.0.1",
    ],
)
async def test_a_name_that_leads_inside_is_refused_when_it_is_called(address: str) -> None:
    names = Names([address])
    async with Outbound(PUBLIC, connections=2, resolve=names) as client:
        with pytest.raises(Refused) as caught:
            await post(client, "https://hook.example/")
    assert caught.value.code == "address_refused"
    assert names.asked == ["hook.example"]


async def test_what_a_second_look_up_says_does_not_matter() -> None:
    async with Receiver() as good, Receiver(host="127.0.0.2", port=good.port) as inside:
        names = Names(["127.0.0.1"], ["127.0.0.2"])
        async with Outbound(ONE, connections=2, resolve=names) as client:
            assert (await post(client, f"http://hook.example:{good.port}/")).status == 204
            assert (await post(client, f"http://hook.example:{good.port}/")).status == 204  # the connection is kept
            assert names.asked == ["hook.example"]
            good.behaviour = answer(200, Connection="close")
            assert (await post(client, f"http://hook.example:{good.port}/")).status == 200
            with pytest.raises(Refused, match=r"127\.0\.0\.2"):
                await post(client, f"http://hook.example:{good.port}/")
        assert (len(good.requests), inside.connections) == (3, 0)


async def test_one_bad_address_among_good_ones_refuses_all() -> None:
    async with Receiver() as good, Receiver(host="127.0.0.2", port=good.port) as inside:
        names = Names(["127.0.0.1"] * 25 + ["127.0.0.2"] + ["127.0.0.1"] * 24)
        async with Outbound(ONE, connections=2, resolve=names) as client:
            with pytest.raises(Refused):
                await post(client, f"http://hook.example:{good.port}/")
        assert (good.connections, inside.connections) == (0, 0)


async def test_every_address_is_judged_not_only_those_that_would_be_tried() -> None:
    names = Names([f"127.0.0.{number}" for number in (1, 2, 3, 4, 5, 6, 9)])
    policy = AddressPolicy((ip_network("127.0.0.0/29"),))
    async with Receiver() as receiver, Outbound(policy, connections=2, resolve=names) as client:
        with pytest.raises(Refused, match=r"127\.0\.0\.9"):
            await post(client, f"http://hook.example:{receiver.port}/")
        assert receiver.connections == 0


async def test_a_dead_address_gives_way_to_the_next_allowed_one() -> None:
    async with Receiver() as receiver:
        names = Names(["127.0.0.3", "127.0.0.1"])
        async with Outbound(DEVELOPMENT, connections=2, resolve=names) as client:
            assert (await post(client, f"http://hook.example:{receiver.port}/")).status == 204


@pytest.mark.parametrize("found", [OSError("no such host"), [], ["not an address"]])
async def test_names_without_addresses_are_told(found: list[str] | OSError) -> None:
    async with Outbound(PUBLIC, connections=2, resolve=Names(found)) as client:
        with pytest.raises(MunimentError) as caught:
            await post(client, "https://hook.example/")
    assert caught.value.code in {"name_not_resolved", "address_refused"}


async def test_plain_http_goes_to_allowed_private_addresses_only() -> None:
    async with Outbound(AddressPolicy(PRIVATE), connections=2, resolve=Names(["93.184.215.14"])) as client:
        with pytest.raises(Refused, match="plain http"):
            await post(client, "http://hook.example/")


async def test_proxy_variables_and_netrc_are_not_looked_at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login ada password hunter2\n")
    async with Receiver() as proxy, Receiver() as receiver:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("NETRC", str(netrc))
        async with Outbound(DEVELOPMENT, connections=2) as client:
            await post(client, receiver.url)
    assert proxy.connections == 0
    assert "authorization" not in receiver.requests[0].headers


async def test_cookies_are_not_kept_and_bodies_not_unpacked() -> None:
    packed = b"\x1f\x8b\x08\x00not really gzip"
    packing = answer(200, packed, Set_Cookie="a=b", Content_Encoding="gzip")
    async with Receiver(behaviour=packing) as receiver, Outbound(DEVELOPMENT, connections=2) as client:
        first = await post(client, receiver.url)
        await post(client, receiver.url)
    assert first.body == packed
    assert "cookie" not in receiver.requests[1].headers


async def test_a_connection_that_the_receiver_closed_while_idle_is_not_used_again() -> None:
    async with Receiver() as receiver, Outbound(DEVELOPMENT, connections=2) as client:
        await post(client, receiver.url)
        port = receiver.port
    async with Receiver(port=port) as again, Outbound(DEVELOPMENT, connections=2) as client:
        assert (await post(client, again.url)).status == 204


def certificate(tmp_path: Path, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """TLS for a server of this name, and for clients that trust it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime.now(UTC) - timedelta(hours=1))
        .not_valid_after(datetime.now(UTC) + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    chain, secret = tmp_path / "cert.pem", tmp_path / "key.pem"
    chain.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(chain, secret)
    return server, ssl.create_default_context(cafile=str(chain))


async def test_tls_and_host_keep_the_name_while_the_socket_goes_to_the_address(tmp_path: Path) -> None:
    server, trusting = certificate(tmp_path, "hook.example")
    client = Outbound(DEVELOPMENT, connections=2, resolve=Names(["127.0.0.1"]), tls=trusting)
    asked: list[str | None] = []
    server.sni_callback = lambda _socket, name, _context: asked.append(name)
    async with Receiver(tls=server) as receiver, client:
        found = await post(client, f"https://hook.example:{receiver.port}/path?q=1")
    assert found.status == 204
    assert asked == ["hook.example"]
    assert receiver.requests[0].headers["host"] == f"hook.example:{receiver.port}"
    assert receiver.requests[0].line == "POST /path?q=1 HTTP/1.1"


async def test_a_certificate_of_another_name_or_of_nobody_ends_it(tmp_path: Path) -> None:
    server, trusting = certificate(tmp_path, "other.example")
    async with Receiver(tls=server) as receiver:
        for tls in (trusting, None):
            async with Outbound(DEVELOPMENT, connections=2, resolve=Names(["127.0.0.1"]), tls=tls) as client:
                with pytest.raises(Transient) as caught:
                    await post(client, f"https://hook.example:{receiver.port}/")
            assert caught.value.code == "tls_failed"
        assert receiver.requests == []


async def test_one_connection_serves_one_name_only(tmp_path: Path) -> None:
    server, trusting = certificate(tmp_path, "hook.example")
    client = Outbound(DEVELOPMENT, connections=4, resolve=Names(["127.0.0.1"]), tls=trusting)
    async with Receiver(tls=server) as receiver, client:
        await post(client, f"https://hook.example:{receiver.port}/")
        with pytest.raises(Transient):
            await post(client, f"https://other.example:{receiver.port}/")  # same address, no right certificate
    assert len(receiver.requests) == 1
