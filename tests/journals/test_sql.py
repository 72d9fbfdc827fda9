"""The SQL journal on real databases: SQLite, MariaDB, and PostgreSQL at each of its default isolation levels."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from airflow_provider_8x8.journals.sql import engine_of, prune_journal
from airflow_provider_8x8.surveys.journal import transactions
from airflow_provider_8x8.surveys.journal.database import JournalDatabase
from airflow_provider_8x8.surveys.journal.entries import Entry, EntryState
from airflow_provider_8x8.surveys.journal.errors import (
    CorruptJournalError,
    JournalLostError,
    JournalMismatchError,
    JournalUnavailableError,
)
from airflow_provider_8x8.surveys.journal.header import Header
from airflow_provider_8x8.surveys.journal.marks import Mark, Place
from airflow_provider_8x8.surveys.journal.sql import SqlJournal
from airflow_provider_8x8.surveys.journal.sql_memory import SqlMemory
from airflow_provider_8x8.surveys.journal.tables import BATCH, METADATA
from airflow_provider_8x8.surveys.messages.row_keys import pack, unpack
from tests.conftest import ROOT
from tests.journals.entries import HEADER, NOW, always, entry_of, keys, settled
from tests.support.databases import Database

LONGEST_CAMPAIGN_ID = "é" * 768


def new_opened(new_journal: Callable[..., SqlJournal], campaign_id: str = "campaign") -> SqlJournal:
    journal = new_journal(campaign_id)
    journal.open(HEADER)
    return journal


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


# failures that may pass


def test_a_lost_connection_is_made_again(
    new_journal: Callable[..., SqlJournal], journal_database: Database, no_pauses: list[float]
) -> None:
    if journal_database.kind == "sqlite":
        pytest.skip("SQLite has no connection to lose")
    journal = new_opened(new_journal)
    calls: list[Sequence[Entry]] = []

    def compose(news: Sequence[Entry]) -> Entry:
        calls.append(news)
        if len(calls) == 1:
            kill_other_connections(journal_database)
        return entry_of("batch-1")

    assert journal.begin(compose) == entry_of("batch-1")
    assert len(calls) == 2
    assert list(new_opened(new_journal).news()) == [entry_of("batch-1")]


def kill_other_connections(database: Database) -> None:
    if database.kind == "mariadb":
        with database.connect() as cursor:
            cursor.execute(
                "SELECT id FROM information_schema.processlist WHERE id <> connection_id() AND db = database()"
            )
            for (number,) in cursor.fetchall():
                cursor.execute(f"KILL {number}")
    else:
        database.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def lose_answers(journal: SqlJournal, *, committed: bool, times: int) -> None:
    """Let the answers to commits be lost, whether or not the server had committed."""
    dialect: Any = journal._database._engine.dialect
    commit, left = dialect.do_commit, [times]

    def do_commit(connection: Any) -> Any:
        if not left[0]:
            return commit(connection)
        left[0] -= 1
        (commit if committed else dialect.do_rollback)(connection)
        raise dialect.dbapi.OperationalError("server closed the connection unexpectedly")

    dialect.do_commit = do_commit


@pytest.mark.parametrize("committed", [True, False])
def test_a_lost_answer_to_a_beginning_neither_loses_nor_doubles_it(
    new_journal: Callable[..., SqlJournal], no_pauses: list[float], committed: bool
) -> None:
    journal = new_opened(new_journal)
    tries: list[float] = []

    def compose(news: Sequence[Entry]) -> Entry:
        tries.append(NOW + len(tries))
        return entry_of("batch-1", begun=tries[-1])

    lose_answers(journal, committed=committed, times=1)
    entry = journal.begin(compose)
    assert entry == entry_of("batch-1", begun=NOW if committed else NOW + 1)
    assert list(new_opened(new_journal).news()) == [entry]
    assert len(no_pauses) == 1


@pytest.mark.parametrize("committed", [True, False])
def test_a_lost_answer_to_a_settling_is_asked_for_again(
    new_journal: Callable[..., SqlJournal], no_pauses: list[float], committed: bool
) -> None:
    journal = new_opened(new_journal)
    journal.begin(always(entry_of("batch-1")))
    after = settled(entry_of("batch-1"))
    lose_answers(journal, committed=committed, times=1)
    assert journal.settle(after) == after
    assert list(new_opened(new_journal).news()) == [after]


def test_what_does_not_pass_ends_in_an_error_without_rows(
    new_journal: Callable[..., SqlJournal], no_pauses: list[float]
) -> None:
    journal = new_opened(new_journal)
    lose_answers(journal, committed=False, times=99)
    with pytest.raises(JournalUnavailableError) as caught:
        journal.begin(always(entry_of("batch-secret")))
    assert str(caught.value) == (
        "could not begin a batch in the journal's database (journal_conn_id 'journal'): "
        "OperationalError: server closed the connection unexpectedly"
    )
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert len(no_pauses) == 6
    assert no_pauses[0] < 1 < 6 < no_pauses[-1]


def test_a_lock_is_not_waited_for_for_ever(
    new_journal: Callable[..., SqlJournal], monkeypatch: pytest.MonkeyPatch, no_pauses: list[float]
) -> None:
    """A worker that stalls inside its transaction stops the others' tries, and not for ever."""
    statements = {
        "postgresql": ["SET LOCAL lock_timeout = '1s'"],
        "mysql": ["SET SESSION innodb_lock_wait_timeout = 1"],
        "sqlite": [],
    }
    monkeypatch.setattr(transactions, "_FIRST_STATEMENTS", statements)
    monkeypatch.setattr(transactions, "LOCK_SECONDS", 1)
    stalling, waiting = new_opened(new_journal), new_opened(new_journal)

    def stall(news: Sequence[Entry]) -> Entry:
        with pytest.raises(JournalUnavailableError, match=r"lock|Lock"):
            waiting.begin(always(entry_of("waiting")))
        return entry_of("stalling")

    monkeypatch.setattr(transactions._RETRYING, "stop", lambda state: True)
    stalling.begin(stall)
    assert [entry.client_batch_id for entry in waiting.news()] == ["stalling"]


