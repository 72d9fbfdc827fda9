"""How a call shows the API key, or nothing."""

from __future__ import annotations

import re

import requests


class NoAuth(requests.auth.AuthBase):
    """Sends nothing; without it requests would send what a ~/.netrc has for the host."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


class BearerAuth(requests.auth.AuthBase):
    """
    Sets the key at the last moment, so that it stands in no dict of headers that could be shown.

    It is requests' auth rather than a plain header, which a ~/.netrc would replace.
    """

    def __init__(self, api_key: str) -> None:
        self._api_key = api_key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._api_key}"
        return request


def checked_api_key(api_key: str) -> str:
    """
    Return an API key that can stand in a header.

    :raises ValueError: it cannot, or there is none
    """
    if not api_key:
        raise ValueError("the API key is missing: set it as the connection's password")
    if not re.fullmatch(r"[!-~]+", api_key):
        raise ValueError(
            "the API key holds a space, a line break or a character beyond ASCII; copy it again from 8x8 Connect"
        )
    return api_key
