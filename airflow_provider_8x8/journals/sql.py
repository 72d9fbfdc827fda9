"""
The journal in a SQL database: it outlives Clear, the deletion of runs, and Airflow's own database.

PostgreSQL, MySQL, MariaDB and SQLite. Its tables (:mod:`~airflow_provider_8x8.journals.tables`) make themselves;
a role that may not make tables needs them made before, and SELECT, INSERT and UPDATE on them.

Changes of one campaign are made one after the other: each first updates the campaign's row, and so waits for the one
before to be committed. So whoever begins a batch sees all that others have entered, and takes their row keys out of
it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from airflow_provider_8x8.journals.engines import engine_of
from airflow_provider_8x8.journals.marks import JournalName, Mark, Place
from airflow_provider_8x8.journals.tables import (
    BATCH,
    CAMPAIGN,
    MARK,
    MAX_STORED_CAMPAIGN_ID_LENGTH,
    entry_of,
    header_of,
    make_tables,
    row_of,
)
from airflow_provider_8x8.journals.transactions import Transactions
from airflow_provider_8x8.surveys.journal import (
    KEYS_BY_OUTCOME,
    Compose,
    CorruptJournalError,
    Entry,
    EntryState,
    Header,
    JournalLostError,
    JournalUnavailableError,
    check_header,
    completed_header,
    states_that_give_way_to,
)

_OUTCOME = ("state", "batch_id", "answer_by", "watermark_begun", "watermark_seen", *KEYS_BY_OUTCOME)
_DECIDED = (BATCH.c.assumed_keys, BATCH.c.resent_keys)
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

    def __init__(self, engine: Engine, campaign_id: str, *, journal_conn_id: str) -> None:
        _check_campaign_id(campaign_id)
        self._transactions = Transactions(engine, journal_conn_id)
        self._campaign_id = campaign_id
        self._row_id: int | None = None
        self._seen = 0

    def open(self, header: Header, *, must_exist: bool = False) -> None:
        """
        See :class:`~airflow_provider_8x8.journals.marks.TaskJournal`.

        It writes in any case, so that a connection that may only read shows before anything is sent.
        """
        _make_tables(self._transactions)
        open_it = partial(self._find_or_make_campaign, header, must_exist)
        self._row_id = self._transactions.run(open_it, "write a campaign")

    def entries(self) -> Sequence[Entry] | None:
        """See :class:`~airflow_provider_8x8.journals.marks.TaskJournal`."""
        _make_tables(self._transactions)
        return self._transactions.run(self._read_all, "read a campaign's batches")

    def news(self) -> Sequence[Entry]:
        """See :class:`~airflow_provider_8x8.surveys.journal.EntryLog`."""
        news = self._transactions.run(self._read, "read a campaign's batches")
        self._seen = _last_change(news, self._seen)
        return [each.entry for each in news]

    def begin(self, compose: Compose) -> Entry | None:
        """
        See :class:`~airflow_provider_8x8.surveys.journal.EntryLog`.

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
        """See :class:`~airflow_provider_8x8.surveys.journal.EntryLog`."""
        settled, number = self._transactions.run(partial(self._settle, entry), "settle a batch")
        if self._seen == number - 1:  # nobody else has changed anything: this change need not be read back
            self._seen = number
        return settled

    def close(self) -> None:
        """Close what connections there are; the journal can be used again."""
        self._transactions.close()

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
            f"campaign {self._campaign_id!r} is not in {CAMPAIGN.name} any more: somebody has deleted what it has sent",
            "Nothing is sent; trigger a new DAG run with the rows that are missing",
        )


