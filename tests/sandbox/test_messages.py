"""Reading and cancelling messages; prices and balance."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_8x8.sandbox.platform import rate
from airflow_provider_8x8.sandbox.server import Sandbox
from tests.sandbox.caller import TEMPLATE, Caller, message

ACCOUNT = "d9428888-122b-11e1-b85c-61cd3cbb3210"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The rate limits' time, which stands still."""
    now = [1000.0]
    monkeypatch.setattr(rate, "monotonic", lambda: now[0])
    return now


def tomorrow() -> str:
    return (datetime.now(UTC) + timedelta(days=1)).isoformat()


def test_a_message_can_be_read_with_its_number_and_text_masked(caller: Caller) -> None:
    answer = caller.batch(message(123), clientBatchId="monthly-1").json()
    umid = answer["messages"][0]["umid"]
    response = caller.call("GET", f"messages/{umid}")
    details = response.json()
    assert (details["umid"], details["subAccountId"], details["direction"]) == (umid, "sandbox_hq", "outbound")
    assert (details["msisdn"], details["body"], details["country"]) == ("+1202555xxxx", "**MASKED**", "US")
    assert (details["clientMessageId"], details["clientBatchId"]) == ("id-123", "monthly-1")
    assert (details["batchId"], details["smsCount"]) == (answer["batchId"], 1)
    assert details["status"]["state"] == "delivered"
    assert "Ana" not in response.text
    assert "5550123" not in response.text


def test_a_rejected_message_says_so(caller: Caller) -> None:
    umid = caller.batch(message(1, destination="+2101234567")).json()["messages"][0]["umid"]
    status = caller.call("GET", f"messages/{umid}").json()["status"]
    assert (status["state"], status["errorCode"]) == ("rejected", 1002)


def test_asking_for_a_message_that_is_not_there_tests_a_connection(caller: Caller, clock: list[float]) -> None:
    for _ in range(5):
        response = caller.call("GET", f"messages/{uuid.uuid4()}")
        assert (response.status_code, response.json()["code"]) == (404, 1300)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_message_id_that_is_none_is_refused(caller: Caller, method: str) -> None:
    response = caller.call(method, "messages/not-a-uuid")
    assert (response.status_code, response.json()["code"]) == (400, 1000)


def test_messages_can_be_read_once_a_second(caller: Caller, clock: list[float]) -> None:
    umid = caller.single().json()["umid"]
    assert caller.call("GET", f"messages/{umid}").status_code == 200
    refused = caller.call("GET", f"messages/{umid}")
    assert (refused.status_code, refused.json()["code"], refused.headers["Retry-After"]) == (429, 429, "1")
    clock[0] += 1
    assert caller.call("GET", f"messages/{umid}").status_code == 200


def test_a_sub_account_may_ask_1800_times_a_second(caller: Caller, clock: list[float]) -> None:
    path = f"messages/{uuid.uuid4()}"
    assert {caller.call("GET", path).status_code for _ in range(1800)} == {404}
    refused = caller.batch(message(1))
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
    clock[0] += 1
    assert caller.batch(message(1)).status_code == 200


def test_a_scheduled_batch_can_be_cancelled_once(caller: Caller, sandbox: Sandbox) -> None:
    template = {**TEMPLATE, "scheduled": tomorrow()}
    messages = (message(1), message(2), message(3, destination="+2101234567"))
    batch_id = caller.batch(*messages, template=template).json()["batchId"]
    assert [sent["status"] for sent in sandbox.messages()] == ["rejected", "queued", "queued"]
    assert caller.call("DELETE", f"messages/batch/{batch_id}").json() == {"cancelledCount": 2}
    assert caller.call("DELETE", f"messages/batch/{batch_id}").json() == {"cancelledCount": 0}
    assert [sent["status"] for sent in sandbox.messages()] == ["rejected", "cancelled", "cancelled"]
    assert sandbox.stats()["accepted"] == 2


def test_a_batch_that_was_sent_cannot_be_cancelled(caller: Caller, sandbox: Sandbox) -> None:
    batch_id = caller.batch(message(1)).json()["batchId"]
    assert caller.call("DELETE", f"messages/batch/{batch_id}").json() == {"cancelledCount": 0}
    assert sandbox.messages()[0]["status"] == "delivered"


