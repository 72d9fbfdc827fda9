"""What 8x8 refuses, each with its code, and nothing of it accepted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from airflow_provider_8x8.sandbox.server import Sandbox
from tests.sandbox.caller import API_KEY, TEMPLATE, Caller, message


def in_(**span: int) -> str:
    return (datetime.now(UTC) + timedelta(**span)).isoformat()


def assert_refused(response: requests.Response, status: int, code: int) -> None:
    envelope = response.json()
    assert (response.status_code, envelope["code"]) == (status, code), envelope
    assert set(envelope) == {"code", "message", "errorId", "timestamp"}
    assert envelope["message"]


MESSAGE_FIELDS: list[tuple[dict[str, Any], int]] = [
    ({"destination": "0412345678"}, 1002),
    ({"destination": "+123456"}, 1002),
    ({"destination": "+1234567890123456"}, 1002),
    ({"destination": "+1 202 555 0123"}, 1002),
    ({"destination": "+12025550123\n"}, 1002),
    ({"destination": "+١٢٠٢٥٥٥٠١٢٣"}, 1002),
    ({"destination": 12025550123}, 1000),
    ({"destination": None}, 1000),
    ({"country": "USA"}, 3018),
    ({"country": "U"}, 3018),
    ({"country": "ZZ"}, 3018),
    ({"country": "XK"}, 3018),
    ({"country": ""}, 3018),
    ({"country": 1}, 1000),
    ({"clientMessageId": "i" * 351}, 3009),
    ({"clientMessageId": 7}, 1000),
    ({"source": "s" * 17}, 3011),
    ({"source": ""}, 1005),
    ({"source": 7}, 1000),
    ({"encoding": "ASCII"}, 1003),
    ({"encoding": "auto"}, 1003),
    ({"scheduled": in_(days=8)}, 1011),
    ({"scheduled": in_(minutes=-1)}, 1011),
    ({"scheduled": "tomorrow"}, 1011),
    ({"scheduled": "2999-01-01T10:00:00"}, 1011),
    ({"scheduled": "9999-12-31T23:59:59-14:00"}, 1011),
    ({"scheduled": "0001-01-01T00:00:00+14:00"}, 1011),
    ({"expiry": in_(minutes=-1)}, 1006),
    ({"expiry": "soon"}, 1006),
    ({"expiry": "2999-01-01"}, 1006),
    ({"scheduled": in_(hours=2), "expiry": in_(hours=1)}, 1006),
    ({"dlrCallbackUrl": "example.com/8x8"}, 3020),
    ({"dlrCallbackUrl": "ftp://example.com/8x8"}, 3020),
    ({"dlrCallbackUrl": "https://"}, 3020),
    ({"dlrCallbackUrl": "https://example.com:x/"}, 3020),
    ({"dlrCallbackUrl": "https://example.com/a b"}, 3020),
    ({"templateBody": "Hi {{firstName}}"}, 1007),
    ({"templateBody": ""}, 1007),
    ({"templateBody": "Hi {{firstName}: {{url}}"}, 1007),
    ({"templateBody": "Hi {{firstName: {{url}}"}, 1007),
    ({"templateBody": "Hi {{}} {{url}}"}, 1007),
    ({"templateBody": "Hi {{a:b}} {{url}}"}, 1007),
    ({"templateBody": None}, 1000),
    ({"templateBody": "Hi {{lastName}}: {{url}}"}, 1004),
    ({"templateBody": "Hi {{url:lastName}}"}, 1004),
    ({"templateBody": "Hi {{FirstName}}: {{url}}"}, 1004),
    ({"templateVariables": {}}, 1004),
    ({"templateVariables": []}, 1000),
    ({"templateVariables": {"firstName": None}}, 1000),
    ({"templateVariables": {"firstName": True}}, 1000),
    ({"templateVariables": {"firstName": ["Ana"]}}, 1000),
]


@pytest.mark.parametrize(("fields", "code"), MESSAGE_FIELDS, ids=[str(fields) for fields, _ in MESSAGE_FIELDS])
def test_one_bad_message_refuses_the_whole_batch(
    caller: Caller, sandbox: Sandbox, fields: dict[str, Any], code: int
) -> None:
    response = caller.batch(message(1), message(2, **fields), message(3))
    assert_refused(response, 400, code)
    assert "messages[1]" in response.json()["message"]
    stats = sandbox.stats()
    assert (stats["requests"], stats["batches"], stats["accepted"]) == (1, 0, 0)
    assert sandbox.messages() == []


@pytest.mark.parametrize(("fields", "code"), MESSAGE_FIELDS, ids=[str(fields) for fields, _ in MESSAGE_FIELDS])
def test_a_single_survey_is_held_to_the_same(
    caller: Caller, sandbox: Sandbox, fields: dict[str, Any], code: int
) -> None:
    assert_refused(caller.single(**fields), 400, code)
    assert sandbox.messages() == []


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"messages": []}, 3012),
        ({"messages": {}}, 1000),
        ({"messages": ["+12025550123"]}, 1000),
        ({"messages": [{"clientMessageId": "id-1"}]}, 1004),
        ({"messages": [{"templateVariables": {"firstName": "Ana"}}]}, 1002),
        ({"clientBatchId": "b" * 21}, 3014),
        ({"clientBatchId": 1}, 1000),
        ({"includeMessagesInResponse": "yes"}, 1000),
        ({"template": "Hi {{url}}"}, 1000),
        ({"template": None}, 1000),
        ({"template": {"source": "YourBrand"}}, 1007),
        ({"template": {"templateBody": "Hi"}}, 1007),
        ({"template": {**TEMPLATE, "source": "s" * 17}}, 3011),
        ({"template": {**TEMPLATE, "encoding": "UTF8"}}, 1003),
        ({"template": {**TEMPLATE, "scheduled": "2001-01-01T00:00:00Z"}}, 1011),
        ({"template": {**TEMPLATE, "expiry": "2001-01-01T00:00:00Z"}}, 1006),
        ({"template": {**TEMPLATE, "dlrCallbackUrl": "example"}}, 3020),
    ],
    ids=str,
)
def test_a_bad_batch_is_refused(caller: Caller, sandbox: Sandbox, fields: dict[str, Any], code: int) -> None:
    body = {"messages": [message(1)], "template": TEMPLATE, **fields}
    assert_refused(caller.call("POST", "surveys/nps/messages/batch", json=body), 400, code)
    assert sandbox.stats()["batches"] == 0


def test_a_batch_without_messages_is_refused(caller: Caller) -> None:
    assert_refused(caller.call("POST", "surveys/nps/messages/batch", json={"template": TEMPLATE}), 400, 3012)


def test_more_than_ten_thousand_messages_are_refused(caller: Caller, sandbox: Sandbox) -> None:
    assert_refused(caller.batch(*([message(1)] * 10_001)), 400, 3013)
    assert sandbox.messages() == []


def test_a_message_without_any_text_is_refused(caller: Caller) -> None:
    body = {"messages": [message(1, templateBody="Hi {{url}}"), message(2)]}
    assert_refused(caller.call("POST", "surveys/nps/messages/batch", json=body), 400, 1007)


def test_an_expiry_of_a_message_is_held_against_the_common_schedule(caller: Caller) -> None:
    template = {**TEMPLATE, "scheduled": in_(hours=2)}
    assert_refused(caller.batch(message(1, expiry=in_(hours=1)), template=template), 400, 1006)
    assert caller.batch(message(1, expiry=in_(hours=3)), template=template).status_code == 200


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b'{"messages": ['),
        ("application/json", b""),
        ("application/json", b"[]"),
        ("application/json", b"\xff"),
        ("application/json", b'{"a":' * 100_000),
        ("application/json", b'"\\ud800"'),
        ("text/plain", b'{"messages": []}'),
        ("application/x-www-form-urlencoded", b"messages=1"),
    ],
)
@pytest.mark.parametrize("path", ["surveys/nps/messages/batch", "surveys/nps/messages"])
def test_what_is_no_json_is_refused(caller: Caller, path: str, content_type: str, body: bytes) -> None:
    response = caller.call("POST", path, data=body, headers={"Content-Type": content_type})
    assert_refused(response, 400, 1000)


def test_json_may_say_its_charset(caller: Caller) -> None:
    body = b'{"messages": [{"destination": "+12025550123", "templateBody": "{{url}}"}]}'
    headers = {"Content-Type": "application/json; charset=utf-8"}
    assert caller.call("POST", "surveys/nps/messages/batch", data=body, headers=headers).status_code == 200


PATHS = [
    ("POST", "surveys/nps/messages/batch"),
    ("POST", "surveys/nps/messages"),
    ("DELETE", "messages/batch/d9428888-122b-11e1-b85c-61cd3cbb3210"),
    ("POST", "messages/exports"),
    ("GET", "messages/exports/job"),
    ("DELETE", "messages/exports/job"),
    ("GET", "messages/d9428888-122b-11e1-b85c-61cd3cbb3210"),
    ("DELETE", "messages/d9428888-122b-11e1-b85c-61cd3cbb3210"),
    ("DELETE", "messages/d9428888-122b-11e1-b85c-61cd3cbb3210/pii"),
    ("GET", "/api/v1/accounts/d9428888-122b-11e1-b85c-61cd3cbb3210/prices"),
    ("GET", "/api/v1/accounts/d9428888-122b-11e1-b85c-61cd3cbb3210/balance"),
]


@pytest.mark.parametrize(("method", "path"), PATHS)
@pytest.mark.parametrize(
    "authorization", [None, "Bearer other", "sandbox-key-7f3a", "Basic sandbox-key-7f3a", "Bearer"]
)
def test_a_wrong_key_is_refused(caller: Caller, method: str, path: str, authorization: str | None) -> None:
    headers = {"Authorization": authorization} if authorization else {}
    assert_refused(caller.call(method, path, key=None, headers=headers, json={}), 401, 1200)


@pytest.mark.parametrize(("method", "path"), [entry for entry in PATHS if not entry[1].startswith("/")])
def test_another_sub_account_is_refused(caller: Caller, method: str, path: str) -> None:
    assert_refused(caller.call(method, f"/api/v1/subaccounts/another/{path}", json={}), 400, 1001)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/api/v1/nothing"),
        ("GET", "surveys/nps/messages/batch"),
        ("PUT", "surveys/nps/messages/batch"),
        ("POST", "surveys/nps/messages/batch/"),
        ("POST", "messages/batch"),
        ("GET", "/sandboxes"),
        ("GET", "/sandbox/nothing"),
        ("POST", "/sandbox/faults"),
    ],
)
def test_an_unknown_path_is_not_found(caller: Caller, method: str, path: str) -> None:
    assert_refused(caller.call(method, path), 404, 1300)


@pytest.mark.parametrize("method", ["PATCH", "OPTIONS", "TRACE"])
def test_a_method_that_nobody_serves_is_refused_in_the_same_shape(caller: Caller, method: str) -> None:
    assert_refused(caller.call(method, "/sandbox"), 501, 1000)


@pytest.mark.parametrize("survey", ["order-feedback", "NPS", "nps ", "np", "%00"])
@pytest.mark.parametrize("path", ["messages/batch", "messages"])
def test_a_survey_that_there_is_not_is_refused(survey: str, path: str) -> None:
    with Sandbox(api_key=API_KEY, surveys=["nps", "a/b & c"]) as sandbox:
        caller = Caller(sandbox.url)
        assert_refused(caller.call("POST", f"surveys/{survey}/{path}", json={**message(1), **TEMPLATE}), 400, 1008)
        assert sandbox.messages() == []
        assert caller.batch(message(1)).status_code == 200
        quoted = caller.call("POST", "surveys/a%2Fb%20%26%20c/messages", json={**message(1), **TEMPLATE})
        assert quoted.status_code == 200
        assert sandbox.messages()[0]["survey_id"] == "a/b & c"


@pytest.mark.parametrize("surveys", ["nps", [""]])
def test_surveys_that_cannot_be_are_said_plainly(surveys: list[str]) -> None:
    with pytest.raises(ValueError, match="list of ids"):
        Sandbox(surveys=surveys)
