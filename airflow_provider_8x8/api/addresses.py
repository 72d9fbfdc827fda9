"""
The addresses of a host, each of which gets its turn while there is time.

The standard library waits for the first address as long as it is let, though another would have answered.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from itertools import chain, zip_longest
from typing import NamedTuple

_HARDLY_MORE_THAN = 3
"""Addresses among which the time that is left is shared equally; those behind them share what these leave."""


class Address(NamedTuple):
    """Where to connect to, as :func:`socket.getaddrinfo` gives it."""

    family: int
    kind: int
    protocol: int
    canonical_name: str
    address: tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]

    def connect(
        self, seconds: float, options: Iterable[tuple[int, int, int | bytes]], source: tuple[str, int] | None
    ) -> socket.socket:
        """
        Return a connection.

        :param seconds: how long to wait for it; also the timeout of what is done with it then
        :param options: of the socket
        :param source: the address to connect from, None for any
        :raises OSError: there is none
        """
        connection = socket.socket(self.family, self.kind, self.protocol)
        try:
            for option in options:
                connection.setsockopt(*option)
            connection.settimeout(seconds)
            if source is not None:
                connection.bind(source)
            connection.connect(self.address)
        except BaseException:
            connection.close()
            raise
        return connection


def look_up(host: str, port: int) -> list[Address]:
    """
    Return the addresses of a host in the order in which they are tried: the system's, IPv6 and IPv4 by turns.

    So where one of the two leads nowhere, such as behind a firewall that only knows the other, the second address
    answers.

    :raises OSError: the name has none, or is none
    """
    try:
        found = [Address(*each) for each in socket.getaddrinfo(host.strip("[]"), port, 0, socket.SOCK_STREAM)]
    except UnicodeError:
        raise OSError(f"{host[:100]!r} is no name of a host") from None
    families = list(dict.fromkeys(address.family for address in found))
    by_turns = zip_longest(*([address for address in found if address.family == family] for family in families))
    return [address for address in chain.from_iterable(by_turns) if address is not None]


def share(seconds: float, left: int) -> float:
    """
    Return for how long the next address may be tried: an equal share, but at least a third of the time that is left.

    :param left: how many addresses have not been tried
    """
    return seconds / min(left, _HARDLY_MORE_THAN)
