"""Which rows of a refused batch are sent again in which parts, whom it costs, and when it ends."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from airflow_provider_8x8.api.errors import RefusedError
from airflow_provider_8x8.surveys.journal.entries import Entry, EntryState
from airflow_provider_8x8.surveys.sending import refusals as refusals_module
from airflow_provider_8x8.surveys.sending.refusals import MORE_REQUESTS, Halving, Refusals


@dataclass(slots=True)
class Outcome:
    """What has become of the rows of one or more batches."""

    accepted: list[int] = field(default_factory=list)
    rejected: list[int] = field(default_factory=list)
    left: list[int] = field(default_factory=list)
    requests: int = 0


def refusal(code: int) -> RefusedError:
    return RefusedError(400, code, "no")


Judge = Callable[[list[int]], RefusedError | None]


def refusing(bad: Mapping[int, int]) -> Judge:
    """8x8 refuses what has one of these rows in it, by that row's code."""
    return lambda rows: next((refusal(bad[row]) for row in rows if row in bad), None)


def send(refusals: Refusals, rows: list[int], judge: Judge, outcome: Outcome) -> None:
    """Send a batch, and its parts, as the sender does."""
    halving: Halving[int] = Halving(refusals, len(rows))
    part: list[int] | None = rows
    while part is not None:
        outcome.requests += 1
        refused = judge(part)
        if refused is None:
            refusals.note_taken()
            outcome.accepted += part
        elif halving.is_to_reject(refused, len(part)):
            outcome.rejected += part
        else:
            halving.put_back(part)
        part = halving.next_part()
    outcome.left += [row for rows in halving.left() for row in rows]


def sent(
    rows: int,
    judge: Judge,
    *,
    batch_size: int = 10_000,
    has_taken: bool = False,
    entries: Collection[Entry] = (),
    has_open_rows: bool = False,
) -> tuple[Outcome, Refusals]:
    """Send rows in batches, and those that are left again as long as the source would be read again."""
    refusals = Refusals(())
    if has_taken:
        refusals.note_taken()
    waiting, requests = list(range(rows)), 0
    done: list[Outcome] = []
    while True:
        refusals.begin_reading()
        outcome = Outcome()
        for start in range(0, len(waiting), batch_size):
            send(refusals, waiting[start : start + batch_size], judge, outcome)
        done.append(outcome)
        requests += outcome.requests
        waiting = outcome.left
        if not refusals.conclude(entries, has_open_rows=has_open_rows):
            break
    accepted = [row for outcome in done for row in outcome.accepted]
    rejected = [row for outcome in done for row in outcome.rejected]
    assert sorted(accepted + rejected + waiting) == list(range(rows))
    return Outcome(accepted, rejected, waiting, requests), refusals


def most_requests(rows: int, bad: int, batches: int = 1) -> float:
    """As many as the docs allow: what halving costs, and what probing does."""
    probes = max(10, 2 * rows.bit_length())
    return min(2 * rows, 2 * bad * (1 + math.log2(rows / bad)) + 2) + (2 * probes + 2) * batches


