"""The rows of an outcome table, as the database has them."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path

import sqlalchemy as sa

from airflow_provider_8x8.api.models import SurveyMessage
from airflow_provider_8x8.surveys.clock import SystemClock
from airflow_provider_8x8.surveys.journal.entries import Entry, EntryState
from airflow_provider_8x8.surveys.journal.errors import SupersededError
from airflow_provider_8x8.surveys.messages.row_message import RowMessage, RowMessages
from airflow_provider_8x8.surveys.messages.texts import Texts
from airflow_provider_8x8.surveys.outcomes.lines import BatchLines, ReportLine
from airflow_provider_8x8.surveys.outcomes.outcome import Outcome
from airflow_provider_8x8.surveys.outcomes.table import OutcomeTable, TaskInstanceName
from airflow_provider_8x8.surveys.outcomes.table_database import TableDatabase

SENT = Entry(
    client_batch_id="sent",
    task_instance="dag/run/task",
    try_number=1,
    unique_by="order_nr",
    row_keys=b"a" * 10 + b"b" * 10,
    begun=1_800_000_000.0,
    send_by=1_800_000_060.0,
    state=EntryState.SENT,
    batch_id="8x8",
)


def table_in(file: Path) -> OutcomeTable:
    database = TableDatabase(sa.create_engine(f"sqlite:///{file}", future=True), "outcomes", "warehouse")
    name = TaskInstanceName("dag", "task", "run", -1)
    texts, clock = Texts(None, None), SystemClock(threading.Event())
    return OutcomeTable(database, "campaign", name, SENT.task_instance, texts=texts, clock=clock)


def test_a_batch_that_is_taken_back_leaves_the_rows_of_the_last_reading_as_they_are(tmp_path: Path) -> None:
    """The source gives other rows first than when the batch was sent: its rows' numbers are others' now."""
    file = tmp_path / "warehouse.sqlite"
    sent = RowMessages.of(
        RowMessage(number, name.encode().ljust(10), name, phone, f"id-{number}", SurveyMessage(destination=phone))
        for number, name, phone in [(1, "ann", "+12025550101"), (2, "bob", "+12025550102")]
    )
    with table_in(file) as table:
        table.forget_rows()
        table.write_answers(SENT, BatchLines.alike(sent, Outcome.ACCEPTED, code=21))
        table.end_reading()
    with table_in(file) as table:
        assert not table.compare([SENT])
        table.forget_rows()
        for number in (1, 2):
            table.write_row(ReportLine(number, Outcome.INVALID, f"new {number}"))
        table.end_reading()
        table.take_back_batch(SENT.client_batch_id, with_rows=True)
    with sa.create_engine(f"sqlite:///{file}").connect() as connection:
        rows = connection.execute(sa.text("SELECT row_key, outcome FROM outcomes ORDER BY row_key")).all()
    assert list(map(tuple, rows)) == [
        ("ann", "not_sent"),
        ("bob", "not_sent"),
        ("new 1", "invalid"),
        ("new 2", "invalid"),
    ]


def test_an_overtaken_try_leaves_the_rows_of_the_newest_ones_reading_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "warehouse.sqlite"
    overtaken = table_in(file)
    with suppress(SupersededError), overtaken:
        with table_in(file) as newest:
            newest.forget_rows()
            newest.write_row(ReportLine(1, Outcome.INVALID, "new"))
            newest.end_reading()
        overtaken.forget_rows()
        for number in (1, 2):
            overtaken.write_row(ReportLine(number, Outcome.INVALID, "old"))
        raise SupersededError("a newer try has begun")
    with sa.create_engine(f"sqlite:///{file}").connect() as connection:
        rows = connection.execute(sa.text("SELECT source_row, row_key FROM outcomes")).all()
    assert list(map(tuple, rows)) == [(1, "new")]
