"""The simulation itself is tested: with any one safeguard off, one texts people twice, or leaves them out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import msgspec
import pytest

from airflow_provider_8x8.surveys.journal.entries import Entry, EntryState
from airflow_provider_8x8.surveys.journal.ledger import Ledger
from airflow_provider_8x8.surveys.journal.marks import Memory
from airflow_provider_8x8.surveys.journal.protocol import Compose
from airflow_provider_8x8.surveys.journal.remembered import RememberedJournal
from airflow_provider_8x8.surveys.journal.state_store import StateStoreJournal, StateStoreMemory, _Begun, _Store
from airflow_provider_8x8.surveys.journal.task_memory import TaskMemory
from airflow_provider_8x8.surveys.outcomes.summary import Tally
from airflow_provider_8x8.surveys.sending import cancelling
from airflow_provider_8x8.surveys.sending.brake import Brake
from airflow_provider_8x8.surveys.sending.reconcile import Reconciler
from airflow_provider_8x8.surveys.sending.refusals import Refusals
from airflow_provider_8x8.surveys.sending.settling import Settling
from airflow_provider_8x8.surveys.sending.stopped import SendingStopped
from airflow_provider_8x8.surveys.settings import Limits, OnUnknown, Settings
from tests.simulation.campaign_journals import CampaignJournal, DatabaseMemory
from tests.simulation.histories import History, TaskInstance
from tests.simulation.message_logs import Disorder
from tests.simulation.plans import Plan, Where, draw
from tests.simulation.state_stores import Accessor
from tests.simulation.worlds import START, World

MAX_SEEDS = 6_000

# Tries that are overtaken, stall and die at unlucky moments, more often than in the histories that are to be calm.
_UNLUCKY = {"zombies": 0.8, "stalls": 0.03, "crashes": 0.02, "pace": 3.0, "tries": 4, "on_unknown": OnUnknown.FAIL}


def texted_twice(
    make: Callable[[Plan, int], History], *, journal: Where | None = None, seeds: int | None = None, **changes: Any
) -> bool:
    """Tell whether one of so many seeds finds somebody who was texted twice."""
    for seed in range(MAX_SEEDS if seeds is None else seeds):
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

    def state_store(self, task: TaskInstance, accessor: Accessor, number: int) -> Memory:
        kind = self.kind

        class OtherMemory(StateStoreMemory):
            def journal(self, campaign_id: str) -> StateStoreJournal:
                return kind(accessor, campaign_id=campaign_id, try_number=number, never_expire=None)

        return OtherMemory(accessor, task.name, try_number=number, never_expire=None)


@pytest.fixture
def overtaken_while_storing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow's API server stores late what it has let in: a newer try begins, and reads, in between."""
    monkeypatch.setattr("tests.simulation.state_stores._LONGEST_STORING", 25.0)
    monkeypatch.setattr(World, "stall", lambda world: world.random.uniform(0.0, 60.0))


@pytest.mark.usefixtures("overtaken_while_storing")
def test_with_every_safeguard_on_nobody_is_texted_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.simulation.test_safeguards.MAX_SEEDS", 500)
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
def test_without_the_owner_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Store, "check", lambda self, key, value: None)
    assert texted_twice(History, journal=Where.STATE_STORE, pace=0.5, has_report=False)


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

    assert texted_twice(Hasty, has_canary=True, pace=0.2)


def test_without_a_watermark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Reconciler, "proven_from", lambda self, entry: entry.send_by + self._settle_time)
    monkeypatch.setattr(Reconciler, "counts_from", lambda self, entry: 0.0)
    assert texted_twice(History)


class Trusting(TaskMemory):
    """Takes it that nothing was sent where nothing is known."""

    def begin(self) -> None:
        self.is_complete = True
        super().begin()


def test_without_refusing_where_nothing_is_remembered() -> None:
    class Refusing(History):
        task_memory = Trusting

    assert texted_twice(Refusing, journal=Where.STATE_STORE, clear_on_success=True, clears=0.5)
    assert texted_twice(Refusing, journal=Where.CHANGING, forgets=0.3)


class Forgetful(TaskMemory):
    """Takes a try that goes on after a wait for one that begins."""

    def __init__(self, *arguments: Any, is_resumed: bool = False, **others: Any) -> None:
        super().__init__(*arguments, **others)


