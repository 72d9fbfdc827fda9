"""What people and ``on_unknown`` decide about batches of which 8x8's logs do not tell enough."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import msgspec

from airflow_provider_8x8.surveys.journal.entries import Entry, EntryState
from airflow_provider_8x8.surveys.journal.errors import JournalMismatchError
from airflow_provider_8x8.surveys.settings import BEFORE_TRY, OnUnknown, Said

log = logging.getLogger(__name__)


def said_of(said: Mapping[str, Said], entries: Sequence[Entry], campaign_id: str) -> list[tuple[Entry, Said]]:
    """
    Return of which batches a person says something, and what.

    :raises JournalMismatchError: the campaign has none of some name, and one of unknown outcome that is not named
    """
    by_name = {entry.client_batch_id: entry for entry in entries}
    batches = {name: what for name, what in said.items() if not name.startswith(BEFORE_TRY)}
    strangers = sorted(set(batches) - set(by_name))
    unknown = [name for name, entry in by_name.items() if entry.unknown_count and name not in batches]
    if strangers and unknown:
        raise JournalMismatchError(
            f"settled_batches names {', '.join(strangers)}, and campaign {campaign_id!r} has no such "
            f"batch\nthose of unknown outcome are: {', '.join(unknown)}"
        )
    if strangers:  # several tasks of a run may have been told the same
        log.warning("settled_batches names batches that are none of this campaign's: %s", ", ".join(strangers))
    return [(by_name[name], batches[name]) for name in sorted(set(batches) & set(by_name))]


def as_said(entry: Entry, what: Said) -> Entry:
    """Return an entry as a person says that it is."""
    if what == "not_accepted" and entry.state is not EntryState.SENT:
        return msgspec.structs.replace(entry, state=EntryState.NOT_SENT)
    undecided = entry.unknown_keys + entry.assumed_keys + entry.resent_keys
    rejected = entry.rejected_keys + (undecided if what == "not_accepted" else b"")
    return msgspec.structs.replace(
        entry, state=EntryState.SENT, rejected_keys=rejected, unknown_keys=b"", assumed_keys=b"", resent_keys=b""
    )


def decided(entry: Entry, on_unknown: OnUnknown, *, may_resend: bool) -> Entry | None:
    """Return an entry of which something is unknown as ``on_unknown`` has it, None if that leaves it as it is."""
    unknown = entry.unknown_keys
    if on_unknown is OnUnknown.ASSUME_SENT:
        if entry.state is EntryState.PENDING:
            return msgspec.structs.replace(entry, state=EntryState.ASSUMED_SENT)
        return msgspec.structs.replace(entry, unknown_keys=b"", assumed_keys=entry.assumed_keys + unknown)
    if on_unknown is OnUnknown.RESEND and may_resend:
        if entry.state is EntryState.PENDING:
            return msgspec.structs.replace(entry, state=EntryState.RESENT)
        return msgspec.structs.replace(entry, unknown_keys=b"", resent_keys=entry.resent_keys + unknown)
    return None
