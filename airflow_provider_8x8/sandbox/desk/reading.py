"""What the desk reads in the store: counts, and messages by their number, their survey and their age."""

from __future__ import annotations

from typing import NamedTuple

from airflow_provider_8x8.sandbox.platform.store import BatchRecord, Message, Store

_STEP = 20_000

_ACCEPTED_KEYS = """
SELECT count(*), coalesce(max(times), 0) FROM (
    SELECT count(*) AS times FROM message
    WHERE batch_id IS NOT NULL AND rejection IS NULL AND cancelled = 0 GROUP BY client_message_id
)
"""

_ACCEPTED = "rejection IS NULL AND instr(destination, ?) AND (? = '' OR survey_id = ?)"
_REJECTED = "rejection IS NOT NULL"


class Search(NamedTuple):
    """Which texts are looked for."""

    digits: str = ""
    """A part of the number, or all of it; empty: any number."""
    survey: str = ""
    """Empty: any survey."""
    before: int | None = None
    """Only texts older than this one; None: the newest."""


class Found(NamedTuple):
    """Some of the texts that were looked for, newest first."""

    texts: list[Message]
    before: int | None
    """Where the search for older ones goes on; None: there are no others."""


class Reading:
    """
    Reads the store for people and tests.

    :param store: what was accepted
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def stats(self) -> dict[str, int]:
        """Return counts of what was asked and accepted. Single surveys are counted in ``singles`` only."""
        with self._store.transaction() as connection:
            one = connection.execute
            (requests,) = one("SELECT coalesce(sum(count), 0) FROM request").fetchone()
            batches, accepted, rejected = one(
                "SELECT count(*), coalesce(sum(accepted), 0), coalesce(sum(rejected), 0) FROM batch"
            ).fetchone()
            distinct_keys, max_per_key = one(_ACCEPTED_KEYS).fetchone()
            (singles,) = one("SELECT count(*) FROM message WHERE batch_id IS NULL AND rejection IS NULL").fetchone()
        return {
            "requests": requests,
            "batches": batches,
            "accepted": accepted,
            "rejected": rejected,
            "distinct_keys": distinct_keys,
            "max_per_key": max_per_key,
            "singles": singles,
        }

    def messages(self, limit: int) -> list[Message]:
        """Return the newest messages, newest first."""
        with self._store.transaction() as connection:
            rows = connection.execute("SELECT * FROM message ORDER BY rowid DESC LIMIT ?", (limit,))
            return list(map(Message._make, rows))

    def rejected(self, limit: int) -> list[Message]:
        """Return the newest rejected messages, newest first."""
        return [message for _, message in self._newest(_REJECTED, (), self._store.last_message(), limit)]

    def batches(self, limit: int) -> list[BatchRecord]:
        """Return the newest batches, newest first."""
        with self._store.transaction() as connection:
            rows = connection.execute("SELECT * FROM batch ORDER BY rowid DESC LIMIT ?", (limit,))
            return list(map(BatchRecord._make, rows))

    def find(self, search: Search, limit: int) -> Found:
        """Return accepted messages that are looked for, newest first."""
        last = self._store.last_message()
        upto = last if search.before is None else min(last, search.before - 1)
        rows = self._newest(_ACCEPTED, (search.digits, search.survey, search.survey), upto, limit + 1)
        texts = [message for _, message in rows[:limit]]
        return Found(texts, rows[limit - 1][0] if len(rows) > limit else None)

    def _newest(self, where: str, parameters: tuple[str, ...], upto: int, limit: int) -> list[tuple[int, Message]]:
        """Look from a message backwards, in steps, so that a search that finds little keeps nobody else waiting."""
        sql = f"SELECT rowid, * FROM message WHERE rowid BETWEEN ? AND ? AND {where} ORDER BY rowid DESC LIMIT ?"  # noqa: S608  # all of it is ours
        found: list[tuple[int, Message]] = []
        while upto > 0 and len(found) < limit:
            first = max(1, upto - _STEP + 1)
            with self._store.transaction() as connection:
                rows = connection.execute(sql, (first, upto, *parameters, limit - len(found)))
                found += ((number, Message._make(fields)) for number, *fields in rows)
            upto = first - 1
        return found
