"""What is sent, hashed and found again is one text."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

import pytest

from airflow_provider_8x8.api.models import BatchResponse, MessageResponse, MessageStatus
from airflow_provider_8x8.surveys.journal.entries import Entry
from airflow_provider_8x8.surveys.messages.builder import MessageBuilder
from airflow_provider_8x8.surveys.messages.row_keys import RowKeys, are_folded, fold_message_id, pack
from airflow_provider_8x8.surveys.messages.row_message import RowMessages
from airflow_provider_8x8.surveys.messages.template import Template
from airflow_provider_8x8.surveys.outcomes.answers import match

KEYS = RowKeys("c")
CHANGES: list[Callable[[str], str]] = [
    lambda text: text,
    str.upper,
    str.lower,
    str.title,
    lambda text: f"  {text} ",
    lambda text: text.ljust(50),
    lambda text: f"'{text}",
    lambda text: f'"{text}"',
    lambda text: f"'{text}'",
    lambda text: f"\t{text}",
    lambda text: text.replace(" ", "  "),
    lambda text: unicodedata.normalize("NFD", text),
    lambda text: unicodedata.normalize("NFC", text),
]


def sent(*ids: str, unique_by: str | None = None) -> tuple[Entry, RowMessages]:
    """Return the journal's entry of some rows, and the rows."""
    builder = MessageBuilder(row_keys=KEYS, template=Template.parse("{{url}}"), unique_by=unique_by)
    builder.use_columns(["destination", "client_message_id"], complete=True)
    built = builder.build(1, [(f"+12025550{number:03d}", each) for number, each in enumerate(ids)])
    (rows,) = built
    assert isinstance(rows, RowMessages)
    entry = Entry(
        client_batch_id="b",
        task_instance="r",
        try_number=1,
        unique_by=builder.unique_by,
        row_keys=pack(rows.row_keys),
        message_keys=builder.message_keys(rows),
        begun=0,
        send_by=0,
    )
    return entry, rows


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("unique_by", [None, "destination"])
def test_an_id_is_found_however_it_comes_back(change: Callable[[str], str], unique_by: str | None) -> None:
    entry, rows = sent("ord-1", "ORD-2  ", "Café 3", "=4+5", "-6", "+7", "@8", "Straße 9", unique_by=unique_by)
    find = entry.row_keys_by_message(KEYS)
    assert [find(change(row.client_message_id)) for row in rows] == [row.row_key for row in rows]
    assert find("ord-10") is None
    assert find("") is None


def test_ids_that_differ_in_case_only_are_two() -> None:
    entry, rows = sent("aB3", "ab3", "C4")
    find = entry.row_keys_by_message(KEYS)
    assert len({row.row_key for row in rows}) == 3
    assert [find(row.client_message_id) for row in rows] == [row.row_key for row in rows]
    assert find("c4") == rows.row(2).row_key


def test_an_id_that_was_derived_is_found_however_it_comes_back() -> None:
    entry = Entry(
        client_batch_id="b",
        task_instance="r",
        try_number=1,
        unique_by="destination",
        row_keys=KEYS.of("1"),
        begun=0,
        send_by=0,
    )
    find = entry.row_keys_by_message(KEYS)
    for text in (KEYS.of("1").hex(), KEYS.of("1").hex().upper(), f"'{KEYS.of('1').hex()} "):
        assert find(text) == KEYS.of("1")
    assert find("ord-1") is None


def test_plain_ids_take_no_room_in_the_journal() -> None:
    assert sent("ord-1", "ord-2")[0].message_keys is None
    assert sent("ord-1", "ORD-2")[0].message_keys is not None
    assert sent("ord-1", "ord-2", unique_by="destination")[0].message_keys is not None


@pytest.mark.parametrize("ids", [["a"], ["a b", "c"], [], ["A"], ["a  b"], ["é"], ["straße"]])
def test_many_ids_are_folded_if_each_one_is(ids: list[str]) -> None:
    if are_folded(ids):
        assert [fold_message_id(each) for each in ids] == ids


@pytest.mark.parametrize("change", CHANGES)
def test_8x8s_answer_is_matched_however_ids_come_back(change: Callable[[str], str]) -> None:
    _, rows = sent("ord-1", "ORD-2", "Café 3")
    listed = [
        MessageResponse(
            umid=row.client_message_id,
            client_message_id=change(row.client_message_id),
            status=MessageStatus(code="REJECTED" if row.number == 2 else "QUEUED"),
        )
        for row in reversed(list(rows))
    ]
    answers = match(rows, BatchResponse(batch_id="b", accepted_count=2, rejected_count=1, messages=listed))
    assert answers.outcomes == ["accepted", "rejected", "accepted"]
    assert [answer and answer.umid for answer in answers.answers] == [row.client_message_id for row in rows]


def test_one_answer_is_not_taken_for_two_rows() -> None:
    _, rows = sent("aB3", "ab3")
    listed = [MessageResponse(umid="u", client_message_id="ab3", status=MessageStatus(code="QUEUED"))]
    answers = match(rows, BatchResponse(batch_id="b", accepted_count=1, rejected_count=0, messages=listed))
    assert answers.outcomes == ["unknown", "accepted"]
