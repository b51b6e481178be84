"""Which network addresses the service may call. Pure: it judges addresses, whoever resolved them.

Python's `is_global` alone is not enough: depending on its patch version it lets through deprecated, translated and
provider-internal ranges. So the special-purpose registries (IANA, RFC 6890 and successors) are spelt out here.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_NOT_PUBLIC: Final[tuple[tuple[Network, str], ...]] = tuple(
    (ip_network(text), why)
    for text, why in (
        ("0.0.0.0/8", "this network"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "carrier-grade NAT"),
        ("127.0.0.0/8", "loopback"),
        ("168.63.129.16/32", "a cloud provider's host service"),
        ("169.254.0.0/16", "link-local, cloud metadata"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "protocol assignments"),
        ("192.0.2.0/24", "documentation"),
        ("192.88.99.0/24", "6to4 relay"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "benchmarking"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
        ("::/96", "unspecified, loopback or IPv4-compatible"),
        ("64:ff9b:1::/48", "local NAT64"),
        ("100::/64", "discard-only"),
        ("2001::/23", "Teredo and protocol assignments"),
        ("2001:db8::/32", "documentation"),
        ("2002::/16", "6to4"),
        ("3fff::/20", "documentation"),
        ("5f00::/16", "segment routing"),
        ("fc00::/7", "unique local"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
    )
)
_NAT64: Final = ip_network("64:ff9b::/96")
_GLOBAL_UNICAST: Final = ip_network("2000::/3")

LOOPBACK: Final[tuple[Network, ...]] = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
PRIVATE: Final[tuple[Network, ...]] = (
    *LOOPBACK,
    *map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")),
)
"""What an operator can open. Link-local addresses (cloud metadata lives there) are never among them."""
_NEVER: Final[tuple[Network, ...]] = tuple(map(ip_network, ("100.100.100.200/32", "fd00:ec2::/32", "fd20:ce::/32")))
"""Metadata services of cloud providers that lie in ranges an operator can open."""


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """Public addresses, and those in `allowed`. Plain `http` is for addresses in `allowed` alone."""

    allowed: tuple[Network, ...] = ()

    def refusal(self, address: Address, *, encrypted: bool) -> str | None:
        """Why the address must not be called, or None when it may be."""
        address = _unmapped(address)
        if any(address in network for network in self.allowed) and not any(address in network for network in _NEVER):
            return None
        if why := why_not_public(address):
            return why
        return None if encrypted else "plain http is only for allowed private addresses"


def policy_for(allow_private_networks: bool | None, *, all_embedded: bool) -> AddressPolicy:
    """The policy that the settings mean. None: loopback alone, and only where every part is embedded."""
    if allow_private_networks is None:
        return AddressPolicy(LOOPBACK if all_embedded else ())
    return AddressPolicy(PRIVATE if allow_private_networks else ())


def parse_address(text: str) -> Address:
    """An address as a resolver spells it. Raises `ValueError`."""
    return ip_address(text)


def why_not_public(address: Address) -> str | None:
    """What the address is instead of public, or None when it is globally routable (unicast)."""
    address = _unmapped(address)
    for network, why in _NOT_PUBLIC:
        if address in network:
            return why
    if isinstance(address, IPv4Address):
        return None if address.is_global else "not globally routable"
    if address in _NAT64:
        carried = IPv4Address(int(address) & 0xFFFFFFFF)
        behind = why_not_public(carried)
        return f"NAT64 of {carried}: {behind}" if behind else None
    return None if address in _GLOBAL_UNICAST and address.is_global else "not globally routable"


def _unmapped(address: Address) -> Address:
    """IPv4-mapped IPv6 (::ffff:a.b.c.d) as the IPv4 address that the socket will call."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
