"""
The journal in a SQL database: it outlives Clear, the deletion of runs, and Airflow's own database.

PostgreSQL, MySQL, MariaDB and SQLite. Its tables (:mod:`~airflow_provider_8x8.surveys.journal.tables`) make themselves;
a role that may not make tables needs them made before, and SELECT, INSERT and UPDATE on them.

Changes of one campaign are made one after the other: each first updates the campaign's row, and so waits for the one
before to be committed. So whoever begins a batch sees all that others have entered, and takes their row keys out of
it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from airflow_provider_8x8.surveys.journal.database import JournalDatabase
from airflow_provider_8x8.surveys.journal.entries import KEYS_BY_OUTCOME, Entry, EntryState, states_that_give_way_to
from airflow_provider_8x8.surveys.journal.errors import CorruptJournalError, JournalLostError
from airflow_provider_8x8.surveys.journal.header import Header, check_header, completed_header
from airflow_provider_8x8.surveys.journal.protocol import Compose
from airflow_provider_8x8.surveys.journal.tables import (
    BATCH,
    CAMPAIGN,
    MAX_STORED_CAMPAIGN_ID_LENGTH,
    entry_of,
    header_of,
    row_of,
)

_OUTCOME = ("state", "batch_id", "answer_by", "watermark_begun", "watermark_seen", *KEYS_BY_OUTCOME)
_SOME_AT_A_TIME = {"stream_results": True, "max_row_buffer": 16}
"""
For the first look, which takes all there is: else a driver has all rows as the server gives them before we have the
first, of ten million row keys hundreds of megabytes.
"""
_DECIDED = (BATCH.c.assumed_keys, BATCH.c.resent_keys)


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
        self._database.make_tables()
        return self._database.run(self._read_all, "read a campaign's batches")

    def news(self) -> Sequence[Entry]:
        """See :class:`~airflow_provider_8x8.surveys.journal.protocol.EntryLog`."""
        news = self._database.run(self._read, "read a campaign's batches")
        self._seen = _last_change(news, self._seen)
        return [each.entry for each in news]

    def begin(self, compose: Compose) -> Entry | None:
        """
        See :class:`~airflow_provider_8x8.surveys.journal.protocol.EntryLog`.

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

        entry, self._seen = self._database.run(make, "begin a batch")
        return entry

    def settle(self, entry: Entry) -> Entry:
        """See :class:`~airflow_provider_8x8.surveys.journal.protocol.EntryLog`."""
        settled, number = self._database.run(partial(self._settle, entry), "settle a batch")
        if self._seen == number - 1:  # nobody else has changed anything: this change need not be read back
            self._seen = number
        return settled

    def close(self) -> None:
        """Close what connections there are; the journal can be used again."""
        self._database.close()

    def _find_or_make_campaign(self, header: Header, must_exist: bool, connection: Connection) -> int:
        ours = CAMPAIGN.c.campaign_id == self._campaign_id
        find = sa.select(CAMPAIGN).where(ours)
        connection.execute(sa.update(CAMPAIGN).where(ours).values(used=_now()))
        if connection.execute(find).first() is None:
            if must_exist:
                raise self._lost()
            values = {"campaign_id": self._campaign_id, "last_number": 0, "created": _now(), "used": _now()}
            connection.execute(sa.insert(CAMPAIGN).values(**values, **msgspec.structs.asdict(header)))
        row = connection.execute(find).mappings().one()
        found = header_of(row)
        check_header(found, header, self._campaign_id)
        if (completed := completed_header(found, header)) != found:
            connection.execute(sa.update(CAMPAIGN).where(ours).values(**msgspec.structs.asdict(completed)))
        return int(row["id"])

    def _read_all(self, connection: Connection) -> list[Entry] | None:
        ours = sa.select(CAMPAIGN.c.id).where(CAMPAIGN.c.campaign_id == self._campaign_id)
        self._row_id = connection.execute(ours).scalar()
        return None if self._row_id is None else [each.entry for each in self._select(connection)]

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
        gives_way = _gives_way_to(entry)
        settled = connection.execute(sa.update(BATCH).where(this_one, gives_way).values(changed=number, **columns))
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
        if not self._seen:
            ours = ours.execution_options(**_SOME_AT_A_TIME)
        with closing(connection.execute(ours)) as found:
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


def _gives_way_to(entry: Entry) -> Any:
    """
    Return the condition in SQL that the stored entry gives way to this one.

    It is :meth:`airflow_provider_8x8.surveys.journal.entries.Entry.gives_way_to`.
    """
    known_less = BATCH.c.state.in_([state.value for state in states_that_give_way_to(entry.state)])
    if entry.state is not EntryState.SENT:
        return known_less
    unknown = sa.func.length(BATCH.c.unknown_keys)
    undecided = unknown + sum(sa.func.coalesce(sa.func.length(column), 0) for column in _DECIDED)
    left = len(entry.unknown_keys) + len(entry.assumed_keys) + len(entry.resent_keys)
    gives_way = sa.and_(unknown > 0, unknown >= len(entry.unknown_keys))
    if entry.batch_id is not None:
        gives_way = sa.or_(gives_way, BATCH.c.batch_id.is_(None))
    gives_way = sa.or_(undecided > left, sa.and_(undecided == left, gives_way))
    return sa.or_(known_less, sa.and_(BATCH.c.state == EntryState.SENT.value, gives_way))


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
