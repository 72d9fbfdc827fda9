"""The client against servers that misbehave, over real sockets."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any

import pytest
import tenacity

from airflow_provider_8x8 import __version__
from airflow_provider_8x8.api import client as client_module
from airflow_provider_8x8.api.client import EightByEightClient
from airflow_provider_8x8.api.errors import NeverSentError, RateLimitedError, RefusedError, UnknownOutcomeError
from airflow_provider_8x8.api.models import LogExportRequest, SurveyBatch, SurveyMessage
from tests.api.servers import Serve, batch, client_of, read_request
from tests.conftest import API_KEY

SECONDS_TO_WAIT = client_module._seconds_to_wait  # before the tests' own, which does not wait


def _rate_limited(retry_after: float) -> RateLimitedError:
    error = RateLimitedError(429)
    error.retry_after = retry_after
    return error


def test_a_batch_is_sent_and_its_answer_typed(sandbox: Any) -> None:
    answer = client_of(sandbox.url).send_survey_batch("orders", batch(3))
    assert (answer.accepted_count, answer.rejected_count) == (3, 0)
    assert answer.messages is not None
    assert {message.client_message_id for message in answer.messages} == {"0", "1", "2"}


def test_every_other_operation_works(sandbox: Any) -> None:
    from datetime import UTC, datetime, timedelta

    client = client_of(sandbox.url, account_id="00000000-0000-0000-0000-000000000001")
    single = client.send_survey("orders", batch().messages[0])
    assert single.status.code == "QUEUED"
    assert client.get_message(single.umid).umid == single.umid
    now = datetime.now(UTC)
    job = client.start_log_export(LogExportRequest(from_=now - timedelta(hours=1), to=now + timedelta(hours=1)))
    assert client.get_log_export(job.job_id).status in {"queued", "running", "succeeded", "empty"}
    assert client.get_balance().currency
    assert "subAccounts" in client.get_prices(country="US")
    scheduled = batch()
    scheduled.messages[0].scheduled = now + timedelta(days=1)
    batch_id = client.send_survey_batch("orders", scheduled).batch_id
    assert client.cancel_batch(batch_id).cancelled_count == 1
    umid = client.send_survey("orders", scheduled.messages[0]).umid
    assert client.cancel_message(umid).cancelled_count == 1


def test_nothing_reached_is_never_sent_and_tried_five_times(exchanges: list[int], nobody_listens: str) -> None:
    with pytest.raises(NeverSentError, match="nothing was sent"):
        client_of(nobody_listens).send_survey_batch("orders", batch())
    assert len(exchanges) == 5


@pytest.mark.parametrize(
    "answer",
    [
        b"",  # closed
        b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhtml",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 403 No\r\nContent-Length: 4\r\n\r\nhtml",
        b"not http at all\r\n\r\n",
    ],
)
def test_a_post_of_unknown_outcome_is_made_once(serve: Serve, answer: bytes) -> None:
    requests = []

    def behave(connection: socket.socket) -> None:
        requests.append(read_request(connection))
        connection.sendall(answer)

    with pytest.raises(UnknownOutcomeError):
        client_of(serve(behave)).send_survey_batch("orders", batch())
    assert len(requests) == 1


def test_reading_calls_are_made_again(sandbox: Any) -> None:
    umid = client_of(sandbox.url).send_survey("orders", batch().messages[0]).umid
    sandbox.faults([{"on": "get_message", "kind": "500", "times": 2}])
    assert client_of(sandbox.url).get_message(umid).umid == umid


@pytest.mark.parametrize("part", ["headers", "body"])
def test_a_server_that_drips_does_not_escape_the_deadline(serve: Serve, part: str) -> None:
    begun = threading.Event()

    def behave(connection: socket.socket) -> None:
        read_request(connection)
        begun.set()
        head = b"HTTP/1.1 200 OK\r\n" if part == "headers" else b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"
        connection.sendall(head)
        while True:
            connection.sendall(b"a")
            time.sleep(0.05)

    with pytest.raises(UnknownOutcomeError, match=r"within 0\.5 s"):
        client_of(serve(behave), timeout=0.5).send_survey_batch("orders", batch())
    assert begun.is_set()


def test_a_server_that_stops_reading_does_not_escape_the_deadline(serve: Serve) -> None:
    def behave(connection: socket.socket) -> None:
        connection.recv(1)
        time.sleep(3)

    big = SurveyBatch(messages=[SurveyMessage(destination="+12025550123", template_body="{{url}}" + "x" * 20_000_000)])
    with pytest.raises(UnknownOutcomeError, match=r"within 0\.5 s"):
        client_of(serve(behave), timeout=0.5).send_survey_batch("orders", big)


def test_an_endless_answer_is_not_read(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_8x8.api.transport.MAX_ANSWER_BYTES", 1000)

    def behave(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100_000)

    with pytest.raises(UnknownOutcomeError, match="larger than 1000 bytes"):
        client_of(serve(behave)).send_survey_batch("orders", batch())


def test_each_post_has_a_connection_of_its_own_and_says_who_calls(serve: Serve) -> None:
    heads: list[bytes] = []

    def behave(connection: socket.socket) -> None:
        heads.append(read_request(connection))
        body = b'{"batchId":"b","acceptedCount":1,"rejectedCount":0}'
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        connection.settimeout(5)

    client = client_of(serve(behave))
    for _ in range(3):
        client.send_survey_batch("a survey/ü", batch())
    assert len(heads) == 3
    assert f"User-Agent: airflow-provider-8x8/{__version__}".encode() in heads[0]
    assert f"Authorization: Bearer {API_KEY}".encode() in heads[0]
    assert b"/surveys/a%20survey%2F%C3%BC/messages/batch" in heads[0]


def test_429_is_tried_again_and_given_up(sandbox: Any) -> None:
    sandbox.faults([{"on": "survey_batch", "kind": "429", "times": 9, "retry_after": 0}])
    with pytest.raises(RateLimitedError):
        client_of(sandbox.url).send_survey_batch("orders", batch())
    assert sandbox.stats()["requests"] == 5


def test_the_check_tells_key_and_sub_account_apart(sandbox: Any) -> None:
    client_of(sandbox.url).check()
    with pytest.raises(RefusedError, match="code 1200"):
        EightByEightClient("wrong", subaccount_id="sandbox_hq", base_url=sandbox.url).check()
    with pytest.raises(RefusedError, match="code 1001"):
        EightByEightClient(API_KEY, subaccount_id="another", base_url=sandbox.url).check()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"api_key": ""}, "API key is missing"),
        ({"api_key": "secret-key\n"}, "line break"),
        ({"subaccount_id": ""}, "sub-account id is missing"),
        ({"subaccount_id": "a/b"}, "3 to 50 characters"),
        ({"base_url": "http://sms.example.com"}, "https only"),
        ({"base_url": "sms.example.com"}, "expected https"),
        ({"base_url": "https://user:secret-key@sms.example.com"}, "user name or password"),
        ({"timeout": 0}, "above 0"),
    ],
)
def test_a_client_that_cannot_work_is_not_made(arguments: dict[str, Any], message: str) -> None:
    given = {"api_key": "k", "subaccount_id": "sandbox_hq", **arguments}
    with pytest.raises(ValueError, match=message) as caught:
        EightByEightClient(given.pop("api_key"), **given)
    assert "secret-key" not in str(caught.value)


def test_the_key_never_shows(sandbox: Any) -> None:
    client = client_of(sandbox.url)
    assert API_KEY not in repr(client) + repr(vars(client))


def test_an_environments_proxy_never_sees_a_key_over_plain_http(sandbox: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    client_of(sandbox.url).check()


def test_ids_cannot_lead_to_another_resource(sandbox: Any) -> None:
    with pytest.raises(ValueError, match="expected an id"):
        client_of(sandbox.url).get_message("..")


@pytest.mark.parametrize(
    ("error", "tries", "least", "most"),
    [
        (NeverSentError("gone"), 1, 1, 2),
        (NeverSentError("gone"), 4, 8, 9),
        (RateLimitedError(429), 1, 1, 2),
        (_rate_limited(7.0), 1, 7, 8),
        (_rate_limited(0.0), 3, 0, 1),
        (_rate_limited(86_400.0), 1, 120, 121),  # a day: cut to two minutes
    ],
)
def test_waiting_is_as_long_as_8x8_asks_with_a_limit_and_a_jitter(
    error: Exception, tries: int, least: float, most: float
) -> None:
    state = tenacity.RetryCallState(retry_object=client_module.until_sent, fn=None, args=(), kwargs={})
    state.attempt_number = tries
    state.set_exception((type(error), error, None))
    waits = {SECONDS_TO_WAIT(state) for _ in range(20)}
    assert all(least <= seconds <= most for seconds in waits)
    assert len(waits) > 1
