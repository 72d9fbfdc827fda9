"""The log export: jobs, files, and what they show when."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from airflow_provider_8x8.sandbox.platform import store
from airflow_provider_8x8.sandbox.server import Sandbox
from tests.sandbox.caller import TEMPLATE, Caller, message

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


def download(caller: Caller) -> requests.Response:
    """Export the logs and begin to read the file."""
    path = f"messages/exports/{caller.call('POST', 'messages/exports', json={}).json()['jobId']}"
    caller.call("GET", path)
    (link,) = caller.call("GET", path).json()["data"]
    return caller.session.get(link, stream=True, timeout=30)


def test_a_file_comes_in_pieces_each_message_once(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_LOG_PAGE", 7)
    later = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    numbers = range(50)
    for batch in ("b-1", "b-2"):
        caller.batch(
            *(message(number, destination="+2101234567") if number % 5 == 0 else message(number) for number in numbers),
            message(50, scheduled=later),
            clientBatchId=batch,
        )
    with download(caller) as response:
        assert response.headers["Transfer-Encoding"] == "chunked"
        lines = read(response.text)
    assert [(line["clientbatchid"], line["clientmessageid"]) for line in lines] == [
        (batch, f"id-{number}") for batch in ("b-1", "b-2") for number in range(51)
    ]
    statuses = {line["clientmessageid"]: line["status_value"] for line in lines}
    assert statuses == {f"id-{number}": "delivered" if number % 5 else "rejected" for number in numbers} | {
        "id-50": "queued"
    }


@pytest.mark.parametrize("limit", [1, 7, 8, 20])
def test_a_limit_may_end_between_pieces(caller: Caller, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(store, "_LOG_PAGE", 7)
    caller.batch(*(message(number) for number in range(15)))
    lines = read(caller.log(limit=limit)[1])
    assert [line["clientmessageid"] for line in lines] == [f"id-{number}" for number in range(min(limit, 15))]


def test_what_separates_in_a_csv_may_stand_in_an_id(caller: Caller) -> None:
    ids = ['a,"b"', "line\r\nline", "plain", " spaces "]
    caller.batch(
        *(message(number, clientMessageId=key) for number, key in enumerate(ids)),
        clientBatchId='q,3"',
        template={**TEMPLATE, "source": "a,b"},
    )
    lines = list(csv.DictReader(io.StringIO(caller.log()[1], newline="")))
    assert [line["clientmessageid"] for line in lines] == ids
    assert {(line["clientbatchid"], line["source"], line["body"]) for line in lines} == {('q,3"', "a,b", "**MASKED**")}


def test_others_are_served_while_a_file_is_read(caller: Caller, sandbox: Sandbox) -> None:
    caller.batch(*(message(number) for number in range(10_000)))
    with download(caller) as response:
        assert Caller(sandbox.url).batch(message(1)).status_code == 200
        assert sandbox.stats()["accepted"] == 10_001
        assert len(read(response.text)) == 10_000


def test_a_reader_may_leave_in_the_middle_of_a_file(caller: Caller, sandbox: Sandbox) -> None:
    caller.batch(*(message(number) for number in range(10_000)))
    download(caller).close()
    assert len(read(Caller(sandbox.url).log()[1])) == 10_000


def test_a_truncated_file_breaks_off(caller: Caller, sandbox: Sandbox) -> None:
    caller.batch(message(1))
    sandbox.faults([{"on": "log_export_download", "kind": "truncate"}])
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        download(caller).content  # noqa: B018  # reading it is what fails


@pytest.mark.parametrize("kind", ["gzip_truncate", "no_length_truncate"])
def test_a_cut_that_http_does_not_show_lacks_the_last_line(caller: Caller, sandbox: Sandbox, kind: str) -> None:
    caller.batch(message(1), message(2))
    sandbox.faults([{"on": "log_export_download", "kind": kind}])
    response = download(caller)
    assert ("Content-Encoding" in response.headers, "Content-Length" in response.headers) == (
        (True, True) if kind == "gzip_truncate" else (False, False)
    )
    assert len(read(response.text)) == 1
    assert len(read(caller.log()[1])) == 2


def test_a_link_names_the_sandbox_as_the_client_does(caller: Caller) -> None:
    caller.batch(message(1))
    by_name = Caller(caller.url.replace("127.0.0.1", "localhost"))
    with download(by_name) as response:
        assert response.url.startswith(f"{by_name.url}/api/v1/")
