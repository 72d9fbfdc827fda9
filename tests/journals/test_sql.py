"""The SQL journal on real databases: SQLite, MariaDB, and PostgreSQL at each of its default isolation levels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from airflow_provider_8x8.journals.sql import engine_of, prune_journal
from airflow_provider_8x8.surveys.journal.database import JournalDatabase
from airflow_provider_8x8.surveys.journal.entries import Entry, EntryState
from airflow_provider_8x8.surveys.journal.errors import (
    CorruptJournalError,
    JournalLostError,
    JournalMismatchError,
    JournalUnavailableError,
)
from airflow_provider_8x8.surveys.journal.header import Header
from airflow_provider_8x8.surveys.journal.sql import SqlJournal
from airflow_provider_8x8.surveys.journal.tables import BATCH
from tests.journals.entries import HEADER, NOW, always, entry_of, keys, settled
from tests.journals.sql_journals import new_opened
from tests.support.databases import Database

LONGEST_CAMPAIGN_ID = "é" * 768


# what is kept


def test_a_new_campaign_has_no_entries(new_journal: Callable[..., SqlJournal]) -> None:
    journal = new_journal()
    journal.open(HEADER)
    assert list(journal.news()) == []


def test_an_entry_is_kept_whole(new_journal: Callable[..., SqlJournal]) -> None:
    every_byte = bytes(range(250))
    entry = entry_of(
        "Batch-1",
        every_byte,
        task_instance="dág/run 2027-01-01T00:00:00+00:00/send/12",
        unique_by="Ordernummer 😀",
        scheduled=NOW + 3600.5,
        message_keys=every_byte[::-1],
    )
    journal, later = new_journal(LONGEST_CAMPAIGN_ID), new_journal(LONGEST_CAMPAIGN_ID)
    journal.open(HEADER)
    assert journal.begin(always(entry)) == entry
    later.open(HEADER)
    assert list(later.news()) == [entry]


def test_what_became_of_it_is_kept(new_journal: Callable[..., SqlJournal]) -> None:
    journal, later = new_journal(), new_journal()
    journal.open(HEADER)
    entry = entry_of("batch-1")
    journal.begin(always(entry))
    after = settled(entry, rejected_keys=keys(2), unknown_keys=keys(3))
    assert journal.settle(after) == after
    later.open(HEADER)
    assert list(later.news()) == [after]


def test_ten_thousand_row_keys_and_message_keys_fit(new_journal: Callable[..., SqlJournal]) -> None:
    many = keys(*range(10_000))
    journal = new_journal()
    journal.open(HEADER)
    journal.begin(always(entry_of("batch-1", many, message_keys=many)))
    (entry,) = new_opened(new_journal).news()
    assert len(entry) == 10_000
    assert entry.message_keys == many


def test_campaigns_are_apart_to_the_letter(new_journal: Callable[..., SqlJournal]) -> None:
    new_opened(new_journal, "campaign").begin(always(entry_of("batch-1")))
    for other in ("Campaign", "campáign", "campaign/1", " campaign"):
        assert list(new_opened(new_journal, other).news()) == []
    (entry,) = new_opened(new_journal, "campaign").news()
    assert entry.client_batch_id == "batch-1"


def test_client_batch_ids_are_apart_to_the_letter(new_journal: Callable[..., SqlJournal]) -> None:
    journal = new_opened(new_journal)
    journal.begin(always(entry_of("batchA")))
    journal.begin(always(entry_of("batcha", keys(4))))
    assert [entry.client_batch_id for entry in new_opened(new_journal).news()] == ["batchA", "batcha"]


def test_entries_come_in_the_order_of_their_beginning(new_journal: Callable[..., SqlJournal]) -> None:
    journal = new_opened(new_journal)
    begun = [journal.begin(always(entry_of(f"batch-{9 - number}", keys(number)))) for number in range(9)]
    assert begun[0] is not None
    journal.settle(settled(begun[0]))
    assert [entry.client_batch_id for entry in new_opened(new_journal).news()] == [f"batch-{9 - n}" for n in range(9)]


# the header


def test_a_later_run_finds_the_header(new_journal: Callable[..., SqlJournal]) -> None:
    new_opened(new_journal)
    new_opened(new_journal)
    with pytest.raises(JournalMismatchError, match=r"'campaign'.*survey_id 'survey'.*'another'"):
        new_journal().open(Header(survey_id="another", subaccount_id="sandbox_hq", row_key_rules=1))


def test_opening_leaves_a_trace_each_time(new_journal: Callable[..., SqlJournal], journal_database: Database) -> None:
    new_opened(new_journal)
    journal_database.execute("UPDATE eight_by_eight_campaign SET used = '2020-01-01 00:00:00.000000'")
    new_opened(new_journal)
    ((used,),) = journal_database.execute("SELECT used FROM eight_by_eight_campaign")
    assert not str(used).startswith("2020")


# news


def test_news_are_what_others_have_entered_or_settled_since(new_journal: Callable[..., SqlJournal]) -> None:
    ours, theirs = new_opened(new_journal), new_opened(new_journal)
    first = theirs.begin(always(entry_of("theirs-1", keys(1))))
    assert first is not None
    assert list(ours.news()) == [first]
    assert list(ours.news()) == []
    after = theirs.settle(settled(first))
    second = theirs.begin(always(entry_of("theirs-2", keys(2))))
    told: list[Sequence[Entry]] = []

    def compose(news: Sequence[Entry]) -> Entry:
        told.append(news)
        return entry_of("ours-1", keys(3))

    ours.begin(compose)
    ours.begin(lambda news: told.append(news))
    assert [list(news) for news in told] == [[after, second], []]
    assert list(ours.news()) == []


def test_a_batch_settled_and_one_begun_at_once_are_news_to_others_and_nothing_new_to_oneself(
    new_journal: Callable[..., SqlJournal],
) -> None:
    ours, theirs = new_opened(new_journal), new_opened(new_journal)
    first, second = entry_of("ours-1", keys(1)), entry_of("ours-2", keys(2))
    ours.begin(always(first))
    assert list(theirs.news()) == [first]
    between = theirs.begin(always(entry_of("theirs-1", keys(3))))
    told: list[Sequence[Entry]] = []

    def compose(news: Sequence[Entry]) -> Entry:
        told.append(news)
        return second

    assert ours.settle_and_begin(settled(first), compose) == (settled(first), second)
    assert [list(news) for news in told] == [[between]]
    assert list(ours.news()) == []
    assert list(theirs.news()) == [settled(first), second]
    assert theirs.begin(always(entry_of("theirs-2", keys(4)))) is not None
    assert ours.settle_and_begin(settled(second), always(None)) == (settled(second), None)
    assert list(theirs.news()) == [settled(second)]


def test_nothing_is_written_if_nothing_is_left(
    new_journal: Callable[..., SqlJournal], journal_database: Database
) -> None:
    theirs, ours = new_opened(new_journal), new_opened(new_journal)
    theirs.begin(always(entry_of("theirs")))
    before = journal_database.execute("SELECT * FROM eight_by_eight_campaign")
    told: list[Entry] = []
    assert ours.begin(lambda news: told.extend(news)) is None
    assert [entry.client_batch_id for entry in told] == ["theirs"]
    assert journal_database.execute("SELECT * FROM eight_by_eight_campaign") == before
    assert ours.begin(always(entry_of("ours", keys(4)))) is not None


def test_what_the_composer_raises_undoes_the_beginning(new_journal: Callable[..., SqlJournal]) -> None:
    journal = new_opened(new_journal)

    def compose(news: Sequence[Entry]) -> Entry:
        raise LookupError("no rows")

    with pytest.raises(LookupError, match="no rows"):
        journal.begin(compose)
    assert list(new_opened(new_journal).news()) == []
    assert journal.begin(always(entry_of("batch-1"))) is not None
    with pytest.raises(LookupError, match="no rows"):
        journal.settle_and_begin(settled(entry_of("batch-1")), compose)
    assert list(new_opened(new_journal).news()) == [entry_of("batch-1")]


# settling


def test_what_is_settled_stays_so(new_journal: Callable[..., SqlJournal]) -> None:
    ours, theirs = new_opened(new_journal), new_opened(new_journal)
    entry = entry_of("batch-1")
    ours.begin(always(entry))
    found = theirs.settle(settled(entry, batch_id="b-theirs"))
    assert ours.settle(settled(entry, state=EntryState.NOT_SENT, batch_id=None)) == found
    assert list(ours.news()) == [found]


def test_what_is_half_known_can_be_settled_again(new_journal: Callable[..., SqlJournal]) -> None:
    journal = new_opened(new_journal)
    entry = entry_of("batch-1")
    journal.begin(always(entry))
    journal.settle(settled(entry, unknown_keys=keys(1)))
    known = settled(entry, rejected_keys=keys(1))
    assert journal.settle(known) == known


def test_a_batch_that_was_never_begun_cannot_be_settled(new_journal: Callable[..., SqlJournal]) -> None:
    new_opened(new_journal, "another").begin(always(entry_of("batch-1")))
    with pytest.raises(CorruptJournalError, match="'campaign' lacks batch batch-1"):
        new_opened(new_journal).settle(settled(entry_of("batch-1")))


# what may not be there


DAMAGE: list[tuple[str, Any, str]] = [
    ("row_keys", b"12345", "row_keys has 5 bytes"),
    ("rejected_keys", b"12345", "rejected_keys has 5 bytes"),
    ("unknown_keys", b"12345", "unknown_keys has 5 bytes"),
    ("message_keys", keys(1), "10 bytes of message_keys to 30 of row_keys"),
    ("rejected_keys", keys(1, 2, 3, 4), "more row keys have an outcome of their own"),
    ("state", "perhaps", "perhaps"),
]


def test_what_no_version_has_written_stops_everything(new_journal: Callable[..., SqlJournal]) -> None:
    for number, (column, value, reason) in enumerate(DAMAGE):
        campaign_id, name = f"campaign-{number}", f"batch-{number}"
        new_opened(new_journal, campaign_id).begin(always(entry_of(name)))
        with engine_of("journal").begin() as connection:
            connection.execute(sa.update(BATCH).where(BATCH.c.client_batch_id == name).values({column: value}))
        journal = new_opened(new_journal, campaign_id)
        told = rf"(?s)'{campaign_id}'.*number 1, client batch id '{name}'.*{reason}"
        with pytest.raises(CorruptJournalError, match=told):
            journal.news()
        with pytest.raises(CorruptJournalError, match=told):
            journal.begin(always(None))
        if column == "state":
            with pytest.raises(CorruptJournalError, match=told):
                journal.settle(settled(entry_of(name)))


def test_a_deleted_campaign_is_missed(new_journal: Callable[..., SqlJournal], journal_database: Database) -> None:
    journal = new_opened(new_journal)
    journal_database.execute("DELETE FROM eight_by_eight_campaign")
    new_opened(new_journal)  # another run makes the campaign anew: not what this try has opened
    for use in (journal.news, lambda: journal.begin(always(entry_of("batch-1")))):
        with pytest.raises(JournalLostError, match="'campaign' is not in eight_by_eight_campaign any more"):
            use()


# campaign ids and databases that cannot serve


def sqlite_engine() -> sa.engine.Engine:
    return sa.create_engine("sqlite:////nowhere/at/all.sqlite", future=True)


def test_a_database_that_is_not_there_is_named(no_pauses: list[float]) -> None:
    journal = SqlJournal(JournalDatabase(sqlite_engine(), "journal"), "campaign")
    with pytest.raises(JournalUnavailableError, match=r"'journal'.*OperationalError: unable to open database file"):
        journal.open(HEADER)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_a_database_that_ends_with_the_process_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="'journal' leads to a SQLite database that is not in a file"):
        SqlJournal(JournalDatabase(sa.create_engine(url, future=True), "journal"), "campaign")


@pytest.mark.parametrize(
    ("campaign_id", "reason"),
    [("", "has 0 characters"), ("x" * 769, "has 769 characters"), ("x ", "'x ' ends with a space")],
)
def test_a_campaign_id_that_cannot_be_kept_is_refused(campaign_id: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        SqlJournal(JournalDatabase(sqlite_engine(), "journal"), campaign_id)


# pruning


def test_campaigns_not_used_for_long_are_pruned(
    new_journal: Callable[..., SqlJournal], journal_database: Database
) -> None:
    entry = entry_of("open")
    new_opened(new_journal, "pending").begin(always(entry))
    half_known = new_opened(new_journal, "half known")
    half_known.begin(always(entry_of("half")))
    half_known.settle(settled(entry_of("half"), unknown_keys=keys(1)))
    for campaign_id in ("old", "used"):
        journal = new_opened(new_journal, campaign_id)
        journal.begin(always(entry_of(campaign_id)))
        journal.settle(settled(entry_of(campaign_id)))
    journal_database.execute("UPDATE eight_by_eight_campaign SET used = '2020-01-01 00:00:00.000000'")
    new_opened(new_journal, "used")
    assert prune_journal("journal", timedelta(days=30)) == 1
    left = journal_database.execute("SELECT campaign_id FROM eight_by_eight_campaign ORDER BY id")
    assert left == [("pending",), ("half known",), ("used",)]
    assert list(new_opened(new_journal, "old").news()) == []
    assert prune_journal("journal", timedelta(days=30)) == 0


def test_pruning_a_database_without_a_journal_finds_nothing(journal_database: Database) -> None:
    assert prune_journal("journal", timedelta(days=30)) == 0


def test_a_campaign_at_rest_between_two_tries_is_not_pruned() -> None:
    with pytest.raises(ValueError, match="older_than is 23:59:59; expected at least 1 day"):
        prune_journal("journal", timedelta(days=1, seconds=-1))
