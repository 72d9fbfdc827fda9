"""
Airflow's task state store, as 3.3.2 has it, for one task instance.

Each try has an id of its own, and Airflow knows only the newest. A set asks first whether the id is known and stores
then: between the two a newer try may begin. What an overtaken try sets is refused with 404, what it gets reads as
nothing. A worker's own backend stores the value before it asks, and Airflow's database then holds a reference only.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from tests.simulation.worlds import Process, World

_LONGEST_STORING = 4.0
"""Seconds that the API server takes between asking and storing, at most."""


class NotFoundError(Exception):
    """Airflow's API server does not know the task instance's id."""

    error = SimpleNamespace(detail={"status_code": 404})


class StateStore:
    """
    What a task instance's tries have stored.

    :param has_worker_backend: values are stored by the worker, before it asks
    :param faults: how likely a call fails
    """

    def __init__(self, world: World, *, has_worker_backend: bool = False, faults: float = 0.0) -> None:
        self.world = world
        self.newest = 0
        """The id of the newest try."""
        self.has_worker_backend = has_worker_backend
        self.faults = faults
        self.values: dict[str, Any] = {}
        self._stored_by_workers: dict[str, Any] = {}

    def throw_away(self) -> None:
        """Forget all."""
        self.values.clear()
        self._stored_by_workers.clear()

    def put_by_worker(self, key: str, value: Any) -> None:
        """Store where Airflow's API server has no say."""
        if self.has_worker_backend:
            self._stored_by_workers[key] = value

    def put(self, key: str, value: Any) -> None:
        """Store, or store the reference."""
        self.world.note("stored: %s", key)
        self.values[key] = value

    def get(self, key: str) -> Any:
        """Return what is stored."""
        value = self.values.get(key)
        return value if value is None or not self.has_worker_backend else self._stored_by_workers.get(key)


class Accessor:
    """What one try has of the store: ``context["task_state_store"]``."""

    def __init__(self, process: Process, store: StateStore) -> None:
        self._process = process
        self._store = store
        self._id = store.newest

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value, or the default if there is none or nobody knows this try."""
        process, store = self._process, self._store
        process.touch("get: ask")
        self._fail_at_times()
        value = store.get(key) if self._id == store.newest else None
        process.touch("get: answer")
        self._fail_at_times()
        return default if value is None else value

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        """Write a value."""
        process, store = self._process, self._store
        process.touch(f"set {key}: ask")
        self._fail_at_times()
        store.put_by_worker(key, value)
        if self._id != store.newest:
            process.touch("set: refused")
            raise NotFoundError(f"Task instance {self._id} not found")
        self._put_soon(key, value)
        process.touch("set: answer")
        self._fail_at_times()

    def _put_soon(self, key: str, value: Any) -> None:
        """Have the API server, which has found the try's id, store the value; whatever becomes of the try."""
        world = self._process.world
        if world.pace and world.random.random() < 0.3:
            seconds = world.random.uniform(0.0, _LONGEST_STORING)
            world.later(seconds, lambda: self._store.put(key, value))
            world.wait(seconds)
        else:
            self._store.put(key, value)

    def _fail_at_times(self) -> None:
        if self._store.world.happens(self._store.faults):
            raise ConnectionError("no answer from Airflow's API server")
