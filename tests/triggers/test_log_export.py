"""The trigger: a triggerer may run thousands beside it, start anew, and write down what it is made from."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from importlib import import_module
from typing import Any

import pytest

from airflow_provider_8x8.triggers.log_export import EightByEightLogExportTrigger
from tests.api.servers import read_head, serve_each
from tests.conftest import API_KEY

PATIENCE = 60.0
PROGRESS = {"ends_at": 1.0, "next_look": 1.0}


def trigger_of(**arguments: Any) -> EightByEightLogExportTrigger:
    return EightByEightLogExportTrigger(
        **{"until": time.time() + PATIENCE, "job_id": "job", "progress": PROGRESS, **arguments}
    )


def started_anew(trigger: EightByEightLogExportTrigger) -> EightByEightLogExportTrigger:
    """The trigger as a triggerer makes it from what is in Airflow's database."""
    path, arguments = trigger.serialize()
    module, _, name = path.rpartition(".")
    made = getattr(import_module(module), name)(**json.loads(json.dumps(arguments)))
    assert isinstance(made, EightByEightLogExportTrigger)
    return made


async def fired(trigger: EightByEightLogExportTrigger) -> Any:
    return [event.payload async for event in trigger.run()]


class SlowEightByEight:
    """Answers a request when it is allowed to, and no sooner."""

    def __init__(self) -> None:
        self.was_asked = threading.Event()
        self.may_answer = threading.Event()
        self.requests: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        serve_each(self._listener, self._answer)

    def _answer(self, connection: socket.socket) -> None:
        head, _ = read_head(connection)
        self.requests.append(head)
        self.was_asked.set()
        if not self.may_answer.wait(PATIENCE):
            return
        body = b'{"status": "succeeded", "data": ["https://example.com/secret"]}'
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Any:
    server = SlowEightByEight()
    fields = {"conn_type": "eight_by_eight", "host": server.url, "login": "sandbox_hq", "password": API_KEY}
    monkeypatch.setenv("AIRFLOW_CONN_EIGHT_BY_EIGHT_DEFAULT", json.dumps(fields))
    yield server
    server.close()


def test_the_loop_goes_on_while_8x8_takes_its_time(slow: SlowEightByEight) -> None:
    async def another() -> None:
        while not slow.was_asked.is_set():
            await asyncio.sleep(0.01)
        slow.may_answer.set()  # which nobody else does: a loop that stands still gets no answer

    async def both() -> Any:
        return (await asyncio.gather(fired(started_anew(trigger_of())), another()))[0]

    (event,) = asyncio.run(both())
    assert slow.may_answer.is_set()
    assert event == PROGRESS, "not the links, each of which is its own key"
    assert [request.split(b" ")[0] for request in slow.requests] == [b"GET"]
    assert f"Authorization: Bearer {API_KEY}".encode() in slow.requests[0]


def test_it_can_be_written_down_and_holds_no_secret(slow: SlowEightByEight) -> None:
    trigger = trigger_of(subaccount_id="another_hq")
    assert started_anew(trigger).serialize() == trigger.serialize()
    assert API_KEY not in json.dumps(trigger.serialize())


@pytest.mark.parametrize("job_id", [None, "job"])
def test_started_anew_after_its_time_it_does_not_wait_again(slow: SlowEightByEight, job_id: str | None) -> None:
    slow.may_answer.set()
    trigger = started_anew(trigger_of(until=time.time() - 1, job_id=job_id))
    assert asyncio.run(fired(trigger)) == [PROGRESS]


def test_an_export_that_is_not_over_is_asked_after_until_the_time_is(sandbox: Any, connection: str) -> None:
    sandbox.faults([{"on": "log_export_result", "kind": "500", "times": 1_000}])
    assert asyncio.run(fired(trigger_of(until=time.time() + 1))) == [PROGRESS]
    left = 1_000 - sandbox_faults(sandbox)
    assert left > 1


def sandbox_faults(sandbox: Any) -> int:
    """How many faults are still to come."""
    import requests

    (fault,) = requests.get(f"{sandbox.url}/sandbox/faults", timeout=10).json()
    return int(fault["times"])


@pytest.mark.parametrize("job_id", ["gone"])
def test_what_fails_is_left_to_the_task(sandbox: Any, connection: str, job_id: str) -> None:
    assert asyncio.run(fired(trigger_of(job_id=job_id))) == [PROGRESS]
    assert asyncio.run(fired(trigger_of(eight_by_eight_conn_id="there_is_none"))) == [PROGRESS]


def test_it_can_be_cancelled_while_8x8_takes_its_time(slow: SlowEightByEight) -> None:
    async def cancelled() -> None:
        running = asyncio.create_task(fired(trigger_of()))
        while not slow.was_asked.is_set():
            await asyncio.sleep(0.01)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        slow.may_answer.set()  # the thread's: it ends by itself

    asyncio.run(cancelled())
