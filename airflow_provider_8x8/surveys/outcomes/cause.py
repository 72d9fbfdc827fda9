"""What has ended a try: by this a failed task is told from another."""

from __future__ import annotations

from enum import StrEnum


class Cause(StrEnum):
    """What has ended a try."""

    UNKNOWN_OUTCOME = "unknown outcome"
    """8x8 may have accepted something, or not."""
    REFUSED = "refused"
    """8x8 has refused what all rows have in common, or every row."""
    UNAVAILABLE = "unavailable"
    """8x8 could not be reached, or asks to come again later."""
    LIMIT = "limit"
    """A limit was passed that the task itself has set."""
    JOURNAL = "journal"
    """The journal cannot serve."""
    OTHER = "other"
    """Something else."""
