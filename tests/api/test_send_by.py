"""A request that has a time by which it is complete, or never is: the bytes that a server gets of it."""

from __future__ import annotations

import socket
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pytest

from airflow_provider_8x8.api import body_stream, transport, tries, watchdog
from airflow_provider_8x8.api.body_stream import BodyStream
from airflow_provider_8x8.api.errors import (
    EightByEightError,
    NeverSentError,
    RateLimitedError,
    UnknownOutcomeError,
)
from airflow_provider_8x8.api.models import SurveyBatch, SurveyMessage
from tests.api.servers import Serve, batch, client_of, content_length, read_head, read_request

ANSWER = b'{"batchId":"b","acceptedCount":1,"rejectedCount":0}'
OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(ANSWER), ANSWER)


class Received(NamedTuple):
    """What came of one request until its end, or the connection's."""

    declared: int
    body: bytes


class Receiver:
    """Reads each request as far as it comes, at first only when it may; answers one that is complete."""

    def __init__(self, serve: Serve, answer: bytes = b"") -> None:
        self.received: list[Received] = []
        self.may_read = threading.Event()
        self.head_read = threading.Event()
        self._answer = answer
        self.url = serve(self._behave)

    def _behave(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        head, body = read_head(connection)
        self.head_read.set()
        self.may_read.wait(30)
        while len(body) < content_length(head):
            piece = connection.recv(65536)
            if not piece:
                break
            body += piece
        self.received.append(Received(content_length(head), body))
        if len(body) == content_length(head):
            connection.sendall(
                self._answer or b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(ANSWER), ANSWER)
            )


def big_batch(size: int = 20_000_000) -> SurveyBatch:
    """More than the buffers of both sides hold."""
    return SurveyBatch(messages=[SurveyMessage(destination="+12025550123", template_body="{{url}}" + "x" * size)])


def wait_for(receiver: Receiver, requests: int = 1) -> list[Received]:
    for _ in range(1200):
        if len(receiver.received) >= requests:
            break
        time.sleep(0.05)
    return receiver.received


def test_a_request_in_time_is_complete(serve: Serve) -> None:
    receiver = Receiver(serve)
    receiver.may_read.set()
    assert client_of(receiver.url).send_survey_batch("orders", batch(), send_by=time.time() + 30).batch_id == "b"
    (received,) = receiver.received
    assert len(received.body) == received.declared


def test_that_a_request_is_out_is_told_before_its_answer_comes(serve: Serve) -> None:
    may_answer, is_out = threading.Event(), threading.Event()

    def answer_late(connection: socket.socket) -> None:
        read_request(connection)
        may_answer.wait(30)
        connection.sendall(OK)

    client, send_by = client_of(serve(answer_late)), time.time() + 30
    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(client.send_survey_batch, "orders", batch(), send_by=send_by, on_sent=is_out.set)
        assert is_out.wait(30)
        assert not answer.done()
        may_answer.set()
        assert answer.result().batch_id == "b"


def test_a_request_that_is_never_complete_is_never_told_to_be_out(serve: Serve) -> None:
    receiver, is_out = Receiver(serve), threading.Event()
    with pytest.raises(NeverSentError):
        client_of(receiver.url).send_survey_batch("orders", big_batch(), send_by=time.time() + 1.5, on_sent=is_out.set)
    receiver.may_read.set()
    assert not is_out.is_set()


def test_a_request_that_is_held_up_is_never_completed(serve: Serve) -> None:
    receiver = Receiver(serve)
    with pytest.raises(NeverSentError, match=r"withheld: its time was over .* a smaller batch_size helps"):
        client_of(receiver.url).send_survey_batch("orders", big_batch(), send_by=time.time() + 1.5)
    receiver.may_read.set()
    (received,) = wait_for(receiver)
    assert 0 < len(received.body) < received.declared


