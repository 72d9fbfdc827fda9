"""Batches and single surveys that 8x8 would take."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_8x8.sandbox.server import Sandbox
from tests.sandbox.caller import API_KEY, Caller, connect, eventually, head, message

INVALID_NUMBER = "Invalid MSISDN format (not E.164 international number)"


def test_a_batch_is_answered_with_its_ids_and_counts(caller: Caller) -> None:
    response = caller.batch(message(1), message(2), clientBatchId="monthly-1")
    assert response.status_code == 200
    answer = response.json()
    assert uuid.UUID(answer["batchId"])
    assert (answer["clientBatchId"], answer["acceptedCount"], answer["rejectedCount"]) == ("monthly-1", 2, 0)
    assert {sent["clientMessageId"] for sent in answer["messages"]} == {"id-1", "id-2"}


def test_the_messages_come_back_only_if_asked_for(caller: Caller) -> None:
    answer = caller.batch(message(1), includeMessagesInResponse=False).json()
    assert "messages" not in answer
    assert "clientBatchId" not in answer
    assert answer["acceptedCount"] == 1


def test_a_message_of_the_answer_says_what_became_of_it(caller: Caller) -> None:
    (sent,) = caller.batch(message(7)).json()["messages"]
    assert uuid.UUID(sent.pop("umid"))
    assert sent == {
        "clientMessageId": "id-7",
        "destination": "12025550007",
        "encoding": "GSM7",
        "status": {"code": "QUEUED", "description": "SMS is accepted and queued for processing"},
    }


@pytest.mark.parametrize("size", [2, 3, 10, 500])
def test_the_answer_has_another_order_than_the_request_always_the_same(caller: Caller, size: int) -> None:
    messages = [message(number) for number in range(size)]
    orders = [[sent["clientMessageId"] for sent in caller.batch(*messages).json()["messages"]] for _ in range(2)]
    asked = [sent["clientMessageId"] for sent in messages]
    assert orders[0] == orders[1] != asked
    assert sorted(orders[0]) == sorted(asked)


def test_a_message_without_an_id_gets_the_batchs_with_the_number(caller: Caller) -> None:
    nameless = message(1)
    del nameless["clientMessageId"]
    (sent,) = caller.batch(nameless, clientBatchId="monthly-1").json()["messages"]
    assert sent["clientMessageId"] == "monthly-1/12025550001"


def test_nothing_is_deduplicated(caller: Caller, sandbox: Sandbox) -> None:
    for _ in range(2):
        assert caller.batch(message(1), message(1), clientBatchId="same").json()["acceptedCount"] == 2
    stats = sandbox.stats()
    assert (stats["accepted"], stats["distinct_keys"], stats["max_per_key"]) == (4, 1, 4)


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"destination": "+2101234567"}, id="unassigned calling code"),
        pytest.param({"destination": "99912345678"}, id="unassigned calling code, without plus"),
        pytest.param({"destination": "202555012", "country": "US"}, id="national number too short"),
        pytest.param({"destination": "123456789012345", "country": "SG"}, id="national number too long"),
    ],
)
def test_a_number_that_cannot_exist_rejects_its_message_only(caller: Caller, fields: dict[str, str]) -> None:
    answer = caller.batch(message(1), message(2, **fields)).json()
    assert (answer["acceptedCount"], answer["rejectedCount"]) == (1, 1)
    by_id = {sent["clientMessageId"]: sent["status"] for sent in answer["messages"]}
    assert by_id["id-1"]["code"] == "QUEUED"
    assert by_id["id-2"] == {"code": "REJECTED", "description": INVALID_NUMBER}


@pytest.mark.parametrize(
    ("fields", "digits"),
    [
        ({"destination": "+12025550123"}, "12025550123"),
        ({"destination": "12025550123"}, "12025550123"),
        ({"destination": "2025550123", "country": "US"}, "12025550123"),
        ({"destination": "+12025550123", "country": "US"}, "12025550123"),
        ({"destination": "7700900123", "country": "GB"}, "447700900123"),
        ({"destination": "491570123", "country": "AU"}, "61491570123"),
        ({"destination": "491570123"}, "491570123"),
    ],
)
def test_a_number_is_national_only_with_a_country_and_without_a_plus(
    caller: Caller, fields: dict[str, str], digits: str
) -> None:
    (sent,) = caller.batch(message(1, **fields)).json()["messages"]
    assert sent["destination"] == digits
    assert sent["status"]["code"] == "QUEUED"


def test_a_message_may_have_a_text_and_a_sender_of_its_own(caller: Caller, sandbox: Sandbox) -> None:
    template = {"templateBody": "Common {{url}}", "source": "YourBrand", "encoding": "GSM7"}
    own = message(2, templateBody="Own {{url}}", source="12345", encoding="UCS2")
    assert caller.batch(message(1), own, template=template).status_code == 200
    second, first = sandbox.messages()
    assert (first["source"], first["encoding"], str(first["text"]).split()[0]) == ("YourBrand", "GSM7", "Common")
    assert (second["source"], second["encoding"], str(second["text"]).split()[0]) == ("12345", "UCS2", "Own")


def test_a_batch_needs_no_template_if_every_message_has_a_text(caller: Caller) -> None:
    body = {"messages": [message(1, templateBody="Hi {{url}}")]}
    assert caller.call("POST", "surveys/nps/messages/batch", json=body).json()["acceptedCount"] == 1


def test_what_8x8_allows_at_its_limits_is_taken(caller: Caller) -> None:
    soon = datetime.now(UTC) + timedelta(days=6, hours=23)
    fields = {
        "clientMessageId": "i" * 350,
        "source": "s" * 16,
        "scheduled": soon.isoformat(),
        "expiry": (soon + timedelta(minutes=1)).isoformat(),
        "dlrCallbackUrl": "https://example.com/8x8?a=b",
        "destination": "+" + "1" * 15,
    }
    assert caller.batch(message(1, **fields), clientBatchId="b" * 20).json()["acceptedCount"] == 1


def test_ten_thousand_messages_are_one_batch(caller: Caller, sandbox: Sandbox) -> None:
    answer = caller.batch(*(message(number) for number in range(10_000))).json()
    assert (answer["acceptedCount"], len(answer["messages"])) == (10_000, 10_000)
    assert len({sent["umid"] for sent in answer["messages"]}) == 10_000
    assert sandbox.stats()["distinct_keys"] == 10_000


def test_batches_sent_at_once_are_all_accepted_whole(caller: Caller, sandbox: Sandbox) -> None:
    def send(batch: int) -> dict[str, object]:
        numbers = range(batch * 200, batch * 200 + 200)
        answer = Caller(sandbox.url).batch(*map(message, numbers), clientBatchId=f"batch-{batch}").json()
        assert {sent["clientMessageId"] for sent in answer["messages"]} == {f"id-{number}" for number in numbers}
        return dict(answer)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(send, range(16)))
    assert [answer["clientBatchId"] for answer in answers] == [f"batch-{batch}" for batch in range(16)]
    stats = sandbox.stats()
    assert (stats["requests"], stats["batches"], stats["accepted"]) == (16, 16, 3_200)
    assert (stats["distinct_keys"], stats["max_per_key"]) == (3_200, 1)


def test_a_single_survey_is_answered_and_counted_apart(caller: Caller, sandbox: Sandbox) -> None:
    answer = caller.single().json()
    assert (answer["clientMessageId"], answer["status"]["code"]) == ("id-0", "QUEUED")
    assert caller.single(destination="+2101234567").json()["status"]["code"] == "REJECTED"
    assert sandbox.stats() == {
        "requests": 0,
        "batches": 0,
        "accepted": 0,
        "rejected": 0,
        "distinct_keys": 0,
        "max_per_key": 0,
        "singles": 1,
    }
    assert [sent["batch_id"] for sent in sandbox.messages()] == [None, None]


def test_a_batch_takes_as_long_as_told_and_is_accepted_even_if_its_client_leaves() -> None:
    with Sandbox(api_key=API_KEY, batch_seconds=0.3) as sandbox:
        body = b'{"messages": [{"destination": "+12025550123", "templateBody": "{{url}}"}]}'
        with connect(sandbox) as connection:
            connection.sendall(head(sandbox, f"Content-Length: {len(body)}") + body)
        assert eventually(lambda: sandbox.stats()["accepted"] == 1)
