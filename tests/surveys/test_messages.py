"""Rows become messages, or reasons."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest

from airflow_provider_8x8.surveys.messages.builder import ColumnsError
from airflow_provider_8x8.surveys.messages.row_keys import RowKeys
from airflow_provider_8x8.surveys.messages.row_message import InvalidRowError
from tests.support.built import SentRow
from tests.support.built import build as build_all
from tests.surveys.building import build, builder


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
        (
            "(202) 555-0123",
            r"'\(20\*\) \*{3}-\*{2}23' has no country code; write \+ and the country code, or say country",
        ),
        ("2026-01-31", "not a phone number"),
        ("659123.4567", r"'65\*{4}\.\*{2}67' is not a phone number"),
        ("'0412345678", "leading 0"),
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


# names


@pytest.mark.parametrize(
    "columns",
    [
        ["DESTINATION", "CLIENT_MESSAGE_ID", "COUNTRY", "SCHEDULED"],
        ["destination", "clientmessageid", "country", "scheduled"],
        ["Destination", "CLIENTMESSAGEID", "Country", "Scheduled"],
        ["destination", "Client_Message_Id", "country_", "scheduled"],
        ["Destination", "Client Message ID", "country ", " scheduled"],
        ["\ufeffdestination", "client-message-id", "\ufeff country", "scheduled\u200b"],
        ["destination\r", "client.message.id", "\u00a0country\u202f", "\u200e\tscheduled\x00"],
        ["destination", "Client\u2011Message\u00a0ID", "\u2066country\u2069 ", "scheduled"],
    ],
)
def test_columns_fill_fields_without_regard_to_case_separators_and_margins(
    columns: list[str],
) -> None:
    made_by = builder("{{url}}")
    made_by.use_columns(columns, complete=True)
    soon = datetime.now(UTC) + timedelta(hours=5)
    (built,) = build_all(made_by, 1, [("2025550123", "ord-1", "US", soon)])
    assert isinstance(built, SentRow)
    message = built.message
    assert (message.client_message_id, message.country, built.unique_value) == ("ord-1", "US", "ord-1")
    assert message.scheduled is not None


def test_the_readmes_query_works_in_upper_case() -> None:
    made_by = builder("Hi {{firstName}}, how was order {{order_nr}}? {{url:order_nr}}")
    made_by.use_columns(["DESTINATION", "FIRSTNAME", "ORDER_NR"], complete=True)
    (built,) = build_all(made_by, 1, [("+12025550123", "Zoë", 7)])
    assert isinstance(built, SentRow)
    assert built.message.template_variables == {"firstName": "Zoë", "order_nr": 7}


@pytest.mark.parametrize(
    "unique_by", ["order_nr", "ORDER_NR", "OrderNr", "ordernr", "Order Nr", "order-nr", "order.nr "]
)
def test_unique_by_is_found_as_fields_are(unique_by: str) -> None:
    made_by = builder("{{url}}", unique_by=unique_by)
    made_by.use_columns(["DESTINATION", "ORDER_NR"], complete=True)
    (built,) = build_all(made_by, 1, [("+12025550123", 7)])
    assert built.unique_value == "7"


def test_unique_by_may_name_a_field_in_any_spelling() -> None:
    made_by = builder("{{url}}", unique_by="CLIENTMESSAGEID")
    assert made_by.unique_by == "client_message_id"
    made_by.use_columns(["DESTINATION", "clientMessageId"], complete=True)
    (built,) = build_all(made_by, 1, [("+12025550123", "ord-1")])
    assert built.unique_value == "ord-1"


@pytest.mark.parametrize("column", ["firstName ", "\ufefffirstName", " \u200bFIRSTNAME\u00a0"])
def test_a_placeholder_finds_its_column_whatever_is_invisible_around_the_name(column: str) -> None:
    row: dict[str, Any] = {"destination": "+12025550123", column: "me"}
    assert build(row, builder("{{firstName}} {{url}}")).message.template_variables == {"firstName": "me"}
    row = {"destination": "+12025550123", "template_variables": {column: "me"}}
    assert build(row, builder("{{firstName}} {{url}}")).message.template_variables == {"firstName": "me"}


def test_a_placeholder_takes_the_column_of_just_its_name_first() -> None:
    made_by = builder("{{firstName}} {{url}}")
    made_by.use_columns(["destination", "FIRSTNAME", "firstName"], complete=True)
    (built,) = build_all(made_by, 1, [("+12025550123", "not me", "me")])
    assert isinstance(built, SentRow)
    assert built.message.template_variables == {"firstName": "me"}


@pytest.mark.parametrize(
    ("columns", "arguments", "said"),
    [
        (["destination", "FIRSTNAME", "firstname"], {}, "FIRSTNAME and firstname fit firstName alike"),
        (["destination", "firstName", "ORDER_NR", "order_nr_"], {"unique_by": "orderNr"}, "ORDER_NR and order_nr_ fit"),
        (["destination", "Destination", "firstName"], {}, "destination and Destination fill the same field"),
        (["destination", "country", "country ", "firstName"], {}, "country and country  fill the same field"),
        (["destination", "dlr-callback-url", "dlr.callback.url"], {}, "url fill the same field, dlr_callback_url"),
        (["destination", "firstname", "firstName "], {}, "firstname and firstName  fit firstName alike"),
        (["PHONE", "firstName"], {}, "lacks the column destination; it has PHONE, firstName"),
        (["DESTINATION", "nr"], {}, r"lacks the column firstName; it has DESTINATION \(as destination\), nr"),
        (["DESTINATION", "first_name"], {}, "lacks the column firstName"),
        (["destination"], {"variables": {"A": 1}}, "lacks the column firstName"),
        (["destination"], {"variables": {"FIRSTNAME": 1, "FirstName": 2}}, "FIRSTNAME and FirstName fit firstName"),
    ],
)
def test_columns_that_cannot_serve_are_named(columns: list[str], arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ColumnsError, match=said):
        builder("{{firstName}} {{url}}", **arguments).use_columns(columns, complete=True)


def test_variables_are_found_without_regard_to_case_too() -> None:
    made_by = builder("{{firstName}} {{month}} {{url}}", variables={"MONTH": "May"})
    row = {"destination": "+12025550123", "TEMPLATE_VARIABLES": {"FIRSTNAME": "Zoë"}}
    assert build(row, made_by).message.template_variables == {"firstName": "Zoë", "month": "May"}
    row = {"destination": "+12025550123", "template_variables": {"FIRSTNAME": "a", "Firstname": "b"}}
    with pytest.raises(InvalidRowError, match="FIRSTNAME and Firstname fit firstName alike"):
        build(row, made_by)


def test_a_column_in_another_case_comes_before_the_common_value() -> None:
    made_by = builder("{{firstName}} {{url}}", variables={"firstName": "there"})
    row: dict[str, Any] = {"destination": "+12025550123", "FIRSTNAME": "Zoë"}
    assert build(row, made_by).message.template_variables == {"firstName": "Zoë"}
    row = {"destination": "+12025550123", "FIRSTNAME": None}
    assert build(row, made_by).message.template_variables == {"firstName": "there"}


def test_a_mapping_may_have_keys_that_are_no_names() -> None:
    assert build({"destination": "+12025550123", "name": "x", None: 1, 7: 2}).unique_value == "12025550123"


# template_variables


@pytest.mark.parametrize(
    "given", ['{"name": "Zoë", "n": 1234.0}', ' {"NAME": "Zoë",\n "n": 1234} ', {"name": "Zoë", "n": 1234.0}]
)
def test_template_variables_may_be_json(given: Any) -> None:
    made_by = builder("{{name}} {{n}} {{url}}", variables={"name": "there", "n": 0})
    row = {"destination": "+12025550123", "template_variables": given}
    assert build(row, made_by).message.template_variables == {"name": "Zoë", "n": 1234}


@pytest.mark.parametrize("given", [None, "", "  ", "null", float("nan"), {}, "{}"])
def test_no_template_variables_leave_the_common_ones(given: Any) -> None:
    made_by = builder("{{name}} {{url}}", variables={"name": "there"})
    row = {"destination": "+12025550123", "template_variables": given}
    assert build(row, made_by).message.template_variables == {"name": "there"}


@pytest.mark.parametrize(
    "given",
    ["Zoë", '{"name": ', '["a"]', '"{}"', "7", "{'name': 1}", '{"name": NaN}', ["name"], 7, b'{"name": 1}', "[" * 9999],
    ids=lambda given: str(given)[:20],
)
def test_other_template_variables_make_the_row_invalid(given: Any) -> None:
    made_by = builder("{{name}} {{url}}", variables={"name": "there"})
    with pytest.raises(InvalidRowError, match=r"template_variables is .*; expected an object of names and values"):
        build({"destination": "+12025550123", "template_variables": given}, made_by)


@pytest.mark.parametrize("given", ['{"name": [1]}', '{"name": {"a": 1}}', {"name": b"x"}, '{"name": "\\ud83d"}'])
def test_values_among_template_variables_are_checked_as_any(given: Any) -> None:
    made_by = builder("{{name}} {{url}}", variables={"name": "there"})
    with pytest.raises(InvalidRowError):
        build({"destination": "+12025550123", "template_variables": given}, made_by)
