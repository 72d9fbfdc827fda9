"""The log export: jobs, files, and what they show when."""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_8x8.sandbox.server import Sandbox
from tests.sandbox.caller import Caller, message

COLUMNS = [
    "umid",
    "subaccountid",
    "direction",
    "country",
    "operator",
    "mcc",
    "mnc",
    "status_value",
    "status_details",
    "status_errorcode",
    "status_errormessage",
    "status_timestamp",
    "msisdn",
    "source",
    "encoding",
    "createdat",
    "smscount",
    "price_currency",
    "price_persms",
    "price_total",
    "clientmessageid",
    "clientbatchid",
    "batchid",
    "body",
]


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(text.splitlines()))


def hours_ago(hours: float) -> str:
    return (datetime.now(UTC) - timedelta(hours=hours)).isoformat()


def test_an_export_is_queued_then_gives_a_link(caller: Caller) -> None:
    caller.batch(message(1))
    started = caller.call("POST", "messages/exports", json={})
    assert started.status_code == 202
    path = f"messages/exports/{started.json()['jobId']}"
    first = caller.call("GET", path).json()
    assert first in ({"status": "queued"}, {"status": "running"})
    result = caller.call("GET", path).json()
    assert result["status"] == "succeeded"
    assert datetime.fromisoformat(result["expires"]) > datetime.now(UTC) + timedelta(days=29)
    (link,) = result["data"]
    assert link.startswith(f"{caller.url}/api/v1/subaccounts/sandbox_hq/messages/download/")


def test_the_file_has_8x8s_columns_and_nothing_private(caller: Caller) -> None:
    answer = caller.batch(message(123, source="YourBrand"), clientBatchId="monthly-1").json()
    status, text = caller.log()
    assert status == "succeeded"
    assert text.splitlines()[0].split(",") == COLUMNS
    (line,) = read(text)
    expected = {
        "umid": answer["messages"][0]["umid"],
        "subaccountid": "sandbox_hq",
        "direction": "1",
        "country": "US",
        "status_value": "delivered",
        "status_details": "delivered_to_recipient",
        "msisdn": "+1202555xxxx",
        "source": "YourBrand",
        "encoding": "GSM7",
        "smscount": "1",
        "price_currency": "USD",
        "price_total": "0.01",
        "clientmessageid": "id-123",
        "clientbatchid": "monthly-1",
        "batchid": answer["batchId"],
        "body": "**MASKED**",
    }
    assert {name: line[name] for name in expected} == expected
    assert datetime.fromisoformat(line["createdat"]).tzinfo is not None
    assert "5550123" not in text
    assert "Ana" not in text


def test_rejected_scheduled_and_single_messages_are_in_the_logs(caller: Caller) -> None:
    later = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    caller.batch(message(1, destination="+2101234567"), message(2, scheduled=later))
    caller.single(clientMessageId="single")
    lines = {line["clientmessageid"]: line for line in read(caller.log()[1])}
    rejected = lines["id-1"]
    assert (rejected["status_value"], rejected["status_errorcode"], rejected["price_total"]) == (
        "rejected",
        "1002",
        "0.0",
    )
    assert "E.164" in rejected["status_errormessage"]
    assert lines["id-2"]["status_value"] == "queued"
    assert (lines["single"]["batchid"], lines["single"]["clientbatchid"]) == ("", "")


def test_an_export_without_messages_is_empty(caller: Caller) -> None:
    assert caller.log() == ("empty", "")


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({}, True),
        ({"from": hours_ago(48), "to": "2999-01-01"}, True),
        ({"from": hours_ago(48)[:10], "to": "2999-01-01T00:00:00"}, True),
        ({"from": "2999-01-01T00:00:00Z", "to": "2999-01-02T00:00:00+14:00"}, False),
        ({"from": hours_ago(48), "to": hours_ago(24)}, False),
        ({"phoneNumber": "12025550001"}, True),
        ({"phoneNumber": "+12025550001"}, True),
        ({"phoneNumber": "12025550002"}, False),
        ({"countries": ["SG", "US"]}, True),
        ({"countries": ["SG"]}, False),
        ({"countries": []}, True),
        ({"limit": 0}, True),
    ],
    ids=str,
)
def test_an_export_is_of_a_time_a_number_and_countries(caller: Caller, fields: dict[str, Any], found: bool) -> None:
    caller.batch(message(1))
    assert caller.log(**fields)[0] == ("succeeded" if found else "empty")


