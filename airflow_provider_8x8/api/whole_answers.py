"""
HTTP answers of which nothing is taken that was cut off.

http.client and urllib3 take the end of a connection for the end of a line: a head that broke off in the middle reads as
a whole one, and so does a chunked body that broke off in the length of a chunk, which may begin with a 0.
"""

from __future__ import annotations

import http.client
import io
from collections.abc import Sequence
from typing import Any, Protocol

from airflow_provider_8x8.api.errors import TOO_MANY_REQUESTS, RateLimitedError


class WholeAnswer(http.client.HTTPResponse):
    """
    An answer as it comes in, each line of it whole.

    :raises RateLimitedError: its status is 429, but its headers cannot be read: the status says it all
    :raises OSError: the connection ended within a line
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fp = _WholeLines(self.fp.detach())

    def begin(self) -> None:
        """Read the head; one that only says that another follows (1xx) is passed over, but for a change of protocol."""
        try:
            super().begin()
            while self.status == http.client.PROCESSING or self.status == http.client.EARLY_HINTS:
                self.headers = self.msg = None  # type: ignore[assignment]  # as before the first head
                super().begin()
        except (http.client.HTTPException, OSError):
            if self.status == TOO_MANY_REQUESTS:
                raise RateLimitedError(self.status) from None
            raise
        if self.status == TOO_MANY_REQUESTS:
            del self.headers["Content-Length"]  # of which urllib3 refuses to have several
        if self.headers.defects:
            self._forget_what_was_not_understood()

    def _forget_what_was_not_understood(self) -> None:
        # urllib3 would log it. What is lost with it may have said something else about the body's length.
        self.headers.set_payload("")
        self.headers.defects.clear()
        del self.headers["Content-Length"], self.headers["Transfer-Encoding"]


class _WholeLines(io.BufferedReader):
    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(size)
        if not line.endswith(b"\n") and len(line) != size:
            raise ConnectionError("the connection was closed before the end of the answer")
        return line


class _Headers(Protocol):
    """Those of urllib3: a header that came several times has all its values."""

    def getlist(self, key: str) -> Sequence[str]: ...


def doubt_about_its_end(headers: _Headers, http_version: int) -> str | None:
    """
    Return why the end of a body could not be told from its being cut off, or None if it can.

    It can if the body comes in chunks, of which the last is empty, or is exactly as long as is said once; and comes as
    it is: a compressed one may end within what it should decompress to.

    :param http_version: 10 or 11
    """
    lengths = headers.getlist("Content-Length")
    transfer_encodings = headers.getlist("Transfer-Encoding")
    content_encodings = headers.getlist("Content-Encoding")
    if any(encoding.strip().lower() not in {"", "identity"} for encoding in content_encodings):
        return "it is compressed, which was not asked for"
    if lengths and transfer_encodings:
        return "it gives both a length and chunks"
    if transfer_encodings:
        is_chunked = [encoding.strip().lower() for encoding in transfer_encodings] == ["chunked"]
        return None if is_chunked and http_version > 10 else "it does not come in plain chunks"
    if len(lengths) == 1 and lengths[0].strip().isascii() and lengths[0].strip().isdigit():
        return None
    return "it does not give its length" if not lengths else "it does not give one plain length"
