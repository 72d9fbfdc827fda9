"""Rows that cannot be sent: their ids, their times, what is known of them all the same, and what is said."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from airflow_provider_8x8.surveys.messages.builder import ColumnsError, MessageBuilder
from airflow_provider_8x8.surveys.messages.row_keys import RowKeys
from airflow_provider_8x8.surveys.messages.row_message import InvalidRowError
from airflow_provider_8x8.surveys.outcomes.lines import ReportLine
from airflow_provider_8x8.surveys.outcomes.outcome import Outcome
from tests.support.built import build as build_all
from tests.surveys.building import build, builder

# ids


@pytest.mark.parametrize("written", ["ord-1", "ord-1       ", "  ord-1", "ord-1\n"])
@pytest.mark.parametrize("unique_by", [None, "destination"])
def test_what_is_sent_of_an_id_is_what_is_hashed(written: str, unique_by: str | None) -> None:
    made_by = builder("{{url}}", unique_by=unique_by)
    row = build({"destination": "+12025550123", "client_message_id": written}, made_by)
    assert row.client_message_id == row.message.client_message_id == "ord-1"
    if unique_by is None:
        assert (row.unique_value, row.row_key) == ("ord-1", RowKeys("c").of("ord-1"))


@pytest.mark.parametrize(
    "written",
    ["'ord-1", 'a"b', "o'neil", "a\\b", "a\tb", "a\nb", "a\x00b", "a\u200bb", "a\u00a0b", "\ufefford-1", "\x7f1"],
)
def test_an_id_that_may_come_back_as_another_is_invalid(written: str) -> None:
    with pytest.raises(InvalidRowError, match=r"client_message_id is .*without quotes and backslashes"):
        build({"destination": "+12025550123", "name": "x", "client_message_id": written})


def test_an_id_of_blanks_is_none() -> None:
    made_by = builder("{{url}}", unique_by="destination")
    row = build({"destination": "+12025550123", "client_message_id": "    "}, made_by)
    assert row.client_message_id == row.row_key.hex()
    with pytest.raises(InvalidRowError, match="client_message_id, which tells rows apart, is NULL or empty"):
        build({"destination": "+12025550123", "name": "x", "client_message_id": "    "})


def test_a_char_column_tells_rows_apart_by_what_is_in_it() -> None:
    made_by = builder(unique_by="customer")
    values = ("c1", "c1   ", " c1", "c1\u00a0")
    keys = {build({"destination": "+12025550123", "name": "x", "customer": value}, made_by).row_key for value in values}
    assert keys == {RowKeys("c").of("c1")}
    with pytest.raises(InvalidRowError, match="NULL or empty"):
        build({"destination": "+12025550123", "name": "x", "customer": "   "}, made_by)


# times, and what is known of an invalid row


def at(moment: datetime, **arguments: Any) -> MessageBuilder:
    return builder("{{url}}", now=moment.timestamp, **arguments)


NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("row", "past"),
    [
        ({"scheduled": NOON}, NOON),
        ({"scheduled": NOON - timedelta(hours=1)}, NOON - timedelta(hours=1)),
        ({"expiry": NOON}, NOON),
        ({"expiry": NOON - timedelta(days=1), "scheduled": NOON + timedelta(hours=1)}, NOON - timedelta(days=1)),
        ({"scheduled": NOON + timedelta(days=8)}, None),
        ({"scheduled": NOON + timedelta(hours=2), "expiry": NOON + timedelta(hours=1)}, None),
        ({"scheduled": "soon"}, None),
    ],
)
def test_an_invalid_row_says_if_its_own_time_is_past(row: dict[str, Any], past: datetime | None) -> None:
    with pytest.raises(InvalidRowError) as caught:
        build({"destination": "+12025550123", **row}, at(NOON))
    assert caught.value.past_time == past


@pytest.mark.parametrize(
    "written",
    [
        "now",
        " now ",
        "2026-12-01/09:00:00+08:00",
        "2026-12-01T09:00:00Z/2026-12-02T09:00:00Z",
        "2026-12-01T09:00:00Z/P1D",
        "P1D",
        "09:00:00+08:00",
        "2026-12-01",
        "2026-02-30T09:00:00Z",
        "\ud800",
    ],
)
@pytest.mark.parametrize("field", ["scheduled", "expiry"])
def test_text_that_is_no_point_in_time_makes_the_row_invalid(field: str, written: str) -> None:
    with pytest.raises(InvalidRowError, match=f"{field} is .* expected a datetime, or ISO 8601 with an offset"):
        build({"destination": "+12025550123", field: written}, at(NOON))


def test_a_rows_own_times_are_held_against_the_common_ones() -> None:
    made_by = at(NOON, common={"scheduled": NOON + timedelta(hours=2), "expiry": NOON + timedelta(hours=3)})
    build({"destination": "+12025550123", "scheduled": NOON + timedelta(hours=1)}, made_by)
    for own in ({"expiry": NOON + timedelta(hours=1)}, {"scheduled": NOON + timedelta(hours=4)}):
        with pytest.raises(InvalidRowError, match="expected a time after scheduled"):
            build({"destination": "+12025550123", **own}, made_by)


@pytest.mark.parametrize("body", ["{{url}}", None])
def test_common_times_that_have_passed_are_no_rows_fault(body: str | None) -> None:
    made_by = builder(body, common={"scheduled": NOON - timedelta(hours=1)}, now=NOON.timestamp)
    build({"destination": "+12025550123", "template_body": "{{url}}"}, made_by)
    assert "scheduled is 2026-01-31T11:00:00+00:00, which is past" in str(made_by.problem_with_common_times())


def test_common_times_to_come_are_no_problem() -> None:
    made_by = at(NOON, common={"scheduled": NOON + timedelta(hours=1), "expiry": NOON + timedelta(hours=2)})
    assert made_by.problem_with_common_times() is None
    assert builder().problem_with_common_times() is None


@pytest.mark.parametrize(
    ("arguments", "row", "known"),
    [
        ({}, {"name": None}, ("12025550123", "+12025550123")),
        ({}, {"scheduled": "2020-01-01T00:00:00Z"}, ("12025550123", "+12025550123")),
        ({}, {"name": "x" * 5000}, ("12025550123", "+12025550123")),
        ({}, {"source": "a" * 17}, ("12025550123", "+12025550123")),
        ({}, {"country": "us", "destination": "2025550123", "name": None}, ("US 2025550123", "2025550123")),
        ({}, {"destination": "none"}, (None, None)),
        ({}, {"destination": "none", "client_message_id": "ord-1 "}, ("ord-1", None)),
        ({}, {"client_message_id": "a'b"}, (None, "+12025550123")),
        ({"unique_by": "order_nr"}, {"destination": "none", "order_nr": 7}, ("7", None)),
        ({"unique_by": "order_nr"}, {"order_nr": None}, (None, "+12025550123")),
    ],
)
def test_what_is_known_of_an_invalid_row_goes_with_it(
    arguments: dict[str, Any], row: dict[str, Any], known: tuple[str | None, str | None]
) -> None:
    made_by = builder(**arguments)
    whole = {"destination": "+12025550123", "name": "x", **row}
    made_by.use_columns(list(whole), complete=False)
    _, invalid = build_all(made_by, 6, ["no mapping", whole])
    assert isinstance(invalid, InvalidRowError)
    unique_value, destination = known
    assert (invalid.number, invalid.unique_value, invalid.destination) == (7, unique_value, destination)
    assert invalid.row_key == (None if unique_value is None else RowKeys("c").of(unique_value))
    line = ReportLine.of(invalid, Outcome.INVALID, description=str(invalid))
    reported = whole["destination"] if destination is None else destination
    assert (line.row_number, line.row_key, line.destination, line.outcome) == (7, unique_value, reported, "invalid")
    assert line.client_message_id is not None or "client_message_id" not in whole


@pytest.mark.parametrize(
    ("row", "reported"),
    [
        ({"destination": 412.5}, ("412.5", None)),
        ({"destination": " 0412 345 678 "}, (" 0412 345 678 ", None)),
        ({"destination": None}, (None, None)),
        ({"destination": {"number": 1}}, (None, None)),
        ({"destination": "half \ud83d"}, (None, None)),
        ({"destination": "none", "client_message_id": "a'b"}, ("none", "a'b")),
        ({"destination": "+12025550123", "client_message_id": "x" * 5000}, ("+12025550123", "x" * 5000)),
        ({"destination": "x" * 5000}, ("x" * 350, None)),
        # which column is the source is not clear, all else is
        (
            {"destination": "+12025550123", "source": "a", "Source": "b"},
            ("+12025550123", RowKeys("c").of("12025550123").hex()),
        ),
        ({"destination": "+12025550123", "Destination": "+12025550124", "clientMessageId": "m"}, (None, "m")),
    ],
)
def test_an_invalid_row_is_reported_as_it_came(row: dict[str, Any], reported: tuple[str | None, str | None]) -> None:
    made_by = builder("{{gone}} {{url}}", unique_by="destination")
    made_by.use_columns(["destination"], complete=False)
    (invalid,) = build_all(made_by, 1, [row])
    assert isinstance(invalid, InvalidRowError)
    line = ReportLine.of(invalid, Outcome.INVALID, description=str(invalid))
    assert (line.destination, line.client_message_id) == reported
    msgspec.json.encode(line)


def test_a_placeholder_named_like_a_variable_of_airflows_may_have_a_column() -> None:
    made_by = builder("{{ds}} {{params.x}} {{url}}")
    assert build({"destination": "+12025550123", "ds": "1", "params.x": 2}, made_by).message.template_variables == {
        "ds": "1",
        "params.x": 2,
    }


@pytest.mark.parametrize(
    ("name", "variables"),
    [
        ("ds", "{'ds': '{{ ds }}'}"),
        ("data_interval_start", "{'data_interval_start': '{{ data_interval_start }}'}"),
        ("params.x", "{'x': '{{ params.x }}'}"),
        ("var.value.shop", "{'shop': '{{ var.value.shop }}'}"),
    ],
)
def test_a_placeholder_that_is_never_filled_and_looks_like_jinja_says_where_jinja_goes(
    name: str, variables: str
) -> None:
    made_by = builder(f"{{{{ {name} }}}} {{{{url}}}}")
    with pytest.raises(ColumnsError) as refused:
        made_by.use_columns(["destination"], complete=True)
    assert "Jinja is not rendered in template_body" in str(refused.value)
    assert variables in str(refused.value)
    with pytest.raises(InvalidRowError) as invalid:
        build({"destination": "+12025550123"}, builder(f"{{{{ {name} }}}} {{{{url}}}}"))
    assert f"there is no value for {{{{{name}}}}}. Jinja is not rendered in template_body" in str(invalid.value)
    assert "\n" not in str(invalid.value)


# what is said


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"source": "a" * 17}, "at most 16 characters"),
        ({"client_message_id": "m" * 51}, "at most 50 characters"),
        ({"encoding": "utf8"}, "encoding is 'utf8'; expected one of AUTO, GSM7, UCS2"),
        ({"country": "USA"}, "country is 'USA'; expected two letters, such as SG"),
        ({"dlr_callback_url": "example.com"}, "begins with http:// or https://"),
        ({"country": b"US"}, "country is of type bytes"),
        ({"template_body": 7}, "no link"),
        ({"template_body": b"{{url}}"}, "template_body is of type bytes"),
    ],
)
def test_a_reason_says_what_was_expected(row: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidRowError, match=said):
        build({"destination": "+12025550123", "name": "x", **row})


NUMBER = "+1 202 555 0123"


@pytest.mark.parametrize(
    "row",
    [
        {"destination": f"{NUMBER} x5"},
        {"destination": "202x555x0123"},
        {"destination": "+1     202     555     0123"},
        {"template_body": f"{{{{{NUMBER}}}}} {{{{url}}}}"},
        {"template_body": f"{{{{call|{NUMBER}}}}} {{{{url}}}}"},
        {"template_body": f"{{{{a:{NUMBER}}}}} {{{{url}}}}"},
        {"template_body": "{{tel_12025550123}} {{url}}"},
        {"template_body": "{{tel_12025550123}} {{url}}", "tel_12025550123": b"x"},
        {"template_body": "{{a12025550123}} {{url}}", "A12025550123": 1, "A12025550123_": 2, "a12025550123": b""},
        {"template_body": "{{ab2025550123}} {{url}}", "template_variables": {"AB2025550123": 1, "Ab2025550123": 2}},
        {"template_variables": NUMBER},
        {"country": NUMBER},
        {"source": f"call {NUMBER}"},
        {"encoding": NUMBER},
        {"scheduled": NUMBER},
        {"scheduled": 12025550123},
        {"expiry": NUMBER},
        {"dlr_callback_url": NUMBER},
        {"client_message_id": f"{NUMBER}'"},
        {"client_message_id": "12025550123" * 5},
    ],
    ids=lambda row: next(iter(row)),
)
def test_no_reason_shows_a_phone_number(row: dict[str, Any]) -> None:
    with pytest.raises(InvalidRowError) as caught:
        build({"destination": "+12025550199", "name": "x", **row})
    shown = "".join(character for character in str(caught.value) if character.isdigit())
    assert "025550123" not in shown
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("columns", "arguments"),
    [
        ([NUMBER, "destination"], {}),
        (["destination", f"a{NUMBER}", f"A{NUMBER}"], {"body": "{{a12025550123}} {{url}}"}),
        (["destination", "a12025550123", "A12025550123"], {"unique_by": "a_12025550123"}),
        (["destination", "name"], {"unique_by": NUMBER}),
    ],
)
def test_a_column_that_is_named_like_a_phone_number_is_masked(columns: list[str], arguments: dict[str, Any]) -> None:
    with pytest.raises(ColumnsError) as caught:
        builder(**arguments).use_columns(columns, complete=True)
    assert "2025550123" not in "".join(character for character in str(caught.value) if character.isdigit())


def test_a_huge_name_is_cut_in_a_reason() -> None:
    with pytest.raises(InvalidRowError) as caught:
        build({"destination": "+12025550123", "template_body": "{{" + "a" * 100_000 + "}} {{url}}"})
    assert len(str(caught.value)) < 200


def test_a_mapping_that_lacks_the_column_says_what_it_has() -> None:
    with pytest.raises(InvalidRowError, match="the row has no destination; it has destinaton, name"):
        build({"destinaton": "+12025550123", "name": "x"})
    with pytest.raises(InvalidRowError, match="the row has no oder_nr; it has destination, name, order_nr"):
        build({"destination": "+12025550123", "name": "x", "order_nr": "1"}, builder(unique_by="oder_nr"))
