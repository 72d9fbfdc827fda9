"""
The contenders: the operator with everything on, what people write by hand, and the least that can be written.

Each is called with a :class:`Task`, gets ready, and returns the work itself. All of them POST in batches of 10,000.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import requests

BATCH_SIZE = 10_000
BODY = "Hi {{firstName}}, how was order {{order_nr}}? {{url:order_nr}}"
SURVEY_ID = "order-feedback"
SUBACCOUNT = "bench_hq"
API_KEY = "bench"

# Airflow's connections; processes.py makes them.
WAREHOUSE, JOURNAL, DUCKDB = "warehouse", "journal", "duckdb"

Work = Callable[[], None]


class Task(msgspec.Struct, frozen=True):
    """
    What there is to do.

    :ivar run_id: no two runs may share it: the operator's journal would know the rows
    :ivar select: the query
    :ivar url: where 8x8 is
    :ivar report_path: a folder for the operator's report
    :ivar others: how many row keys other shards of the campaign have sent before
    """

    run_id: str
    select: str
    url: str
    report_path: str
    others: int = 0

    @property
    def endpoint(self) -> str:
        return f"{self.url}/api/v1/subaccounts/{SUBACCOUNT}/surveys/{SURVEY_ID}/messages/batch"


# the operator


def ours(task: Task) -> Work:
    """The operator with validation, deduplication, report, and its journal in PostgreSQL."""
    return lambda: _execute(task, sql=task.select, sql_conn_id=WAREHOUSE, journal_conn_id=JOURNAL)


def ours_state_store(task: Task) -> Work:
    """The operator with Airflow's task state store, here in memory: a real one is a call of the API server's each."""
    return lambda: _execute(task, sql=task.select, sql_conn_id=WAREHOUSE)


def ours_duckdb(task: Task) -> Work:
    """The operator with rows from DuckDB."""
    return lambda: _execute(task, sql=task.select, sql_conn_id=DUCKDB, journal_conn_id=JOURNAL)


def ours_xcom(task: Task) -> Work:
    """The operator with rows from XCom: a list that is there before the work begins."""
    names = ("destination", "firstName", "order_nr")
    rows = [dict(zip(names, row, strict=True)) for row in _warehouse().get_records(task.select)]
    return lambda: _execute(task, rows=rows, journal_conn_id=JOURNAL)


def ours_shard(task: Task) -> Work:
    """The operator as a shard whose campaign's other shards have sent all of theirs."""
    from airflow_provider_8x8.journals.sql import engine_of
    from airflow_provider_8x8.surveys.journal.database import JournalDatabase
    from airflow_provider_8x8.surveys.journal.entries import Entry, EntryState
    from airflow_provider_8x8.surveys.journal.header import Header
    from airflow_provider_8x8.surveys.journal.sql import SqlJournal
    from airflow_provider_8x8.surveys.messages.row_keys import ROW_KEY_BYTES, ROW_KEY_RULES

    journal = SqlJournal(JournalDatabase(engine_of(JOURNAL), JOURNAL), task.run_id)
    journal.open(Header(survey_id=SURVEY_ID, subaccount_id=SUBACCOUNT, row_key_rules=ROW_KEY_RULES))
    sent = Entry(
        client_batch_id="",
        task_instance="another shard",
        try_number=1,
        unique_by="destination",
        row_keys=b"",
        begun=0.0,
        send_by=0.0,
        state=EntryState.SENT,
    )

    def next_entry(news: Sequence[Entry]) -> Entry:
        return msgspec.structs.replace(
            sent, client_batch_id=f"{task.run_id}-{next(numbers)}", row_keys=os.urandom(ROW_KEY_BYTES * BATCH_SIZE)
        )

    numbers = itertools.count()
    for _ in range(task.others // BATCH_SIZE):
        journal.begin(next_entry)
    journal.close()
    return lambda: _execute(
        task, sql=task.select, sql_conn_id=WAREHOUSE, journal_conn_id=JOURNAL, campaign_id=task.run_id
    )


def _execute(task: Task, **arguments: Any) -> None:
    from airflow_provider_8x8.operators.survey_batch import EightByEightSurveyBatchOperator

    operator = EightByEightSurveyBatchOperator(
        task_id="send",
        survey_id=SURVEY_ID,
        template_body=BODY,
        report_path=task.report_path,
        **arguments,
    )
    operator.execute({"ti": _TaskInstance(task.run_id), "task_state_store": _StateStore()})  # type: ignore[typeddict-item]  # stand-ins


@dataclass
class _TaskInstance:
    """As much of Airflow's as the operator uses."""

    run_id: str
    dag_id: str = "bench"
    task_id: str = "send"
    map_index: int = -1
    try_number: int = 1
    max_tries: int = 0

    def xcom_push(self, key: str, value: Any) -> None:
        """Take a result, and keep nothing of it."""


@dataclass
class _StateStore:
    """Airflow's task state store, in memory."""

    values: dict[str, Any] = field(default_factory=dict)

    def get(self, key: str) -> Any:
        return self.values.get(key)

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        self.values[key] = value


# by hand


def by_hand(task: Task) -> Work:
    """``get_records``, a list, ``requests.post(json=...)``, and every message of the answers looked at."""

    def work() -> None:
        rows = _warehouse().get_records(task.select)
        messages = [_message(*row) for row in rows]
        not_accepted = []
        for start in range(0, len(messages), BATCH_SIZE):
            answer = _post(task, messages[start : start + BATCH_SIZE], full_answer=True)
            not_accepted += [message for message in answer["messages"] if message["status"]["code"] != "QUEUED"]

    return work


def by_hand_counts(task: Task) -> Work:
    """The same, but 8x8 is asked for counts only: which message was rejected then is not known."""

    def work() -> None:
        rows = _warehouse().get_records(task.select)
        messages = [_message(*row) for row in rows]
        rejected = 0
        for start in range(0, len(messages), BATCH_SIZE):
            rejected += _post(task, messages[start : start + BATCH_SIZE], full_answer=False)["rejectedCount"]

    return work


def data_frame(task: Task) -> Work:
    """By hand through a DataFrame, with full answers. A NULL becomes a NaN there, which JSON has not: it is dropped."""

    def work() -> None:
        people = _warehouse().get_df(task.select).dropna()
        messages = [
            _message(row["destination"], row["firstName"], row["order_nr"]) for row in people.to_dict("records")
        ]
        not_accepted = []
        for start in range(0, len(messages), BATCH_SIZE):
            answer = _post(task, messages[start : start + BATCH_SIZE], full_answer=True)
            not_accepted += [message for message in answer["messages"] if message["status"]["code"] != "QUEUED"]

    return work


def _warehouse() -> Any:
    from airflow.providers.postgres.hooks.postgres import PostgresHook

    return PostgresHook(postgres_conn_id=WAREHOUSE)


def _message(destination: str | None, first_name: str, order_nr: int) -> dict[str, Any]:
    return {
        "destination": destination,
        "clientMessageId": str(order_nr),
        "templateVariables": {"firstName": first_name, "order_nr": order_nr},
    }


def _post(task: Task, messages: list[dict[str, Any]], *, full_answer: bool) -> dict[str, Any]:
    response = requests.post(
        task.endpoint,
        json={
            "messages": messages,
            "template": {"templateBody": BODY},
            "clientBatchId": messages[0]["clientMessageId"],
            "includeMessagesInResponse": full_answer,
        },
        headers={"Authorization": f"Bearer {API_KEY}"},
        timeout=60,
    )
    response.raise_for_status()
    answer: dict[str, Any] = response.json()
    return answer


# the least


class _Message(msgspec.Struct, rename="camel", gc=False):
    destination: str | None
    client_message_id: str
    template_variables: dict[str, Any]


class _Batch(msgspec.Struct, rename="camel"):
    messages: list[_Message]
    template: Mapping[str, str]
    client_batch_id: str
    include_messages_in_response: bool = True


class _Status(msgspec.Struct, rename="camel", gc=False):
    code: str
    description: str = ""


class _Accepted(msgspec.Struct, rename="camel", gc=False):
    umid: str
    client_message_id: str
    status: _Status


class _Answer(msgspec.Struct, rename="camel"):
    accepted_count: int
    messages: list[_Accepted]


def bare_loop(task: Task) -> Work:
    """A server-side cursor, msgspec, one batch after the other; full answers decoded, and nothing checked at all."""
    decoder = msgspec.json.Decoder(_Answer)

    def work() -> None:
        for messages in _batches(task):
            batch = _Batch(messages, {"templateBody": BODY}, messages[0].client_message_id)
            response = requests.post(
                task.endpoint,
                data=msgspec.json.encode(batch),
                headers={"Authorization": f"Bearer {API_KEY}", "Content-Type": "application/json"},
                timeout=60,
            )
            response.raise_for_status()
            decoder.decode(response.content)

    return work


def _batches(task: Task) -> Iterator[list[_Message]]:
    with (
        contextlib.closing(_warehouse().get_conn()) as connection,
        contextlib.closing(connection.cursor("bench")) as cursor,
    ):
        cursor.itersize = BATCH_SIZE
        cursor.execute(task.select)
        while rows := cursor.fetchmany(BATCH_SIZE):
            yield [
                _Message(destination, str(order_nr), {"firstName": first_name, "order_nr": order_nr})
                for destination, first_name, order_nr in rows
            ]


CONTENDERS: Mapping[str, Callable[[Task], Work]] = {
    "ours": ours,
    "ours, state store": ours_state_store,
    "ours, from DuckDB": ours_duckdb,
    "ours, from XCom": ours_xcom,
    "ours, one of ten shards": ours_shard,
    "by hand": by_hand,
    "by hand, counts only": by_hand_counts,
    "by hand, DataFrame": data_frame,
    "bare loop": bare_loop,
}

OTHER_SHARDS = {"ours, one of ten shards": 9}
"""How many shards as large have sent all of theirs before a contender begins."""
