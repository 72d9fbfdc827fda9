"""What may become of a row."""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class Outcome(StrEnum):
    """
    What became of a row: each that was read has exactly one.

    :ivar sentence: what it means
    """

    sentence: str

    def __new__(cls, value: str, sentence: str) -> Self:
        """Make a member, which is its value as text."""
        outcome = str.__new__(cls, value)
        outcome._value_ = value
        outcome.sentence = sentence
        return outcome

    ACCEPTED = "accepted", "8x8 took the message"
    REJECTED = "rejected", "8x8 refused it"
    INVALID = (
        "invalid",
        "refused here: no usable number, a placeholder without a value, more than 10 SMS parts, ...",
    )
    DUPLICATE = "duplicate", "its row key came earlier in the source"
    ALREADY_SENT = "already_sent", "another run of the campaign has sent it"
    NOT_SENT = "not_sent", "its batch was refused as a whole, or the task stopped before it"
    UNKNOWN = "unknown", "8x8 may have accepted it, or not; never sent again until 8x8's logs tell"
