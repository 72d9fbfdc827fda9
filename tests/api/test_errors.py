"""What a failed call means."""

from __future__ import annotations

import json
import pickle
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from airflow_provider_8x8.api.errors import (
    LONGEST_RETRY_AFTER,
    EightByEightError,
    RateLimitedError,
    RefusedError,
    UnknownOutcomeError,
    error_from_answer,
    parse_retry_after,
)
from airflow_provider_8x8.api.masking import mask_phone_numbers, quotable
from airflow_provider_8x8.api.models import (
    ErrorEnvelope,
    LogExport,
    MessageDetails,
    MessageResponse,
    MessageState,
    MessageStatus,
)

ENVELOPE = json.dumps(
    {"code": 1002, "message": "Invalid MSISDN +1 202-555-0123", "errorId": "e-1", "timestamp": "2026-01-31T09:00:00Z"}
).encode()


ODD_BODIES = [
    b"\xff\xfe<\x00h\x00t\x00m\x00l\x00>\x00",
    ENVELOPE.replace(b"Invalid", b"\xe9"),
    ENVELOPE.replace(b"Invalid", b"\\ud800"),
    b"\xef\xbb\xbf" + ENVELOPE,
    ENVELOPE + b"}",
    ENVELOPE[:-1],
    *(
        ENVELOPE.replace(b"1002", code)
        for code in (b'"1002"', b"1002.5", b"1e400", b"-1", b"NaN", b"9" * 30, b"9" * 5000, b"12025550123", b"null")
    ),
    ENVELOPE.replace(b'"e-1"', b"7"),
    ENVELOPE.replace(b'"Invalid MSISDN +1 202-555-0123"', b'["+12025550123"]'),
    b'{"error": "+12025550123"}',
    b"[" * 100_000,
    b"[]",
    b"null",
    b"12025550123",
    b'"+12025550123"',
]


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        *((status, ENVELOPE, RefusedError) for status in (400, 401, 403, 404, 410, 422, 426)),
        *((status, b"<html>", UnknownOutcomeError) for status in (400, 401, 403, 404, 410, 422, 426)),
        *((status, ENVELOPE, UnknownOutcomeError) for status in (204, 301, 307, 408, 409, 413, 500, 502, 503, 504)),
        (429, ENVELOPE, RateLimitedError),
        (429, b"", RateLimitedError),
        (400, b'{"code": "x"}', UnknownOutcomeError),
        *((status, body, UnknownOutcomeError) for status in (400, 401, 500, 103, 999) for body in ODD_BODIES),
        *((429, body, RateLimitedError) for body in ODD_BODIES),
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


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        *(
            (value, None)
            for value in ("", "  ", "soon", "-1", "-0.5", "nan", "inf", "1e9", "0x10", "7 s", "1;2", ",", "7,")
        ),
        *((value, None) for value in ("\xb2", "\u0667", "99 Oct 2026 07:28:00 GMT", "Wed, 21 Oct 2026 07:28:00 +9999")),
        *((value, 6) for value in ("6", " 6 ", "6.0", "6.", "006", "6, 6", "6,3", "5.5 , 6")),
        ("0", 0),
        ("0.25", 0.25),
        ("86400", 86_400),
        *((value, LONGEST_RETRY_AFTER) for value in ("9" * 9, "9" * 20, "9" * 60_000, "9" * 400 + ".5")),
        ("Wed, 21 Oct 9999 07:28:00 GMT", LONGEST_RETRY_AFTER),
        ("Wed, 21 Oct 99999999999999999999 07:28:00 GMT", LONGEST_RETRY_AFTER),
        ("Fri, 01 Jan 2021 00:00:00 GMT, Wed, 21 Oct 9999 07:28:00 GMT", LONGEST_RETRY_AFTER),
        ("Fri, 01 Jan 2021 00:00:00 GMT", 0),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 0),
        ("Sun Nov  6 08:49:37 1994", 0),
    ],
)
def test_a_retry_after_is_understood_and_bounded_or_none(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value) == seconds
    error = error_from_answer(429, {} if value is None else {"Retry-After": value}, b"")
    assert isinstance(error, RateLimitedError)
    assert error.retry_after == seconds
    assert ("asks to wait" in str(error)) == (seconds is not None)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301  # our own bytes