class SqlMemory:
    """
    What a SQL journal's database knows of one task instance; see :class:`~airflow_provider_8x8.journals.marks.Memory`.

    :param engine: an engine of its own
    :param task_instance: its name, without its tries
    :param journal_conn_id: where the engine comes from
    :param deployment: which Airflow the task instance is of, since others may have one of the same name; None if that
        is not known
    :raises ValueError: the database is of a kind whose locking was never tried
    """

    is_airflows = False

    def __init__(
        self, engine: Engine, task_instance: str, *, journal_conn_id: str, deployment: str | None = None
    ) -> None:
        self._engine = engine
        self._transactions = Transactions(engine, journal_conn_id)
        self._journal_conn_id = journal_conn_id
        self._task_instance = task_instance
        self._task_key = _task_key(task_instance, deployment)
        # As for headers: what was left before the deployment was known is anybody's.
        self._task_keys = {self._task_key, _task_key(task_instance, None)}
        self._name: JournalName | None = None

    @property
    def name(self) -> JournalName:
        """See :class:`~airflow_provider_8x8.journals.marks.Memory`."""
        if self._name is None:
            self._name = JournalName("sql", self._journal_conn_id, _make_tables(self._transactions))
        return self._name

    def marks(self) -> Sequence[Mark]:
        """See :class:`~airflow_provider_8x8.journals.marks.Memory`."""
        _make_tables(self._transactions)
        return self._transactions.run(self._read_marks, "read what earlier tries have left")

    def leave(self, mark: Mark) -> None:
        """See :class:`~airflow_provider_8x8.journals.marks.Memory`."""
        self._transactions.run(partial(self._write_mark, mark), "write that this try has begun")

    def journal(self, campaign_id: str) -> SqlJournal:
        """See :class:`~airflow_provider_8x8.journals.marks.Memory`."""
        return SqlJournal(self._engine, campaign_id, journal_conn_id=self._journal_conn_id)

    def close(self) -> None:
        """See :class:`~airflow_provider_8x8.journals.marks.Memory`."""
        self._transactions.close()

    def _read_marks(self, connection: Connection) -> list[Mark]:
        found = connection.execute(sa.select(MARK).where(MARK.c.task_key.in_(self._task_keys))).mappings()
        return [self._mark(row) for row in found]

    def _mark(self, row: Mapping[Any, Any]) -> Mark:
        try:
            places = msgspec.json.decode(row["places"], type=list[Place])
        except msgspec.MsgspecError as error:
            raise CorruptJournalError(
                f"what try {row['try_number']} of {self._task_instance} has left in {MARK.name} is not what this "
                f"provider writes ({error})"
            ) from None
        return Mark(
            try_number=row["try_number"],
            began=row["began"],
            places=places,
            had_store=bool(row["had_store"]),
            is_open=bool(row["is_open"]),
        )

    def _write_mark(self, mark: Mark, connection: Connection) -> None:
        places = msgspec.json.encode(mark.places).decode()
        what = {"began": mark.began, "places": places, "had_store": mark.had_store, "is_open": mark.is_open}
        this_try = sa.and_(MARK.c.task_key == self._task_key, MARK.c.try_number == mark.try_number)
        if connection.execute(sa.select(MARK.c.try_number).where(this_try)).first() is not None:
            connection.execute(sa.update(MARK).where(this_try).values(**what))
            return
        key = {"task_key": self._task_key, "try_number": mark.try_number, "task_instance": self._task_instance}
        connection.execute(sa.insert(MARK).values(**key, **what))


def prune_journal(journal_conn_id: str, older_than: timedelta) -> int:
    """
    Delete the campaigns that were not used for some time, with their entries.

    A campaign with a batch of which nobody knows what became of it stays. A task of a deleted campaign that is cleared
    later refuses to send, but a new run of a deleted ``campaign_id`` sends its surveys again: ``older_than`` should be
    more than the time in which anybody would start one.

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


def _make_tables(transactions: Transactions) -> str:
    """
    Have all tables and columns there; return by which id the database knows itself.

    :raises JournalUnavailableError: they are not there and cannot be made, the text names them; or it could not be seen
    """
    lacking: list[str] = []
    try:
        return transactions.run(partial(make_tables, lacking=lacking), "find or make the journal's tables")
    except JournalUnavailableError as error:
        if not lacking:
            raise
        raise JournalUnavailableError(
            f"{error}. There is no {', no '.join(lacking)} that this role may see. Have a role that may make them use "
            "the journal once, or make them by hand; this one needs SELECT, INSERT and UPDATE on the tables"
        ) from None


def _prune(transactions: Transactions, before: datetime) -> int:
    _make_tables(transactions)
    old = transactions.run(partial(_old_campaigns, before), "look for old campaigns")
    # A task instance that is cleared later finds its entries if there are any, else it refuses to send.
    is_old = MARK.c.began < before.replace(tzinfo=UTC).timestamp()
    transactions.run(lambda connection: connection.execute(sa.delete(MARK).where(is_old)), "delete old marks")
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


def _gives_way_to(entry: Entry) -> Any:
    """Say in SQL that the stored entry :meth:`~airflow_provider_8x8.surveys.journal.Entry.gives_way_to` this one."""
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


def _task_key(task_instance: str, deployment: str | None) -> str:
    return blake2b("\n".join(filter(None, [task_instance, deployment])).encode(), digest_size=32).hexdigest()


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
