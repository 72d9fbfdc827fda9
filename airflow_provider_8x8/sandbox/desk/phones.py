"""
How many texts each phone has, of each survey: what people would notice.

Counted when somebody looks, in tables that end with the process, so that sending costs nothing and memory does not
grow with the messages. Single surveys are not counted, since canaries go to one number again and again; nor is what was
cancelled, or a number that was removed.
"""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from airflow_provider_8x8.sandbox.platform.store import Store

AT_ONCE = 20_000
"""Messages that are counted for one look at the page."""

_STEP = 5_000

_SCHEMA = """
CREATE TEMP TABLE survey (number INTEGER PRIMARY KEY, survey_id TEXT NOT NULL UNIQUE, texts INTEGER NOT NULL);
CREATE TEMP TABLE phone (number INTEGER PRIMARY KEY, texts INTEGER NOT NULL);
CREATE INDEX temp.phone_texts ON phone (texts) WHERE texts > 1;
CREATE TEMP TABLE phone_of_survey (
    phone INTEGER NOT NULL, survey INTEGER NOT NULL, texts INTEGER NOT NULL, PRIMARY KEY (phone, survey)
) WITHOUT ROWID;
CREATE INDEX temp.phone_of_survey_texts ON phone_of_survey (texts) WHERE texts > 1;
"""

_FORGET = "DELETE FROM temp.survey; DELETE FROM temp.phone; DELETE FROM temp.phone_of_survey;"

_COUNTED = """
message.rowid BETWEEN ? AND ? AND batch_id IS NOT NULL AND rejection IS NULL AND cancelled = 0
    AND destination NOT GLOB '*[^0-9]*'
"""

_COUNT_SURVEYS = f"""
INSERT INTO temp.survey (survey_id, texts) SELECT survey_id, count(*) FROM message WHERE {_COUNTED} GROUP BY survey_id
ON CONFLICT (survey_id) DO UPDATE SET texts = texts + excluded.texts
"""  # noqa: S608  # all of it is ours

_COUNT_PHONES = f"""
INSERT INTO temp.phone SELECT CAST(destination AS INTEGER), 1 FROM message WHERE {_COUNTED}
ON CONFLICT (number) DO UPDATE SET texts = texts + 1
"""  # noqa: S608  # all of it is ours

_COUNT_PHONES_OF_SURVEYS = f"""
INSERT INTO temp.phone_of_survey
SELECT CAST(destination AS INTEGER), number, 1 FROM message JOIN temp.survey USING (survey_id) WHERE {_COUNTED}
ON CONFLICT (phone, survey) DO UPDATE SET texts = texts + 1
"""  # noqa: S608  # all of it is ours

_TWICE = """
SELECT CAST(phone AS TEXT), survey_id, phone_of_survey.texts
FROM temp.phone_of_survey JOIN temp.survey ON survey.number = survey
WHERE phone_of_survey.texts > 1 ORDER BY phone_of_survey.texts DESC LIMIT ?
"""


class Totals(NamedTuple):
    """The texts of all phones."""

    phones: int
    """Phones with a text."""
    max_per_phone: int
    """Texts of the phone with the most, whatever surveys they are of."""
    twice: int
    """Phones with more than one text of one survey, each once for each such survey."""
    uncounted: int
    """Messages that have not been looked at yet."""


class Twice(NamedTuple):
    """A phone with more than one text of one survey."""

    destination: str
    survey_id: str
    texts: int


class Phones:
    """
    Counts the texts of each phone.

    :param store: what was accepted
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._counted = 0
        self._rewritten = store.rewritten
        self.is_behind = False
        """Whether there are messages that have not been counted."""
        with store.transaction() as connection:
            connection.executescript(_SCHEMA)

    def count(self, at_most: int) -> Totals:
        """
        Count what has come since the last time.

        :param at_most: how many messages are looked at now, about; others may use the store meanwhile
        """
        for _ in range(0, at_most, _STEP):
            totals = self._count_some()
            if not totals.uncounted:
                break
        return totals

    def of(self, destination: str, survey_id: str) -> tuple[int, int]:
        """Return how many texts a phone has, of all surveys and of one, as far as they are counted."""
        if not destination.isdigit():
            return 0, 0
        with self._store.transaction() as connection:
            row = connection.execute(
                "SELECT phone.texts, coalesce(phone_of_survey.texts, 0) FROM temp.phone"
                " LEFT JOIN temp.survey ON survey_id = ? LEFT JOIN temp.phone_of_survey"
                " ON phone_of_survey.phone = phone.number AND phone_of_survey.survey = survey.number"
                " WHERE phone.number = ?",
                (survey_id, int(destination)),
            ).fetchone()
        return row or (0, 0)

    def twice(self, limit: int) -> list[Twice]:
        """Return phones with more than one text of one survey, those with the most first."""
        with self._store.transaction() as connection:
            return list(map(Twice._make, connection.execute(_TWICE, (limit,))))

    def surveys(self, limit: int) -> list[tuple[str, int]]:
        """Return surveys with the number of their texts, those with the most first."""
        with self._store.transaction() as connection:
            return connection.execute(
                "SELECT survey_id, texts FROM temp.survey ORDER BY texts DESC, survey_id LIMIT ?", (limit,)
            ).fetchall()

    def _count_some(self) -> Totals:
        with self._store.transaction() as connection:
            if self._rewritten != self._store.rewritten:
                connection.executescript(f"BEGIN; {_FORGET}")
                self._counted, self._rewritten = 0, self._store.rewritten
            (last,) = connection.execute("SELECT coalesce(max(rowid), 0) FROM message").fetchone()
            upto = min(last, self._counted + _STEP)
            if upto > self._counted:
                for sql in (_COUNT_SURVEYS, _COUNT_PHONES, _COUNT_PHONES_OF_SURVEYS):
                    connection.execute(sql, (self._counted + 1, upto))
                self._counted = upto
            self.is_behind = upto < last
            return _totals(connection, last - upto)


def _totals(connection: sqlite3.Connection, uncounted: int) -> Totals:
    (phones,) = connection.execute("SELECT count(*) FROM temp.phone").fetchone()
    (most,) = connection.execute("SELECT max(texts) FROM temp.phone WHERE texts > 1").fetchone()
    (twice,) = connection.execute("SELECT count(*) FROM temp.phone_of_survey WHERE texts > 1").fetchone()
    return Totals(phones, most or min(phones, 1), twice, uncounted)
