"""The simulation itself is tested: with any one safeguard off, one texts people twice, or leaves them out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import msgspec
import pytest

from airflow_provider_8x8.journals.state_store import StateStoreJournal, _Begun
from airflow_provider_8x8.surveys.journal import Compose, Entry, Journal
from airflow_provider_8x8.surveys.reading import Stopped
from airflow_provider_8x8.surveys.reconcile import Reconciler
from airflow_provider_8x8.surveys.refusals import Refusals
from airflow_provider_8x8.surveys.settings import OnUnknown, Settings
from tests.simulation.campaign_journals import CampaignJournal
from tests.simulation.histories import History
from tests.simulation.message_logs import Disorder
from tests.simulation.plans import Plan, Where, draw
from tests.simulation.worlds import START, World

MAX_SEEDS = 6_000

# Tries that are overtaken, stall and die at unlucky moments, more often than in the histories that are to be calm.
_UNLUCKY = {"zombies": 0.8, "stalls": 0.03, "crashes": 0.02, "pace": 3.0, "tries": 4, "on_unknown": OnUnknown.FAIL}


def texted_twice(make: Callable[[Plan, int], History], *, journal: Where | None = None, **changes: Any) -> bool:
    """Tell whether one of so many seeds finds somebody who was texted twice."""
    for seed in range(MAX_SEEDS):
        drawn = draw(seed)
        if journal not in (None, drawn.journal):
            continue
        plan = dataclasses.replace(drawn, **{**_UNLUCKY, **changes})
        if any("was accepted" in violation for violation in make(plan, seed).run()):
            return True
    return False


class OtherJournal(History):
    """A history whose state store journal lacks something."""

    kind: type[StateStoreJournal] = StateStoreJournal

    def journal(self, process: Any, accessor: Any, number: int, *, was_cleared: bool) -> Journal:
        return self.kind(
            accessor, campaign_id="campaign", try_number=number, was_cleared=was_cleared, never_expire=None
        )


@pytest.fixture
def overtaken_while_storing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow's API server stores late what it has let in: a newer try begins, and reads, in between."""
    monkeypatch.setattr("tests.simulation.state_stores._LONGEST_STORING", 25.0)
    monkeypatch.setattr(World, "stall", lambda world: world.random.uniform(0.0, 60.0))


@pytest.mark.usefixtures("overtaken_while_storing")
def test_with_every_safeguard_on_nobody_is_texted_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.simulation.test_safeguards.MAX_SEEDS", 2_000)
    assert not texted_twice(OtherJournal, journal=Where.STATE_STORE)


def test_without_writing_ahead() -> None:
    class NotAhead(StateStoreJournal):
        def begin(self, compose: Compose) -> Entry | None:
            if (entry := compose(())) is not None:
                self._apply(_Begun(entry))
            return entry

        def settle(self, entry: Entry) -> Entry:
            self._write(_Begun(msgspec.structs.replace(self._entries[entry.client_batch_id])))
            return super().settle(entry)

    class NotWrittenAhead(OtherJournal):
        kind = NotAhead

    assert texted_twice(NotWrittenAhead, journal=Where.STATE_STORE)


def test_without_reading_the_journal() -> None:
    class Unread(StateStoreJournal):
        def news(self) -> Sequence[Entry]:
            return ()

    class NotRead(OtherJournal):
        kind = Unread

    assert texted_twice(NotRead, journal=Where.STATE_STORE)


def test_without_withholding_the_last_piece() -> None:
    def make(plan: Plan, seed: int) -> History:
        plan.habits.honours_send_by = False
        return History(plan, seed)

    assert texted_twice(make, final_canary=True, has_canary=True)


@pytest.mark.usefixtures("overtaken_while_storing")
def test_without_the_owner_check() -> None:
    class Unchecked(StateStoreJournal):
        def begin(self, compose: Compose) -> Entry | None:
            if (entry := compose(())) is not None:
                self._write(_Begun(entry))
                self._apply(_Begun(entry))
            return entry

    class NotChecked(OtherJournal):
        kind = Unchecked

    assert texted_twice(NotChecked, journal=Where.STATE_STORE)