# many at once


def at_once(count: int, work: Callable[[int], Any]) -> list[Any]:
    """Call a function in threads that start at the same moment; return its results."""
    barrier = threading.Barrier(count)

    def start(number: int) -> Any:
        barrier.wait()
        return work(number)

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(start, range(count)))


def test_ten_shards_start_at_once_on_an_empty_database(
    new_journal: Callable[..., SqlJournal], journal_database: Database
) -> None:
    journals = [new_journal() for _ in range(10)]
    at_once(10, lambda number: journals[number].open(HEADER))
    assert journal_database.execute("SELECT count(*) FROM eight_by_eight_campaign")[0] == (1,)
    at_once(10, lambda number: journals[number].begin(always(entry_of(f"batch-{number}", keys(number)))))
    assert len(new_opened(new_journal).news()) == 10


SHARDS, BATCHES, BATCH_KEYS, ALL_KEYS = 10, 8, 12, 60


def test_no_row_key_is_begun_twice_by_ten_shards(
    new_journal: Callable[..., SqlJournal], journal_database: Database
) -> None:
    """Overlapping rows; each shard settles, and one in three of its batches is free again for others."""
    journals = [new_opened(new_journal) for _ in range(SHARDS)]

    def send(shard: int) -> None:
        journal, taken = journals[shard], {}
        for number in range(BATCHES):
            wanted = [(shard * 7 + number * 5 + key) % ALL_KEYS for key in range(BATCH_KEYS)]

            def compose(news: Sequence[Entry], wanted: list[int] = wanted, number: int = number) -> Entry | None:
                taken.update({entry.client_batch_id: entry for entry in news})
                held = {key for entry in taken.values() if entry.is_in_effect for key in unpack(entry.row_keys)}
                missing = [key for key in unpack(keys(*wanted)) if key not in held]
                return entry_of(f"batch-{shard}-{number}", pack(missing)) if missing else None

            entry = journal.begin(compose)
            if entry is not None:
                state = EntryState.NOT_SENT if (shard + number) % 3 == 0 else EntryState.SENT
                taken[entry.client_batch_id] = journal.settle(settled(entry, state=state))

    at_once(SHARDS, send)
    entries = new_opened(new_journal).news()
    assert not [entry for entry in entries if entry.state is EntryState.PENDING]
    sent = [key for entry in entries if entry.is_in_effect for key in unpack(entry.row_keys)]
    assert len(sent) == len(set(sent))
    numbers = journal_database.execute("SELECT changed FROM eight_by_eight_batch")
    assert len(set(numbers)) == len(entries)


