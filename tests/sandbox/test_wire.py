"""HTTP as it comes: bodies in pieces, bodies that never end, connections that stay."""

from __future__ import annotations

import http.client
import json
import logging
import socket
import struct
import subprocess
import sys
import threading

import pytest

from airflow_provider_8x8 import __version__
from airflow_provider_8x8.sandbox.desk import recorder
from airflow_provider_8x8.sandbox.server import Sandbox
from airflow_provider_8x8.sandbox.wire import http_messages
from tests.sandbox.caller import API_KEY, Caller, connect, eventually, head, message, read_response

BODY = b'{"messages": [{"destination": "+12025550123", "templateBody": "{{url}}"}]}'


def chunked(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param((f"Content-Length: {len(BODY)}", BODY[:-1]), id="all but the last byte"),
        pytest.param((f"Content-Length: {len(BODY) + 1}", BODY), id="valid JSON, but one byte short"),
        pytest.param((f"Content-Length: {len(BODY)}", b""), id="the head only"),
    ],
)
@pytest.mark.parametrize("path", ["surveys/nps/messages/batch", "surveys/nps/messages"])
def test_an_incomplete_body_is_never_accepted(sandbox: Sandbox, path: str, sent: tuple[str, bytes]) -> None:
    header, body = sent
    with connect(sandbox) as connection:
        connection.sendall(head(sandbox, header, path=path) + body)
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b"", "an incomplete request has no answer"
    assert (sandbox.messages(), sandbox.requests()) == ([], [])
    assert set(sandbox.stats().values()) == {0}


def test_a_client_that_is_torn_away_midway_has_sent_nothing(sandbox: Sandbox) -> None:
    connection = connect(sandbox)
    connection.sendall(head(sandbox, f"Content-Length: {len(BODY)}") + BODY[:10])
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    assert Caller(sandbox.url).batch(message(1)).status_code == 200
    assert sandbox.stats()["accepted"] == 1


@pytest.mark.parametrize("encoding", ["chunked", "gzip", "gzip, chunked", "identity"])
@pytest.mark.parametrize("more", [(), (f"Content-Length: {len(BODY)}",)], ids=["alone", "beside a length"])
def test_a_body_without_its_length_is_refused(sandbox: Sandbox, encoding: str, more: tuple[str, ...]) -> None:
    with connect(sandbox) as connection:
        connection.sendall(head(sandbox, f"Transfer-Encoding: {encoding}", *more) + chunked(BODY) + b"0\r\n\r\n")
        response = read_response(connection)
        assert (response.status, json.load(response)["code"]) == (411, 1000)
        assert response.getheader("Connection") == "close"
    assert (sandbox.messages(), sandbox.requests()) == ([], [])


def test_who_sends_a_long_body_in_chunks_reads_why_it_is_refused(sandbox: Sandbox, caller: Caller) -> None:
    pieces = (b" " * 65_536 for _ in range(500))
    response = caller.call("POST", "surveys/nps/messages/batch", data=pieces)
    assert response.status_code == 411
    assert "Content-Length" in response.json()["message"]
    assert sandbox.stats()["requests"] == 0


def test_a_body_is_waited_for_after_100_continue(sandbox: Sandbox) -> None:
    with connect(sandbox) as connection:
        connection.sendall(head(sandbox, f"Content-Length: {len(BODY)}", "Expect: 100-continue"))
        assert connection.recv(4096).startswith(b"HTTP/1.1 100 Continue\r\n")
        assert sandbox.stats()["accepted"] == 0
        connection.sendall(BODY)
        assert read_response(connection).status == 200
    assert sandbox.stats()["accepted"] == 1


@pytest.mark.parametrize(
    "length", ["many", "-1", "", "\u0661", "999999999999999999999999", str(http_messages.MAX_BODY + 1)]
)
def test_a_body_of_no_known_length_is_refused_and_the_connection_closed(sandbox: Sandbox, length: str) -> None:
    with connect(sandbox) as connection:
        connection.sendall(head(sandbox, f"Content-Length: {length}"))
        response = read_response(connection)
        assert (response.status, json.load(response)["code"]) == (400, 1000)
        assert response.getheader("Connection") == "close"
    assert sandbox.messages() == []


def test_what_is_no_http_is_refused(sandbox: Sandbox) -> None:
    with connect(sandbox) as connection:
        connection.sendall(b"GET / HTTP/9.9\r\n\r\n")
        assert b'"code":1000' in connection.recv(4096)


