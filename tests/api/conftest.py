"""No waiting between tries, and servers on ports of their own."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from airflow_provider_8x8.api import calls as calls_module
from airflow_provider_8x8.api import tries
from airflow_provider_8x8.api.transport import exchange
from tests.api.servers import Serve, serve_each


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    for policy in (tries.until_sent, tries.until_answered):
        monkeypatch.setattr(policy, "sleep", lambda seconds: None)


@pytest.fixture
def exchanges(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One item for each HTTP call that is tried."""
    calls: list[int] = []

    def counted(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        return exchange(*arguments, **options)

    monkeypatch.setattr(calls_module, "exchange", counted)
    return calls


@pytest.fixture
def nobody_listens() -> str:
    """An address that refuses connections."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serve connections with a function each, on a port of its own."""
    listeners: list[socket.socket] = []

    def start(behave: Callable[[socket.socket], None]) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)
        serve_each(listener, behave)
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for listener in listeners:
        listener.close()
