"""The journal on a task state store that behaves as Airflow 3.3.2's does."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from airflow_provider_8x8.surveys.journal.entries import Entry, EntryState
from airflow_provider_8x8.surveys.journal.errors import (
    CorruptJournalError,
    JournalLostError,
    JournalMismatchError,
    JournalUnavailableError,
    SupersededError,
)
from airflow_provider_8x8.surveys.journal.header import JOURNAL_FORMAT
from airflow_provider_8x8.surveys.journal.state_store import MAX_VALUE_LENGTH, StateStoreJournal
from airflow_provider_8x8.surveys.messages.row_keys import ROW_KEY_BYTES
from tests.journals.entries import HEADER, always, entry_of, keys
from tests.journals.task_state_store import NEVER, ServerRefusedError, Store


def journal_of(store: Store, try_number: int = 1) -> StateStoreJournal:
    return StateStoreJournal(
        store, campaign_id="dag/run/send", try_number=try_number, never_expire=NEVER, sleep=lambda seconds: None
    )


def opened(store: Store, try_number: int = 1) -> StateStoreJournal:
    journal = journal_of(store, try_number)
    journal.open(HEADER)
    journal.news()
    return journal


def entry(name: str = "b1", *, rows: int = 3, **fields: Any) -> Entry:
    return entry_of(name, keys(*range(rows)), **fields)


def test_the_next_try_reads_what_was_begun_and_settled() -> None:
    values: dict[str, str] = {}
    first = opened(Store(values))
    for name in ("b1", "b2", "b3"):
        assert first.begin(always(entry(name))) == entry(name)
    settled = msgspec.structs.replace(
        entry("b2"), state=EntryState.SENT, batch_id="8x8s", rejected_keys=entry().row_keys[:ROW_KEY_BYTES]
    )
    assert first.settle(settled) == settled
    second = journal_of(Store(values), 2)
    second.open(HEADER)
    assert list(second.news()) == [entry("b1"), settled, entry("b3")]
    assert list(second.news()) == []


def test_a_later_try_settles_by_records_of_its_own() -> None:
    values: dict[str, str] = {}
    opened(Store(values)).begin(lambda news: entry())
    before = dict(values)
    second = opened(Store(values), 2)
    not_sent = msgspec.structs.replace(entry(), state=EntryState.NOT_SENT)
    assert second.settle(not_sent) == not_sent
    assert {key: values[key] for key in before} == before
    third = journal_of(Store(values), 3)
    assert list(third.news()) == [not_sent]


def test_what_is_settled_stays_so() -> None:
    journal = opened(Store({}))
    journal.begin(lambda news: entry())
    sent = journal.settle(msgspec.structs.replace(entry(), state=EntryState.SENT, batch_id="x"))
    assert journal.settle(msgspec.structs.replace(entry(), state=EntryState.NOT_SENT)) == sent


def test_values_are_kept_for_ever() -> None:
    store = Store({})
    opened(store).begin(lambda news: entry())
    assert store.retentions == {NEVER}


@pytest.mark.parametrize("rows", [1, 4_000, 10_000])
def test_a_large_batch_is_split_into_values_that_airflow_takes(rows: int) -> None:
    values: dict[str, str] = {}
    opened(Store(values)).begin(lambda news: entry(rows=rows, message_keys=entry(rows=rows).row_keys))
    assert max(len(value) for value in values.values()) <= MAX_VALUE_LENGTH + 100 < 65_535
    (read,) = opened_news(values, 2)
    assert read.row_keys == entry(rows=rows).row_keys


def opened_news(values: dict[str, str], try_number: int) -> list[Entry]:
    journal = journal_of(Store(values), try_number)
    journal.open(HEADER)
    return list(journal.news())


def test_an_overtaken_try_cannot_begin() -> None:
    store = Store({})
    journal = opened(store)
    store.is_superseded = True
    with pytest.raises(SupersededError, match="newer one has begun"):
        journal.begin(lambda news: entry())


def test_an_overtaken_try_whose_backend_stores_before_it_asks_cannot_begin() -> None:
    store = Store({})
    journal = opened(store)
    store.set = lambda key, value, **options: None  # type: ignore[method-assign]  # stored somewhere, but not readable
    with pytest.raises(SupersededError, match="does not give back"):
        journal.begin(lambda news: entry())


def test_a_store_that_fails_for_a_moment_is_asked_again() -> None:
    store = Store({})
    journal = opened(store)
    store.failures = [ServerRefusedError(None), ServerRefusedError(500)]
    assert journal.begin(lambda news: entry()) == entry()


def test_a_record_that_could_not_be_written_hides_nothing_after_it() -> None:
    values: dict[str, str] = {}
    store = Store(values)
    journal = opened(store)
    store.failures = [OSError("away")] * 4
    with pytest.raises(JournalUnavailableError, match="could not be written: OSError"):
        journal.begin(lambda news: entry("b1"))
    journal.begin(lambda news: entry("b2"))
    assert [each.client_batch_id for each in opened_news(values, 2)] == ["b2"]


def test_the_same_try_in_another_process_goes_on_behind_what_is_there() -> None:
    values: dict[str, str] = {}
    opened(Store(values)).begin(lambda news: entry("b1"))
    opened(Store(values)).begin(lambda news: entry("b2"))
    assert [each.client_batch_id for each in opened_news(values, 2)] == ["b1", "b2"]


def test_another_header_is_refused_by_name() -> None:
    values: dict[str, str] = {}
    opened(Store(values))
    other = msgspec.structs.replace(HEADER, survey_id="visits")
    with pytest.raises(JournalMismatchError, match="survey_id 'survey', and this task has 'visits'"):
        journal_of(Store(values), 2).open(other)


@pytest.mark.parametrize(
    "header",
    [
        {"journal_format": JOURNAL_FORMAT + 1, "else": 1},
        {**msgspec.to_builtins(HEADER), "journal_format": JOURNAL_FORMAT + 1},
    ],
)
def test_a_newer_format_is_refused(header: dict[str, Any]) -> None:
    with pytest.raises(JournalMismatchError, match=f"format {JOURNAL_FORMAT + 1}"):
        journal_of(Store({"8x8/header": json.dumps(header)}), 2).open(HEADER)


def test_a_journal_that_is_gone_is_refused() -> None:
    with pytest.raises(JournalLostError, match="trigger a new DAG run"):
        journal_of(Store({}), 2).open(HEADER, must_exist=True)


def test_a_journal_that_is_there_goes_on() -> None:
    values: dict[str, str] = {}
    opened(Store(values)).begin(lambda news: entry())
    journal = journal_of(Store(values), 2)
    journal.open(HEADER, must_exist=True)
    assert list(journal.news()) == [entry()]


def test_what_the_version_before_has_begun_is_read() -> None:
    values: dict[str, str] = {}
    opened(Store(values)).begin(lambda news: entry())
    assert "task_instance" in values["8x8/1/1"]
    values["8x8/1/1"] = values["8x8/1/1"].replace("task_instance", "run")
    assert opened_news(values, 2) == [entry()]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("8x8/1/1", "text"),
        ("8x8/1/1", {"pieces": 1}),
        ("8x8/1/1", {"pieces": 1, "text": "{}"}),
        ("8x8/1/1", {"pieces": 1, "text": '{"type": "begun", "entry": 7}'}),
        (
            "8x8/1/1",
            {
                "pieces": 1,
                "text": '{"type": "begun", "entry": {"client_batch_id": "b", "run": "r", '
                '"try_number": 1, "unique_by": "u", "row_keys": "AAAA", "begun": 1, "send_by": 2}}',
            },
        ),
        ("8x8/1/1", {"pieces": 3, "text": "{"}),
        ("8x8/1/1", {"pieces": 1, "text": '{"type":"settled","client_batch_id":"b9","state":"sent"}'}),
        ("8x8/header", "text"),
    ],
)
def test_what_no_version_has_written_stops_and_is_named(key: str, value: Any) -> None:
    values = {"8x8/header": json.dumps(msgspec.to_builtins(HEADER)), key: json.dumps(value)}
    journal = journal_of(Store(values), 2)
    with pytest.raises(CorruptJournalError, match=r"is corrupt: (8x8/|batch b9)"):  # noqa: PT012  # one or the other
        journal.open(HEADER)
        journal.news()


def test_a_piece_that_is_missing_stops() -> None:
    values: dict[str, str] = {}
    opened(Store(values)).begin(lambda news: entry(rows=10_000))
    del values["8x8/1/1/2"]
    with pytest.raises(CorruptJournalError, match="8x8/1/1/2 is missing"):
        opened_news(values, 2)
