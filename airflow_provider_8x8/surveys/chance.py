"""What is left to chance: comes in from outside, so that a test can own it."""

from __future__ import annotations

import secrets
import string
from typing import Protocol

from airflow_provider_8x8.retrying import random_seconds

ID_ALPHABET = string.ascii_lowercase + string.digits
"""What client batch ids are made of."""


class Chance(Protocol):
    """What makes ids that nobody else makes, and spreads those who wait."""

    def token(self, count: int) -> str:
        """Return so many random bytes, as two hexadecimal digits each."""

    def client_batch_id(self, length: int) -> str:
        """Return so many random letters and digits."""

    def jitter(self, most: float) -> float:
        """Return 0 to so many seconds."""


class SystemChance:
    """The machine's own dice."""

    def token(self, count: int) -> str:
        """See :class:`Chance`."""
        return secrets.token_hex(count)

    def client_batch_id(self, length: int) -> str:
        """See :class:`Chance`."""
        return "".join(secrets.choice(ID_ALPHABET) for _ in range(length))

    def jitter(self, most: float) -> float:
        """See :class:`Chance`."""
        return random_seconds(most)