PROCESS = """
import sys, time
import sqlalchemy as sa
from airflow_provider_8x8.surveys.journal.database import JournalDatabase
from airflow_provider_8x8.surveys.journal.sql import SqlJournal
from airflow_provider_8x8.surveys.journal.entries import Entry
from airflow_provider_8x8.surveys.journal.header import Header
from airflow_provider_8x8.surveys.messages.row_keys import pack, unpack

url, shard = sys.argv[1], int(sys.argv[2])
journal = SqlJournal(JournalDatabase(sa.create_engine(url, future=True), "journal"), "campaign")
journal.open(Header(survey_id="survey", subaccount_id="sandbox_hq", row_key_rules=1))
held, given = set(), [number.to_bytes(10, "big") for number in range(200)]
if shard:
    given.reverse()

def compose(name, wanted):
    def make(news):
        held.update(key for entry in news for key in unpack(entry.row_keys))
        missing = [key for key in wanted if key not in held]
        now = time.time()
        return Entry(client_batch_id=name, task_instance=f"run-{shard}", try_number=1, unique_by="destination",
                     row_keys=pack(missing), begun=now, send_by=now + 30) if missing else None
    return make

for start in range(0, 200, 5):
    entry = journal.begin(compose(f"{shard}-{start}", given[start:start + 5]))
    if entry is not None:
        held.update(unpack(entry.row_keys))
"""


def test_two_processes_share_a_campaign(new_journal: Callable[..., SqlJournal], journal_database: Database) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", PROCESS, journal_database.url, str(shard)], cwd=ROOT)
        for shard in range(2)
    ]
    assert [process.wait(timeout=60) for process in processes] == [0, 0]
    entries = new_opened(new_journal).news()
    sent = [key for entry in entries for key in unpack(entry.row_keys)]
    assert sorted(sent) == unpack(keys(*range(200)))


# transactions


def test_the_isolation_level_is_ours_not_the_servers(
    new_journal: Callable[..., SqlJournal], journal_database: Database
) -> None:
    journal, levels = new_opened(new_journal), []
    question = {"mariadb": "SELECT @@tx_isolation, @@autocommit", "sqlite": None}.get(
        journal_database.kind, "SHOW transaction_isolation"
    )
    if question is None:
        pytest.skip("SQLite has one level, and one writer")

    def ask(connection: Any, cursor: Any, statement: str, *_: object) -> None:
        if statement.startswith("UPDATE"):
            cursor.execute(question)
            levels.append(cursor.fetchone())

    sa.event.listen(journal._database._engine, "before_cursor_execute", ask)
    journal.begin(always(None))
    assert levels == [("READ-COMMITTED", 0) if journal_database.kind == "mariadb" else ("read committed",)]


def test_sqlites_write_lock_is_taken_before_anything_is_read(
    new_journal: Callable[..., SqlJournal], journal_database: Database
) -> None:
    if journal_database.kind != "sqlite":
        pytest.skip("SQLite's own locks")
    journal, refused = new_opened(new_journal), []

    def write(connection: Any, cursor: Any, statement: str, *_: object) -> None:
        if statement.lstrip().startswith("SELECT"):
            other = sqlite3.connect(journal_database.connection["host"], timeout=0)
            with contextlib.closing(other), pytest.raises(sqlite3.OperationalError, match="database is locked"):
                other.execute("BEGIN IMMEDIATE")
            refused.append(statement)

    sa.event.listen(journal._database._engine, "before_cursor_execute", write)
    journal.news()
    assert refused


def test_the_tables_on_mariadb_are_binary_and_transactional(
    new_journal: Callable[..., SqlJournal], journal_database: Database
) -> None:
    if journal_database.kind != "mariadb":
        pytest.skip("MariaDB's own options")
    new_opened(new_journal)
    rows = journal_database.execute(
        "SELECT engine, table_collation FROM information_schema.tables WHERE table_schema = database()"
    )
    assert rows == [("InnoDB", "utf8mb4_bin")] * 4


def test_one_connection_is_kept_until_the_journal_is_closed(
    new_journal: Callable[..., SqlJournal], journal_database: Database
) -> None:
    if not journal_database.kind.startswith("postgresql"):
        pytest.skip("one way of counting connections is enough")
    count = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
        "AND backend_type = 'client backend'"
    )
    journal = new_opened(new_journal)
    for number in range(3):
        journal.begin(always(entry_of(f"batch-{number}")))
        assert journal_database.execute(count) == [(1,)]
    journal.close()
    end = time.monotonic() + 10
    while journal_database.execute(count) != [(0,)]:
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_connection_that_was_closed_at_rest_is_replaced(
    new_journal: Callable[..., SqlJournal], journal_database: Database, no_pauses: list[float]
) -> None:
    if journal_database.kind == "sqlite":
        pytest.skip("SQLite has no connection to lose")
    journal = new_opened(new_journal)
    kill_other_connections(journal_database)
    assert journal.begin(always(entry_of("batch-1"))) == entry_of("batch-1")
    assert no_pauses == []


# rights


