"""Which hosts a file may be fetched from: a URL in somebody's output may lead anywhere. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from enum import Enum

import httpx

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
#: An IPv6-only network reaches IPv4 hosts by such addresses (RFC 6052).
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
#: Networks of one's own: RFC 1918, RFC 6598 (clouds use it so), RFC 4193.
_PRIVATE = [
    ipaddress.ip_network(network)
    for network in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
]
#: Reserved, though not every supported Python knows: 192.0.0.192 has a cloud's metadata.
_RESERVED = [ipaddress.ip_network(network) for network in ("192.0.0.0/24", "192.88.99.0/24", "3fff::/20")]


class Reach(Enum):
    """Who can be reached at an address."""

    PUBLIC = "public"
    PRIVATE = "private"
    LOOPBACK = "loopback"
    #: Link-local (a cloud's metadata among them), multicast, reserved, unspecified: no host of files.
    SPECIAL = "reserved"


def reach_of(address: str) -> Reach:
    """Return who can be reached at an IP address; the least public of those that it has in it."""
    reaches = {_reach_of(part) for part in _with_embedded(ipaddress.ip_address(address.partition("%")[0]))}
    return next(reach for reach in (Reach.SPECIAL, Reach.LOOPBACK, Reach.PRIVATE, Reach.PUBLIC) if reach in reaches)


def _with_embedded(address: _Address) -> Iterator[_Address]:
    """Yield the addresses that traffic to ``address`` ends at: for some of IPv6, one of IPv4."""
    if isinstance(address, ipaddress.IPv4Address):
        yield address
    elif address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    elif address in _NAT64:
        yield ipaddress.IPv4Address(address.packed[-4:])
    else:
        yield address
        if address.sixtofour is not None:
            yield address.sixtofour
        if address.teredo is not None:
            yield address.teredo[1]


def _reach_of(address: _Address) -> Reach:
    if address.is_loopback:
        return Reach.LOOPBACK
    if _is_in(address, _PRIVATE):
        return Reach.PRIVATE
    site_local = isinstance(address, ipaddress.IPv6Address) and address.is_site_local
    if _is_in(address, _RESERVED) or not address.is_global or address.is_multicast or address.is_reserved or site_local:
        return Reach.SPECIAL
    return Reach.PUBLIC


def _is_in(address: _Address, networks: list[_Network]) -> bool:
    return any(address in network for network in networks if network.version == address.version)


def problem_of(url: httpx.URL, *, http_allowed: bool) -> str | None:
    """Return why a file is not fetched from a URL, whatever its host's addresses are; None where it may be.

    :param http_allowed: whether this machine itself may be asked without TLS.
    """
    if url.scheme != "https" and not (url.scheme == "http" and http_allowed):
        return f"the scheme {url.scheme!r} is not followed for files, only https is"
    if url.userinfo:
        return "a URL with a user name or a password is not followed"
    if not url.raw_host:
        return "the URL has no host"
    return None
