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

_DEFAULT_PORTS = {"http": 80, "https": 443}
# Where parsers of addresses disagree about the host, it is over these: a backslash, whitespace, beyond ASCII.
_PLAIN = re.compile(r"[!-\[\]-~]+")
_INSIDE_NAMES = ("localhost", ".localhost", ".internal", ".local")
_NUMERIC_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*")


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
    """Say why a link is not followed."""
    where = f" to {host[:100]!r}" if host else ""
    return UnknownOutcomeError(f"8x8's log export gives a link{where} that is not followed: {reason}")


def is_global(address: str) -> bool:
    """Tell whether an IP address is one of the public internet; a name is none."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return (mapped or parsed).is_global


def _split(link: str) -> SplitResult:
    try:
        parts = urlsplit(link)
        plain = bool(_PLAIN.fullmatch(link)) and parts.port != 0
    except ValueError:
        raise refused_link(None, "it is no address") from None
    if not plain or not parts.hostname or "@" in parts.netloc:
        raise refused_link(None, "it is no plain address")
    return parts


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or _DEFAULT_PORTS.get(parts.scheme)


def _is_inside(host: str) -> bool:
    name = host.rstrip(".")
    if f".{name}".endswith(tuple(f".{inside.lstrip('.')}" for inside in _INSIDE_NAMES)):
        return True
    looks_like_an_address = ":" in name or bool(_NUMERIC_LABEL.fullmatch(name.rpartition(".")[2]))
    return looks_like_an_address and not is_global(name)