def lesser_role(database: Database, *rights: str, tables: Iterable[str] = METADATA.tables) -> Database:
    """Make a role that may do no more than this with the journal's tables."""
    name = f"lesser_{database.connection['schema'][-8:]}"
    if database.kind == "mariadb":
        database.execute(f"CREATE USER {name}@localhost")
        for table in tables:
            database.execute(f"GRANT {', '.join(rights)} ON {table} TO {name}@localhost")
    else:
        database.execute(f"CREATE ROLE {name} LOGIN")
        database.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        if rights != ("USAGE",):
            database.execute(f"GRANT {', '.join(rights)} ON ALL TABLES IN SCHEMA public TO {name}")
            database.execute(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {name}")
    return database.as_user(name)


def drop_role(role: Database, database: Database) -> None:
    name = role.connection["login"]
    if database.kind == "mariadb":
        database.execute(f"DROP USER {name}@localhost")
    else:
        database.execute(f"DROP OWNED BY {name}", f"DROP ROLE {name}")


def journal_of(role: Database) -> SqlJournal:
    return SqlJournal(JournalDatabase(sa.create_engine(role.url, future=True), "journal"), "of a lesser role")


def test_a_role_that_may_make_no_tables_can_use_them(
    new_journal: Callable[..., SqlJournal], journal_database: Database
) -> None:
    if journal_database.kind == "sqlite":
        pytest.skip("SQLite has no roles")
    new_opened(new_journal)
    role = lesser_role(journal_database, "SELECT", "INSERT", "UPDATE")
    try:
        journal = journal_of(role)
        journal.open(HEADER)
        entry = journal.begin(always(entry_of("batch-1")))
        assert entry is not None
        journal.settle(settled(entry))
        journal.close()
        memory = SqlMemory(JournalDatabase(sa.create_engine(role.url, future=True), "journal"), "dag/run/send")
        memory.marks()
        for places in ([], [Place(memory.name, "of a lesser role")]):
            memory.leave(Mark(try_number=1, began=NOW, places=places, had_store=False))
        memory.close()
    finally:
        drop_role(role, journal_database)


def test_a_role_that_may_only_read_is_found_out_when_it_opens(
    new_journal: Callable[..., SqlJournal], journal_database: Database, no_pauses: list[float]
) -> None:
    new_opened(new_journal, "of a lesser role")
    if journal_database.kind == "sqlite":
        file = journal_database.connection["host"]
        with pytest.raises(JournalUnavailableError, match="attempt to write a readonly database"):
            journal_of(Database("sqlite", f"sqlite:///file:{file}?mode=ro&uri=true", {})).open(HEADER)
        return
    role = lesser_role(journal_database, "SELECT")
    try:
        with pytest.raises(JournalUnavailableError, match=r"could not write a campaign .*denied"):
            journal_of(role).open(HEADER)
    finally:
        drop_role(role, journal_database)


def test_a_database_that_may_only_be_read_is_found_out_when_it_opens(
    new_journal: Callable[..., SqlJournal], journal_database: Database, no_pauses: list[float]
) -> None:
    if not journal_database.kind.startswith("postgresql"):
        pytest.skip("PostgreSQL's standbys")
    new_opened(new_journal)
    name = journal_database.connection["schema"]
    journal_database.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    with pytest.raises(JournalUnavailableError, match="ReadOnlySqlTransaction: cannot execute UPDATE in a read-only"):
        new_journal().open(HEADER)


def test_tables_that_are_not_there_and_cannot_be_made_are_named(
    journal_database: Database, no_pauses: list[float]
) -> None:
    if not journal_database.kind.startswith("postgresql"):
        pytest.skip("one database with roles is enough")
    role = lesser_role(journal_database, "USAGE")
    try:
        with pytest.raises(
            JournalUnavailableError,
            match=r"InsufficientPrivilege: permission denied.*no table eight_by_eight_campaign.* eight_by_eight_mark",
        ):
            journal_of(role).open(HEADER)
    finally:
        drop_role(role, journal_database)


def test_the_tables_are_looked_for_once_in_a_try(
    new_journal: Callable[..., SqlJournal], journal_database: Database
) -> None:
    new_opened(new_journal)  # they are there
    memory = SqlMemory(JournalDatabase(engine_of("journal"), "journal"), "dag/run/send")
    looks: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if "FROM eight_by_eight_journal" in statement.replace("\n", ""):
            looks.append(statement)

    sa.event.listen(sa.engine.Engine, "before_cursor_execute", note)
    try:
        memory.marks()
        journal = memory.journal("campaign")
        journal.entries()
        journal.open(HEADER)
        memory.leave(Mark(try_number=1, began=NOW, places=[Place(memory.name, "campaign")], had_store=False))
    finally:
        sa.event.remove(sa.engine.Engine, "before_cursor_execute", note)
        memory.close()
    assert len(looks) == 1


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
