"""
The SQL journal's tables, and what may stand in them.

``eight_by_eight_campaign`` has one row for each campaign: its header, and the number of its last change. Whoever
changes anything of a campaign updates that row first, which is the lock. ``eight_by_eight_batch`` has one row for each
:class:`~airflow_provider_8x8.surveys.journal.entries.Entry`, under the entry's own names. ``eight_by_eight_mark`` has
the :class:`~airflow_provider_8x8.surveys.journal.marks.Mark` of each try, and ``eight_by_eight_journal`` one row, by
which the database knows itself. None holds a phone number or a name: row keys are hashes. Times without a unit in their
comment are in UTC.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.mysql import LONGBLOB

from airflow_provider_8x8.surveys.journal.entries import MAX_CAMPAIGN_ID_LENGTH, Entry
from airflow_provider_8x8.surveys.journal.header import JOURNAL_FORMAT, Header
from airflow_provider_8x8.surveys.messages.row_keys import ROW_KEY_BYTES

Struct = TypeVar("Struct", bound=msgspec.Struct)

_MYSQL_OPTIONS: dict[str, Any] = {
    f"{dialect}_{option}": value
    for dialect in ("mysql", "mariadb")
    for option, value in {"engine": "InnoDB", "charset": "utf8mb4", "collate": "utf8mb4_bin"}.items()
}
_BYTES = sa.LargeBinary().with_variant(LONGBLOB(), "mysql").with_variant(LONGBLOB(), "mariadb")
_SECONDS = sa.Float(53)

METADATA = sa.MetaData()

CAMPAIGN = sa.Table(
    "eight_by_eight_campaign",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("campaign_id", sa.String(MAX_CAMPAIGN_ID_LENGTH), nullable=False, unique=True),
    sa.Column("survey_id", sa.Text, nullable=False),
    sa.Column("subaccount_id", sa.Text, nullable=False),
    sa.Column("row_key_rules", sa.Integer, nullable=False, comment="how values become row keys"),
    sa.Column("journal_format", sa.Integer, nullable=False, comment="rises when older versions could not read it"),
    sa.Column("last_number", sa.Integer, nullable=False, comment="of the last change; updating it is the lock"),
    sa.Column("created", sa.DateTime, nullable=False, comment="in UTC"),
    sa.Column("used", sa.DateTime, nullable=False, comment="in UTC; opened or changed last"),
    sa.Column("address", sa.Text, nullable=True, comment="where the 8x8 is that has its messages"),
    sa.Column("deployment", sa.Text, nullable=True, comment="the Airflow that sends them"),
    comment="one row for each campaign of surveys that Airflow sends through 8x8",
    sqlite_autoincrement=True,  # else a deleted campaign's id could come back as another's
    **_MYSQL_OPTIONS,
)

# Constraints rather than indexes: they come with CREATE TABLE, so that a table is there whole or not at all, also where
# DDL has no transactions.
BATCH = sa.Table(
    "eight_by_eight_batch",
    METADATA,
    sa.Column("campaign", sa.ForeignKey(CAMPAIGN.c.id), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False, comment="in the order of beginning"),
    sa.Column("changed", sa.Integer, nullable=False, comment="the number of the change that wrote it last"),
    sa.Column("client_batch_id", sa.String(64), nullable=False, unique=True, comment="8x8's logs have it"),
    sa.Column("task_instance", sa.Text, nullable=False, comment="that sent it"),
    sa.Column("try_number", sa.Integer, nullable=False),
    sa.Column("unique_by", sa.Text, nullable=False, comment="the column that row keys were made of"),
    sa.Column("row_keys", _BYTES, nullable=False, comment=f"hashes of {ROW_KEY_BYTES} bytes each"),
    sa.Column("begun", _SECONDS, nullable=False, comment="seconds since 1970"),
    sa.Column("send_by", _SECONDS, nullable=False, comment="seconds since 1970; nothing was sent later"),
    sa.Column("scheduled", _SECONDS, nullable=True, comment="seconds since 1970; when its last message goes out"),
    sa.Column("message_keys", _BYTES, nullable=True, comment="hashes of client message ids, in the row keys' order"),
    sa.Column("state", sa.String(16), nullable=False, comment="what is known of it"),
    sa.Column("batch_id", sa.Text, nullable=True, comment="8x8's"),
    sa.Column("rejected_keys", _BYTES, nullable=False, comment="row keys that 8x8 has rejected"),
    sa.Column("unknown_keys", _BYTES, nullable=False, comment="row keys of which 8x8 has said nothing"),
    sa.Column("assumed_keys", _BYTES, nullable=True, comment="likewise; by on_unknown never sent again"),
    sa.Column("resent_keys", _BYTES, nullable=True, comment="likewise; by on_unknown set free"),
    sa.Column("answer_by", _SECONDS, nullable=True, comment="seconds since 1970; no answer was awaited later"),
    sa.Column("watermark_begun", _SECONDS, nullable=True, comment="seconds since 1970; of a message in 8x8's logs"),
    sa.Column("watermark_seen", _SECONDS, nullable=True, comment="seconds since 1970; when it was seen there first"),
    sa.Column("cancelled_count", sa.Integer, nullable=True, comment="messages; the most that one answer of 8x8's says"),
    sa.Column("unanswered_cancels", sa.Text, nullable=True, comment="names of who asked to cancel it, unanswered"),
    sa.UniqueConstraint("campaign", "changed"),
    comment="one row for each batch of surveys, written before it is sent",
    **_MYSQL_OPTIONS,
)

MARK = sa.Table(
    "eight_by_eight_mark",
    METADATA,
    sa.Column("task_key", sa.String(64), primary_key=True, comment="hash of the task instance's name, and Airflow's"),
    sa.Column("try_number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("task_instance", sa.Text, nullable=False),
    sa.Column("began", _SECONDS, nullable=False, comment="seconds since 1970; the first try"),
    sa.Column("had_store", sa.Boolean, nullable=False, comment="whether Airflow's task state store has it, too"),
    sa.Column("is_open", sa.Boolean, nullable=False, comment="whether its journal was open: it may have sent"),
    sa.Column("places", sa.Text, nullable=False, comment="JSON: the journals in which what was sent may be entered"),
    comment="what each try of a task instance has left, so that the next one knows where to look",
    **_MYSQL_OPTIONS,
)

JOURNAL = sa.Table(
    "eight_by_eight_journal",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("journal_id", sa.String(64), nullable=False, comment="random; another database has another one"),
    sa.Column("journal_format", sa.Integer, nullable=False, comment="which tables and columns there are"),
    comment="one row, by which this database is known again",
    **_MYSQL_OPTIONS,
)

SOME_AT_A_TIME: dict[str, Any] = {"stream_results": True, "max_row_buffer": 16}
"""
How looks are taken that want all there is: else a driver has all rows as the server gives them before we have the
first, of ten million row keys hundreds of megabytes.
"""

# Made once: making a statement takes longer than executing it.
FIND_CAMPAIGN = sa.select(CAMPAIGN).where(CAMPAIGN.c.campaign_id == sa.bindparam("this"))
OF_CAMPAIGN = BATCH.c.campaign == sa.bindparam("of")
READ_ALL = sa.select(BATCH).where(OF_CAMPAIGN).order_by(BATCH.c.number).execution_options(**SOME_AT_A_TIME)

_ONLY_ROW = 1
_NAMES_OF_FORMAT_1 = {"task_instance": "run"}


_THIS = sa.select(JOURNAL.c.journal_id, JOURNAL.c.journal_format).where(JOURNAL.c.id == _ONLY_ROW)


def id_if_complete(connection: sa.engine.Connection) -> str | None:
    """
    Return by which id the database knows itself, None if a table or column is not there yet.

    :raises DBAPIError: there is no table at all, or this role may not read it
    """
    row = connection.execute(_THIS).first()
    return str(row.journal_id) if row is not None and row.journal_format >= JOURNAL_FORMAT else None


def make_tables(connection: sa.engine.Connection, *, lacking: list[str]) -> str:
    """
    Make the tables and columns that are not there yet; return by which id the database knows itself.

    Another process may make them at the same moment; then this fails, and is to be called again. The row that says that
    all is there comes last: where DDL has no transactions, this may break off in the middle.

    :param lacking: is filled with what was not there, to be named where it cannot be made
    """
    row = connection.execute(_THIS).first() if _is_there(connection, JOURNAL) else None
    if row is not None and row.journal_format >= JOURNAL_FORMAT:
        return str(row.journal_id)
    there = [table for table in METADATA.sorted_tables if _is_there(connection, table)]
    new_columns = [new for table in there for new in _new_columns(connection, table)]
    lacking[:] = [f"table {table.name}" for table in METADATA.sorted_tables if table not in there]
    lacking += [new.name for new in new_columns]
    METADATA.create_all(connection)
    for new in new_columns:
        connection.exec_driver_sql(new.statement)
    if row is None:
        # Made once for each database, and compared with itself alone: no history depends on which one it is.
        values = {"id": _ONLY_ROW, "journal_id": secrets.token_hex(8), "journal_format": JOURNAL_FORMAT}
        connection.execute(sa.insert(JOURNAL).values(**values))
    else:
        connection.execute(sa.update(JOURNAL).values(journal_format=JOURNAL_FORMAT))
    return str(connection.execute(_THIS).one().journal_id)


def _is_there(connection: sa.engine.Connection, table: sa.Table) -> bool:
    try:
        return sa.inspect(connection).has_table(table.name)
    except sa.exc.DBAPIError:  # MySQL and MariaDB do not tell it to a role that has no rights on it
        return False


class _NewColumn(NamedTuple):
    """A column that an older version did not have, or under another name."""

    name: str
    """For whoever has to be told that it is not there."""
    statement: str


def _new_columns(connection: sa.engine.Connection, table: sa.Table) -> list[_NewColumn]:
    there = {column["name"] for column in sa.inspect(connection).get_columns(table.name)}
    prepare = connection.dialect.identifier_preparer
    alter = f"ALTER TABLE {prepare.format_table(table)}"
    found = []
    for column in table.columns:
        former = _NAMES_OF_FORMAT_1.get(column.name)
        if column.name in there:
            continue
        if former in there:
            statement = f"{alter} RENAME COLUMN {former} TO {column.name}"
            found.append(_NewColumn(f"column {table.name}.{column.name} ({statement})", statement))
        else:
            definition = sa.schema.CreateColumn(column).compile(dialect=connection.dialect)
            statement = f"{alter} ADD COLUMN {definition}"
            found.append(_NewColumn(f"column {table.name}.{column.name}", statement))
    return found


def header_of(row: Mapping[Any, Any]) -> Header:
    """Return the header in a campaign's row."""
    return _struct_of(row, Header)


def row_of(entry: Entry) -> dict[str, Any]:
    """Return an entry's columns."""
    return {**msgspec.structs.asdict(entry), "state": entry.state.value}


def entry_of(row: Mapping[Any, Any]) -> Entry:
    """
    Return a row's entry.

    :raises ValueError: no version has written this
    """
    return _struct_of(row, Entry)


def _struct_of(row: Mapping[Any, Any], struct: type[Struct]) -> Struct:
    # What is NULL in a row of an older version has its default.
    given = {name: value for name in struct.__struct_fields__ if (value := row[name]) is not None}
    return msgspec.convert(given, struct)
