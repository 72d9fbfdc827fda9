"""Faults on demand."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
import requests

from airflow_provider_8x8.sandbox.server import Sandbox
from airflow_provider_8x8.sandbox.wire.errors import ApiError
from tests.sandbox.caller import Caller, connect, eventually, head, message


def put(caller: Caller, *faults: dict[str, Any]) -> requests.Response:
    return caller.call("PUT", "/sandbox/faults", key=None, json=list(faults))


def fault(kind: str, on: str = "survey_batch", **fields: Any) -> dict[str, Any]:
    return {"on": on, "kind": kind, **fields}


def assert_sound(caller: Caller, sandbox: Sandbox, accepted: int) -> None:
    """The next batch is answered as if nothing had been, and what was accepted before it is this."""
    assert sandbox.stats()["accepted"] == accepted
    assert caller.batch(message(99)).json()["acceptedCount"] == 1


def test_429_is_not_accepted(caller: Caller, sandbox: Sandbox) -> None:
    assert put(caller, fault("429")).status_code == 200
    response = caller.batch(message(1))
    assert (response.status_code, response.json()["code"], response.headers["Retry-After"]) == (429, 429, "1")
    assert_sound(caller, sandbox, accepted=0)


@pytest.mark.parametrize(("retry_after", "header"), [(0, "0"), (7, "7"), ("Wed, 21 Oct 2026 07:28:00 GMT",) * 2])
def test_429_says_when_to_come_again(caller: Caller, retry_after: int | str, header: str) -> None:
    put(caller, fault("429", retry_after=retry_after))
    assert caller.batch(message(1)).headers["Retry-After"] == header


def test_500_is_not_accepted(caller: Caller, sandbox: Sandbox) -> None:
    put(caller, fault("500"))
    response = caller.batch(message(1))
    assert (response.status_code, response.json()["code"]) == (500, 2000)
    assert_sound(caller, sandbox, accepted=0)


def test_404_is_for_what_there_is_no_longer(caller: Caller) -> None:
    put(caller, fault("404", on="log_export_result"))
    job = caller.call("POST", "messages/exports", json={}).json()["jobId"]
    response = caller.call("GET", f"messages/exports/{job}")
    assert (response.status_code, response.json()["code"]) == (404, 1300)
    assert caller.call("GET", f"messages/exports/{job}").status_code == 200


def test_500_after_accept_is_accepted(caller: Caller, sandbox: Sandbox) -> None:
    put(caller, fault("500_after_accept"))
    response = caller.batch(message(1))
    assert (response.status_code, response.json()["code"]) == (500, 2000)
    assert_sound(caller, sandbox, accepted=1)


@pytest.mark.parametrize(("kind", "accepted"), [("close_before_accept", 0), ("close_after_accept", 1)])
def test_a_closed_connection_has_no_answer(caller: Caller, sandbox: Sandbox, kind: str, accepted: int) -> None:
    put(caller, fault(kind))
    with connect(sandbox) as connection:
        body = b'{"messages": [{"destination": "+12025550123", "templateBody": "{{url}}"}]}'
        connection.sendall(head(sandbox, f"Content-Length: {len(body)}") + body)
        assert connection.recv(1) == b""
    assert_sound(caller, sandbox, accepted)


def test_a_hanging_answer_keeps_silent_until_the_client_leaves(caller: Caller, sandbox: Sandbox) -> None:
    put(caller, fault("hang_after_accept"))
    with connect(sandbox) as connection:
        body = b'{"messages": [{"destination": "+12025550123", "templateBody": "{{url}}"}]}'
        connection.sendall(head(sandbox, f"Content-Length: {len(body)}") + body)
        assert eventually(lambda: sandbox.stats()["accepted"] == 1)
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(1)
    assert_sound(caller, sandbox, accepted=1)


def test_hanging_answers_keep_nobody_else_waiting(caller: Caller, sandbox: Sandbox) -> None:
    put(caller, fault("hang_after_accept", times=5), fault("hang_after_accept", on="log_export"))
    body = b'{"messages": [{"destination": "+12025550123", "templateBody": "{{url}}"}]}'
    with contextlib.ExitStack() as hanging:
        for _ in range(5):
            connection = hanging.enter_context(connect(sandbox))
            connection.sendall(head(sandbox, f"Content-Length: {len(body)}") + body)
        export = hanging.enter_context(connect(sandbox))
        export.sendall(head(sandbox, "Content-Length: 2", path="messages/exports") + b"{}")
        assert eventually(lambda: sandbox.stats()["accepted"] == 5)
        assert eventually(lambda: put(caller).json() == [])
        assert caller.batch(message(1)).json()["acceptedCount"] == 1
        assert caller.log()[0] == "succeeded"
        assert sandbox.stats()["accepted"] == 6


def test_a_hanging_answer_does_not_keep_the_sandbox_from_stopping(caller: Caller, sandbox: Sandbox) -> None:
    put(caller, fault("hang_after_accept"))
    with connect(sandbox) as connection:
        body = b'{"messages": [{"destination": "+12025550123", "templateBody": "{{url}}"}]}'
        connection.sendall(head(sandbox, f"Content-Length: {len(body)}") + body)
        assert eventually(lambda: sandbox.stats()["accepted"] == 1)
        sandbox.stop()
        assert connection.recv(1) == b""


def test_a_truncated_answer_breaks_off(caller: Caller, sandbox: Sandbox) -> None:
    put(caller, fault("truncate"))
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        caller.batch(message(1))
    assert_sound(caller, sandbox, accepted=1)


def test_an_answer_that_is_no_json_is_a_200(caller: Caller, sandbox: Sandbox) -> None:
    put(caller, fault("not_json"))
    response = caller.batch(message(1))
    assert (response.status_code, response.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    with pytest.raises(requests.exceptions.JSONDecodeError):
        response.json()
    assert_sound(caller, sandbox, accepted=1)


def test_a_fault_strikes_as_often_as_told_and_in_order(caller: Caller, sandbox: Sandbox) -> None:
    put(caller, fault("500_after_accept"), fault("429", times=2), fault("500"))
    assert [caller.batch(message(number)).status_code for number in range(5)] == [500, 429, 429, 500, 200]
    assert sandbox.stats()["accepted"] == 2


def test_a_fault_after_accepting_waits_for_a_request_that_is_accepted(caller: Caller, sandbox: Sandbox) -> None:
    put(caller, fault("500_after_accept"))
    assert caller.batch(message(1, destination="0")).status_code == 400
    assert caller.batch(message(1)).status_code == 500
    assert sandbox.stats()["accepted"] == 1


def test_a_wrong_key_uses_up_no_fault(caller: Caller) -> None:
    put(caller, fault("429"))
    assert caller.call("POST", "surveys/nps/messages/batch", key="other", json={}).status_code == 401
    assert caller.batch(message(1)).status_code == 429


OPERATIONS: dict[str, Callable[[Caller], requests.Response]] = {
    "survey_batch": lambda caller: caller.batch(message(1)),
    "survey": lambda caller: caller.single(),
    "cancel_batch": lambda caller: caller.call("DELETE", "messages/batch/d9428888-122b-11e1-b85c-61cd3cbb3210"),
    "cancel_message": lambda caller: caller.call("DELETE", "messages/d9428888-122b-11e1-b85c-61cd3cbb3210"),
    "delete_pii": lambda caller: caller.call("DELETE", "messages/d9428888-122b-11e1-b85c-61cd3cbb3210/pii"),
    "get_message": lambda caller: caller.call("GET", "messages/d9428888-122b-11e1-b85c-61cd3cbb3210"),
    "log_export": lambda caller: caller.call("POST", "messages/exports", json={}),
    "log_export_result": lambda caller: caller.call("GET", "messages/exports/job"),
    "log_export_cancel": lambda caller: caller.call("DELETE", "messages/exports/job"),
    "log_export_download": lambda caller: caller.call("GET", "messages/download/token"),
    "prices": lambda caller: caller.call("GET", "/api/v1/accounts/d9428888-122b-11e1-b85c-61cd3cbb3210/prices"),
    "balance": lambda caller: caller.call("GET", "/api/v1/accounts/d9428888-122b-11e1-b85c-61cd3cbb3210/balance"),
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_fault_strikes_its_own_operation_only(caller: Caller, operation: str) -> None:
    put(caller, fault("500", on=operation))
    others = [ask(caller).status_code for name, ask in OPERATIONS.items() if name != operation]
    assert 500 not in others
    assert OPERATIONS[operation](caller).status_code == 500
    assert OPERATIONS[operation](caller).status_code != 500


def test_new_faults_replace_the_old_and_an_empty_list_clears(caller: Caller) -> None:
    put(caller, fault("500", times=9))
    assert put(caller, fault("429", times=9)).json() == [fault("429", times=9)]
    assert caller.batch(message(1)).status_code == 429
    assert put(caller).json() == []
    assert caller.batch(message(1)).status_code == 200


def test_the_faults_that_are_to_come_can_be_asked_for(caller: Caller) -> None:
    put(caller, fault("500", times=2), fault("log_lag_seconds", on="log_export", seconds=60))
    caller.batch(message(1))
    to_come = caller.call("GET", "/sandbox/faults", key=None).json()
    assert to_come == [fault("500", times=1), fault("log_lag_seconds", on="log_export", seconds=60)]


@pytest.mark.parametrize(
    "body",
    [
        {"on": "survey_batch", "kind": "500"},
        [{"kind": "500"}],
        [{"on": "survey_batch"}],
        [fault("explode")],
        [fault("500", on="everything")],
        [fault("500", after=3)],
        [fault("500", times=0)],
        [fault("500", times="all")],
        [fault("500", seconds=3)],
        [fault("500", retry_after=3)],
        [fault("429", retry_after="a\r\nb")],
        [fault("429", retry_after=-1)],
        [fault("log_lag_seconds", on="log_export")],
        [fault("log_lag_seconds", on="log_export", seconds=-1)],
        [fault("log_lag_seconds", seconds=3)],
        "faults",
    ],
    ids=str,
)
def test_a_fault_that_there_is_not_is_refused_with_what_there_is(caller: Caller, body: object) -> None:
    put(caller, fault("429"))
    response = caller.call("PUT", "/sandbox/faults", json=body)
    assert response.status_code == 400
    for allowed in ("hang_after_accept", "survey_batch", "retry_after"):
        assert allowed in response.json()["message"]
    assert caller.batch(message(1)).status_code == 429, "the faults there were must stay"


def test_faults_need_not_be_declared_as_json(caller: Caller) -> None:
    response = caller.call("PUT", "/sandbox/faults", data=b'[{"on": "survey_batch", "kind": "500"}]')
    assert response.status_code == 200
    assert caller.batch(message(1)).status_code == 500


def test_a_bad_fault_given_in_python_raises(sandbox: Sandbox) -> None:
    with pytest.raises(ApiError, match="hang_after_accept"):
        sandbox.faults([fault("explode")])
