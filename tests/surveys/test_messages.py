"""Rows become messages, or reasons."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest

from airflow_provider_8x8.surveys.builder import ColumnsError, MessageBuilder
from airflow_provider_8x8.surveys.messages import InvalidRowError, RowMessage
from airflow_provider_8x8.surveys.row_keys import RowKeys
from airflow_provider_8x8.surveys.template import Template


def builder(body: str | None = "Hi {{name}} {{url}}", **arguments: Any) -> MessageBuilder:
    template = None if body is None else Template.parse(body)
    return MessageBuilder(**{"row_keys": RowKeys("c"), "template": template, **arguments})


def build(row: Any, made_by: MessageBuilder | None = None) -> RowMessage:
    made_by = made_by or builder()
    made_by.use_columns(getattr(row, "keys", tuple)(), complete=False)
    (built,) = made_by.build(1, [row])
    if isinstance(built, InvalidRowError):
        raise built
    return built


@pytest.mark.parametrize(
    ("destination", "sent"),
    [
        ("+12025550123", "+12025550123"),
        (12025550123, "12025550123"),
        (12025550123.0, "12025550123"),
        ("12025550123.0", "12025550123"),
        (Decimal(12025550123), "12025550123"),
        (" +1 (202) 555-0123 ", "+12025550123"),
        ("+1.202.555.0123", "+12025550123"),
        ("+1\u00a0202\u2011555\u20110123\u202c", "+12025550123"),
    ],
)
def test_a_phone_number_is_cleaned(destination: Any, sent: str) -> None:
    assert build({"destination": destination, "name": "x"}).message.destination == sent


@pytest.mark.parametrize(
    ("destination", "reason"),
    [
        (None, "NULL or empty"),
        ("", "NULL or empty"),
        (" - ", "NULL or empty"),
        (float("nan"), "NULL or empty"),
        ("0412345678", "leading 0"),
        ("0012025550123", "begins with 00"),
        ("+44 (0) 7700 900123", r"trunk '\(0\)'|not a phone number"),
        ("+44(0)7700900123", r"trunk '\(0\)'"),
        ("12345", "not a phone number"),
        ("1234567890123456", "not a phone number"),
        ("+1202555012O", "not a phone number"),
        ("+12025550123/+12025550124", "not a phone number"),
        ("someone@example.com", "not a phone number"),
        ("+12025550123\n+12025550124", "not a phone number"),
        ("١٢٠٢٥٥٥٠١٢٣", "not a phone number"),
        (b"+12025550123", "type bytes"),
    ],
)
def test_what_is_no_phone_number_is_invalid_with_a_reason(destination: Any, reason: str) -> None:
    with pytest.raises(InvalidRowError, match=reason) as caught:
        build({"destination": destination, "name": "x"})
    assert "2025550123" not in str(caught.value)
    assert "412345678'" not in str(caught.value)[:40]


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ("Zoë", "Zoë"),
        ("", ""),
        (7, 7),
        (2**60, str(2**60)),
        (-1.5, -1.5),
        (Decimal("1234.50"), "1234.50"),
        (Decimal("1E+3"), "1000"),
        (True, "true"),
        (date(2026, 1, 31), "2026-01-31"),
        (datetime(2026, 1, 31, 9, tzinfo=UTC), "2026-01-31T09:00:00+00:00"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    ],
)
def test_values_of_a_warehouse_become_sensible_json(value: Any, sent: Any) -> None:
    variables = build({"destination": "+12025550123", "name": value}).message.template_variables
    assert variables == {"name": sent}
    assert type(variables["name"]) is type(sent)


@pytest.mark.parametrize("value", [None, float("nan"), Decimal("NaN"), float("inf"), b"x", [1], {"a": 1}, "\ud83d"])
def test_a_placeholder_without_a_usable_value_makes_the_row_invalid(value: Any) -> None:
    with pytest.raises(InvalidRowError, match=r"\{\{name\}\}"):
        build({"destination": "+12025550123", "name": value})


def test_values_come_from_the_column_then_the_rows_variables_then_the_common_ones() -> None:
    made_by = builder("{{a}}{{b}}{{c}}{{url}}", variables={"a": 1, "b": 1, "c": 1})
    row = {"destination": "+12025550123", "a": 3, "templateVariables": {"a": 2, "b": 2}, "unused": "stays"}
    assert build(row, made_by).message.template_variables == {"a": 3, "b": 2, "c": 1}


def test_only_what_the_text_needs_is_sent() -> None:
    row = {"destination": "+12025550123", "name": "x", "birthday": date(1990, 1, 1), "url": "no"}
    sent = msgspec.to_builtins(build(row).message)
    assert sent.keys() == {"destination", "templateVariables", "clientMessageId"}
    assert sent["templateVariables"] == {"name": "x"}


def test_columns_fill_fields_in_either_spelling() -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    for row in (
        {"client_message_id": "m", "scheduled": soon.isoformat(), "dlr_callback_url": "https://example.com/dlr"},
        {"clientMessageId": "m", "scheduled": soon, "dlrCallbackUrl": "https://example.com/dlr"},
    ):
        message = build({"destination": "+12025550123", "name": "x", "country": "us ", **row}).message
        assert (message.client_message_id, message.country) == ("m", "US")
        assert message.dlr_callback_url == "https://example.com/dlr"
        assert message.scheduled is not None
        assert abs(message.scheduled - soon) < timedelta(seconds=1)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("country", "USA"),
        ("source", "a" * 17),
        ("encoding", "utf8"),
        ("client_message_id", "m" * 51),
        ("dlr_callback_url", "example.com"),
        ("scheduled", "2126-01-01T00:00:00Z"),
        ("scheduled", "2020-01-01T00:00:00Z"),
        ("scheduled", "2026-01-01T00:00:00"),
        ("expiry", "2020-01-01T00:00:00Z"),
        ("template_body", "no link"),
        ("template_body", "{{url}} " + "字" * 670),
    ],
)
def test_a_field_beyond_8x8s_limits_makes_the_row_invalid(column: str, value: str) -> None:
    with pytest.raises(InvalidRowError):
        build({"destination": "+12025550123", "name": "x", column: value})


def test_a_huge_text_is_invalid() -> None:
    with pytest.raises(InvalidRowError, match="SMS parts"):
        build({"destination": "+12025550123", "name": "x" * 5_000_000})


@pytest.mark.parametrize("row", ["+12025550123", 7, None, ["+12025550123", "x"]])
def test_a_row_that_is_no_mapping_is_invalid(row: Any) -> None:
    with pytest.raises(InvalidRowError, match="expected a mapping"):
        build(row)


def test_the_row_key_is_the_number_however_it_is_written() -> None:
    made_by = builder()
    keys = {
        build({"destination": written, "name": "x"}, made_by).row_key
        for written in ("+12025550123", 12025550123, "1 202 555 0123")
    }
    assert len(keys) == 1
    national = build({"destination": "2025550123", "name": "x", "country": "US"}, made_by)
    assert national.unique_value == "US 2025550123"


def test_the_row_key_is_the_clients_message_id_where_the_source_has_it() -> None:
    made_by = builder()
    first = build({"destination": "+12025550123", "name": "x", "client_message_id": "a"}, made_by)
    again = build({"destination": "+12025550123", "name": "x", "client_message_id": "b"}, made_by)
    assert first.row_key != again.row_key
    with pytest.raises(InvalidRowError, match="client_message_id, which tells rows apart"):
        build({"destination": "+12025550123", "name": "x", "client_message_id": None}, made_by)


def test_values_of_the_unique_column_agree_whatever_their_type() -> None:
    made_by = builder(unique_by="order_nr")
    keys = {
        build({"destination": "+12025550123", "name": "x", "order_nr": value}, made_by).row_key
        for value in (5, "5", Decimal(5), 5.0)
    }
    assert len(keys) == 1


def test_client_message_ids_are_opaque_and_the_same_in_every_try() -> None:
    row = {"destination": "+12025550123", "name": "x"}
    one, again = build(row).message.client_message_id, build(row).message.client_message_id
    other = build(row, builder(row_keys=RowKeys("other"))).message.client_message_id
    assert one == again != other
    assert one is not None
    assert "2025550123" not in one
    assert len(one) <= 50


def test_rows_of_xcom_need_not_have_the_same_columns() -> None:
    made_by = builder()
    assert build({"destination": "+12025550123", "name": "x"}, made_by).message.country is None
    assert build({"destination": "2025550123", "name": "x", "country": "US"}, made_by).message.country == "US"


def test_without_a_common_text_the_common_fields_go_into_each_message() -> None:
    made_by = builder(None, common={"source": "Example"})
    message = build({"destination": "+12025550123", "templateBody": "{{url}}"}, made_by).message
    assert (message.template_body, message.source, made_by.batch_template) == ("{{url}}", "Example", None)
    with pytest.raises(InvalidRowError, match="no template_body"):
        build({"destination": "+12025550123"}, made_by)


def test_two_columns_for_one_field_are_an_error() -> None:
    with pytest.raises(ColumnsError, match="fill the same field"):
        builder().use_columns(["destination", "client_message_id", "clientMessageId"], complete=True)


def test_reprs_hold_no_phone_number() -> None:
    assert "2025550123" not in repr(build({"destination": "+12025550123", "name": "x"}).message)
