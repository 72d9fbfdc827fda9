"""A campaign's header: what gives its row keys their meaning."""

from __future__ import annotations

import msgspec

from airflow_provider_8x8.surveys.journal.errors import JournalMismatchError

JOURNAL_FORMAT = 3
"""Rises when a journal is written that an older version could not read. Older formats are still read."""


_MEANINGS = {
    "survey_id": "survey_id",
    "subaccount_id": "subaccount_id",
    "row_key_rules": "row_key_rules",
    "address": "8x8 at",
    "deployment": "the Airflow deployment",
}
_ONCE_UNKNOWN = frozenset({"address", "deployment"})
_WAY_OUT = "Change it back, or trigger a new DAG run with another campaign_id"
_WAYS_OUT = {
    "row_key_rules": (
        "Another version of this provider tells rows apart in another way: end the campaign with that one, or trigger "
        "a new DAG run with the rows that are missing, and another campaign_id"
    ),
    "deployment": (
        "If the two are one, or are to share the campaign, set [eight_by_eight] deployment to the same in both; else "
        "give each a journal database, or a campaign_id, of its own"
    ),
}


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """
    What gives the row keys of a campaign their meaning; it is written before any entry.

    :ivar row_key_rules: how values become row keys, numbers above all; a version of this package may raise it
    :ivar address: which 8x8 has the messages; None where it is not known, as in a journal of format 1
    :ivar deployment: which Airflow sends them; likewise
    """

    survey_id: str
    subaccount_id: str
    row_key_rules: int
    journal_format: int = JOURNAL_FORMAT
    address: str | None = None
    deployment: str | None = None


def check_header(found: Header, expected: Header, campaign_id: str) -> None:
    """
    Compare the header of a campaign's journal with that of the try that opens it.

    :raises JournalMismatchError: row keys mean something else there; the text names both
    """
    if found.journal_format > expected.journal_format:
        raise JournalMismatchError(
            f"the journal of campaign {campaign_id!r} has format {found.journal_format}, and this version of the "
            f"provider reads up to {expected.journal_format}; upgrade airflow-provider-8x8"
        )
    for name, meaning in _MEANINGS.items():
        there, here = getattr(found, name), getattr(expected, name)
        if there != here and not (name in _ONCE_UNKNOWN and None in (there, here)):
            raise JournalMismatchError(
                f"the journal of campaign {campaign_id!r} was written for {meaning} {there!r}, and this task has "
                f"{here!r}",
                _WAYS_OUT.get(name, _WAY_OUT),
            )


def completed_header(found: Header, expected: Header) -> Header:
    """Return a campaign's header as it is to be from now on, with what an older version did not know."""
    return msgspec.structs.replace(
        found,
        journal_format=expected.journal_format,
        address=found.address or expected.address,
        deployment=found.deployment or expected.deployment,
    )
