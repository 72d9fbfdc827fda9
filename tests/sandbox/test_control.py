"""Counts and messages, for people and tests."""

from __future__ import annotations

from datetime import datetime

import pytest

from airflow_provider_8x8.sandbox.server import Sandbox
from tests.sandbox.caller import Caller, message


def test_stats_count_batches(caller: Caller) -> None:
    caller.batch(message(1), message(2), message(3, destination="+2101234567"))
    caller.batch(message(1), message(4))
    caller.batch(message(5, destination="0"))
    caller.single()
    assert caller.call("GET", "/sandbox/stats", key=None).json() == {
        "requests": 3,
        "batches": 2,
        "accepted": 4,
        "rejected": 1,
        "distinct_keys": 3,
        "max_per_key": 2,
        "singles": 1,
    }


def test_a_request_with_a_wrong_key_is_counted_too(caller: Caller, sandbox: Sandbox) -> None:
    caller.call("POST", "surveys/nps/messages/batch", key="other", json={})
    assert sandbox.stats()["requests"] == 1


def test_messages_come_newest_first(caller: Caller) -> None:
    answer = caller.batch(message(1), message(2, source="YourBrand"), clientBatchId="b-1").json()
    caller.single(clientMessageId="single")
    single, second, first = caller.call("GET", "/sandbox/messages", key=None).json()
    assert [single["client_message_id"], second["client_message_id"], first["client_message_id"]] == [
        "single",
        "id-2",
        "id-1",
    ]
    assert datetime.fromisoformat(second.pop("created_at")).tzinfo is not None
    umids = {sent["clientMessageId"]: sent["umid"] for sent in answer["messages"]}
    assert second == {
        "umid": umids["id-2"],
        "batch_id": answer["batchId"],
        "client_batch_id": "b-1",
        "client_message_id": "id-2",
        "survey_id": "nps",
        "destination": "12025550002",
        "source": "YourBrand",
        "text": f"Hi Ana: https://8x8.test/{umids['id-2'][-4:]}",
        "encoding": "GSM7",
        "parts": 1,
        "status": "delivered",
        "description": None,
    }


def test_messages_have_a_limit(caller: Caller, sandbox: Sandbox) -> None:
    caller.batch(*(message(number) for number in range(150)))
    assert len(caller.call("GET", "/sandbox/messages").json()) == len(sandbox.messages()) == 100
    newest = caller.call("GET", "/sandbox/messages", params={"limit": "2"}).json()
    assert [sent["client_message_id"] for sent in newest] == ["id-149", "id-148"]
    assert len(sandbox.messages(1000)) == 150


@pytest.mark.parametrize("limit", ["0", "-1", "all", "", "1e3", "\u0661", "9" * 30])
def test_a_limit_that_is_none_is_refused(caller: Caller, limit: str) -> None:
    response = caller.call("GET", "/sandbox/messages", params={"limit": limit})
    assert (response.status_code, response.json()["code"]) == (400, 1000)


def test_all_can_be_forgotten(caller: Caller, sandbox: Sandbox) -> None:
    umid = caller.batch(message(1)).json()["messages"][0]["umid"]
    caller.single()
    job = caller.call("POST", "messages/exports", json={}).json()["jobId"]
    sandbox.faults([{"on": "survey_batch", "kind": "500", "times": 9}])
    response = caller.call("DELETE", "/sandbox", key=None)
    assert (response.status_code, response.content) == (204, b"")
    assert set(sandbox.stats().values()) == {0}
    assert (sandbox.messages(), sandbox.requests()) == ([], [])
    assert caller.call("GET", f"messages/{umid}").status_code == 404
    assert caller.call("GET", f"messages/exports/{job}").status_code == 404
    assert caller.batch(message(1)).status_code == 200
