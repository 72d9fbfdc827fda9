"""A task state store that behaves as Airflow 3.3.2's does, towards one task instance."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

NEVER = object()
"""Airflow's word for keeping a value without end."""


class ServerRefusedError(Exception):
    """As Airflow's own error: it holds the API server's answer."""

    def __init__(self, status_code: int | None) -> None:
        super().__init__(f"status {status_code}")
        self.error = SimpleNamespace(detail={"status_code": status_code})


class Store:
    """
    What one try sees of the values that its task instance has.

    :ivar is_superseded: Airflow has begun a newer try
    """

    def __init__(self, values: dict[str, str]) -> None:
        self.values = values
        self.is_superseded = False
        self.failures: list[Exception] = []
        self.retentions: set[Any] = set()

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value; to a try that was superseded, nothing."""
        self._fail()
        return json.loads(self.values[key]) if key in self.values and not self.is_superseded else default

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        """Write a value; what a try writes that was superseded is refused."""
        self._fail()
        if self.is_superseded:
            raise ServerRefusedError(404)
        self.retentions.add(retention)
        self.values[key] = json.dumps(value)

    def _fail(self) -> None:
        if self.failures:
            raise self.failures.pop(0)