def test_without_the_lock_of_the_campaign() -> None:
    def make(plan: Plan, seed: int) -> History:
        history = History(plan, seed)
        history.campaign.has_lock = False
        return history

    assert texted_twice(make, journal=Where.CAMPAIGN)


def test_without_time_for_the_logs_to_settle() -> None:
    class Hasty(History):
        def settings(self) -> Settings:
            return dataclasses.replace(super().settings(), log_settle_time=timedelta())

    assert texted_twice(Hasty, has_canary=True)


def test_without_a_watermark(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing_is_enough(
        self: Reconciler, entry: Entry, watermark: float | None, asked_at: float, seen_at: float
    ) -> bool:
        return asked_at >= self._from_when_a_watermark_counts(entry)

    monkeypatch.setattr(Reconciler, "_is_proof", missing_is_enough)
    assert texted_twice(History)


def test_without_knowing_that_the_task_was_cleared() -> None:
    class Uncleared(History):
        def journal(self, process: Any, accessor: Any, number: int, *, was_cleared: bool) -> Journal:
            return super().journal(process, accessor, number, was_cleared=False)

    assert texted_twice(Uncleared, journal=Where.STATE_STORE, clear_on_success=True, clears=0.5)


def test_without_a_look_at_what_others_have_entered() -> None:
    class Blind(CampaignJournal):
        def _changed(self) -> list[Any]:
            return [] if self._seen else super()._changed()

    class NotLooked(History):
        def journal(self, process: Any, accessor: Any, number: int, *, was_cleared: bool) -> Journal:
            return Blind(process, self.campaign)

    assert texted_twice(NotLooked, journal=Where.CAMPAIGN)


def out_of_order(disorder: Disorder) -> Callable[[Plan, int], History]:
    """Answers are often lost, and the logs are out of order in one of the two ways that they may be."""

    def make(plan: Plan, seed: int) -> History:
        plan.habits.lag.disorder, plan.habits.faults = disorder, {"lost_after": 0.4}
        # After it all appears at once, if what counts is when messages appear.
        plan.habits.lag.outages = [(START, START + 600.0)] if disorder is Disorder.APPEARANCES else []
        calm = {"tries": 3, "stalls": 0.0, "crashes": 0.0, "kills": 0.0, "zombies": 0.0}
        plan = dataclasses.replace(plan, **calm, reconcile_timeout=1200.0, has_canary=True)
        return History(plan, seed)

    return make


@pytest.mark.parametrize("disorder", Disorder)
def test_with_both_halves_of_the_proof_nobody_is_texted_twice(
    monkeypatch: pytest.MonkeyPatch, disorder: Disorder
) -> None:
    monkeypatch.setattr("tests.simulation.test_safeguards.MAX_SEEDS", 500)
    assert not texted_twice(out_of_order(disorder))


def test_without_the_watermark_being_so_much_younger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Reconciler, "_from_when_a_watermark_counts", lambda self, entry: entry.send_by)
    assert texted_twice(out_of_order(Disorder.ACCEPTANCES))


def test_without_a_second_look_after_the_watermark(monkeypatch: pytest.MonkeyPatch) -> None:
    def seen_is_enough(
        self: Reconciler, entry: Entry, watermark: float | None, asked_at: float, seen_at: float
    ) -> bool:
        return watermark is not None and watermark >= self._from_when_a_watermark_counts(entry)

    monkeypatch.setattr(Reconciler, "_is_proof", seen_is_enough)
    assert texted_twice(out_of_order(Disorder.APPEARANCES))


def left_out() -> bool:
    """Tell whether one of so many seeds finds somebody who was left out for good."""
    for seed in range(MAX_SEEDS):
        plan = draw(seed)
        found = History(plan, seed).run()
        if any(text in violation for violation in found for text in ("was lost", "does not end", "has not sent all")):
            return True
    return False


def test_without_a_doubt_about_what_is_refused_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Refusals, "is_in_doubt", False)
    assert left_out()


def test_without_halving_what_seemed_to_be_refused_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Refusals, "conclude", lambda refusals, entries: False)
    assert left_out()


def test_without_going_on_with_what_refusals_have_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Refusals, "reason_to_end", lambda refusals: None)
    assert left_out()


def test_with_a_final_end_where_another_try_can_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_8x8.surveys.refusals.Stopped", partial(Stopped, is_final=True))
    assert left_out()
