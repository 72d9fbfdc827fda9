"""What a failed call means."""

from __future__ import annotations

import json
import pickle
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from airflow_provider_8x8.api.errors import (
    EightByEightError,
    RateLimitedError,
    RefusedError,
    UnknownOutcomeError,
    error_from_answer,
    parse_retry_after,
)
from airflow_provider_8x8.api.masking import mask_phone_numbers

ENVELOPE = json.dumps(
    {"code": 1002, "message": "Invalid MSISDN +1 202-555-0123", "errorId": "e-1", "timestamp": "2026-01-31T09:00:00Z"}
).encode()


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        *((status, ENVELOPE, RefusedError) for status in (400, 401, 403, 404, 410, 422, 426)),
        *((status, b"<html>", UnknownOutcomeError) for status in (400, 401, 403, 404, 410, 422, 426)),
        *((status, ENVELOPE, UnknownOutcomeError) for status in (204, 301, 307, 408, 409, 413, 500, 502, 503, 504)),
        (429, ENVELOPE, RateLimitedError),
        (429, b"", RateLimitedError),
        (400, b'{"code": "x"}', UnknownOutcomeError),
    ],
)
def test_an_answer_is_sorted_by_what_may_be_sent_again(status: int, body: bytes, kind: type[EightByEightError]) -> None:
    error = error_from_answer(status, {}, body)
    assert type(error) is kind
    assert "0123" not in str(error)


def test_a_refusal_gives_8x8s_code_and_error_id() -> None:
    error = error_from_answer(400, {}, ENVELOPE)
    assert isinstance(error, RefusedError)
    assert (error.code, error.error_id) == (1002, "e-1")
    assert "code 1002" in str(error)
    assert "error id e-1" in str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301  # our own bytes


def test_retry_after_is_seconds_or_a_date() -> None:
    assert parse_retry_after("7") == 7
    in_a_minute = parse_retry_after(format_datetime(datetime.now(UTC) + timedelta(minutes=1), usegmt=True))
    assert in_a_minute is not None
    assert 55 <= in_a_minute <= 60
    assert parse_retry_after("Fri, 01 Jan 2021 00:00:00 GMT") == 0
    assert [parse_retry_after(value) for value in (None, "", "soon", "-1")] == [None] * 4


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("+6591234577", "+65******77"),
        ("call +1 (202) 555-0123 now", "call +12*******23 now"),
        ("code 1002, 6 digits 123456", "code 1002, 6 digits 123456"),
        ("1_2_0_2_5_5_5_0_1_2_3", "12*******23"),
    ],
)
def test_phone_numbers_are_masked(text: str, masked: str) -> None:
    assert mask_phone_numbers(text) == masked
