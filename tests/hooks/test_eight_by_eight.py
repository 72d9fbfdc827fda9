"""Connections, their form, and Test connection."""

from __future__ import annotations

import json
import re
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from packaging.version import Version

from airflow_provider_8x8.api.errors import RefusedError
from tests.api.servers import make_certificate, serve_each
from tests.conftest import API_KEY
from tests.support.airflow_version import AIRFLOW, IS_AIRFLOW_3


def hook_for(monkeypatch: pytest.MonkeyPatch, connection: Any, **arguments: Any) -> Any:
    from airflow_provider_8x8.hooks.eight_by_eight import EightByEightHook

    text = connection if isinstance(connection, str) else json.dumps({"conn_type": "eight_by_eight", **connection})
    monkeypatch.setenv("AIRFLOW_CONN_EIGHT_BY_EIGHT_DEFAULT", text)
    return EightByEightHook(**arguments)


@pytest.mark.parametrize(
    ("connection", "base_url", "timeout"),
    [
        ("eight-by-eight://example_hq:key@/?region=europe&timeout=30", "https://sms.8x8.uk", 30),
        ({"extra": {}}, "https://sms.8x8.com", 60),
        ({"extra": {"region": "north_america", "timeout": 5}}, "https://sms.us.8x8.com", 5),
        ({"host": "sms.example.com", "port": 8443}, "https://sms.example.com:8443", 60),
        ({"host": "http://127.0.0.1", "port": 8808}, "http://127.0.0.1:8808", 60),
        ({"host": "http://localhost:8808/"}, "http://localhost:8808", 60),
    ],
)
def test_a_connection_becomes_a_client(
    monkeypatch: pytest.MonkeyPatch, connection: Any, base_url: str, timeout: float
) -> None:
    if isinstance(connection, dict):
        connection = {"login": "example_hq", "password": "key", **connection}
    client = hook_for(monkeypatch, connection).get_conn()
    assert (client.subaccount_id, client.base_url, client.timeout) == ("example_hq", base_url, timeout)


@pytest.mark.parametrize(
    ("connection", "message"),
    [
        ({"login": "example_hq"}, "API key is missing"),
        ({"password": "key"}, "sub-account id is missing"),
        ({"login": "a b", "password": "key"}, "3 to 50 characters"),
        ({"login": "example_hq", "password": "key", "extra": {"region": "mars"}}, "expected one of asia_pacific"),
        ({"login": "example_hq", "password": "key", "host": "http://sms.example.com"}, "https only"),
        ({"login": "example_hq", "password": "key", "extra": {"timeout": "soon"}}, "expected seconds"),
    ],
)
def test_a_connection_that_cannot_work_is_named(
    monkeypatch: pytest.MonkeyPatch, connection: dict[str, Any], message: str
) -> None:
    hook = hook_for(monkeypatch, connection)
    with pytest.raises(ValueError, match=f"'eight_by_eight_default': .*{message}"):
        _ = hook.client
    assert hook.test_connection()[0] is False


