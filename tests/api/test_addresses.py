"""Hosts with several addresses, of which one leads nowhere: the next one gets its turn, and the upload its time."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_8x8.api import addresses
from airflow_provider_8x8.api.addresses import Address
from airflow_provider_8x8.api.errors import NeverSentError
from tests.api.servers import (
    batch,
    client_of,
    copy_until_closed,
    make_certificate,
    read_head,
    read_request,
    serve_each,
)

ANSWER = b'{"batchId":"b","acceptedCount":1,"rejectedCount":0}'
OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(ANSWER), ANSWER)
HOST = "sms.example.com"
SEND_WITHIN = 6.0

Resolve = Callable[[str, list[str]], None]


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch) -> Resolve:
    """Have a name lead to these addresses of this machine, in this order."""
    look_up = socket.getaddrinfo
    known: dict[str, list[str]] = {}

    def look_up_here(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        return [found for each in known.get(host, [host]) for found in look_up(each, port, *args, **kwargs)]

    monkeypatch.setattr(socket, "getaddrinfo", look_up_here)
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    return known.__setitem__


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """TLS of the host, whom the client trusts."""
    certificate = make_certificate(HOST, tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@contextlib.contextmanager
def one_that_does_not_connect(host: str, port: int) -> Iterator[None]:
    """An address whose connections hang: nobody accepts them, and its queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex((host, port))
        yield


@contextlib.contextmanager
def one_that_does_not_speak(host: str, port: int) -> Iterator[None]:
    """An address that takes connections, and says nothing on them."""
    with socket.create_server((host, port)):
        yield


@contextlib.contextmanager
def one_that_hangs_up(host: str, port: int) -> Iterator[None]:
    with socket.create_server((host, port)) as listener:
        serve_each(listener, lambda connection: None)
        yield


@contextlib.contextmanager
def one_that_drips(host: str, port: int) -> Iterator[None]:
    """An address whose TLS handshake goes on for ever."""

    def behave(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"\x16\x03\x03\x3f\xff")  # a record of 16 kB
        while True:
            connection.sendall(b"a")
            time.sleep(0.05)

    with socket.create_server((host, port)) as listener:
        serve_each(listener, behave)
        yield


DEAD = [one_that_does_not_connect, one_that_does_not_speak, one_that_hangs_up, one_that_drips]


