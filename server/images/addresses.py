"""Which addresses of the internet protocol lead to the public internet, and nowhere else. Pure functions with tables of
their own: what Python's `ipaddress` calls global depends on its version, and lets tunnels to private networks through.

The tables are IANA's special-purpose registries (IPv4 and IPv6), and one address that clouds keep for themselves.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

_NOT_PUBLIC_4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",
        "100.64.0.0/10",  # shared with carriers' NAT
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's wire server: public by number, the virtual machine's host in truth
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation, as two more below
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
_PUBLIC_6 = IPv6Network("2000::/3")  # all that is given out; mapped, local, link-local and multicast lie outside
_NOT_PUBLIC_6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",  # documentation, as the next
        "3fff::/20",
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")  # the 4 bytes at the end are where it goes


def is_public(address: str) -> bool:
    """Whether `address` (in the standard form that a resolver gives) leads to the public internet.

    An IPv6 address that carries an IPv4 one (mapped, 6to4, NAT64) is as public as what it carries. Teredo, whose
    servers and clients are anywhere, and everything with a zone are not.
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return _is_public_4(parsed) if isinstance(parsed, IPv4Address) else _is_public_6(parsed)


def _is_public_4(address: IPv4Address) -> bool:
    return address.is_global and not any(address in network for network in _NOT_PUBLIC_4)


def _is_public_6(address: IPv6Address) -> bool:
    if address.scope_id is not None:
        return False
    carried = address.ipv4_mapped or address.sixtofour
    if carried is None and address in _NAT64:
        carried = IPv4Address(address.packed[-4:])
    if carried is not None:
        return _is_public_4(carried)
    return address.is_global and address in _PUBLIC_6 and not any(address in network for network in _NOT_PUBLIC_6)