def test_an_argument_overrides_the_sub_account(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = {"login": "example_hq", "password": "key"}
    assert hook_for(monkeypatch, connection, subaccount_id="example_two").client.subaccount_id == "example_two"


def test_test_connection_asks_8x8_and_sends_nothing(sandbox: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    good = {"host": sandbox.url, "login": "sandbox_hq", "password": API_KEY}
    assert hook_for(monkeypatch, good).test_connection()[0] is True
    worked, message = hook_for(monkeypatch, {**good, "password": "wrong"}).test_connection()
    assert (worked, "code 1200" in message) == (False, True)
    worked, message = hook_for(monkeypatch, {**good, "login": "another"}).test_connection()
    assert (worked, "code 1001" in message) == (False, True)
    assert sandbox.stats()["requests"] == 0


@pytest.fixture
def tls_server(tmp_path: Path) -> Iterator[str]:
    """Where a server speaks TLS, and answers nothing; ``host:port``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(make_certificate("localhost", tmp_path))

    def behave(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as wrapped:
            wrapped.recv(65536)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        serve_each(listener, behave)
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def failing(monkeypatch: pytest.MonkeyPatch, **connection: Any) -> str:
    hook = hook_for(monkeypatch, {"login": "sandbox_hq", "password": API_KEY, **connection})
    worked, message = hook.test_connection()
    assert worked is False
    assert API_KEY not in message
    assert "eight_by_eight_default" not in message  # Airflow tests a copy under a random id
    return str(message)


@pytest.mark.parametrize("host", ["127.0.0.1", "https://127.0.0.1", "https://localhost"])
def test_a_server_without_tls_is_told(sandbox: Any, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    message = failing(monkeypatch, host=host, port=urlsplit(sandbox.url).port)
    assert "speaks no TLS: write http:// for a local sandbox" in message
    assert "this connection" in message


def test_a_server_that_wants_tls_is_told(tls_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "write https:// in front of the host of this connection" in failing(monkeypatch, host=f"http://{tls_server}")


@pytest.mark.parametrize(
    "answer",
    [
        b"\x15\x03\x01\x00\x02\x02\x46",
        b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n",
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 54\r\n\r\n<h1>The plain HTTP request was sent to HTTPS port</h1>",
    ],
)
def test_a_server_that_says_that_it_wants_tls_is_told(monkeypatch: pytest.MonkeyPatch, answer: bytes) -> None:
    def behave(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        serve_each(listener, behave)
        message = failing(monkeypatch, host="http://127.0.0.1", port=listener.getsockname()[1])
    assert re.search(r"speaks TLS[:,] write https:// in front of the host of this connection", message)


def test_a_certificate_that_is_not_trusted_is_told(tls_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "its certificate is for another one" in failing(monkeypatch, host=tls_server)


def test_a_host_that_is_none_and_one_that_does_not_listen_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "it has no such host" in failing(monkeypatch, host="nowhere.invalid")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    for host in ("http://127.0.0.1", "http://localhost"):
        assert "nothing listens there" in failing(monkeypatch, host=host, port=port)


@pytest.mark.parametrize("wrong", [{"password": "another"}, {"login": "another"}])
def test_a_refusal_says_what_to_check(sandbox: Any, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, str]) -> None:
    message = failing(monkeypatch, host=sandbox.url, **wrong)
    assert "Check the API key, the sub-account id and the region of this connection" in message


def test_test_connection_asks_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []

    def hang_up(connection: socket.socket) -> None:
        asked.append(connection.recv(65536))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        serve_each(listener, hang_up)
        failing(monkeypatch, host="http://127.0.0.1", port=listener.getsockname()[1])
    assert len(asked) == 1


def test_a_call_of_ones_own_names_the_connection(sandbox: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {"host": sandbox.url, "login": "sandbox_hq", "password": "wrong"}
    with pytest.raises(RefusedError, match=r"the region of connection 'eight_by_eight_default' \(sub-account"):
        hook_for(monkeypatch, wrong).client.get_message("a")


@pytest.mark.skipif(IS_AIRFLOW_3, reason="Airflow 3 has no form without its API")
def test_airflow_2_knows_the_connections_form(airflow_db: None) -> None:
    from airflow.providers_manager import ProvidersManager

    manager = ProvidersManager()  # type: ignore[no-untyped-call]  # Airflow's
    assert manager.hooks["eight_by_eight"] is not None
    widgets = {name for name in manager.connection_form_widgets if "eight_by_eight" in name}
    assert {name.rpartition("__")[2] for name in widgets} == {"region", "account_id", "timeout", "journal_conn_id"}
    behaviour = manager.field_behaviours["eight_by_eight"]
    assert set(behaviour["hidden_fields"]) == {"schema", "extra"}
    assert behaviour["relabeling"]["password"] == "API key"


@pytest.mark.skipif(Version("3.1") > AIRFLOW, reason="Airflow 3.0 shows the fields of providers only with FAB's")
def test_airflow_3_shows_the_connections_form(airflow_db: None) -> None:
    from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService

    (form,) = (form for form in HookMetaService.hook_meta_data() if form.connection_type == "eight_by_eight")
    extra, standard = form.extra_fields, form.standard_fields
    assert extra is not None
    assert standard is not None
    assert set(extra) == {"region", "account_id", "timeout", "journal_conn_id"}
    assert extra["region"]["value"] == "asia_pacific"
    assert standard.url_schema is not None
    assert standard.url_schema.hidden
    assert standard.password is not None
    assert standard.password.title == "API key"
