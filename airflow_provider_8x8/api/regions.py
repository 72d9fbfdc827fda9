"""Where 8x8 is: its regions, or an address of one's own, and the page to look at for it."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

REGIONS = {
    "asia_pacific": "https://sms.8x8.com",
    "north_america": "https://sms.us.8x8.com",
    "europe": "https://sms.8x8.uk",
    "indonesia": "https://sms.8x8.id",
}
"""Where an account of each region is served (8x8's page "Platform deployment regions")."""

DEFAULT_REGION = "asia_pacific"

CONNECT = "https://connect.8x8.com/"
"""8x8's portal, for the accounts of all regions. 8x8 documents no address of a batch or of the message logs in it."""


def address_of(base_url: str) -> str:
    """Return scheme and host of a URL; all loopback addresses, where sandboxes are, count as one."""
    parts = urlsplit(base_url)
    return "a loopback address" if _is_loopback(parts.hostname or "") else f"{parts.scheme}://{parts.netloc}"


def page_of(base_url: str) -> str:
    """
    Return where a person sees what was sent: 8x8's portal, or the page of the sandbox at any other address.

    :param base_url: as :func:`checked_base_url` returns it
    """
    parts = urlsplit(base_url)
    if parts.hostname in {urlsplit(region).hostname for region in REGIONS.values()}:
        return CONNECT
    return f"{parts.scheme}://{parts.netloc}{parts.path}/sandbox"


def checked_base_url(base_url: str) -> str:
    """
    Return where 8x8 is, without a slash at the end.

    :raises ValueError: it is none that the API key may be sent to
    """
    parts = urlsplit(base_url)
    if parts.username is not None or parts.password is not None:
        raise ValueError("8x8's address holds a user name or password; the API key is the only secret it takes")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"8x8's address is {base_url!r}; expected https://HOST or https://HOST:PORT")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise ValueError(
            f"8x8's address is {base_url!r}: the API key goes out over https only, or to a loopback address"
        )
    return base_url.rstrip("/")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
