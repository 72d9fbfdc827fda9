"""What the operator sends and what limits it has, held against 8x8's OpenAPI file where that is present."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import msgspec
import pytest

from airflow_provider_8x8.api import models
from tests.operators.test_survey_batch import person, survey_dag
from tests.sandbox.test_openapi import BATCH, OpenApi, openapi

__all__ = ["openapi"]  # a fixture, used by its name

SOON = datetime.now(UTC) + timedelta(days=1)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"source": "Example"},
        {"source": "1234567890123456", "encoding": "UCS2"},
        {"scheduled": SOON, "expiry": SOON + timedelta(hours=1)},
        {"scheduled": "{{ macros.datetime.utcnow() + macros.timedelta(hours=1) }}Z"},
        {"dlr_callback_url": "https://example.com/receipts", "client_batch_id_prefix": "orders-1"},
        {"template_variables": {"firstName": "you", "order_nr": 1.5}},
        {"template_body": None, "source": "Example", "encoding": "AUTO", "scheduled": SOON},
    ],
)
def test_every_variant_of_the_operators_requests_is_valid(
    run_dag: Any, sandbox: Any, connection: str, openapi: OpenApi, arguments: dict[str, Any]
) -> None:
    own = {
        "template_body": "{{ url : order_nr }}",
        "client_message_id": "own-id",
        "country": "us",
        "destination": "2015550199",
        "source": "Own",
        "encoding": "GSM7",
        "scheduled": SOON.isoformat(),
        "expiry": (SOON + timedelta(hours=2)).isoformat(),
        "dlr_callback_url": "https://example.com/own",
    }
    rows = [person(1), person(2, firstName=True), person(3, **own)]
    if arguments.get("template_body", "") is None:
        rows = [{**row, "templateBody": "{{url}}"} for row in rows[:2]] + rows[2:]
    run = run_dag(survey_dag(rows=rows, **arguments))
    assert run.task_states == {"send": "success"}, run.log[-2000:]
    schema = openapi.at("paths", BATCH, "post", "requestBody", "content", "application/json", "schema")
    requests = sandbox.requests()
    assert len(requests) == 1
    body = json.loads(requests[0].body)
    openapi.assert_valid(schema, body)
    assert body["includeMessagesInResponse"] is True
    assert len(body["messages"]) == 3
    assert body["messages"][2]["clientMessageId"] == "own-id"


def test_our_limits_are_8x8s_or_tighter(openapi: OpenApi) -> None:
    batch = openapi.at("components", "schemas", "BatchSurveyRequest", "properties")
    message = openapi.at("components", "schemas", "SurveyRequest", "properties")
    assert batch["messages"]["maxItems"] == models.MAX_BATCH_SIZE
    assert batch["clientBatchId"]["maxLength"] == models.MAX_CLIENT_BATCH_ID_LENGTH
    for limit, name in ((models.Source, "source"), (models.ClientMessageId, "clientMessageId")):
        longest = message[name]["maxLength"]
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert("x" * (longest + 1), limit)
    pattern = message["destination"]["pattern"]
    for number in ("+12025550123", "1234567", "123456789012345", "0123456789", "123456", "1234567890123456", "+"):
        try:
            ours = bool(msgspec.convert(number, models.Destination))
        except msgspec.ValidationError:
            ours = False
        assert ours == bool(re.search(pattern, number)), number
    assert set(message["encoding"]["enum"]) == set(get_args(models.Encoding))
    assert set(models.SurveyMessage.__struct_encode_fields__) == set(message)
    template = openapi.at("components", "schemas", "SurveyTemplate", "properties")
    assert set(models.SurveyTemplate.__struct_encode_fields__) == set(template)
