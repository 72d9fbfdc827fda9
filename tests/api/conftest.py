"""No waiting between tries, and servers on ports of their own."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest

from airflow_provider_8x8.api import client as client_module
from tests.api.servers import Serve, serve_each


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "_seconds_to_wait", lambda state: 0.0)
    for policy in (client_module.until_sent, client_module._until_answered):
        monkeypatch.setattr(policy, "wait", lambda state: 0.0)


@pytest.fixture
def exchanges(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One item for each HTTP call that is tried."""
    calls: list[int] = []
    exchange = client_module.exchange
    monkeypatch.setattr(client_module, "exchange", lambda *args, **kw: calls.append(1) or exchange(*args, **kw))
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
