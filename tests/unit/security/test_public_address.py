from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.security.public_address import is_public, is_unusable, unwrap

# Nobody on the Internet: every block of IANA's special registries that is not globally reachable.
NEAR = [
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.2.0/24", "192.168.0.0/16"),
    *("198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
]
near_v4 = st.sampled_from(NEAR).map(ipaddress.IPv4Network).flatmap(lambda net: st.ip_addresses(v=4, network=net))
public_v4 = st.ip_addresses(v=4).filter(lambda one: not any(one in ipaddress.IPv4Network(net) for net in [*NEAR, "192.0.0.0/24"]))


def wrapped(address: ipaddress.IPv4Address) -> list[ipaddress.IPv6Address]:
    inner = int(address)
    prefixes = (0xFFFF << 32, 0, 0x0064_FF9B << 96)  # mapped, compatible, NAT64
    forms = [ipaddress.IPv6Address(prefix | inner) for prefix in prefixes if prefix or inner > 1]
    return [*forms, ipaddress.IPv6Address((0x2002 << 112) | (inner << 80))]  # 6to4


@given(near_v4)
def test_an_address_that_is_near_is_refused_however_it_is_wrapped(address):
    assert not is_public(address)
    assert [form for form in wrapped(address) if is_public(form)] == []


@given(public_v4)
def test_an_address_that_is_public_stays_public_in_every_honest_wrapping(address):
    assert is_public(address)
    assert all(is_public(form) for form in wrapped(address))
    assert {unwrap(form) for form in wrapped(address)} == {address}


@pytest.mark.parametrize(
    "text",
    [
        *("::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1"),
        *("2002:7f00:1::", "2002:a9fe:a9fe::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1", "fec0::1", "ff02::1", "2001:db8::1"),
        *("2001:0:4136:e378:8000:63bf:3fff:fdd2", "100::1"),
    ],
)
def test_no_near_or_reserved_ipv6_form_is_public(text):
    assert not is_public(ipaddress.ip_address(text))


def test_ipaddress_alone_would_let_some_of_them_through():
    """The positive control: the forms are unwrapped because Python's own answer is yes."""
    assert [text for text in ("64:ff9b::a9fe:a9fe", "2002:7f00:1::") if ipaddress.ip_address(text).is_global] != []


@pytest.mark.parametrize("text", ["8.8.8.8", "2606:4700::1111", "2a00:1450:4001::200e"])
def test_usual_public_addresses_are_public(text):
    assert is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize(
    ("text", "is_so"), [("224.0.0.1", True), ("255.255.255.255", True), ("::ffff:224.0.0.1", True), ("127.0.0.1", False)]
)
def test_groups_and_broadcast_are_never_called_even_where_private_ones_are(text, is_so):
    assert is_unusable(ipaddress.ip_address(text)) is is_so
