"""
The journal in a SQL database: it outlives Clear, the deletion of runs, and Airflow's own database.

PostgreSQL, MySQL, MariaDB and SQLite. Its tables (:mod:`~airflow_provider_8x8.surveys.journal.tables`) make themselves;
a role that may not make tables needs them made before, and SELECT, INSERT and UPDATE on them.

Changes of one campaign are made one after the other: each first updates the campaign's row, and so waits for the one
before to be committed. So whoever begins a batch sees all that others have entered, and takes their row keys out of
it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from airflow_provider_8x8.surveys.journal.database import JournalDatabase
from airflow_provider_8x8.surveys.journal.entries import (
    KEYS_BY_OUTCOME,
    MAX_CAMPAIGN_ID_LENGTH,
    Entry,
    states_that_give_way_to,
)
from airflow_provider_8x8.surveys.journal.errors import CorruptJournalError, JournalLostError
from airflow_provider_8x8.surveys.journal.header import Header, check_header, completed_header
from airflow_provider_8x8.surveys.journal.protocol import Compose
from airflow_provider_8x8.surveys.journal.tables import (
    BATCH,
    CAMPAIGN,
    FIND_CAMPAIGN,
    OF_CAMPAIGN,
    READ_ALL,
    entry_of,
    header_of,
    row_of,
)

_OUTCOME = ("state", "batch_id", "answer_by", "watermark_begun", "watermark_seen", *KEYS_BY_OUTCOME)

_CANCELLING = ("state", "cancelled_count", "unanswered_cancels")

# Made once: making them takes longer than executing them.
_OPENED = sa.update(CAMPAIGN).where(CAMPAIGN.c.campaign_id == sa.bindparam("this"))
_LOCK = (
    sa.update(CAMPAIGN)
    .where(CAMPAIGN.c.id == sa.bindparam("this"))
    .values(last_number=CAMPAIGN.c.last_number + sa.bindparam("changes"), used=sa.bindparam("now"))
)
_LOCK_AND_TELL = _LOCK.returning(CAMPAIGN.c.last_number)
_LAST_NUMBER = sa.select(CAMPAIGN.c.last_number).where(CAMPAIGN.c.id == sa.bindparam("this"))
_NEW = sa.insert(BATCH)
_SETTLE_AT_ANY_RATE = sa.update(BATCH).where(OF_CAMPAIGN, BATCH.c.client_batch_id == sa.bindparam("this"))
_SETTLE = _SETTLE_AT_ANY_RATE.where(BATCH.c.state.in_(sa.bindparam("known_less", expanding=True)))
_FIND = sa.select(BATCH).where(OF_CAMPAIGN, BATCH.c.client_batch_id == sa.bindparam("this"))
_READ_CHANGED = READ_ALL.where(BATCH.c.changed > sa.bindparam("seen"))


class _Stored(NamedTuple):
    entry: Entry
    number: int
    changed: int


class SqlJournal:
    """
    The journal of one campaign in a SQL database.

    It belongs to one try and one thread. The database may lose nothing that it has committed: after a failover to a
    replica that lags, what was sent last may be sent again.

    :param database: where it is kept; nobody else's while this try lasts
    :param campaign_id: at most 768 characters
    :raises ValueError: the campaign id cannot be kept
    """

    def __init__(self, database: JournalDatabase, campaign_id: str) -> None:
        _check_campaign_id(campaign_id)
        self._database = database
        self._campaign_id = campaign_id
        self._row_id: int | None = None
        self._seen = 0

    def open(self, header: Header, *, must_exist: bool = False) -> None:
        """
        See :class:`~airflow_provider_8x8.surveys.journal.marks.TaskJournal`.

        It writes in any case, so that a connection that may only read shows before anything is sent.
        """
        self._database.make_tables()
        open_it = partial(self._find_or_make_campaign, header, must_exist)
        self._row_id = self._database.run(open_it, "write a campaign")

    def entries(self) -> Sequence[Entry] | None:
        """See :class:`~airflow_provider_8x8.surveys.journal.marks.TaskJournal`."""
        return self._database.run_first(self._read_all, "read a campaign's batches")

    def news(self) -> Sequence[Entry]:
        """See :class:`~airflow_provider_8x8.surveys.journal.protocol.EntryLog`."""

        def read(connection: Connection) -> tuple[list[Entry], int]:
            last = connection.execute(_LAST_NUMBER, {"this": self._row_id}).scalar()
            if last is None:
                raise self._lost()
            news = self._news(connection, last)
            return [each.entry for each in news], max([last, *(each.changed for each in news)])

        news, self._seen = self._database.run(read, "read a campaign's batches")
        return news

    def begin(self, compose: Compose) -> Entry | None:
        """
        See :class:`~airflow_provider_8x8.surveys.journal.protocol.EntryLog`.

        If a commit's answer is lost, the next try waits for the campaign's row until the server is through with the
        lost one, and so sees for sure whether it was committed.
        """
        _, begun = self._settle_and_begin([], compose, "begin a batch")
        return begun

    def settle(self, entry: Entry) -> Entry:
        """See :class:`~airflow_provider_8x8.surveys.journal.protocol.EntryLog`."""

        def write(connection: Connection) -> tuple[Entry, int]:
            number = self._lock(connection)
            return self._settle(connection, entry, number), number

        settled, number = self._database.run(write, "settle a batch")
        if self._seen == number - 1:  # nobody else has changed anything: this change need not be read back
            self._seen = number
        return settled

    def settle_and_begin(self, entry: Entry, compose: Compose) -> tuple[Entry, Entry | None]:
        """
        See :class:`~airflow_provider_8x8.surveys.journal.protocol.EntryLog`.

        One transaction: both are there or neither is.
        """
        [settled], begun = self._settle_and_begin([entry], compose, "settle a batch and begin the next")
        return settled, begun

    def header(self) -> Header | None:
        """Return the campaign's header, without opening the journal; None if there is no such campaign."""

        def read(connection: Connection) -> Header | None:
            row = connection.execute(FIND_CAMPAIGN, {"this": self._campaign_id}).mappings().first()
            return None if row is None else header_of(row)

        return self._database.run_first(read, "read a campaign")

    def revise(self, client_batch_id: str, change: Callable[[Entry], Entry]) -> Entry:
        """
        Write what has changed about the cancelling of a batch, while nobody else of the campaign changes anything.

        :param client_batch_id: of an entry that is there
        :param change: makes the entry that is to be of the one that is, by its ``state``, ``cancelled_count`` and
            ``unanswered_cancels`` alone. Called again where a commit's answer is lost, so twice is to be as once
        :return: the entry as it then stands
        """

        def write(connection: Connection) -> Entry:
            number = self._lock(connection)
            there = self._find_for_sure(connection, client_batch_id)
            revised = change(there)
            if revised != there:
                this = {"of": self._row_id, "this": client_batch_id, "changed": number}
                values = {name: value for name, value in row_of(revised).items() if name in _CANCELLING}
                connection.execute(_SETTLE_AT_ANY_RATE, {**this, **values})
            return revised

        return self._database.run(write, "write that a batch is cancelled")

    def close(self) -> None:
        """Close what connections there are; the journal can be used again."""
        self._database.close()

    def _find_or_make_campaign(self, header: Header, must_exist: bool, connection: Connection) -> int:
        ours = {"this": self._campaign_id}
        connection.execute(_OPENED, {**ours, "used": _now()})
        row = connection.execute(FIND_CAMPAIGN, ours).mappings().first()
        if row is None:
            if must_exist:
                raise self._lost()
            values = {"campaign_id": self._campaign_id, "last_number": 0, "created": _now(), "used": _now()}
            made: Any = connection.execute(sa.insert(CAMPAIGN), {**values, **msgspec.structs.asdict(header)})
            return int(made.inserted_primary_key[0])
        found = header_of(row)
        check_header(found, header, self._campaign_id)
        if (completed := completed_header(found, header)) != found:
            connection.execute(_OPENED, {**ours, **msgspec.structs.asdict(completed)})
        return int(row["id"])

    def _read_all(self, connection: Connection) -> list[Entry] | None:
        row = connection.execute(FIND_CAMPAIGN, {"this": self._campaign_id}).first()
        if row is None:
            return None
        self._row_id = row.id
        return [each.entry for each in self._select(connection, READ_ALL)]

    def _settle_and_begin(
        self, answered: Sequence[Entry], compose: Compose, purpose: str
    ) -> tuple[list[Entry], Entry | None]:
        """Settle what 8x8 has answered, if anything, and begin what is composed, if anything: all of it or none."""
        composed: Entry | None = None

        def write(connection: Connection) -> tuple[list[Entry], Entry | None, int]:
            """Return the entries as they then stand, and the last change that the caller has been told of."""
            nonlocal composed
            last = self._lock(connection, changes=len(answered) + 1)
            number = last - len(answered)
            if composed and (stored := self._find(connection, composed.client_batch_id)):
                settled = [self._find_for_sure(connection, entry.client_batch_id) for entry in answered]
                return settled, stored.entry, stored.number
            composed = compose([each.entry for each in self._news(connection, number - 1)])
            if composed is None and not answered:
                _roll_back(connection)  # and the number is another change's
                return [], None, number - 1
            settled = [self._settle(connection, entry, number) for entry in answered]
            if composed is not None:
                self._insert(connection, composed, last)
            return settled, composed, last

        settled, begun, self._seen = self._database.run(write, purpose)
        return settled, begun

    def _lock(self, connection: Connection, *, changes: int = 1) -> int:
        """Wait for the campaign's other changes to be committed; return the number of the last of those to be made."""
        ours = {"this": self._row_id}
        number: Any
        if getattr(connection.dialect, "update_returning", False):  # which SQLAlchemy 1.4 does not tell
            number = connection.execute(_LOCK_AND_TELL, {**ours, "changes": changes, "now": _now()}).scalar()
        else:
            connection.execute(_LOCK, {**ours, "changes": changes, "now": _now()})
            number = connection.execute(_LAST_NUMBER, ours).scalar()
        if number is None:
            raise self._lost()
        return int(number)

    def _news(self, connection: Connection, last: int) -> list[_Stored]:
        """
        Return what has changed since the last look.

        Changes are committed in the order of their numbers: none of it can turn up later.

        :param last: the number of the last change that was committed
        """
        return [] if last == self._seen else self._select(connection, _READ_CHANGED, seen=self._seen)

    def _insert(self, connection: Connection, entry: Entry, number: int) -> None:
        place = {"campaign": self._row_id, "number": number, "changed": number}
        connection.execute(_NEW, {**place, **row_of(entry)})

    def _settle(self, connection: Connection, entry: Entry, number: int) -> Entry:
        """Return the entry as it then stands; what it becomes by this is the change that has this number."""
        outcome = {name: value for name, value in row_of(entry).items() if name in _OUTCOME}
        this = {"of": self._row_id, "this": entry.client_batch_id}
        known_less = [state.value for state in states_that_give_way_to(entry.state)]
        # Nearly always it is pending, and its row keys need not be read.
        if connection.execute(_SETTLE, {**this, "known_less": known_less, "changed": number, **outcome}).rowcount == 1:
            return entry
        there = self._find_for_sure(connection, entry.client_batch_id)
        if not there.gives_way_to(entry):
            return there
        connection.execute(_SETTLE_AT_ANY_RATE, {**this, "changed": number, **outcome})
        return entry

    def _find(self, connection: Connection, client_batch_id: str) -> _Stored | None:
        return next(iter(self._select(connection, _FIND, this=client_batch_id)), None)

    def _find_for_sure(self, connection: Connection, client_batch_id: str) -> Entry:
        stored = self._find(connection, client_batch_id)
        if stored is None:
            raise CorruptJournalError(
                f"the journal of campaign {self._campaign_id!r} lacks batch {client_batch_id}, which was begun"
            )
        return stored.entry

    def _select(self, connection: Connection, statement: sa.Select[Any], **parameters: Any) -> list[_Stored]:
        with closing(connection.execute(statement, {"of": self._row_id, **parameters})) as found:
            return [self._stored(row) for row in found.mappings()]

    def _stored(self, row: Mapping[Any, Any]) -> _Stored:
        try:
            return _Stored(entry_of(row), row["number"], row["changed"])
        except ValueError as error:
            raise CorruptJournalError(
                f"the journal of campaign {self._campaign_id!r} holds what no version has written, in {BATCH.name}: "
                f"campaign {row['campaign']}, number {row['number']}, client batch id {row['client_batch_id']!r}: "
                f"{error}"
            ) from None

    def _lost(self) -> JournalLostError:
        return JournalLostError(
            f"campaign {self._campaign_id!r} is not in {CAMPAIGN.name} any more: somebody has deleted what it has sent",
            "Nothing is sent; trigger a new DAG run with the rows that are missing",
        )


def _check_campaign_id(campaign_id: str) -> None:
    if not 0 < len(campaign_id) <= MAX_CAMPAIGN_ID_LENGTH:
        raise ValueError(f"the campaign id has {len(campaign_id)} characters; expected 1 to {MAX_CAMPAIGN_ID_LENGTH}")
    if campaign_id.endswith(" "):
        raise ValueError(f"the campaign id {campaign_id!r} ends with a space, which MySQL does not tell from none")


def _roll_back(connection: Connection) -> None:
    transaction = connection.get_transaction()
    if transaction is not None:
        transaction.rollback()


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
