"""The client against servers that misbehave, over real sockets."""

from __future__ import annotations

import gc
import logging
import socket
import threading
import time
import traceback
import tracemalloc
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import tenacity

from airflow_provider_8x8 import __version__
from airflow_provider_8x8.api import tries as tries_module
from airflow_provider_8x8.api.client import EightByEightClient
from airflow_provider_8x8.api.errors import NeverSentError, RateLimitedError, RefusedError, UnknownOutcomeError
from airflow_provider_8x8.api.models import LogExportRequest, SurveyBatch, SurveyMessage
from tests.api.servers import Serve, batch, client_of, message, read_request
from tests.conftest import API_KEY

ANSWER = b'{"batchId":"b","acceptedCount":1,"rejectedCount":0}'
REFUSAL = b'{"code":1000,"message":"","errorId":"e-1","timestamp":""}'


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
    client = client_of(sandbox.url, account_id="00000000-0000-0000-0000-000000000001")
    single = client.send_survey("orders", message())
    assert single.status.code == "QUEUED"
    assert client.get_message(single.umid).umid == single.umid
    now = datetime.now(UTC)
    job = client.start_log_export(LogExportRequest(from_=now - timedelta(hours=1), to=now + timedelta(hours=1)))
    assert client.get_log_export(job.job_id).status in {"queued", "running", "succeeded", "empty"}
    assert client.get_balance().currency
    assert "subAccounts" in client.get_prices(country="US")
    scheduled = batch()
    assert isinstance(scheduled.messages, list)
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
        b"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://[::1\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\n{}",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 42\r\n\r\n",
        b"HTTP/1.1 1000\r\n\r\n",
        b"HTTP/1.1 two hundred\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\n",
        b"HTTP/1.1 200 " + b"x" * 70_000,
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000,
        b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 400 No\r\nContent-Length: 500\r\n\r\n" + REFUSAL,  # the head says that there is more
        b"HTTP/1.1 400 No",
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


