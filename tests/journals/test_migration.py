"""Databases with the tables of the version before: campaigns go on in them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.mysql import LONGBLOB

from airflow_provider_8x8.journals.sql import engine_of, prune_journal
from airflow_provider_8x8.surveys.journal.entries import Entry, EntryState
from airflow_provider_8x8.surveys.journal.errors import JournalMismatchError, JournalUnavailableError
from airflow_provider_8x8.surveys.journal.header import Header
from airflow_provider_8x8.surveys.journal.sql import SqlJournal
from airflow_provider_8x8.surveys.journal.tables import METADATA
from tests.journals.entries import HEADER, NOW, TASK_INSTANCE, always, entry_of, keys, settled
from tests.journals.sql_journals import at_once, drop_role, journal_of, lesser_role
from tests.support.databases import Database

OLD = sa.MetaData()
_OPTIONS: dict[str, Any] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}
_BYTES = sa.LargeBinary().with_variant(LONGBLOB(), "mysql")

OLD_CAMPAIGN = sa.Table(
    "eight_by_eight_campaign",
    OLD,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("campaign_id", sa.String(768), nullable=False, unique=True),
    sa.Column("survey_id", sa.Text, nullable=False),
    sa.Column("subaccount_id", sa.Text, nullable=False),
    sa.Column("row_key_rules", sa.Integer, nullable=False),
    sa.Column("journal_format", sa.Integer, nullable=False),
    sa.Column("last_number", sa.Integer, nullable=False),
    sa.Column("created", sa.DateTime, nullable=False),
    sa.Column("used", sa.DateTime, nullable=False),
    sqlite_autoincrement=True,
    **_OPTIONS,
)
OLD_BATCH = sa.Table(
    "eight_by_eight_batch",
    OLD,
    sa.Column("campaign", sa.ForeignKey(OLD_CAMPAIGN.c.id), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("changed", sa.Integer, nullable=False),
    sa.Column("client_batch_id", sa.String(64), nullable=False, unique=True),
    sa.Column("run", sa.Text, nullable=False),
    sa.Column("try_number", sa.Integer, nullable=False),
    sa.Column("unique_by", sa.Text, nullable=False),
    sa.Column("row_keys", _BYTES, nullable=False),
    sa.Column("begun", sa.Float(53), nullable=False),
    sa.Column("send_by", sa.Float(53), nullable=False),
    sa.Column("scheduled", sa.Float(53), nullable=True),
    sa.Column("message_keys", _BYTES, nullable=True),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("batch_id", sa.Text, nullable=True),
    sa.Column("rejected_keys", _BYTES, nullable=False),
    sa.Column("unknown_keys", _BYTES, nullable=False),
    sa.UniqueConstraint("campaign", "changed"),
    **_OPTIONS,
)

FULL_HEADER = Header(
    survey_id="survey", subaccount_id="sandbox_hq", row_key_rules=1, address="https://sms.example.com", deployment="a"
)
ENTRIES = [
    settled(entry_of("sent", keys(1, 2), message_keys=keys(8, 9)), rejected_keys=keys(2)),
    entry_of("pending", keys(3, 4), scheduled=NOW + 3600),
    settled(entry_of("half known", keys(5, 6)), unknown_keys=keys(6)),
    entry_of("resent", keys(7), state=EntryState.RESENT),
]


@pytest.fixture
def old_database(journal_database: Database) -> Database:
    """A database as the version before has left it, with a campaign."""
    engine = sa.create_engine(journal_database.url, future=True)
    with engine.begin() as connection:
        OLD.create_all(connection)
        header = {"survey_id": "survey", "subaccount_id": "sandbox_hq", "row_key_rules": 1, "journal_format": 1}
        then = datetime(2026, 1, 1)  # noqa: DTZ001  # as the journal writes it: in UTC, without saying so
        campaign = {"id": 1, "campaign_id": TASK_INSTANCE, "last_number": len(ENTRIES), "created": then, "used": then}
        connection.execute(sa.insert(OLD_CAMPAIGN).values(**header, **campaign))
        for number, entry in enumerate(ENTRIES, 1):
            columns = {name: getattr(entry, name) for name in Entry.__struct_fields__ if name in OLD_BATCH.c}
            place = {"campaign": 1, "number": number, "changed": number, "state": entry.state.value}
            columns["run"] = entry.task_instance
            connection.execute(sa.insert(OLD_BATCH).values({**columns, **place}))
    engine.dispose()
    return journal_database


def test_a_campaign_goes_on(old_database: Database, new_journal: Callable[..., SqlJournal]) -> None:
    journal = new_journal(TASK_INSTANCE)
    journal.open(FULL_HEADER, must_exist=True)
    assert list(journal.news()) == ENTRIES
    assert ENTRIES[1].may_be_answered_until == NOW + 90
    journal.begin(always(entry_of("new", keys(20), answer_by=NOW + 90)))
    later = new_journal(TASK_INSTANCE)
    later.open(FULL_HEADER, must_exist=True)
    after = [
        later.settle(settled(ENTRIES[0], rejected_keys=keys(1))),
        later.settle(settled(ENTRIES[1], assumed_keys=keys(4), watermark_begun=NOW)),
        later.settle(settled(ENTRIES[2], unknown_keys=b"", resent_keys=keys(6))),
        later.settle(settled(ENTRIES[3])),
    ]
    assert after == [
        ENTRIES[0],
        settled(ENTRIES[1], assumed_keys=keys(4), watermark_begun=NOW),
        settled(ENTRIES[2], unknown_keys=b"", resent_keys=keys(6)),
        settled(ENTRIES[3]),
    ]
    assert new_journal(TASK_INSTANCE).entries() == [*after, entry_of("new", keys(20), answer_by=NOW + 90)]
    with pytest.raises(JournalMismatchError, match="deployment 'a', and this task has 'b'"):
        new_journal(TASK_INSTANCE).open(
            Header(survey_id="survey", subaccount_id="sandbox_hq", row_key_rules=1, deployment="b")
        )


def test_campaigns_are_pruned_there(old_database: Database, new_journal: Callable[..., SqlJournal]) -> None:
    assert prune_journal("journal", timedelta(days=1)) == 0  # two batches are open
    journal = new_journal(TASK_INSTANCE)
    journal.entries()
    journal.settle(settled(ENTRIES[1]))
    journal.settle(settled(ENTRIES[2], unknown_keys=b""))
    old_database.execute("UPDATE eight_by_eight_campaign SET used = '2020-01-01 00:00:00.000000'")
    assert prune_journal("journal", timedelta(days=1)) == 1


def test_several_that_come_at_once_all_find_it_whole(
    old_database: Database, new_journal: Callable[..., SqlJournal]
) -> None:
    journals = [new_journal(TASK_INSTANCE) for _ in range(6)]
    at_once(len(journals), lambda number: journals[number].open(HEADER, must_exist=True))
    assert {len(journal.news()) for journal in journals} == {len(ENTRIES)}
    assert len(old_database.execute("SELECT journal_id FROM eight_by_eight_journal")) == 1


def test_a_migration_that_ended_in_the_middle_goes_on(
    old_database: Database, new_journal: Callable[..., SqlJournal]
) -> None:
    old_database.execute("ALTER TABLE eight_by_eight_batch ADD COLUMN answer_by DOUBLE PRECISION NULL")
    with engine_of("journal").begin() as connection:
        METADATA.tables["eight_by_eight_journal"].create(connection)
    journal = new_journal(TASK_INSTANCE)
    journal.open(HEADER, must_exist=True)
    assert list(journal.news()) == ENTRIES


def test_a_role_that_may_not_change_tables_is_told_what_is_missing(
    old_database: Database, new_journal: Callable[..., SqlJournal], no_pauses: list[float]
) -> None:
    if old_database.kind == "sqlite":
        pytest.skip("SQLite has no roles")
    role = lesser_role(old_database, "SELECT", "INSERT", "UPDATE", tables=OLD.tables)
    try:
        with pytest.raises(JournalUnavailableError) as caught:
            journal_of(role).open(HEADER)
        for missing in (
            "no table eight_by_eight_mark",
            "no table eight_by_eight_journal",
            "no column eight_by_eight_campaign.address, no column eight_by_eight_campaign.deployment",
            "no column eight_by_eight_batch.assumed_keys",
            "no column eight_by_eight_batch.task_instance (ALTER TABLE eight_by_eight_batch RENAME COLUMN run TO",
            "Have a role that may make them use the journal once",
            "SELECT, INSERT and UPDATE",
            "journal_conn_id 'journal'",
        ):
            assert missing in str(caught.value)
        assert "denied" in str(caught.value) or "must be owner" in str(caught.value)
    finally:
        drop_role(role, old_database)
    new_journal(TASK_INSTANCE).open(HEADER)
    role = lesser_role(old_database, "SELECT", "INSERT", "UPDATE")
    try:
        journal_of(role).open(HEADER)
    finally:
        drop_role(role, old_database)
