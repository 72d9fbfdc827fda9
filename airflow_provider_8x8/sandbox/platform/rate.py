"""How many requests a second."""

from __future__ import annotations

import threading
from time import monotonic

from airflow_provider_8x8.sandbox.wire.errors import quota_exceeded


class RateLimit:
    """
    Lets so many requests pass in each second; a second begins with its first request.

    :param per_second: how many pass
    """

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._lock = threading.Lock()
        self._began = float("-inf")
        self._count = 0

    def count(self) -> None:
        """
        Let one pass.

        :raises ApiError: 429, it is one too many
        """
        now = monotonic()
        with self._lock:
            if now - self._began >= 1:
                self._began, self._count = now, 0
            if self._count >= self._per_second:
                raise quota_exceeded()
            self._count += 1
