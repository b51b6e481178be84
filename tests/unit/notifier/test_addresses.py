"""Which addresses are called: every spelling of one that must not be is refused, whatever Python's own tables say."""

from __future__ import annotations

import socket
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.notifier.addresses import LOOPBACK, PRIVATE, AddressPolicy, policy_for, why_not_public

PUBLIC_ONLY = AddressPolicy()

NOT_PUBLIC = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.100.100.200",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.0.1",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:7f00:1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "0:0:0:0:0:ffff:a9fe:a9fe",
    "64:ff9b::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::10.0.0.1",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::1",
    "64:ff9b:1:ffff:ffff:ffff:7f00:1",
    "100::1",
    "2001::1",
    "2001:0:7f00:1::1",
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:7f00:1::1",
    "2002:a00:1::",
    "2002:a9fe:a9fe::",
    "2002:808:808::1",
    "3fff::1",
    "4000::1",
    "5f00::1",
    "8000::1",
    "fc00::1",
    "fd00::1",
    "fd00:ec2::254",
    "fd20:ce::254",
    "fe80::1",
    "fe80::1%1",
    "febf::1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
]
ROUTABLE = ["1.1.1.1", "8.8.8.8", "192.0.1.1", "100.128.0.1", "172.32.0.1", "2606:4700:4700::1111", "64:ff9b::8.8.8.8"]


@pytest.mark.parametrize("text", NOT_PUBLIC)
def test_what_is_not_globally_routable_is_refused(text: str) -> None:
    assert PUBLIC_ONLY.refusal(ip_address(text), encrypted=True)


@pytest.mark.parametrize("text", ROUTABLE)
def test_public_addresses_are_called_over_tls_only(text: str) -> None:
    assert PUBLIC_ONLY.refusal(ip_address(text), encrypted=True) is None
    assert "plain http" in (PUBLIC_ONLY.refusal(ip_address(text), encrypted=False) or "")
    assert AddressPolicy(PRIVATE).refusal(ip_address(text), encrypted=False)


@pytest.mark.parametrize("spelling", ["2130706433", "0x7f.1", "0177.0.0.1", "127.1", "0x7f000001", "127.0.0.1."])
def test_old_spellings_of_loopback_resolve_to_what_is_refused(spelling: str) -> None:
    try:
        found = socket.getaddrinfo(spelling, 80, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        return  # the resolver does not know the spelling: nothing can be called
    for entry in found:
        assert PUBLIC_ONLY.refusal(ip_address(entry[4][0]), encrypted=True)


@pytest.mark.parametrize("network", [n for n in PRIVATE if n not in LOOPBACK])
def test_opening_loopback_opens_nothing_else(network: object) -> None:
    address = ip_network(str(network))[1]
    assert AddressPolicy(LOOPBACK).refusal(address, encrypted=True)
    assert AddressPolicy(PRIVATE).refusal(address, encrypted=False) is None


@pytest.mark.parametrize(
    "text",
    [
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "fe80::1",
        "fd00:ec2::254",
        "fd20:ce::254",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "255.255.255.255",
    ],
)
def test_metadata_and_multicast_stay_closed_when_private_networks_are_open(text: str) -> None:
    assert AddressPolicy(PRIVATE).refusal(ip_address(text), encrypted=True)


def test_translated_loopback_is_not_loopback() -> None:
    open_loopback = AddressPolicy(LOOPBACK)
    assert open_loopback.refusal(ip_address("127.0.0.1"), encrypted=False) is None
    assert open_loopback.refusal(ip_address("::ffff:127.0.0.1"), encrypted=False) is None  # the very same socket
    assert open_loopback.refusal(ip_address("64:ff9b::127.0.0.1"), encrypted=True)
    assert open_loopback.refusal(ip_address("2002:7f00:1::"), encrypted=True)


@pytest.mark.parametrize(
    ("setting", "embedded", "allowed"),
    [(None, True, LOOPBACK), (None, False, ()), (False, True, ()), (True, False, PRIVATE), (True, True, PRIVATE)],
)
def test_the_setting_and_the_parts_make_the_policy(setting: bool | None, embedded: bool, allowed: object) -> None:
    assert policy_for(setting, all_embedded=embedded).allowed == allowed


@given(st.ip_addresses(v=4))
def test_mapping_and_nat64_change_no_verdict(address: object) -> None:
    why = why_not_public(ip_address(str(address)))
    assert why_not_public(ip_address(f"::ffff:{address}")) == why
    assert bool(why_not_public(ip_address(f"64:ff9b::{address}"))) == bool(why)


@given(st.ip_addresses(v=6))
def test_only_global_unicast_and_nat64_of_it_are_public(address: object) -> None:
    parsed = ip_address(str(address))
    if why_not_public(parsed) is None:
        assert parsed in ip_network("2000::/3") or parsed in ip_network("64:ff9b::/96") or parsed.ipv4_mapped  # type: ignore[union-attr]  # reason: version 6 by the strategy
        assert not parsed.is_private or parsed.ipv4_mapped  # type: ignore[union-attr]  # reason: as above
