"""Shards of a campaign with one SQL journal, side by side on real databases."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence

from airflow_provider_8x8.surveys.journal.entries import Entry, EntryState
from airflow_provider_8x8.surveys.journal.sql import SqlJournal
from airflow_provider_8x8.surveys.messages.row_keys import pack, unpack
from tests.conftest import ROOT
from tests.journals.entries import HEADER, always, entry_of, keys, settled
from tests.journals.sql_journals import at_once, new_opened
from tests.support.databases import Database


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