NEIGHBOURS = [
    (size, start, count)
    for size in (1, 2, 3, 10, 1000, 10_000)
    for count in (1, 2, 5, 30)
    for start in {0, (size - count) // 2, size - count}
    if start >= 0 and count < size
]


@pytest.mark.parametrize("has_taken", [True, False])
@pytest.mark.parametrize(("size", "start", "count"), NEIGHBOURS)
def test_neighbours_are_found_wherever_they_are(size: int, start: int, count: int, *, has_taken: bool) -> None:
    bad = range(start, start + count)
    outcome, refusals = sent(size, refusing(dict.fromkeys(bad, 1002)), has_taken=has_taken)
    assert (sorted(outcome.rejected), outcome.left) == (list(bad), [])
    assert outcome.requests <= most_requests(size, count)
    assert refusals.reason_to_end() is None


@pytest.mark.parametrize("share", [0.001, 0.01, 0.1, 0.5])
@pytest.mark.parametrize("size", [1000, 1900])
def test_scattered_bad_rows_of_a_batch_are_all_found(size: int, share: float) -> None:
    bad = random.Random(size).sample(range(size), round(size * share))  # noqa: S311
    outcome, _ = sent(size, refusing(dict.fromkeys(bad, 1002)))
    assert (sorted(outcome.rejected), outcome.left) == (sorted(bad), [])
    assert outcome.requests <= most_requests(size, len(bad))


@pytest.mark.parametrize("seed", range(300))
def test_whatever_rows_are_bad_no_good_one_is_left_or_blamed(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311
    size, batch_size = chance.randint(1, 60), chance.choice((1, 2, 3, 10, 60))
    share = chance.choice((0.05, 0.3, 0.8, 0.95))
    bad = {row: chance.choice((1002, 1009)) for row in range(size) if chance.random() < share}
    outcome, refusals = sent(size, refusing(bad), batch_size=batch_size)
    if len(bad) < size and batch_size <= 10:  # all of a small batch is sent alone, if there is a doubt
        assert not outcome.left
    if not outcome.left:
        assert set(outcome.rejected) == bad.keys()
    assert set(outcome.rejected) <= bad.keys()
    reason = refusals.reason_to_end()
    assert (reason is None) == (not outcome.left)
    assert reason is None or (reason.is_final and not outcome.accepted)


def test_what_is_bad_in_a_pattern_of_the_sources_is_not_taken_for_the_whole() -> None:
    for step in (2, 3, 4, 5, 8, 10):
        for size in (100, 1000, 1024):
            good = set(range(step - 1, size, step))
            outcome, _ = sent(size, refusing(dict.fromkeys(set(range(size)) - good, 1000)))
            assert (set(outcome.accepted), outcome.left) == (good, []), (step, size)


@pytest.mark.parametrize(("size", "batch_size"), [(3, 3), (30, 1), (30, 2), (1000, 1000), (30_000, 10_000)])
def test_what_refuses_the_whole_is_recognised_and_no_row_is_blamed(size: int, batch_size: int) -> None:
    outcome, refusals = sent(size, lambda rows: refusal(1004), batch_size=batch_size)
    batches = -(-size // batch_size)
    assert (outcome.rejected, len(outcome.left)) == ([], size)
    assert outcome.requests <= batches * (1 + min(batch_size, max(10, 2 * batch_size.bit_length())))
    reason = refusals.reason_to_end()
    assert reason is not None
    assert reason.is_final
    assert "code 1004" in str(reason)


def test_a_few_rows_that_are_bad_besides_do_not_hide_that_the_whole_is_refused() -> None:
    judge = lambda rows: refusal(1002 if rows[0] % 10 == 0 else 1004)  # noqa: E731
    outcome, refusals = sent(1000, judge)
    assert (outcome.rejected, len(outcome.left)) == ([], 1000)
    assert refusals.reason_to_end() is not None


def test_rows_that_are_bad_each_for_its_own_reason_are_rejected() -> None:
    codes = (1000, 1002, 1004, 1009)
    outcome, _ = sent(200, refusing({row: codes[row % 4] for row in range(200)}))
    assert len(outcome.rejected) == 200
    assert outcome.requests <= most_requests(200, 200)


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("batch_size", [1, 2])
def test_one_or_two_rows_do_not_speak_against_the_whole(size: int, batch_size: int) -> None:
    outcome, refusals = sent(size, lambda rows: refusal(1002), batch_size=batch_size)
    assert (len(outcome.rejected), outcome.left) == (size, [])
    assert refusals.reason_to_end() is None


def test_a_bad_batch_after_good_ones_is_no_doubt_about_the_whole() -> None:
    outcome, _ = sent(60, refusing(dict.fromkeys(range(50, 60), 1009)), batch_size=10)
    assert (len(outcome.accepted), len(outcome.rejected)) == (50, 10)
    assert outcome.requests == 5 + 19


def test_bad_batches_before_good_ones_are_halved_once_8x8_takes_anything() -> None:
    outcome, _ = sent(60, refusing(dict.fromkeys(range(50), 1009)), batch_size=10)
    assert (len(outcome.accepted), len(outcome.rejected), outcome.left) == (10, 50, [])


def test_a_source_that_is_mostly_bad_ends_the_try_and_another_goes_on() -> None:
    bad = {row: 1009 for row in range(10_000) if row % 2}
    rejected, rows, requests = set[int](), 10_000, []
    waiting = list(range(rows))
    for _ in range(4):
        refusals, outcome = Refusals(()), Outcome()
        refusals.begin_reading()
        send(refusals, waiting, refusing(bad), outcome)
        requests.append(outcome.requests)
        rejected |= set(outcome.rejected)
        reason = refusals.reason_to_end()
        if reason is None:
            break
        assert not reason.is_final
        assert f"{len(outcome.left)} are left" in str(reason)
        assert outcome.requests == MORE_REQUESTS + len(waiting) + 1
        waiting = outcome.left
    assert rejected == bad.keys()
    assert len(requests) == 3


def entry(**fields: Any) -> Entry:
    known: dict[str, Any] = {
        "task_instance": "r",
        "try_number": 1,
        "unique_by": "k",
        "row_keys": b"k" * 10,
        "begun": 0.0,
        "send_by": 30.0,
    }
    return Entry(client_batch_id="b", **{**known, **fields})


@pytest.mark.parametrize(
    ("known", "is_final", "rejected"),
    [
        ([], True, 0),
        ([entry()], False, 0),  # of unknown outcome: 8x8 may have taken it
        ([entry(state=EntryState.NOT_SENT)], True, 0),
        ([entry(state=EntryState.SENT, rejected_keys=b"k" * 10)], True, 0),  # a row that was refused alone
        ([entry(state=EntryState.SENT, batch_id="b-1")], None, 20),
    ],
)
def test_the_end_is_final_only_if_a_retry_could_not_do_better(
    known: list[Entry], is_final: bool | None, rejected: int
) -> None:
    outcome, refusals = sent(20, lambda rows: refusal(1000), entries=known)
    reason = refusals.reason_to_end()
    assert (None if reason is None else reason.is_final) == is_final
    assert len(outcome.rejected) == rejected


@pytest.mark.parametrize(("has_open_rows", "rejected"), [(False, 1), (True, 0)])
def test_one_refused_row_is_to_blame_whatever_other_runs_have_open(rejected: int, *, has_open_rows: bool) -> None:
    outcome, refusals = sent(1, lambda rows: refusal(1000), entries=[entry()], has_open_rows=has_open_rows)
    assert len(outcome.rejected) == rejected
    assert (refusals.reason_to_end() is None) == bool(rejected)


@pytest.mark.parametrize(
    ("refused", "own_fields", "expected"),
    [
        (RefusedError(400, 1002), (), True),
        (RefusedError(422, 1002), (), True),
        (RefusedError(403, 1002), (), False),
        (RefusedError(400), (), False),
        (RefusedError(400, 1201), (), False),
        (RefusedError(400, 1007), (), False),
        (RefusedError(400, 1007), {"template_body"}, True),
        (RefusedError(400, 3011), (), False),
        (RefusedError(400, 3011), {"source"}, True),
        (RefusedError(400, 1008), {"client_message_id"}, True),
        (RefusedError(400, 4711), {"source"}, False),
    ],
)
def test_which_refusals_a_row_can_cause(refused: RefusedError, own_fields: Collection[str], *, expected: bool) -> None:
    assert Refusals(own_fields).can_be_a_rows(refused) == expected


def test_an_error_of_8x8s_own_may_pass() -> None:
    assert RefusedError(400, 2000).may_go_better
    assert not RefusedError(401, 1200).may_go_better


def test_rows_that_are_sent_alone_are_from_all_over_the_batch() -> None:
    for size in (32, 100, 10_000):
        places = list(refusals_module._places(size))
        assert len(set(places)) == len(places) == 2 * size.bit_length()
        assert places[:2] == [0, size - 1]
        assert {4 * place // size for place in places} == {0, 1, 2, 3}
