"""Connections, their form, and Test connection."""

from __future__ import annotations

import json
from typing import Any

import pytest
from packaging.version import Version

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


@pytest.mark.skipif(IS_AIRFLOW_3, reason="Airflow 3 has no form without its API")
def test_airflow_2_knows_the_connections_form(airflow_db: None) -> None:
    from airflow.providers_manager import ProvidersManager

    manager = ProvidersManager()
    assert manager.hooks["eight_by_eight"] is not None
    widgets = {name for name in manager.connection_form_widgets if "eight_by_eight" in name}
    assert {name.rpartition("__")[2] for name in widgets} == {"region", "account_id", "timeout"}
    behaviour = manager.field_behaviours["eight_by_eight"]
    assert set(behaviour["hidden_fields"]) == {"schema", "extra"}
    assert behaviour["relabeling"]["password"] == "API key"


@pytest.mark.skipif(Version("3.1") > AIRFLOW, reason="Airflow 3.0 shows the fields of providers only with FAB's")
def test_airflow_3_shows_the_connections_form(airflow_db: None) -> None:
    from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService

    (form,) = (form for form in HookMetaService.hook_meta_data() if form.connection_type == "eight_by_eight")
    assert set(form.extra_fields) == {"region", "account_id", "timeout"}
    assert form.extra_fields["region"]["value"] == "asia_pacific"
    assert form.standard_fields.url_schema.hidden
    assert form.standard_fields.password.title == "API key"