@pytest.mark.parametrize(("batch_id", "code"), [(str(uuid.uuid4()), 1008), ("not-a-uuid", 1000)])
def test_a_batch_that_is_not_there_cannot_be_cancelled(caller: Caller, batch_id: str, code: int) -> None:
    response = caller.call("DELETE", f"messages/batch/{batch_id}")
    assert (response.status_code, response.json()["code"]) == (400, code)


def test_a_scheduled_message_can_be_cancelled_alone(caller: Caller, sandbox: Sandbox) -> None:
    sent = caller.batch(message(1, scheduled=tomorrow()), message(2, scheduled=tomorrow())).json()["messages"]
    umids = {entry["clientMessageId"]: entry["umid"] for entry in sent}
    assert caller.call("DELETE", f"messages/{umids['id-1']}").json() == {"cancelledCount": 1}
    assert [sent["status"] for sent in sandbox.messages()] == ["queued", "cancelled"]
    status = caller.call("GET", f"messages/{umids['id-1']}").json()["status"]
    assert (status["state"], status["errorMessage"]) == ("undelivered", "Cancelled")


def test_a_message_that_is_not_there_cannot_be_cancelled(caller: Caller) -> None:
    response = caller.call("DELETE", f"messages/{uuid.uuid4()}")
    assert (response.status_code, response.json()["code"]) == (404, 1300)


def test_personal_data_of_a_message_can_be_removed(caller: Caller, sandbox: Sandbox) -> None:
    without_id = message(123)
    del without_id["clientMessageId"]
    sent = caller.batch(without_id, clientBatchId="b-1").json()["messages"][0]
    removed = caller.call("DELETE", f"messages/{sent['umid']}/pii")
    assert (removed.status_code, removed.content) == (202, b"")
    assert caller.call("DELETE", f"messages/{sent['umid']}/pii").status_code == 202
    (kept,) = sandbox.messages()
    assert (kept["destination"], kept["text"]) == ("1202555xxxx", "**MASKED**")
    assert (kept["umid"], kept["client_message_id"]) == (sent["umid"], "b-1/1202555xxxx")
    for page in (caller.call("GET", "/sandbox").text, caller.log()[1], caller.call("GET", "/sandbox/messages").text):
        assert "1202555xxxx" in page
        assert "5550123" not in page
        assert "Ana" not in page


@pytest.mark.parametrize("umid", [str(uuid.uuid4()), "not-a-uuid"])
def test_personal_data_of_a_message_that_is_not_there_cannot_be_removed(caller: Caller, umid: str) -> None:
    response = caller.call("DELETE", f"messages/{umid}/pii")
    assert (response.status_code, response.json()["code"]) == (404, 1300)


def test_there_is_a_balance_for_any_account(caller: Caller) -> None:
    balance = caller.call("GET", f"/api/v1/accounts/{ACCOUNT}/balance").json()
    assert (balance["balance"] > 0, balance["currency"]) == (True, "USD")


@pytest.mark.parametrize("what", ["balance", "prices"])
def test_an_account_is_a_uuid(caller: Caller, what: str) -> None:
    response = caller.call("GET", f"/api/v1/accounts/mine/{what}")
    assert (response.status_code, response.json()["code"]) == (400, 1000)


def test_prices_can_be_filtered(caller: Caller) -> None:
    path = f"/api/v1/accounts/{ACCOUNT}/prices"
    (everything,) = caller.call("GET", path).json()["subAccounts"]
    assert len(everything["outbound"][0]["countries"]) == 249
    params = {"country": "SG", "direction": "outbound", "subAccountId": "sandbox_hq", "mcc": "525", "mnc": "01"}
    (some,) = caller.call("GET", path, params=params).json()["subAccounts"]
    (singapore,) = some["outbound"][0]["countries"]
    assert (singapore["alpha2Code"], singapore["dialingPrefix"]) == ("SG", "+65")
    assert "inbound" not in some
    (inbound,) = caller.call("GET", path, params={"direction": "inbound"}).json()["subAccounts"]
    assert "outbound" not in inbound


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"country": "ZZ"}, 1009),
        ({"direction": "sideways"}, 1000),
        ({"mcc": "525"}, 1000),
        ({"mcc": "525", "mnc": "x"}, 1000),
        ({"subAccountId": "another"}, 1001),
    ],
)
def test_prices_with_a_bad_filter_are_refused(caller: Caller, params: dict[str, str], code: int) -> None:
    response = caller.call("GET", f"/api/v1/accounts/{ACCOUNT}/prices", params=params)
    assert (response.status_code, response.json()["code"]) == (400, code)