def test_retry_after_is_seconds_or_a_date() -> None:
    assert parse_retry_after("7") == 7
    in_a_minute = parse_retry_after(format_datetime(datetime.now(UTC) + timedelta(minutes=1), usegmt=True))
    assert in_a_minute is not None
    assert 55 <= in_a_minute <= 60


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("+6591234577", "+65******77"),
        ("call +1 (202) 555-0123 now", "call +12*******23 now"),
        ("code 1002, 6 digits 123456", "code 1002, 6 digits 123456"),
        ("1_2_0_2_5_5_5_0_1_2_3", "12*******23"),
        ("%2B6591234577", "%2B65******77"),
        ("202%2D555%2D0123", "20******23"),
        ("1202%20555%200123", "12*******23"),
        (r"1202\u002d555\u002d0123", "12*******23"),
        ("1202&#45;555&nbsp;0123", "12*******23"),
        ("12\u200b\u200b\u200b\u200b02555\u2060\u2060\u2060\u2060\u2060-0123", "12*******23"),
        ("+\u0661\u0662\u0660\u0662\u0665\u0665\u0665\u0660\u0661\u0662\u0663", "+\u0661\u0662*******\u0662\u0663"),
        ("\uff11\uff12\uff10\uff12\uff15\uff15\uff15\uff10\uff11\uff12\uff13", "\uff11\uff12*******\uff12\uff13"),
        ("\u2460\u2461\u24ea\u2461\u2464\u2464\u2464\u24ea\u2460\u2461\u2462", "\u2460\u2461*******\u2461\u2462"),
        ("\u00b9\u00b2\u2070\u00b2\u2075\u2075\u2075\u2070\u00b9\u00b2\u00b3", "\u00b9\u00b2*******\u00b2\u00b3"),
        ("".join(f"{digit}\ufe0f\u20e3 " for digit in "12025550123"), "12*******23\ufe0f\u20e3 "),
        ("50% of 20% 2026", "50% of 20% 2026"),
    ],
)
def test_phone_numbers_are_masked(text: str, masked: str) -> None:
    assert mask_phone_numbers(text) == masked


@pytest.mark.parametrize(
    "text", ["1" + "\u200b" * 200_000, "1%" * 100_000, "%20%" * 100_000, "1" * 200_000, "1a" * 100_000]
)
def test_a_long_text_is_masked_while_one_waits(text: str) -> None:
    mask_phone_numbers(text + "x")


def test_what_an_error_quotes_is_short_and_without_a_number() -> None:
    number = "1-2-0-2-5-5-5-0-1-2-3"
    for padding in range(280, 320):
        quoted = quotable("x" * padding + number + "y" * 100_000)
        assert len(quoted) <= 300
        assert "5-5" not in quoted
    error = error_from_answer(400, {}, ENVELOPE.replace(b"e-1", b"call 12025550123 " * 1000))
    assert isinstance(error, RefusedError)
    assert "0123" not in str(error) + error.error_id
    assert len(str(error)) < 500


def test_an_error_id_of_8x8s_shows_whole() -> None:
    error_id = "00000000-1111-2222-3333-444444444444"
    assert error_id in str(error_from_answer(400, {}, ENVELOPE.replace(b"e-1", error_id.encode())))


def test_no_repr_shows_a_number_or_a_link() -> None:
    said = "+12025550123"
    texts = [
        repr(MessageStatus(code="REJECTED", description=said)),
        repr(
            MessageResponse(umid="u", status=MessageStatus(code="REJECTED", description=said), client_message_id=said)
        ),
        repr(MessageState(state="rejected", error_message=said)),
        repr(MessageDetails(umid="u", status=MessageState(error_message=said), client_message_id=f"q/{said}")),
        repr(ErrorEnvelope(code=1002, message=said, error_id="e")),
        repr(LogExport(status="succeeded", data=[f"https://files.example.com/{said}"])),
    ]
    assert not [text for text in texts if "0123" in text]