def test_a_connection_can_be_used_again_also_after_a_refusal(sandbox: Sandbox) -> None:
    connection = http.client.HTTPConnection(sandbox.url.removeprefix("http://"), timeout=30)
    path, headers = "/api/v1/subaccounts/sandbox_hq/surveys/nps/messages/batch", {"Authorization": f"Bearer {API_KEY}"}
    statuses = []
    for content_type in ("text/plain", "application/json", "text/plain", "application/json"):
        connection.request("POST", path, BODY, {**headers, "Content-Type": content_type})
        response = connection.getresponse()
        statuses.append(response.status)
        response.read()
    connection.close()
    assert statuses == [400, 200, 400, 200]


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/sandbox"), ("GET", "/"), ("PATCH", "/"), ("GET", "messages/x"), ("DELETE", "/sandbox")],
)
def test_every_answer_says_that_it_is_the_sandbox(caller: Caller, method: str, path: str) -> None:
    server = caller.call(method, path).headers["Server"]
    assert server == f"8x8-sandbox/{__version__} (not 8x8; no SMS is sent)"


def test_requests_are_recorded_without_their_key(caller: Caller, sandbox: Sandbox) -> None:
    caller.batch(message(1), clientBatchId="b-1")
    caller.batch(message(1, destination="0"))
    caller.single()
    caller.call("GET", "/sandbox/stats")
    first, refused, single = sandbox.requests()
    assert first.path == "/api/v1/subaccounts/sandbox_hq/surveys/nps/messages/batch"
    assert json.loads(first.body)["clientBatchId"] == "b-1"
    assert (first.headers["content-type"], first.headers["authorization"]) == ("application/json", "REDACTED")
    assert json.loads(refused.body)["messages"][0]["destination"] == "0"
    assert single.path.endswith("/surveys/nps/messages")
    assert API_KEY not in repr(sandbox.requests())


def test_the_newest_recorded_requests_are_kept(
    caller: Caller, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(recorder.MAX_REQUESTS + 3):
        caller.batch(message(number))
    assert len(sandbox.requests()) == recorder.MAX_REQUESTS
    monkeypatch.setattr(recorder, "MAX_BYTES", 1)
    caller.batch(message(7), clientBatchId="newest")
    (newest,) = sandbox.requests()
    assert json.loads(newest.body)["clientBatchId"] == "newest"


def test_a_batch_in_the_waiting_is_not_accepted_by_a_sandbox_that_stops() -> None:
    sandbox = Sandbox(api_key=API_KEY, batch_seconds=3600)
    sandbox.start()
    with connect(sandbox) as connection:
        connection.sendall(head(sandbox, f"Content-Length: {len(BODY)}") + BODY)
        assert eventually(lambda: sandbox.stats()["requests"] == 1)
        accepted = sandbox.stats()["accepted"]
        sandbox.stop()
        assert (accepted, connection.recv(1)) == (0, b"")


def test_a_stopped_sandbox_leaves_no_thread_and_no_connection(sandbox: Sandbox) -> None:
    threads = set(threading.enumerate())
    with Sandbox() as other:
        idle, used = connect(other), connect(other)
        used.sendall(b"GET /sandbox/stats HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read_response(used).read().endswith(b"}")
    assert (idle.recv(1), used.recv(1)) == (b"", b"")
    idle.close()
    used.close()
    assert eventually(lambda: set(threading.enumerate()) <= threads)


def test_the_log_holds_neither_key_nor_number(caller: Caller, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    caller.batch(message(123), message(124, destination="+2101234567"))
    caller.batch(message(125, destination="0412345678"))
    caller.call("GET", "messages/x", key="another-key")
    assert caller.call("GET", "/sandbox", params={"number": "5550123", "before": "x"}).status_code == 400
    assert "POST" in caplog.text
    assert "1002" in caplog.text
    logged = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("airflow_provider"))
    for private in (API_KEY, "another-key", "5550123", "1234567", "412345678", "Ana"):
        assert private not in logged


def test_the_sandbox_imports_nothing_else_of_the_package_and_no_airflow() -> None:
    program = (
        "import sys, airflow_provider_8x8; before = set(sys.modules)\n"
        "import airflow_provider_8x8.sandbox.server, airflow_provider_8x8.sandbox.__main__\n"
        "new = set(sys.modules) - before\n"
        "print(sorted(name for name in new if name.split('.')[0] in ('airflow', 'airflow_provider_8x8', 'requests')))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    imported = json.loads(result.stdout.replace("'", '"'))
    assert imported
    assert [name for name in imported if not name.startswith("airflow_provider_8x8.sandbox")] == []