@pytest.mark.parametrize("dead", DEAD)
def test_a_dead_first_address_leaves_the_second_its_turn(
    resolve: Resolve, context: ssl.SSLContext, dead: Callable[..., Any]
) -> None:
    heads = []

    def behave(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secure:
            heads.append(read_request(secure))
            secure.sendall(OK)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        serve_each(listener, behave)
        resolve(HOST, ["127.0.0.2", "127.0.0.1"])
        with dead("127.0.0.2", port):
            client = client_of(f"https://{HOST}:{port}")
            answer = client.send_survey_batch("orders", batch(), send_by=time.time() + SEND_WITHIN)
    assert answer.batch_id == "b"
    assert f"Host: {HOST}:{port}".encode() in heads[0]
    assert len(heads) == 1


def test_a_dead_first_address_of_a_proxy_leaves_the_second_its_turn(
    resolve: Resolve, context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bytes] = []

    def pass_on(connection: socket.socket) -> None:
        asked.append(read_head(connection)[0].split(b"\r\n")[0])
        with socket.create_connection(("127.0.0.1", port)) as onward:
            connection.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
            threading.Thread(target=copy_until_closed, args=(onward, connection), daemon=True).start()
            copy_until_closed(connection, onward)

    def behave(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secure:
            read_request(secure)
            secure.sendall(OK)

    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_server(("127.0.0.1", 0)) as proxy:
        port, proxy_port = listener.getsockname()[1], proxy.getsockname()[1]
        serve_each(listener, behave)
        serve_each(proxy, pass_on)
        monkeypatch.setenv("HTTPS_PROXY", f"http://proxy.example.com:{proxy_port}")
        monkeypatch.setenv("https_proxy", os.environ["HTTPS_PROXY"])
        monkeypatch.setenv("NO_PROXY", "")
        monkeypatch.setenv("no_proxy", "")
        resolve("proxy.example.com", ["127.0.0.2", "127.0.0.1"])
        with one_that_does_not_speak("127.0.0.2", proxy_port):
            client = client_of(f"https://{HOST}:{port}")
            answer = client.send_survey_batch("orders", batch(), send_by=time.time() + SEND_WITHIN)
    assert answer.batch_id == "b"
    assert asked == [f"CONNECT {HOST}:{port} HTTP/1.{asked[0][-1:].decode()}".encode()]


def test_a_proxy_that_refuses_is_never_spoken_to_without_a_tunnel(
    resolve: Resolve, context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever forgot the tunnel at the second address would send the key to the proxy."""
    received: list[bytes] = []

    def refuse(connection: socket.socket) -> None:
        received.append(read_head(connection)[0].split(b" ")[0])
        connection.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as proxy:
        port = proxy.getsockname()[1]
        with socket.create_server(("127.0.0.2", port)) as second:
            for listener in (proxy, second):
                serve_each(listener, refuse)
            monkeypatch.setenv("HTTPS_PROXY", f"http://proxy.example.com:{port}")
            monkeypatch.setenv("https_proxy", os.environ["HTTPS_PROXY"])
            monkeypatch.setenv("NO_PROXY", "")
            monkeypatch.setenv("no_proxy", "")
            resolve("proxy.example.com", ["127.0.0.2", "127.0.0.1"])
            with pytest.raises(NeverSentError, match="403 Forbidden"):
                client_of(f"https://{HOST}").send_survey_batch("orders", batch(), send_by=time.time() + SEND_WITHIN)
    assert received == [b"CONNECT", b"CONNECT"]


def test_addresses_that_are_all_dead_each_have_their_turn(resolve: Resolve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
        resolve(HOST, ["127.0.0.2", "127.0.0.3"])
        with one_that_does_not_speak("127.0.0.2", port), one_that_does_not_connect("127.0.0.3", port):
            client = client_of(f"https://{HOST}:{port}")
            with pytest.raises(NeverSentError, match=r"nothing was sent: .*2 of 2 addresses of .* were tried"):
                client.send_survey_batch("orders", batch(), send_by=time.time() + SEND_WITHIN)


def test_a_host_that_there_is_not_is_never_sent_to(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_such_name(*args: Any, **kwargs: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_such_name)
    with pytest.raises(NeverSentError, match=r"gaierror: .*Name or service not known"):
        client_of(f"https://{HOST}").send_survey_batch("orders", batch(), send_by=time.time() + SEND_WITHIN)


@pytest.mark.parametrize("host", ["a" * 64 + ".example.com", "a..example.com"])
def test_a_name_that_is_none_is_never_sent_to(host: str) -> None:
    with pytest.raises(NeverSentError, match="nothing was sent"):
        client_of(f"https://{host}").send_survey_batch("orders", batch(), send_by=time.time() + SEND_WITHIN)


def test_both_families_are_tried_by_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(family: int, host: str) -> Address:
        return Address(family, socket.SOCK_STREAM, 6, "", (host, 443))

    sixes = [found(socket.AF_INET6, f"2001:db8::{number}") for number in range(3)]
    fours = [found(socket.AF_INET, f"192.0.2.{number}") for number in range(2)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args: [*sixes, *fours])
    by_turns = [sixes[0], fours[0], sixes[1], fours[1], sixes[2]]
    assert addresses.look_up(HOST, 443) == by_turns


@pytest.mark.parametrize(("left", "seconds"), [(1, 12), (2, 6), (3, 4), (16, 4)])
def test_each_address_has_an_equal_share_but_at_least_a_third(left: int, seconds: float) -> None:
    assert addresses.share(12.0, left) == seconds