def test_without_a_try_that_waited_being_told_from_one_that_begins() -> None:
    class Beginning(History):
        task_memory = Forgetful

    def make(kind: type[History], plan: Plan, seed: int) -> History:
        plan.habits.faults, plan.habits.lag.outages = {"lost_after": 0.4}, [(START, START + 600.0)]
        never = ("stalls", "crashes", "kills", "zombies", "never_starts")
        calm: dict[str, Any] = dict.fromkeys(never, 0.0)
        return kind(dataclasses.replace(plan, **calm), seed)

    waiting: dict[str, Any] = {"is_deferrable": True, "reconcile_timeout": 1200.0, "has_canary": True, "forgets": 0.5}
    assert texted_twice(partial(make, Beginning), journal=Where.STATE_STORE, **waiting)
    assert not texted_twice(partial(make, History), seeds=300, journal=Where.STATE_STORE, **waiting)


def test_without_taking_over_what_is_entered_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RememberedJournal, "_take_over", lambda self, place, here: None)
    assert texted_twice(History, journal=Where.CHANGING)


def test_without_ending_a_living_try_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RememberedJournal, "_end_there", lambda self, source: source.entries())
    assert texted_twice(History, journal=Where.CHANGING)


def test_without_saying_first_which_journal_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TaskMemory, "leave", lambda self, here: None)
    assert texted_twice(History, journal=Where.CHANGING)


def test_without_asking_whether_a_memory_tells_of_all_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TaskMemory, "_tells_of_all", lambda self, memory, marks: bool(marks))
    assert texted_twice(History, journal=Where.CHANGING, clear_on_success=True, clears=0.5, forgets=0.3)


def found(text: str, make: Callable[[Plan, int], History], **changes: Any) -> bool:
    """Tell whether one of so many seeds of a campaign with several runs violates something."""
    for seed in range(MAX_SEEDS):
        drawn = draw(seed)
        if drawn.journal is not Where.CAMPAIGN:
            continue
        faults = {**drawn.habits.faults, "slow_answer": 0.5, "lost_before": 0.1}
        habits = dataclasses.replace(drawn.habits, faults=faults)
        plan = dataclasses.replace(drawn, habits=habits, runs=2, rows=[drawn.rows[0]] * 2, **changes)
        if any(text in violation for violation in make(plan, seed).run()):
            return True
    return False


def test_without_what_8x8_has_said_prevailing_over_what_was_decided_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Entry, "gives_way_to", lambda self, other: self.is_open)
    decided = {"stalls": 0.03, "pace": 3.0, "reconcile_timeout": 0.0, "has_canary": False}
    assert found("8x8 has said that it has", History, on_unknown=OnUnknown.ASSUME_SENT, **decided)
    assert found("was accepted again", History, on_unknown=OnUnknown.RESEND, **decided)


def test_without_waiting_until_a_call_cannot_be_answered_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Settling, "_may_be_decided", lambda self, entry: True)
    monkeypatch.setattr(Entry, "may_be_answered_until", property(lambda self: self.send_by))
    assert found("was decided, though its call", History, on_unknown=OnUnknown.RESEND, reconcile_timeout=0.0)


def test_without_telling_a_file_of_the_logs_that_was_cut_off_from_a_whole_one() -> None:
    def make(plan: Plan, seed: int) -> History:
        plan.habits.tells_cut_files = False
        plan.habits.faults = {"lost_after": 0.4, "export_cut": 0.8}
        never = ("stalls", "crashes", "kills", "zombies", "never_starts", "forgets")
        calm: dict[str, Any] = dict.fromkeys(never, 0.0)
        return History(dataclasses.replace(plan, **calm), seed)

    assert texted_twice(make, has_canary=True, reconcile_timeout=1200.0)


def test_without_a_look_at_what_others_have_entered(monkeypatch: pytest.MonkeyPatch) -> None:
    class Blind(CampaignJournal):
        def _changed(self, since: int) -> list[Any]:
            return [] if since else super()._changed(since)

    monkeypatch.setattr(DatabaseMemory, "journal", lambda self, campaign_id: self.journal_of(Blind, campaign_id))
    assert texted_twice(History, journal=Where.CAMPAIGN)


def test_without_another_look_once_others_have_entered_something(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ledger, "times_changed", 0)
    assert texted_twice(History, journal=Where.CAMPAIGN)


def out_of_order(disorder: Disorder) -> Callable[[Plan, int], History]:
    """Answers are often lost, and the logs are out of order in one of the two ways that they may be."""

    def make(plan: Plan, seed: int) -> History:
        plan.habits.lag.disorder, plan.habits.faults = disorder, {"lost_after": 0.4}
        # After it all appears at once, if what counts is when messages appear.
        plan.habits.lag.outages = [(START, START + 600.0)] if disorder is Disorder.APPEARANCES else []
        calm: dict[str, Any] = {"tries": 3, "stalls": 0.0, "crashes": 0.0, "kills": 0.0, "zombies": 0.0}
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
    monkeypatch.setattr(Reconciler, "counts_from", lambda self, entry: entry.send_by)
    assert texted_twice(out_of_order(Disorder.ACCEPTANCES))