@pytest.mark.parametrize(
    "body",
    [
        ANSWER + b"garbage",
        b"\xef\xbb\xbf" + ANSWER,
        ANSWER.replace(b'"b"', b'"\xff"'),
        ANSWER.replace(b'"b"', b'"\\ud800"'),
        ANSWER.replace(b'"b"', b'"a\\u0000b"'),
        ANSWER.replace(b'"b"', b'""'),
        ANSWER.replace(b'"b"', b'"%s"' % (b"b" * 1000)),
        *(
            ANSWER.replace(b"1", count)
            for count in (
                b"NaN",
                b"Infinity",
                b"-1",
                b"1.5",
                b"1e400",
                b"9" * 30,
                b"9" * 5000,
                b"10001",
                b"null",
                b'"1"',
            )
        ),
        ANSWER.replace(b"}", b',"acceptedCount":0}'),
        ANSWER.replace(b"}", b',"rejectedCount":1}'),
        ANSWER.replace(b"}", b',"x":%s%s}' % (b"[" * 100_000, b"]" * 100_000)),
        ANSWER.replace(b"}", b',"messages":%s%s}' % (b"[" * 100_000, b"]" * 100_000)),
        ANSWER.replace(b"}", b',"messages":[{"umid":"u","status":{"code":"+12025550123"}}]}'),
        b"[" + ANSWER + b"]",
        b"null",
        b"",
    ],
    ids=lambda body: repr(body[:80]),
)
def test_a_200_that_makes_no_sense_is_unknown(serve: Serve, body: bytes) -> None:
    def behave(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    with pytest.raises(UnknownOutcomeError) as caught:
        client_of(serve(behave)).send_survey_batch("orders", batch())
    assert "0123" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 429\r\n\r\n",
        b"HTTP/1.1 429 Slow\r\nContent-Length: 500\r\n\r\n{",
        b"HTTP/1.1 429 Slow\r\nContent-Length: many\r\n\r\n\xff\xfe",
        b"HTTP/1.1 429 Slow\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"HTTP/1.1 429 Slow\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 429 Slow\r\nContent-Encoding: gzip\r\n\r\nthis is none",
        b"HTTP/1.1 429 Slow\r\nno header\r\n: none either\r\n\r\n",
        b"HTTP/1.1 429 Slow\r\n" + b"X: x\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 429 Slow\r\nX: " + b"x" * 70_000,
        b"HTTP/1.1 429 Slow\r\nRetry-Aft",
        b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 429 Slow\r\n\r\n",
        b"HTTP/1.1 429 Slow\r\n\r\n" + b"[" * 100_000,
        b'HTTP/1.1 429 Slow\r\n\r\n{"code":12025550123,"message":5,"errorId":{}}',
    ],
)
def test_a_429_is_one_whatever_comes_with_it(serve: Serve, answer: bytes) -> None:
    def behave(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(answer)

    with pytest.raises(RateLimitedError) as caught:
        client_of(serve(behave)).send_survey_batch("orders", batch(), send_by=time.time() + 30)
    assert caught.value.retry_after is None
    assert "0123" not in str(caught.value)


def test_a_429_that_never_ends_is_one(serve: Serve) -> None:
    def behave(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 429 Slow\r\nRetry-After: 7\r\n\r\n")
        while True:
            connection.sendall(b"a")
            time.sleep(0.05)

    with pytest.raises(RateLimitedError) as caught:
        client_of(serve(behave), timeout=0.5).send_survey_batch("orders", batch(), send_by=time.time() + 30)
    assert caught.value.retry_after == 7


def test_a_wait_that_8x8_asks_for_several_times_is_the_longest(serve: Serve) -> None:
    def behave(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 429 Slow\r\nRetry-After: 30\r\nRetry-After: 60\r\nRetry-After: 5\r\n\r\n")

    with pytest.raises(RateLimitedError) as caught:
        client_of(serve(behave)).send_survey_batch("orders", batch(), send_by=time.time() + 30)
    assert caught.value.retry_after == 60


def test_an_answer_after_others_that_only_announce_it_is_taken(serve: Serve) -> None:
    def behave(connection: socket.socket) -> None:
        read_request(connection)
        announced = (
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
        )
        connection.sendall(announced + b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(ANSWER), ANSWER))

    assert client_of(serve(behave)).send_survey_batch("orders", batch()).batch_id == "b"


def test_nothing_that_a_server_says_shows_as_it_came(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever answers with what was asked shows the key, and what a server's headers hold may be a number."""
    caplog.set_level(logging.DEBUG)
    echoes = [
        b"Authorization: Bearer %s +12025550123\r\n\r\n" % API_KEY.encode(),
        b"HTTP/1.1 200 OK\r\nBearer %s +12025550123\r\n\r\n{}" % API_KEY.encode(),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%s +12025550123\r\n" % API_KEY.encode(),
        b"HTTP/1.1 200 OK\r\n\r\n%s +12025550123" % API_KEY.encode(),
    ]
    for echo in echoes:

        def behave(connection: socket.socket, echo: bytes = echo) -> None:
            read_request(connection)
            connection.sendall(echo)

        try:
            client_of(serve(behave)).send_survey_batch("orders", batch(), send_by=time.time() + 30)
        except UnknownOutcomeError:
            shown = [line for line in traceback.format_exc().splitlines() if not line.startswith("    ")]
        else:
            pytest.fail("it was understood")
        assert not [line for line in (*shown, caplog.text) if API_KEY in line or "0123" in line]


@pytest.mark.parametrize("fault", ["429", "500", "404", "close_before_accept", "not_json"])
def test_a_caller_may_have_a_call_made_once_and_get_what_it_got(sandbox: Any, exchanges: list[int], fault: str) -> None:
    client = client_of(sandbox.url)
    now = datetime.now(UTC)
    request = LogExportRequest(from_=now - timedelta(hours=1), to=now)
    job_id = client.start_log_export(request).job_id
    for call, operation in (
        (lambda: client.start_log_export(request, max_tries=1), "log_export"),
        (lambda: client.get_log_export(job_id, max_tries=1), "log_export_result"),
        (lambda: client.send_survey("orders", message(), send_by=time.time() + 30), "survey"),
    ):
        sandbox.faults([{"on": operation, "kind": fault}])
        exchanges.clear()
        expected = {"429": RateLimitedError, "404": RefusedError}.get(fault, UnknownOutcomeError)
        with pytest.raises(expected):
            call()
        assert len(exchanges) == 1


@pytest.mark.parametrize("max_tries", [0, -1, 6])
def test_how_often_a_call_is_made_has_bounds(sandbox: Any, max_tries: int) -> None:
    with pytest.raises(ValueError, match="expected 1 to 5"):
        client_of(sandbox.url).get_log_export("job", max_tries=max_tries)


def test_a_callers_time_bounds_a_call_and_the_clients_does_too(serve: Serve) -> None:
    def behave(connection: socket.socket) -> None:
        while connection.recv(65536):
            pass

    now = datetime.now(UTC)
    request = LogExportRequest(from_=now, to=now)
    url = serve(behave)
    with pytest.raises(UnknownOutcomeError, match=r"within 0\.2 s|timed out"):
        client_of(url).get_log_export("job", max_tries=1, timeout=0.2)
    with pytest.raises(UnknownOutcomeError, match=r"within 0\.2 s|timed out"):
        client_of(url, timeout=0.2).start_log_export(request, max_tries=1, timeout=60)
    with pytest.raises(NeverSentError, match="time was over"):
        client_of(url).start_log_export(request, max_tries=1, timeout=-1)


def test_reading_calls_are_made_again(sandbox: Any) -> None:
    umid = client_of(sandbox.url).send_survey("orders", message()).umid
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
    is_over = threading.Event()

    def behave(connection: socket.socket) -> None:
        connection.recv(1)
        is_over.wait(60)

    big = SurveyBatch(messages=[SurveyMessage(destination="+12025550123", template_body="{{url}}" + "x" * 20_000_000)])
    with pytest.raises(UnknownOutcomeError, match=r"within 0\.5 s"):
        client_of(serve(behave), timeout=0.5).send_survey_batch("orders", big)
    is_over.set()


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


def test_a_request_does_not_wait_for_the_garbage_collector(serve: Serve) -> None:
    def take(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(ANSWER), ANSWER))

    size = 4_000_000
    request = SurveyBatch(messages=[SurveyMessage(destination="+12025550123", template_body="x" * size)])
    client = client_of(serve(take))
    client.send_survey_batch("orders", batch())  # what is made once
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        for _ in range(3):
            client.send_survey_batch("orders", request)
        assert tracemalloc.get_traced_memory()[0] < size
    finally:
        tracemalloc.stop()
        gc.enable()


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
        (_rate_limited(86_400.0), 1, 86_400, 86_401),
    ],
)
def test_waiting_is_as_long_as_8x8_asks_with_a_jitter(error: Exception, tries: int, least: float, most: float) -> None:
    state = tenacity.RetryCallState(retry_object=tries_module.until_sent, fn=None, args=(), kwargs={})
    state.attempt_number = tries
    state.set_exception((type(error), error, None))
    waits = {tries_module.until_sent.wait(state) for _ in range(20)}
    assert all(least <= seconds <= most for seconds in waits)
    assert len(waits) > 1


