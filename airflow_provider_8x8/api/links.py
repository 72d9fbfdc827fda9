"""
Which links of a log export are followed, and which of them are given the API key.

The links come from outside, so they must not lead a worker to an address inside its own network, nor the key to
another host than 8x8's. A link is a secret itself: no text here shows more of it than its host.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from urllib.parse import SplitResult, urlsplit

from airflow_provider_8x8.api.errors import UnknownOutcomeError
from airflow_provider_8x8.api.masking import mask_phone_numbers

_DEFAULT_PORTS = {"http": 80, "https": 443}
# Where parsers of addresses disagree about the host, it is over these: a backslash, whitespace, beyond ASCII.
_PLAIN = re.compile(r"[!-\[\]-~]+")
# Reserved (RFC 6761, 6762, 8375, ICANN's .internal), or in wide use inside and never delegated (RFC 6762, appendix G).
_INSIDE_ENDS = frozenset(
    {
        *("localhost", "localdomain", "local", "internal", "arpa", "test", "invalid", "onion", "alt"),
        *("corp", "home", "intranet", "lan", "mail", "private", "svc"),
    }
)
_NUMERIC_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*")

# By IANA's registries of special addresses. Not ipaddress' is_global, which differs from Python to Python, calls
# multicast global, and does not look into IPv6 addresses that carry one of IPv4.
_NOT_PUBLIC_IPV4 = tuple(
    map(
        ipaddress.IPv4Network,
        (
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
            *("192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24"),
            *("192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
            "168.63.129.16/32",  # inside each of Azure's networks, by a public address
            "224.0.0.0/3",  # multicast, reserved, broadcast
        ),
    )
)
_UNICAST_IPV6 = ipaddress.IPv6Network("2000::/3")
# Teredo and other protocols, documentation, 6to4, AS112, documentation.
_NOT_PUBLIC_IPV6 = tuple(
    map(ipaddress.IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20"))
)
# Mapped; translated for networks that have IPv6 only. Each leads to the IPv4 address in its last four bytes.
_AS_GOOD_AS_IPV4 = tuple(map(ipaddress.IPv6Network, ("::ffff:0:0/96", "64:ff9b::/96")))
_ISATAP = frozenset({0x0000_5EFE, 0x0200_5EFE})


def is_own_link(link: str, own_addresses: Iterable[str]) -> bool:
    """
    Tell whether a link leads to one of these addresses: same scheme, host and port.

    :raises UnknownOutcomeError: it leads elsewhere, and is none that is followed: not https, or to a host that by its
        name alone is an inside one. What a name resolves to is for the connection to check.
    """
    parts = _split(link)
    if _origin(parts) in {_origin(urlsplit(address)) for address in own_addresses}:
        return True
    if parts.scheme != "https":
        raise refused_link(parts.hostname, "it is not https")
    if _is_inside(parts.hostname or ""):
        raise refused_link(parts.hostname, "that is no public host")
    return False


def refused_link(host: str | None, reason: str) -> UnknownOutcomeError:
    """Return the error that says why a link is not followed."""
    where = f" to {mask_phone_numbers(host[:100])!r}" if host else ""
    return UnknownOutcomeError(f"8x8's log export gives a link{where} that is not followed: {reason}")


def is_global(address: str) -> bool:
    """
    Tell whether an IP address is one of the public internet; a name is none.

    An IPv6 address that leads to one of IPv4 is public if that one is. What tunnels (6to4, Teredo, ISATAP) is none:
    nobody serves files there.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv4Address):
        return not any(parsed in network for network in _NOT_PUBLIC_IPV4)
    if parsed.scope_id is not None:
        return False
    if any(parsed in network for network in _AS_GOOD_AS_IPV4):
        return is_global(str(ipaddress.IPv4Address(int(parsed) & 0xFFFF_FFFF)))
    is_isatap = int(parsed) >> 32 & 0xFFFF_FFFF in _ISATAP
    return parsed in _UNICAST_IPV6 and not is_isatap and not any(parsed in network for network in _NOT_PUBLIC_IPV6)


def _split(link: str) -> SplitResult:
    try:
        parts = urlsplit(link)
        plain = bool(_PLAIN.fullmatch(link)) and parts.port != 0
    except ValueError:
        raise refused_link(None, "it is no address") from None
    # A quoted host, or the zone of an address: who reads them how is not foreseen anywhere.
    if not plain or not parts.hostname or "@" in parts.netloc or "%" in parts.netloc:
        raise refused_link(None, "it is no plain address")
    return parts


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or _DEFAULT_PORTS.get(parts.scheme)


def _is_inside(host: str) -> bool:
    name = host.rstrip(".")
    last_label = name.rpartition(".")[2]
    if ":" in name or _NUMERIC_LABEL.fullmatch(last_label):
        return not is_global(name)
    return "." not in name or last_label in _INSIDE_ENDS
