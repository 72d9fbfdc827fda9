"""
8x8's message logs: they lag without bound, and are out of order by less than so many seconds.

How the disorder is measured can be read in two ways (:mod:`airflow_provider_8x8.surveys.sending.reconcile`); each world
has one of them.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from airflow_provider_8x8.api.models import LogLine


class Disorder(StrEnum):
    """Between what a message may show later than one that was accepted after it, by less than the bound."""

    ACCEPTANCES = "between their acceptances"
    APPEARANCES = "between their appearances"


@dataclass(slots=True)
class Lag:
    """
    How the logs lag.

    :ivar bound: seconds of disorder
    :ivar least: seconds that each message takes at least
    :ivar outages: from when to when nothing new appears, in order
    """

    disorder: Disorder
    bound: float
    least: float
    outages: list[tuple[float, float]]

    def appearance(self, accepted: float, chance: random.Random) -> float:
        """Return when a message shows."""
        jitter = self.bound * chance.choice((0.0, 0.0, chance.random(), 0.999))
        if self.disorder is Disorder.ACCEPTANCES:
            return self._in_order(accepted + jitter)
        return self._in_order(accepted) + jitter

    def _in_order(self, accepted: float) -> float:
        """Return when a message would show if the logs were in order: never earlier than one accepted before it."""
        shows = accepted + self.least
        for begin, end in self.outages:
            if begin <= shows < end:
                shows = end
        return shows

    @property
    def ends(self) -> float:
        """From when on there are no outages."""
        return max((end for _, end in self.outages), default=0.0)


class Logged(NamedTuple):
    """A message in the logs."""

    created: float
    """By 8x8's clock."""
    appears: float
    line: LogLine
