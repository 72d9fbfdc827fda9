"""8x8's API: the client, what goes to it and comes from it, and its errors."""

from __future__ import annotations

from collections.abc import Generator
from datetime import UTC, datetime
from typing import Any, assert_type

import msgspec

from airflow_provider_8x8.api.client import EightByEightClient
from airflow_provider_8x8.api.errors import (
    EightByEightError,
    NeverSentError,
    RateLimitedError,
    RefusedError,
    UnknownOutcomeError,
)
from airflow_provider_8x8.api.models import (
    Balance,
    BatchResponse,
    CancelResponse,
    LogExport,
    LogExportJob,
    LogExportRequest,
    LogLine,
    MessageDetails,
    MessageResponse,
    SurveyBatch,
    SurveyMessage,
    SurveyTemplate,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def make() -> None:
    client = EightByEightClient("key", subaccount_id="sandbox_hq")
    assert_type(client, EightByEightClient)
    assert_type(client.subaccount_id, str)
    assert_type(client.account_id, str | None)
    assert_type(client.timeout, float)
    EightByEightClient("key", subaccount_id="hq", base_url="https://sms.example.com", account_id=None, timeout=60)
    EightByEightClient("key", "sandbox_hq")  # type: ignore[call-arg]  # all but the key goes by its name
    EightByEightClient("key")  # type: ignore[call-arg]  # of which sub-account?
    EightByEightClient("key", subaccount_id=1)  # type: ignore[arg-type]  # an id is text
    EightByEightClient("key", subaccount_id="hq", timeout="60")  # type: ignore[arg-type]  # seconds are a number
    EightByEightClient("key", subaccount_id="hq", base_url=None)  # type: ignore[arg-type]  # it has a default


def send(client: EightByEightClient, batch: SurveyBatch, message: SurveyMessage) -> None:
    assert_type(client.send_survey_batch("survey", batch), BatchResponse)
    assert_type(client.send_survey_batch("survey", batch, send_by=1.5, on_sent=lambda: None), BatchResponse)
    assert_type(client.send_survey("survey", message, send_by=1), MessageResponse)
    assert_type(client.cancel_batch("batch"), CancelResponse)
    assert_type(client.cancel_message("umid"), CancelResponse)
    client.send_survey_batch("survey", [message])  # type: ignore[arg-type]  # a batch is more than its messages
    client.send_survey_batch(batch, "survey")  # type: ignore[arg-type]  # the survey comes first
    client.send_survey_batch("survey", batch, send_by=NOW)  # type: ignore[arg-type]  # seconds since 1970
    client.send_survey("survey", batch)  # type: ignore[arg-type]  # one survey is a message
    client.cancel_batch(None)  # type: ignore[arg-type]  # not the id of a batch that was never accepted


def look(client: EightByEightClient, request: LogExportRequest) -> None:
    assert_type(client.get_message("umid"), MessageDetails)
    assert_type(client.start_log_export(request), LogExportJob)
    assert_type(client.get_log_export("job", max_tries=1, timeout=5), LogExport)
    assert_type(client.read_log_export("https://example.com/file"), Generator[LogLine, None, None])
    assert_type(client.get_balance(), Balance)
    assert_type(client.get_prices(country="US"), dict[str, Any])
    client.start_log_export(NOW, NOW)  # type: ignore[call-arg,arg-type]  # a request has the times
    client.get_log_export(client.start_log_export(request))  # type: ignore[arg-type]  # the job's id
    client.get_prices(mcc="310", mnc=1)  # type: ignore[arg-type]  # codes are numbers here


def models(answer: BatchResponse, one: MessageResponse, line: LogLine) -> None:
    message = SurveyMessage(destination="+12025550123", template_variables={"firstName": "Zoë"}, scheduled=NOW)
    template = SurveyTemplate(template_body="Hi {{firstName}} {{url}}", encoding="AUTO")
    SurveyBatch(messages=[message], template=template, client_batch_id="q3-1", include_messages_in_response=True)
    SurveyBatch(messages=msgspec.Raw(b"[]"))
    LogExportRequest(from_=NOW, to=NOW, countries=["US"], limit=0)
    assert_type(answer.batch_id, str)
    assert_type(answer.accepted_count, int)
    assert_type(answer.rejected_count, int)
    assert_type(answer.messages, list[MessageResponse] | None)
    assert_type(one.umid, str)
    assert_type(one.client_message_id, str | None)
    assert_type(line.client_batch_id, str)
    assert_type(line.code, str | None)
    SurveyMessage(destination=12025550123)  # type: ignore[arg-type]  # a phone number is text
    SurveyMessage(destination="+12025550123", scheduled="2026-01-01")  # type: ignore[arg-type]  # a datetime
    SurveyTemplate(template_body="Hi", encoding="UTF8")  # type: ignore[arg-type]  # none of 8x8's
    SurveyBatch(messages=[{"destination": "+12025550123"}])  # type: ignore[list-item]  # messages, not mappings
    LogExportRequest(from_="2026-01-01", to=NOW)  # type: ignore[arg-type]  # a datetime
    MessageResponse(umid="umid", status="QUEUED")  # type: ignore[arg-type]  # a status has a description too


def errors(client: EightByEightClient, batch: SurveyBatch) -> None:
    try:
        client.send_survey_batch("survey", batch)
    except RateLimitedError as error:
        assert_type(error.retry_after, float | None)
        assert_type(error.retry_at, datetime | None)
    except RefusedError as error:
        assert_type(error.http_status, int)
        assert_type(error.code, int | None)
        assert_type(error.description, str)
    except (NeverSentError, UnknownOutcomeError) as error:
        assert_type(error, NeverSentError | UnknownOutcomeError)
    except EightByEightError as error:
        assert_type(error.may_go_better, bool)
        assert_type(error.reason, str)


def each_error_is_one(refused: RefusedError) -> list[EightByEightError]:
    RefusedError("400")  # type: ignore[arg-type]  # the number of the status
    wrong: UnknownOutcomeError = refused  # type: ignore[assignment]  # what is refused has an outcome
    return [NeverSentError("no route"), RateLimitedError(429, 1), refused, wrong]