def _as_asked(state: tenacity.RetryCallState) -> float:
    """The wait without its spread."""
    assert state.outcome is not None
    error = state.outcome.exception()
    assert isinstance(error, RateLimitedError)
    assert error.retry_after is not None
    return error.retry_after


def _call_that_is_asked_to_wait(*seconds: float, longest_wait: float) -> tuple[list[float], RateLimitedError | None]:
    """Make a call that gets these answers and then succeeds; what was slept, and what was raised."""
    slept: list[float] = []
    to_come = [_rate_limited(each) for each in seconds]

    def call() -> None:
        if to_come:
            raise to_come.pop(0)

    retrying = tries_module.retrying_until_sent(slept.append, longest_wait)
    retrying.wait = _as_asked
    try:
        retrying(call)
    except RateLimitedError as error:
        return slept, error
    return slept, None


def test_a_wait_is_as_long_as_8x8_asks_if_there_is_time_for_all_of_them() -> None:
    assert _call_that_is_asked_to_wait(600, 300, longest_wait=900) == ([600, 300], None)
    slept, error = _call_that_is_asked_to_wait(600, 301, longest_wait=900)
    assert slept == [600]
    assert error is not None
    assert error.retry_after == 301


def test_a_wait_that_is_too_long_is_not_begun_and_the_error_says_until_when(sandbox: Any) -> None:
    sandbox.faults([{"on": "survey_batch", "kind": "429", "retry_after": 86_400}])
    begun = datetime.now(UTC)
    with pytest.raises(
        RateLimitedError, match=r"asks to wait 86400 s, until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"
    ) as caught:
        client_of(sandbox.url).send_survey_batch("orders", batch())
    assert sandbox.stats()["requests"] == 1
    assert caught.value.retry_at is not None
    assert caught.value.retry_at >= begun + timedelta(days=1)
    assert f"{caught.value.retry_at:%H:%M:%S}" in str(caught.value)


def test_reading_calls_do_not_wait_for_longer_than_they_may(sandbox: Any, exchanges: list[int]) -> None:
    sandbox.faults([{"on": "get_message", "kind": "429", "retry_after": 121}])
    with pytest.raises(RateLimitedError, match="asks to wait 121 s"):
        client_of(sandbox.url).get_message("00000000-0000-0000-0000-000000000001")
    assert len(exchanges) == 1
