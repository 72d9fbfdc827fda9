"""
The journal in a SQL database: it outlives Clear, the deletion of runs, and Airflow's own database.

PostgreSQL, MySQL, MariaDB and SQLite. Its two tables (:mod:`~airflow_provider_8x8.journals.tables`) make themselves;
a role that may not make tables needs them made before, and SELECT, INSERT and UPDATE on them.

Changes of one campaign are made one after the other: each first updates the campaign's row, and so waits for the one
before to be committed. So whoever begins a batch sees all that others have entered, and takes their row keys out of
it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from airflow_provider_8x8.journals.engines import engine_of
from airflow_provider_8x8.journals.tables import (
    BATCH,
    CAMPAIGN,
    MAX_STORED_CAMPAIGN_ID_LENGTH,
    entry_of,
    header_of,
    make_tables,
    row_of,
)
from airflow_provider_8x8.journals.transactions import Transactions
from airflow_provider_8x8.surveys.journal import (
    Compose,
    CorruptJournalError,
    Entry,
    EntryState,
    Header,
    JournalLostError,
    check_header,
)

_OUTCOME = ("state", "batch_id", "rejected_keys", "unknown_keys")
_MAKE_TABLES = f"find or make the tables {CAMPAIGN.name} and {BATCH.name}"
_SHORTEST_REST = timedelta(days=1)


class _Stored(NamedTuple):
    entry: Entry
    number: int
    changed: int


class SqlJournal:
    """
    The journal of one campaign in a SQL database.

    It belongs to one try and one thread. The database may lose nothing that it has committed: after a failover to a
    replica that lags, what was sent last may be sent again.

    :param engine: an engine of its own, such as :func:`~airflow_provider_8x8.journals.engines.engine_of` makes
    :param campaign_id: at most 768 characters
    :param journal_conn_id: where the engine comes from, for messages
    :raises ValueError: the database is of a kind whose locking was never tried, or the campaign id cannot be kept
    """

    outlives_try = True

    def __init__(self, engine: Engine, campaign_id: str, *, journal_conn_id: str) -> None:
        _check_campaign_id(campaign_id)
        self._transactions = Transactions(engine, journal_conn_id)
        self._campaign_id = campaign_id
        self._row_id: int | None = None
        self._seen = 0

    def open(self, header: Header) -> None:
        """
        See :class:`~airflow_provider_8x8.surveys.journal.Journal`.

        It writes in any case, so that a connection that may only read shows before anything is sent.
        """
        self._transactions.run(make_tables, _MAKE_TABLES)
        self._row_id, found = self._transactions.run(partial(self._find_or_make_campaign, header), "write a campaign")
        check_header(found, header, self._campaign_id)

    def news(self) -> Sequence[Entry]:
        """See :class:`~airflow_provider_8x8.surveys.journal.Journal`."""
        news = self._transactions.run(self._read, "read a campaign's batches")
        self._seen = _last_change(news, self._seen)
        return [each.entry for each in news]

    def begin(self, compose: Compose) -> Entry | None:
        """
        See :class:`~airflow_provider_8x8.surveys.journal.Journal`.

        If a commit's answer is lost, the next try waits for the campaign's row until the server is through with the
        lost one, and so sees for sure whether it was committed.
        """
        composed: Entry | None = None

        def make(connection: Connection) -> tuple[Entry | None, int]:
            """Return the entry, and the last change that the caller has been told of."""
            nonlocal composed
            number = self._lock(connection)
            if composed and (stored := self._find(connection, composed.client_batch_id)):
                return stored.entry, stored.number
            # Changes are numbered without gaps: nobody else has made one since the last look.
            news = [] if number == self._seen + 1 else self._changed(connection)
            composed = compose([each.entry for each in news])
            if composed is None:
                _roll_back(connection)
                return None, _last_change(news, self._seen)
            place = {"campaign": self._row_id, "number": number, "changed": number}
            connection.execute(sa.insert(BATCH).values(**place, **row_of(composed)))
            return composed, number

        entry, self._seen = self._transactions.run(make, "begin a batch")
        return entry

    def settle(self, entry: Entry) -> Entry:
        """See :class:`~airflow_provider_8x8.surveys.journal.Journal`."""
        settled, number = self._transactions.run(partial(self._settle, entry), "settle a batch")
        if self._seen == number - 1:  # nobody else has changed anything: this change need not be read back
            self._seen = number
        return settled

    def close(self) -> None:
        """Close what connections there are; the journal can be used again."""
        self._transactions.close()

    def _find_or_make_campaign(self, header: Header, connection: Connection) -> tuple[int, Header]:
        ours = CAMPAIGN.c.campaign_id == self._campaign_id
        find = sa.select(CAMPAIGN).where(ours)
        connection.execute(sa.update(CAMPAIGN).where(ours).values(used=_now()))
        if connection.execute(find).first() is None:
            values = {"campaign_id": self._campaign_id, "last_number": 0, "created": _now(), "used": _now()}
            connection.execute(sa.insert(CAMPAIGN).values(**values, **msgspec.structs.asdict(header)))
        row = connection.execute(find).mappings().one()
        return row["id"], header_of(row)

    def _lock(self, connection: Connection) -> int:
        """Wait for the campaign's other changes to be committed; return the number of this one."""
        ours = CAMPAIGN.c.id == self._row_id
        lock = sa.update(CAMPAIGN).where(ours).values(last_number=CAMPAIGN.c.last_number + 1, used=_now())
        number: Any
        if getattr(connection.dialect, "update_returning", False):  # which SQLAlchemy 1.4 does not tell
            number = connection.execute(lock.returning(CAMPAIGN.c.last_number)).scalar()
        else:
            connection.execute(lock)
            number = connection.execute(sa.select(CAMPAIGN.c.last_number).where(ours)).scalar()
        if number is None:
            raise self._lost()
        return int(number)

    def _settle(self, entry: Entry, connection: Connection) -> tuple[Entry, int]:
        """Return the entry as it then stands, and the number of this change."""
        number = self._lock(connection)
        this_one = sa.and_(BATCH.c.campaign == self._row_id, BATCH.c.client_batch_id == entry.client_batch_id)
        columns = {name: value for name, value in row_of(entry).items() if name in _OUTCOME}
        settled = connection.execute(sa.update(BATCH).where(this_one, _is_open()).values(changed=number, **columns))
        if settled.rowcount == 1:
            return entry, number
        stored = self._find(connection, entry.client_batch_id)
        if stored is None:
            raise CorruptJournalError(
                f"the journal of campaign {self._campaign_id!r} lacks batch {entry.client_batch_id}, which was begun"
            )
        return stored.entry, number

    def _read(self, connection: Connection) -> list[_Stored]:
        if connection.execute(sa.select(CAMPAIGN.c.id).where(CAMPAIGN.c.id == self._row_id)).first() is None:
            raise self._lost()
        return self._changed(connection)

    def _changed(self, connection: Connection) -> list[_Stored]:
        """
        Return what has changed since the last look.

        None of it can turn up later: changes are committed in the order of their numbers, and one statement sees all
        that was committed before it.
        """
        return self._select(connection, BATCH.c.changed > self._seen)

    def _find(self, connection: Connection, client_batch_id: str) -> _Stored | None:
        return next(iter(self._select(connection, BATCH.c.client_batch_id == client_batch_id)), None)

    def _select(self, connection: Connection, *conditions: Any) -> list[_Stored]:
        ours = sa.select(BATCH).where(BATCH.c.campaign == self._row_id, *conditions).order_by(BATCH.c.number)
        return [self._stored(row) for row in connection.execute(ours).mappings()]

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
            f"campaign {self._campaign_id!r} is not in {CAMPAIGN.name} any more; somebody has deleted what it has sent"
        )