def test_the_last_byte_waits_for_no_buffer(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """The buffers are full just when the last byte is due: it must not go out once they are read, too late."""
    receiver = Receiver(serve)
    monkeypatch.setattr(watchdog, "wait_for_write", lambda connection, timeout: time.sleep(timeout))  # never writable
    begun = time.monotonic()
    with pytest.raises(NeverSentError, match="time was over"):
        client_of(receiver.url).send_survey_batch("orders", batch(), send_by=time.time() + 0.5)
    assert time.monotonic() - begun >= 0.4
    receiver.may_read.set()
    (received,) = wait_for(receiver)
    assert len(received.body) == received.declared - 1


class Clock:
    """A wall clock that somebody sets."""

    def __init__(self, shift: float) -> None:
        self.shift = shift

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def time(self) -> float:
        return time.time() + self.shift


def test_a_wall_clock_that_is_set_back_gives_no_more_time(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    receiver = Receiver(serve)
    clock = Clock(0)
    monkeypatch.setattr(body_stream, "time", clock)

    def set_back() -> None:
        if receiver.head_read.wait(30):
            clock.shift = -3600

    threading.Thread(target=set_back).start()
    with pytest.raises(NeverSentError, match="time was over"):
        client_of(receiver.url, timeout=5).send_survey_batch("orders", big_batch(), send_by=time.time() + 1.5)
    receiver.may_read.set()
    (received,) = wait_for(receiver)
    assert len(received.body) < received.declared


def test_a_wall_clock_that_is_set_on_ends_it_at_once(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    receiver = Receiver(serve)
    clock = Clock(0)
    monkeypatch.setattr(body_stream, "time", clock)

    def stall() -> None:
        receiver.head_read.wait(30)
        clock.shift = 3600
        receiver.may_read.set()

    threading.Thread(target=stall).start()
    with pytest.raises(NeverSentError, match="time was over"):
        client_of(receiver.url).send_survey_batch("orders", big_batch(), send_by=time.time() + 30)
    (received,) = wait_for(receiver)
    assert len(received.body) < received.declared


def test_a_request_whose_time_is_over_connects_to_nobody(serve: Serve) -> None:
    receiver = Receiver(serve)
    with pytest.raises(NeverSentError, match="over before it began"):
        client_of(receiver.url).send_survey_batch("orders", batch(), send_by=time.time() - 1)
    assert not receiver.head_read.wait(0.2)


def test_what_is_handed_over_at_every_moment_is_no_json_without_the_last_byte() -> None:
    stream = BodyStream(b'{"a":"' + b"x" * 200_000 + b'"}', time.monotonic() + 30, time.time() + 30)
    pieces = list(stream)
    assert pieces[-1] == b"}"
    assert len(b"".join(pieces)) == len(stream)
    assert [len(piece) for piece in BodyStream(b"{}", time.monotonic() + 30)] == [1, 1]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 429 Slow down\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n", RateLimitedError),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", UnknownOutcomeError),
    ],
)
def test_with_a_time_the_call_is_made_once(serve: Serve, answer: bytes, error: type[EightByEightError]) -> None:
    receiver = Receiver(serve, answer)
    receiver.may_read.set()
    with pytest.raises(error):
        client_of(receiver.url).send_survey_batch("orders", batch(), send_by=time.time() + 30)
    assert len(receiver.received) == 1


def test_nothing_reached_is_never_sent_at_once(exchanges: list[int], nobody_listens: str) -> None:
    with pytest.raises(NeverSentError, match="nothing was sent"):
        client_of(nobody_listens).send_survey_batch("orders", batch(), send_by=time.time() + 30)
    assert len(exchanges) == 1


def test_a_connection_that_is_lost_before_the_last_byte_has_sent_nothing(serve: Serve) -> None:
    def behave(connection: socket.socket) -> None:
        read_head(connection)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with pytest.raises(NeverSentError, match="last piece was withheld") as caught:
        client_of(serve(behave)).send_survey_batch("orders", big_batch(), send_by=time.time() + 30)
    assert "batch_size" not in str(caught.value)


def test_a_lost_connection_after_the_last_byte_stays_unknown(serve: Serve) -> None:
    def behave(connection: socket.socket) -> None:
        head, body = read_head(connection)
        while len(body) < content_length(head):
            body += connection.recv(65536)

    with pytest.raises(UnknownOutcomeError):
        client_of(serve(behave)).send_survey_batch("orders", batch(), send_by=time.time() + 30)


def test_an_answer_may_come_after_the_time(serve: Serve) -> None:
    def behave(connection: socket.socket) -> None:
        head, body = read_head(connection)
        while len(body) < content_length(head):
            body += connection.recv(65536)
        time.sleep(1)
        connection.sendall(OK)

    assert client_of(serve(behave)).send_survey_batch("orders", batch(), send_by=time.time() + 0.5).batch_id == "b"


def test_a_caller_can_make_such_calls_again_with_its_own_sleep(sandbox: Any) -> None:
    sandbox.faults([{"on": "survey_batch", "kind": "429", "times": 2, "retry_after": 0}])
    client = client_of(sandbox.url)
    slept: list[float] = []
    begun: list[float] = []

    def begin_and_post() -> str:
        begun.append(time.time())
        return client.send_survey_batch("orders", batch(), send_by=begun[-1] + 30).batch_id

    assert tries.until_sent.copy(sleep=slept.append)(begin_and_post)
    assert (len(begun), len(slept)) == (3, 2)


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux only")
def test_the_kernel_does_not_deliver_it_much_later_either(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    milliseconds = []
    watch = watchdog.give_up_delivery_after

    def spy(connection: socket.socket, seconds: float) -> None:
        watch(connection, seconds)
        milliseconds.append(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))

    monkeypatch.setattr(transport, "give_up_delivery_after", spy)
    receiver = Receiver(serve)
    receiver.may_read.set()
    client_of(receiver.url).send_survey_batch("orders", batch(), send_by=time.time() + 30)
    assert 29_000 < milliseconds[0] <= 30_000
