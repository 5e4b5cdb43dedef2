"""Which addresses are public: a table."""

from __future__ import annotations

import pytest

from server.images.addresses import is_public

PUBLIC = ["8.8.8.8", "1.1.1.1", "93.184.216.34", "100.63.255.255", "100.128.0.0", "172.15.0.1", "172.32.0.1"]
PUBLIC += ["192.167.0.1", "198.17.0.1", "198.20.0.1", "168.63.129.15", "2606:4700:4700::1111", "2a00:1450:4001::1"]
PUBLIC += ["::ffff:8.8.8.8", "2002:808:808::1", "64:ff9b::808:808"]

PRIVATE = {
    "loopback": ["127.0.0.1", "127.255.255.255", "::1"],
    "unspecified": ["0.0.0.0", "0.1.2.3", "::"],
    "private": ["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.0.1", "fc00::1", "fd00:ec2::254"],
    "link-local and site-local": ["169.254.169.254", "fe80::1", "fe80::1%eth0", "fec0::1", "feff::1"],
    "carriers": ["100.64.0.0", "100.100.100.200", "100.127.255.255"],
    "multicast": ["224.0.0.1", "239.255.255.255", "ff02::1", "ff0e::1"],
    "reserved": ["240.0.0.1", "255.255.255.255", "192.0.0.1", "192.0.0.192", "198.18.0.1", "198.19.255.255"],
    "documentation": ["192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "3fff::1"],
    "clouds": ["168.63.129.16"],
    "relays": ["192.88.99.1"],
    "mapped": ["::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:7f00:1", "::ffff:0:127.0.0.1"],
    "compatible": ["::127.0.0.1", "::8.8.8.8", "::7f00:1"],
    "6to4": ["2002:7f00:1::", "2002:a00:1::1", "2002:a9fe:a9fe::1", "2002:c0a8:1::"],
    "Teredo": ["2001::1", "2001:0:808:808::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2"],
    "NAT64": ["64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::808:808"],
    "not given out": ["4000::1", "5f00::1", "100::1", "1::1", "8000::1"],
    "no standard form": [
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "localhost",
        "",
        "1.2.3",
        "[::1]",
        "8.8.8.8 ",
    ],
}


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", [address for group in PRIVATE.values() for address in group])
def test_not_public(address: str) -> None:
    assert not is_public(address)
