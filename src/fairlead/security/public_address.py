"""Which addresses anybody on the Internet could be meant by: the rule of the outbound guard. Pure.

IPv6 forms that carry an IPv4 address inside (mapped, compatible, 6to4, NAT64) are unwrapped first: Python's `ipaddress` calls some of them
global whatever they carry. Takes addresses, gives booleans; raises nothing, asks nobody. The registries behind `is_global`:
https://www.iana.org/assignments/iana-ipv4-special-registry and https://www.iana.org/assignments/iana-ipv6-special-registry
"""

from __future__ import annotations

import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_COMPATIBLE = ipaddress.IPv6Network("::/96")  # IPv4-compatible, deprecated by RFC 4291
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052
_NAT64_LOCAL = ipaddress.IPv6Network("64:ff9b:1::/48")  # RFC 8215


def is_public(address: Address) -> bool:
    """Whether anybody on the Internet could be meant by `address`, and nobody closer."""
    inner = unwrap(address)
    if inner is None or is_unusable(inner):
        return False
    near = inner.is_private or inner.is_loopback or inner.is_link_local or inner.is_unspecified
    return inner.is_global and not near and not (isinstance(inner, ipaddress.IPv6Address) and inner.is_site_local)


def is_unusable(address: Address) -> bool:
    """Whether nobody can be called there, whatever is allowed: groups, broadcast, and what is reserved."""
    inner = unwrap(address) or address
    return inner.is_multicast or (inner.is_reserved and isinstance(inner, ipaddress.IPv4Address))


def unwrap(address: Address) -> Address | None:
    """Return the address that packets reach in the end; None for forms that have no honest use here."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.scope_id is not None or address in _NAT64_LOCAL or address.teredo is not None:
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    if address in _COMPATIBLE and int(address) > 1:  # :: and ::1 are what they are
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address