@pytest.mark.parametrize("limit", [1, 7, 10_001])
def test_an_export_has_a_limit(caller: Caller, limit: int) -> None:
    caller.batch(*(message(number) for number in range(10_000)))
    lines = read(caller.log(limit=limit)[1])
    assert len({line["umid"] for line in lines}) == len(lines) == min(limit, 10_000)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"from": "yesterday"}, 1000),
        ({"from": 1}, 1000),
        ({"to": "2020-13-01"}, 1000),
        ({"from": "0001-01-01T00:00:00+14:00"}, 1000),
        ({"from": "2020-07-02", "to": "2020-07-01"}, 1000),
        ({"from": "2020-07-02", "to": "2020-07-02"}, 1000),
        ({"phoneNumber": "abc"}, 1002),
        ({"phoneNumber": 1}, 1002),
        ({"countries": "US"}, 1009),
        ({"countries": ["ZZ"]}, 1009),
        ({"limit": -1}, 1000),
        ({"limit": "all"}, 1000),
        ({"limit": True}, 1000),
        ([], 1000),
    ],
    ids=str,
)
def test_a_bad_export_is_refused(caller: Caller, body: object, code: int) -> None:
    response = caller.call("POST", "messages/exports", json=body)
    assert (response.status_code, response.json()["code"]) == (400, code)


def test_an_export_may_be_asked_for_without_a_body(caller: Caller) -> None:
    assert caller.call("POST", "messages/exports").status_code == 202


def test_an_export_shows_what_was_there_when_it_was_asked_for(caller: Caller) -> None:
    caller.batch(message(1))
    job = caller.call("POST", "messages/exports", json={"to": "2999-01-01"}).json()["jobId"]
    caller.batch(message(2))
    caller.call("GET", f"messages/exports/{job}")
    (link,) = caller.call("GET", f"messages/exports/{job}").json()["data"]
    assert [line["clientmessageid"] for line in read(caller.session.get(link).text)] == ["id-1"]


def test_the_logs_lag_until_the_fault_is_cleared(caller: Caller, sandbox: Sandbox) -> None:
    caller.batch(message(1))
    sandbox.faults([{"on": "log_export", "kind": "log_lag_seconds", "seconds": 3600}])
    assert [caller.log()[0] for _ in range(3)] == ["empty"] * 3
    sandbox.faults([{"on": "log_export", "kind": "log_lag_seconds", "seconds": 0}])
    assert caller.log()[0] == "succeeded"
    sandbox.faults([{"on": "log_export", "kind": "log_lag_seconds", "seconds": 3600, "times": 1}])
    assert [caller.log()[0] for _ in range(2)] == ["empty", "succeeded"]


def test_a_cancelled_export_gives_nothing(caller: Caller) -> None:
    caller.batch(message(1))
    path = f"messages/exports/{caller.call('POST', 'messages/exports', json={}).json()['jobId']}"
    caller.call("GET", path)
    (link,) = caller.call("GET", path).json()["data"]
    cancelled = caller.call("DELETE", path)
    assert (cancelled.status_code, cancelled.content) == (204, b"")
    assert caller.call("GET", path).json() == {"status": "cancelled"}
    assert caller.session.get(link).status_code == 404


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_an_unknown_export_is_not_found(caller: Caller, method: str) -> None:
    response = caller.call(method, "messages/exports/unknown")
    assert (response.status_code, response.json()["code"]) == (404, 4018)


def test_a_link_needs_its_token_and_no_key(caller: Caller) -> None:
    response = caller.call("GET", "messages/download/guessed", key=None)
    assert (response.status_code, response.json()["code"]) == (404, 1300)
