"""Rows that are read a column at a time become just what they become one by one."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from airflow_provider_8x8.surveys.messages.builder import MessageBuilder
from airflow_provider_8x8.surveys.messages.row_keys import RowKeys
from airflow_provider_8x8.surveys.messages.row_message import InvalidRowError, RowMessages
from airflow_provider_8x8.surveys.messages.template import Template
from tests.support.built import build

ODD = st.one_of(
    st.none(),
    st.just(""),
    st.just("  "),
    st.just("half \ud83d"),
    st.integers(),
    st.integers(min_value=2**53 - 2, max_value=2**53 + 2),
    st.just(10**5000),
    st.booleans(),
    st.floats(),
    st.decimals(),
    st.dates(min_value=date(2020, 1, 1)),
    st.text(max_size=12),
    st.text(alphabet="aé€\u200b \u00a0'\"\\\t", max_size=80),
    st.text(alphabet="x", min_size=700, max_size=1600),
    st.just([1]),
)
NUMBERS = st.one_of(
    st.from_regex(r"\+?120255501[0-9]{2}", fullmatch=True),
    st.from_regex(r"\+?120255501[0-9]{2}", fullmatch=True),
    st.sampled_from(
        ["+1 202 555 0123", "12025550123.0", "0202 5550123", "+1 202 555 0123 / 2", 12025550123, Decimal(12025550123)]
    ),
    ODD,
)
PLAIN = st.one_of(st.integers(min_value=0, max_value=10**9), st.text(alphabet="abc é", max_size=5))


@st.composite
def sources(draw: st.DrawFn) -> list[tuple[Any, ...]]:
    """Rows of a number, an id, a name and an order number; some columns hold values of one kind, as databases do."""
    ids = st.text(alphabet="ab '\\", max_size=4)
    kinds = st.sampled_from([PLAIN, PLAIN, ODD, ids, st.integers(min_value=0, max_value=9), st.text(max_size=9)])
    columns = [NUMBERS, *(draw(kinds) for _ in range(3))]
    mixed = [st.one_of(column, column, column, ODD) if draw(st.booleans()) else column for column in columns]
    return draw(st.lists(st.tuples(*mixed), min_size=1, max_size=12))


def become(rows: list[tuple[Any, ...]], columns: list[str], **arguments: Any) -> list[Any]:
    body = arguments.pop("body")
    builder = MessageBuilder(row_keys=RowKeys("c"), template=Template.parse(body), **arguments)
    builder.use_columns(columns, complete=True)
    return [
        (found.number, str(found), found.row_key, found.unique_value, found.destination, found.client_message_id)
        if isinstance(found, InvalidRowError)
        else msgspec.structs.astuple(found)
        for found in build(builder, 7, rows)
    ]


def ids_that_are(*ids: Any) -> dict[str, Any]:
    rows = [("+12025550123", each, "Ann", 1) for each in ids]
    return {"rows": rows, "id_column": "client_message_id", "unique_by": None, "variables": {}, "body": "{{url}}"}


@example(**ids_that_are("a", "a'b"))
@example(**ids_that_are("a", "b\x00"))
@example(**ids_that_are("a", " b "))
@example(**ids_that_are("a", ""))
@example(**ids_that_are("a", "b" * 51))
@example(**ids_that_are("a", "Zoe\u0301"))
@settings(deadline=None, derandomize=True, database=None, max_examples=300)
@given(
    rows=sources(),
    id_column=st.sampled_from(["client_message_id", "order_id"]),
    unique_by=st.sampled_from([None, "destination", "order_nr", "client_message_id"]),
    variables=st.sampled_from([{}, {"shop": "X"}, {"shop": Decimal(3)}, {"shop": "x" * 2000}, {"other": 1}]),
    body=st.sampled_from(
        ["{{url}}", "{{name}} {{url:order_nr}}", "{{ name }} {{shop}} {{url}}", "{{name}}" + "é" * 330 + "{{url}}"]
    ),
)
def test_a_column_at_a_time_or_one_by_one(
    rows: list[tuple[Any, ...]], id_column: str, unique_by: str | None, variables: dict[str, Any], body: str
) -> None:
    columns = ["destination", id_column, "name", "order_nr"]
    if unique_by == "client_message_id" != id_column:
        unique_by = None
    if "shop" in body and "shop" not in variables:
        variables = {"shop": 1}
    arguments = {"unique_by": unique_by, "variables": variables, "body": body}
    # A column for something that rows seldom say for themselves has them read one by one; here none says it.
    one_by_one = become([(*row, None) for row in rows], [*columns, "country"], **arguments)
    assert become(rows, columns, **arguments) == one_by_one


def test_a_text_without_places_has_no_variables_in_its_messages() -> None:
    builder = MessageBuilder(row_keys=RowKeys("c"), template=Template.parse("{{url}}"))
    builder.use_columns(["destination"], complete=True)
    (rows,) = builder.build(1, [("+12025550123",)])
    assert isinstance(rows, RowMessages)
    (message,) = msgspec.json.decode(rows.encoded())
    assert message.keys() == {"destination", "clientMessageId"}
