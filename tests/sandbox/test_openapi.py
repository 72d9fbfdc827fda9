"""The sandbox against 8x8's OpenAPI file, where that is present."""

from __future__ import annotations

import json
from datetime import datetime
from functools import reduce
from typing import Any
from urllib.parse import unquote

import pytest
import requests
from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from airflow_provider_8x8.sandbox.platform import limits
from airflow_provider_8x8.sandbox.platform.numbers import CALLING_CODE_OF_COUNTRY
from airflow_provider_8x8.sandbox.server import Sandbox
from tests.sandbox.caller import API_KEY, OPENAPI_FILE, TEMPLATE, Caller, message

SUBACCOUNT = "/api/v1/subaccounts/{subAccountId}"
ACCOUNT = "/api/v1/accounts/{accountId}"
BATCH = SUBACCOUNT + "/surveys/{surveyId}/messages/batch"
SINGLE = SUBACCOUNT + "/surveys/{surveyId}/messages"
MESSAGE = SUBACCOUNT + "/messages/{umid}"
EXPORT = SUBACCOUNT + "/messages/exports/{jobId}"
SOME_UUID = "d9428888-122b-11e1-b85c-61cd3cbb3210"


class OpenApi:
    """8x8's file."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self._registry = Registry().with_resource("urn:8x8", DRAFT202012.create_resource(document))

    def at(self, *keys: str) -> Any:
        """Give what is at a place, following references."""
        return reduce(lambda value, key: self._followed(value[key]), keys, self.document)

    def assert_valid(self, schema: Any, instance: object) -> None:
        """Hold something against a schema of the file."""
        absolute = json.loads(json.dumps(schema).replace('"#/', '"urn:8x8#/'))
        validator = Draft202012Validator(absolute, registry=self._registry, format_checker=FormatChecker())
        assert [error.message for error in validator.iter_errors(instance)] == []

    def assert_answer(self, method: str, path: str, response: requests.Response) -> None:
        """Hold an answer against what the file says of this operation and status."""
        declared = self.at("paths", path, method, "responses", str(response.status_code))
        content = declared.get("content")
        if not content:
            assert response.content == b""
            return
        assert response.headers["Content-Type"] == "application/json"
        schema = content["application/json"].get("schema")
        if response.status_code >= 400:
            self._assert_envelope(response.json())
        if schema is not None:
            self.assert_valid(schema, response.json())

    def _assert_envelope(self, envelope: dict[str, Any]) -> None:
        error_response = (SUBACCOUNT + "/messages/{umid}/pii", "delete", "responses", "404", "content", "*/*", "schema")
        self.assert_valid(self.at("paths", *error_response), envelope)
        assert datetime.fromisoformat(envelope["timestamp"]).tzinfo is not None

    def _followed(self, value: Any) -> Any:
        if not (isinstance(value, dict) and isinstance(value.get("$ref"), str)):
            return value
        keys = value["$ref"].removeprefix("#/").split("/")
        return self.at(*(unquote(key).replace("~1", "/").replace("~0", "~") for key in keys))


@pytest.fixture(scope="module")
def openapi() -> OpenApi:
    if not OPENAPI_FILE.exists():
        pytest.skip("8x8's OpenAPI file is not beside the repository")
    return OpenApi(json.loads(OPENAPI_FILE.read_text()))


def test_the_check_itself_finds_what_is_wrong(openapi: OpenApi) -> None:
    schema = openapi.at("components", "schemas", "BatchSmsResponse")
    sound = {"batchId": SOME_UUID, "acceptedCount": 1, "rejectedCount": 0}
    openapi.assert_valid(schema, sound)
    wrong: list[dict[str, Any]] = [{"batchId": "x"}, {"acceptedCount": "1"}, {"messages": [{}]}]
    for broken in wrong:
        with pytest.raises(AssertionError):
            openapi.assert_valid(schema, {**sound, **broken})


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"includeMessagesInResponse": False},
        {"clientBatchId": "b-1"},
        {"template": {**TEMPLATE, "source": "YourBrand", "encoding": "UCS2", "dlrCallbackUrl": "https://example.com/"}},
    ],
    ids=str,
)
def test_a_batch_and_its_answer_are_valid(
    openapi: OpenApi, caller: Caller, sandbox: Sandbox, fields: dict[str, Any]
) -> None:
    long_national = message(3, destination="123456789012345", country="SG")
    response = caller.batch(message(1), message(2, destination="+2101234567"), long_national, **fields)
    assert response.status_code == 200
    openapi.assert_answer("post", BATCH, response)
    (request,) = sandbox.requests()
    schema = openapi.at("paths", BATCH, "post", "requestBody", "content", "application/json", "schema")
    openapi.assert_valid(schema, json.loads(request.body))


@pytest.mark.parametrize("fields", [{}, {"destination": "+2101234567"}, {"encoding": "UCS2"}], ids=str)
def test_a_single_survey_and_its_answer_are_valid(openapi: OpenApi, caller: Caller, fields: dict[str, str]) -> None:
    response = caller.single(**fields)
    assert response.status_code == 200
    openapi.assert_answer("post", SINGLE, response)


def test_refusals_are_valid(openapi: OpenApi, caller: Caller, sandbox: Sandbox) -> None:
    for path, ask in ((BATCH, caller.batch), (SINGLE, lambda *_: caller.single(destination="0"))):
        refused = ask(message(1, destination="0"))
        assert refused.status_code == 400
        openapi.assert_answer("post", path, refused)
        quoted = path.format(subAccountId="sandbox_hq", surveyId="nps")
        openapi.assert_answer("post", path, caller.call("POST", quoted, key="other", json={}))
        operation = "survey_batch" if path == BATCH else "survey"
        sandbox.faults([{"on": operation, "kind": "500_after_accept"}])
        failed = caller.batch(message(1)) if path == BATCH else caller.single()
        assert failed.status_code == 500
        openapi.assert_answer("post", path, failed)


def test_a_message_is_valid(openapi: OpenApi, caller: Caller) -> None:
    sent = caller.batch(message(1), clientBatchId="b-1").json()["messages"]
    read = caller.call("GET", f"messages/{sent[0]['umid']}")
    assert read.status_code == 200
    openapi.assert_answer("get", MESSAGE, read)
    for umid, key, status in ((SOME_UUID, "other", 401), (SOME_UUID, None, 401), ("x", "", 401)):
        refused = caller.call("GET", f"messages/{umid}", key=key)
        assert refused.status_code == status
        openapi.assert_answer("get", MESSAGE, refused)
    for umid, status in ((SOME_UUID, 404), ("x", 400)):
        for method in ("get", "delete"):
            refused = caller.call(method.upper(), f"messages/{umid}")
            assert refused.status_code == status
            openapi.assert_answer(method, MESSAGE, refused)
    openapi.assert_answer("delete", MESSAGE, caller.call("DELETE", f"messages/{sent[0]['umid']}"))


@pytest.mark.parametrize("fields", [{}, {"destination": "+2101234567"}, {"destination": "+8821234567"}], ids=str)
def test_every_kind_of_message_is_valid(openapi: OpenApi, caller: Caller, fields: dict[str, str]) -> None:
    umid = caller.single(**fields).json()["umid"]
    openapi.assert_answer("get", MESSAGE, caller.call("GET", f"messages/{umid}"))


def test_one_read_too_many_is_valid(openapi: OpenApi, caller: Caller, sandbox: Sandbox) -> None:
    sandbox.faults([{"on": "get_message", "kind": "429"}])
    refused = caller.call("GET", f"messages/{SOME_UUID}")
    assert refused.status_code == 429
    openapi.assert_answer("get", MESSAGE, refused)


def test_cancelling_is_valid(openapi: OpenApi, caller: Caller) -> None:
    path = SUBACCOUNT + "/messages/batch/{batchId}"
    batch_id = caller.batch(message(1)).json()["batchId"]
    openapi.assert_answer("delete", path, caller.call("DELETE", f"messages/batch/{batch_id}"))
    openapi.assert_answer("delete", path, caller.call("DELETE", f"messages/batch/{SOME_UUID}"))


def test_removing_personal_data_is_valid(openapi: OpenApi, caller: Caller, sandbox: Sandbox) -> None:
    path = SUBACCOUNT + "/messages/{umid}/pii"
    umid = caller.batch(message(1)).json()["messages"][0]["umid"]
    removed = caller.call("DELETE", f"messages/{umid}/pii")
    assert removed.status_code == 202
    openapi.assert_answer("delete", path, removed)
    for unknown in (SOME_UUID, "x"):
        openapi.assert_answer("delete", path, caller.call("DELETE", f"messages/{unknown}/pii"))
    for kind in ("429", "500"):
        sandbox.faults([{"on": "delete_pii", "kind": kind}])
        openapi.assert_answer("delete", path, caller.call("DELETE", f"messages/{umid}/pii"))


@pytest.mark.parametrize("path", [BATCH, SINGLE])
def test_the_refusal_of_an_unknown_survey_is_valid(openapi: OpenApi, path: str) -> None:
    with Sandbox(api_key=API_KEY, surveys=["nps"]) as sandbox:
        quoted = path.format(subAccountId="sandbox_hq", surveyId="another")
        refused = Caller(sandbox.url).call("POST", quoted, json={})
        openapi.assert_answer("post", path, refused)


def test_log_exports_are_valid(openapi: OpenApi, caller: Caller) -> None:
    for messages in ((), (message(1),)):
        if messages:
            caller.batch(*messages)
        started = caller.call("POST", "messages/exports", json={"limit": 0})
        openapi.assert_answer("post", SUBACCOUNT + "/messages/exports", started)
        path = f"messages/exports/{started.json()['jobId']}"
        for _ in range(2):
            openapi.assert_answer("get", EXPORT, caller.call("GET", path))
        openapi.assert_answer("delete", EXPORT, caller.call("DELETE", path))
        openapi.assert_answer("get", EXPORT, caller.call("GET", path))
    for method in ("get", "delete"):
        unknown = caller.call(method.upper(), "messages/exports/unknown")
        assert unknown.status_code == 404
        openapi.assert_answer(method, EXPORT, unknown)


def test_prices_and_balance_are_valid(openapi: OpenApi, caller: Caller) -> None:
    for what in ("prices", "balance"):
        response = caller.call("GET", f"/api/v1/accounts/{SOME_UUID}/{what}")
        assert response.status_code == 200
        openapi.assert_answer("get", f"{ACCOUNT}/{what}", response)
    refused = caller.call("GET", f"/api/v1/accounts/{SOME_UUID}/prices", params={"country": "ZZ"})
    assert refused.status_code == 400
    openapi.assert_answer("get", f"{ACCOUNT}/prices", refused)


def test_the_sandboxs_limits_are_those_of_the_file(openapi: OpenApi) -> None:
    batch = openapi.at("components", "schemas", "BatchSurveyRequest", "properties")
    survey = openapi.at("components", "schemas", "SurveyRequest", "properties")
    template = openapi.at("components", "schemas", "SurveyTemplate", "properties")
    assert batch["messages"]["maxItems"] == limits.MAX_MESSAGES
    assert batch["clientBatchId"]["maxLength"] == limits.MAX_CLIENT_BATCH_ID_LENGTH
    assert survey["clientMessageId"]["maxLength"] == limits.MAX_CLIENT_MESSAGE_ID_LENGTH
    assert survey["source"]["maxLength"] == template["source"]["maxLength"] == limits.MAX_SOURCE_LENGTH
    country = survey["country"]
    assert {len(code) for code in CALLING_CODE_OF_COUNTRY} == {country["minLength"], country["maxLength"]}
    assert survey["encoding"]["enum"] == template["encoding"]["enum"] == list(limits.ENCODINGS)
    assert survey["destination"]["pattern"] == f"^{limits.DESTINATION.pattern}$"
    (subaccount,) = (
        parameter
        for parameter in openapi.at("paths", SUBACCOUNT + "/messages", "post", "parameters")
        if parameter["name"] == "subAccountId"
    )
    assert subaccount["schema"]["pattern"] == f"^{limits.SUBACCOUNT_ID.pattern}$"
    (account,) = openapi.at("paths", f"{ACCOUNT}/webhooks", "parameters")
    assert account["schema"]["pattern"] == f"^{limits.ACCOUNT_ID.pattern}$"
