"""The requests that send, as they came, for tests that hold them against 8x8's OpenAPI file."""

from __future__ import annotations

import threading
from collections import deque
from typing import NamedTuple

from airflow_provider_8x8.sandbox.wire.http_messages import Request

MAX_REQUESTS = 100
"""How many of the newest requests are kept."""

MAX_BYTES = 32 * 1024 * 1024
"""How many bytes of bodies are kept at most, but for the newest one."""


class RecordedRequest(NamedTuple):
    """A request to send a batch or a survey, complete, whatever became of it."""

    path: str
    headers: dict[str, str]
    """By lower-case name; the authorization is redacted."""
    body: bytes


class Recorder:
    """Keeps the newest requests."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: deque[RecordedRequest] = deque()

    def record(self, request: Request) -> None:
        """Keep one request, and drop the oldest where there are too many."""
        headers = dict(request.headers)
        if "authorization" in headers:
            headers["authorization"] = "REDACTED"
        with self._lock:
            self._requests.append(RecordedRequest(request.path, headers, request.body))
            while len(self._requests) > 1 and self._is_too_much():
                self._requests.popleft()

    def requests(self) -> list[RecordedRequest]:
        """Return what is kept, oldest first."""
        with self._lock:
            return list(self._requests)

    def forget(self) -> None:
        """Forget all of them."""
        with self._lock:
            self._requests.clear()

    def _is_too_much(self) -> bool:
        return len(self._requests) > MAX_REQUESTS or sum(len(request.body) for request in self._requests) > MAX_BYTES
