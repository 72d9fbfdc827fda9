"""Python's garbage collector while a campaign is sent."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_BETWEEN_COLLECTIONS = 50_000
"""Objects that could be in cycles: the rows of some batches."""


@contextmanager
def rarely_collected() -> Iterator[None]:
    """
    Have the collector look for cycles less often: by Python's own threshold it does so for every few hundred rows.

    Rows and batches are in no cycles and go as soon as they are done with, so it finds next to nothing in them; all the
    same it takes a twelfth of a campaign's time. What a source of one's own leaves in cycles is still collected.
    """
    before = gc.get_threshold()
    if 0 < before[0] < _BETWEEN_COLLECTIONS:
        gc.set_threshold(_BETWEEN_COLLECTIONS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
