"""Python's garbage collector while a campaign is sent."""

from __future__ import annotations

import gc
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_8x8.surveys.messages.row_message import RowMessages
from airflow_provider_8x8.surveys.outcomes.report import Report
from tests.surveys.test_sender import Client, SomeRows, rows, sender, taken

OWN, USUAL = (700, 10, 10), (50_000, 10, 10)


@pytest.fixture(autouse=True)
def _leave_the_collector_as_it_was() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_debug(0)
    gc.garbage.clear()
    gc.set_threshold(*before)
    gc.enable()


class WatchedRows(SomeRows):
    """Rows that take note of the collector's thresholds, and may fail."""

    def __init__(self, failure: BaseException | None = None) -> None:
        super().__init__({}, {})
        self.failure = failure
        self.thresholds: set[tuple[int, ...]] = set()

    def __iter__(self) -> Generator[Any, None, None]:
        self.thresholds.add(gc.get_threshold())
        yield from super().__iter__()
        if self.failure:
            raise self.failure


@pytest.mark.parametrize("failure", [None, RuntimeError("the source is gone"), KeyboardInterrupt()])
def test_it_looks_less_often_only_while_a_campaign_is_sent(failure: BaseException | None) -> None:
    gc.set_threshold(*OWN)
    source = WatchedRows(failure)
    if isinstance(failure, KeyboardInterrupt):
        with pytest.raises(KeyboardInterrupt):
            sender(Client(taken)).send(source)
    else:
        sender(Client(taken)).send(source)
    assert source.thresholds == {USUAL}
    assert gc.get_threshold() == OWN


@pytest.mark.parametrize("own", [(0, 10, 10), (100_000, 5, 5)])
def test_what_was_set_to_look_still_less_often_stays(own: tuple[int, int, int]) -> None:
    gc.set_threshold(*own)
    source = WatchedRows()
    sender(Client(taken)).send(source)
    assert source.thresholds == {own}
    assert gc.get_threshold() == own


def test_batches_and_rows_do_not_wait_for_it(tmp_path: Path) -> None:
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)  # what it finds is then to be seen
    summary = sender(Client(taken), report=Report(tmp_path, "c", "c"), batch_size=300).send(rows(900))
    gc.collect()
    assert summary.outcomes["accepted"] == 900
    in_cycles = [*gc.garbage, *gc.get_referents(*gc.garbage)]
    assert not [each for each in in_cycles if isinstance(each, RowMessages)]
    assert not [len(each) for each in in_cycles if isinstance(each, list | tuple | bytes) and len(each) >= 300]