def prune_journal(journal_conn_id: str, older_than: timedelta) -> int:
    """
    Delete the campaigns that were not used for some time, with their entries.

    A campaign with a batch of which nobody knows what became of it stays. A task of a deleted campaign that is cleared
    later sends its surveys again: ``older_than`` should be more than the time in which anybody would clear one.

    :param older_than: at least a day, since a campaign may rest between two tries
    :return: how many campaigns were deleted
    :raises TypeError: the connection is not a database's
    :raises ValueError: the time is too short, or the connection leads to no database that can hold a journal
    :raises JournalUnavailableError: the database could not be read or written just now
    """
    if older_than < _SHORTEST_REST:
        raise ValueError(f"older_than is {older_than}; expected at least {_SHORTEST_REST}, since a campaign may rest")
    transactions = Transactions(engine_of(journal_conn_id), journal_conn_id)
    try:
        return _prune(transactions, _now() - older_than)
    finally:
        transactions.close()


def _prune(transactions: Transactions, before: datetime) -> int:
    transactions.run(make_tables, _MAKE_TABLES)
    old = transactions.run(partial(_old_campaigns, before), "look for old campaigns")
    return sum(transactions.run(partial(_delete, row_id, before), "delete a campaign") for row_id in old)


def _old_campaigns(before: datetime, connection: Connection) -> Sequence[int]:
    return connection.execute(sa.select(CAMPAIGN.c.id).where(CAMPAIGN.c.used < before, _nothing_open())).scalars().all()


def _delete(row_id: int, before: datetime, connection: Connection) -> int:
    """Delete a campaign, unless somebody uses it after all."""
    this_one = CAMPAIGN.c.id == row_id
    connection.execute(sa.update(CAMPAIGN).where(this_one).values(last_number=CAMPAIGN.c.last_number))
    is_old = sa.select(CAMPAIGN.c.id).where(this_one, CAMPAIGN.c.used < before, _nothing_open())
    if connection.execute(is_old).first() is None:
        return 0
    connection.execute(sa.delete(BATCH).where(BATCH.c.campaign == row_id))
    connection.execute(sa.delete(CAMPAIGN).where(this_one))
    return 1


def _nothing_open() -> Any:
    """Say in SQL that no entry of the campaign is open."""
    return ~sa.exists().where(BATCH.c.campaign == CAMPAIGN.c.id, _is_open())


def _is_open() -> Any:
    """Say in SQL that an entry :attr:`~airflow_provider_8x8.surveys.journal.Entry.is_open`."""
    is_half_known = sa.and_(BATCH.c.state == EntryState.SENT.value, BATCH.c.unknown_keys != b"")
    return sa.or_(BATCH.c.state == EntryState.PENDING.value, is_half_known)


def _check_campaign_id(campaign_id: str) -> None:
    if not 0 < len(campaign_id) <= MAX_STORED_CAMPAIGN_ID_LENGTH:
        raise ValueError(
            f"the campaign id has {len(campaign_id)} characters; expected 1 to {MAX_STORED_CAMPAIGN_ID_LENGTH}"
        )
    if campaign_id.endswith(" "):
        raise ValueError(f"the campaign id {campaign_id!r} ends with a space, which MySQL does not tell from none")


def _last_change(changed: Sequence[_Stored], before: int) -> int:
    return max((each.changed for each in changed), default=before)


def _roll_back(connection: Connection) -> None:
    transaction = connection.get_transaction()
    if transaction is not None:
        transaction.rollback()


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