def test_without_a_second_look_after_the_watermark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Reconciler, "proven_from", lambda self, entry: entry.watermark_seen)
    assert texted_twice(out_of_order(Disorder.APPEARANCES))


def left_out(*, seeds: int = MAX_SEEDS, **changes: Any) -> bool:
    """Tell whether one of so many seeds finds somebody who was left out for good."""
    for seed in range(seeds):
        drawn = draw(seed)
        if changes and not drawn.habits.refuses_bad_rows:
            continue
        plan = dataclasses.replace(drawn, **changes)
        found = History(plan, seed).run()
        if any(text in violation for violation in found for text in ("was lost", "does not end", "has not sent all")):
            return True
    return False


def test_without_a_doubt_about_what_is_refused_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Refusals, "is_in_doubt", False)
    assert left_out()


def test_without_halving_what_seemed_to_be_refused_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Refusals, "conclude", lambda refusals, entries, *, has_open_rows: False)
    assert left_out()


def test_without_going_on_with_what_refusals_have_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Refusals, "reason_to_end", lambda refusals: None)
    assert left_out()


def test_with_a_final_end_where_another_try_can_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "airflow_provider_8x8.surveys.sending.refusals.SendingStopped", partial(SendingStopped, is_final=True)
    )
    assert left_out(seeds=3 * MAX_SEEDS, more_requests=4, batch_size=4, never_starts=0.0, forgets=0.0)


def unbraked(**changes: Any) -> bool:
    """Tell whether one of so many seeds finds a batch that was begun though it must not be."""
    for seed in range(MAX_SEEDS):
        plan = dataclasses.replace(draw(seed), limits=Limits(max_rejected=0), **changes)
        if any(" begins " in violation for violation in History(plan, seed).run()):
            return True
    return False


def test_without_the_brake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Brake, "check", lambda brake: None)
    assert unbraked()


def test_without_counting_what_earlier_tries_were_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    begin_reading = Brake.begin_reading

    def begin_forgetful(brake: Brake, tally: Tally) -> None:
        monkeypatch.setattr(Brake, "note", lambda brake, entry: None)
        begin_reading(brake, tally)
        monkeypatch.setattr(Brake, "note", note)

    note = Brake.note
    monkeypatch.setattr(Brake, "begin_reading", begin_forgetful)
    assert unbraked()


def test_without_waiting_for_the_answer_to_the_first_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Brake, "judge_first", lambda brake: None)
    assert unbraked(first_batch_size=1)


def cancelled_wrongly(text: str, *, cancels_again: bool = False) -> bool:
    """Tell whether one of so many seeds finds what must not come of cancelling."""
    for seed in range(MAX_SEEDS):
        plan = draw(seed)
        if plan.journal is not Where.CAMPAIGN or plan.on_unknown is not OnUnknown.FAIL:
            continue
        plan.cancellers = 2
        plan.habits.cancels_again = cancels_again
        plan.habits.faults["gone"] = 0.4
        if any(text in violation for violation in History(plan, seed).run()):
            return True
    return False


def test_without_8x8_having_cancelled_all_of_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancelling, "_answered", lambda name, cancelled, entry: answered(entry, cancelled))
    assert cancelled_wrongly("is cancelled, and 8x8 has")
    assert cancelled_wrongly("was accepted 2 times")


def answered(entry: Entry, cancelled: int | None) -> Entry:
    """What takes any messages that were cancelled for all of them."""
    state = EntryState.CANCELLED if cancelled else entry.state
    return msgspec.structs.replace(entry, state=state)


def test_without_taking_each_answer_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def add_up(name: str | None, cancelled: int | None, entry: Entry) -> Entry:
        return one_by_one(name, (cancelled or 0) + (entry.cancelled_count or 0), entry)

    one_by_one = cancelling._answered
    monkeypatch.setattr(cancelling, "_answered", add_up)
    assert cancelled_wrongly("is cancelled, and 8x8 has", cancels_again=True)


def test_without_holding_back_what_is_cancelled_while_a_try_is_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ledger, "is_cancelled_meanwhile", lambda self, entry: False)
    assert cancelled_wrongly("sent again by a try that was at work")
