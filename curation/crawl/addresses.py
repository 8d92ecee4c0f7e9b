"""Which network addresses may be reached: the public ones, and others only where the settings say so."""

import functools
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

__all__ = ["PrivateAddressError", "is_public", "literal_address"]

# Cloud metadata services that live on public addresses; the others are link-local or private.
METADATA = frozenset({IPv4Address("168.63.129.16")})
# Ranges for protocols, or that lead elsewhere than they say (tunnels, relays, local translation), whatever the
# library's tables hold.
REFUSED_V4 = ("192.0.0.0/24", "192.88.99.0/24")
REFUSED_V6 = ("64:ff9b:1::/48", "2001::/23", "2002::/16", "5f00::/16", "100::/64", "3fff::/20")
REFUSED = tuple(map(ip_network, REFUSED_V4 + REFUSED_V6))
NAT64 = IPv6Network("64:ff9b::/96")


class PrivateAddressError(OSError):
    """A connection was about to go to an address that is not public."""


def is_public(address: str) -> bool:
    """Whether an IPv4 or IPv6 address is reachable by all and meant to be: not private, loopback, link-local,
    multicast, reserved, unspecified, or a metadata service. Text that is no address is not public."""
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, IPv6Address) and (embedded := _embedded(ip)) is not None:
        return is_public(str(embedded))
    if any(ip in net for net in REFUSED):
        return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified) and ip not in METADATA


@functools.lru_cache(maxsize=4096)  # asked several times for each URL, and parsing is slow
def literal_address(host: str) -> str | None:
    """The address that a canonical URL's host is, if it is one and not a name."""
    if not (host[-1:].isdigit() or ":" in host):  # every name that the URL standard does not take for an address
        return None
    try:
        return str(ip_address(host.removeprefix("[").removesuffix("]")))
    except ValueError:
        return None


def _embedded(ip: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that a packet to this one ends up at."""
    if ip.ipv4_mapped is not None:
        return ip.ipv4_mapped
    if ip in NAT64 or (int(ip) >> 32 == 0 and int(ip) > 1):  # also the long deprecated ::a.b.c.d
        return IPv4Address(int(ip) & 0xFFFFFFFF)
    return None
