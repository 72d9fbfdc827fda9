"""
Real crashes: the processes that run a task are killed, stopped or told to end, before it sends anything, while batches
are on the wire, and before and after it waits without a worker; meanwhile its triggerer is.

``CRASHES`` says how often each large campaign is killed, ``CRASH_SEED`` repeats the random choices of another run (not
its history: what the processes do meanwhile is up to the machine). Campaigns run side by side, as many as a small
machine bears: most of their time is waiting, for a try to be given up as lost and for a request to be proven absent.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest

from tests.support.airflow_version import IS_AIRFLOW_3
from tests.support.databases import Database
from tests.support.deployment import Deployment
from tests.support.kills import Killer, Victim
from tests.support.narrow_proxy import NarrowProxy
from tests.support.sandbox_process import SandboxProcess
from tests.system.crashes import (
    BATCH_SIZE,
    CRASHES,
    FAULTS,
    POOL,
    SLOW_MOMENTS,
    Campaign,
    has_left_its_mark,
    kill_amid_faults,
    kill_and_change_the_journal,
    kill_around_its_waits,
    kill_at_once,
    kill_before_the_first_batch,
    kill_by_hand,
    kill_in_the_body,
    kill_often,
    kill_the_only_batch,
    kill_the_supervisor,
    mark_failed,
    stop_in_the_body,
    tell_to_end,
)
from tests.system.people import ROWS, outcome

SEED = int(os.environ.get("CRASH_SEED", secrets.randbits(32)))

LARGE = ["faults", "sql_journal", "state_store"] if IS_AIRFLOW_3 else ["sql_journal"]
EARLY = ["nothing_sent_yet_with_sql", *(["nothing_sent_yet"] if IS_AIRFLOW_3 else [])]
AT_ONCE = ["killed_at_once_with_sql", *(["killed_at_once"] if IS_AIRFLOW_3 else [])]
CUT = ["cut_body", "overtaken"] if IS_AIRFLOW_3 else []
RECONFIGURED = ["journal_removed", "journal_added"] if IS_AIRFLOW_3 else []
TOLD = ["told_to_end", *(["marked_failed"] if IS_AIRFLOW_3 else [])]
ALONE = ["orphaned", "single_batch", "marked_failed_in_a_long_batch"] if IS_AIRFLOW_3 else []
DEFERRED = ["deferred"]
OURS = [*DEFERRED, *LARGE, *EARLY, *CUT, *ALONE, *RECONFIGURED, *AT_ONCE, *TOLD]
AT_A_TIME = 9
BATCHES_OF_TEN_THOUSAND = 10_000 // BATCH_SIZE
TABLES = {"sql_journal": "outcomes", "deferred": "outcomes_after_waits"}
"""The outcome tables, by the campaign that writes them."""

airflow_3_only = pytest.mark.skipif(not IS_AIRFLOW_3, reason="driven through the API of Airflow 3")


@pytest.fixture(scope="module")
def campaigns(
    airflow: Deployment,
    sandboxes: dict[str, SandboxProcess],
    proxies: dict[str, NarrowProxy],
    request: pytest.FixtureRequest,
) -> dict[str, Campaign]:
    """All campaigns after their end."""
    crashes: dict[str, Callable[[Campaign], None]] = {
        "state_store": kill_often,
        "sql_journal": kill_often,
        "faults": kill_amid_faults,
        "by_hand": kill_by_hand,
        "deferred": kill_around_its_waits,
        "orphaned": kill_the_supervisor,
        "single_batch": kill_the_only_batch,
        "told_to_end": tell_to_end,
        "marked_failed": mark_failed,
        "marked_failed_in_a_long_batch": mark_failed,
        "nothing_sent_yet": kill_before_the_first_batch,
        "nothing_sent_yet_with_sql": kill_before_the_first_batch,
        "killed_at_once": kill_at_once,
        "killed_at_once_with_sql": kill_at_once,
        "journal_added": kill_and_change_the_journal(Victim.TASK),
        "journal_removed": kill_and_change_the_journal(Victim.SUPERVISOR),
    }
    held = {
        **dict.fromkeys(EARLY, SLOW_MOMENTS),
        **dict.fromkeys(AT_ONCE, ("parsing",)),
        **dict.fromkeys(DEFERRED, ("rendering",)),
    }
    airflow.make_pool(POOL, slots=1)
    if IS_AIRFLOW_3:
        crashes["cut_body"] = kill_in_the_body(proxies["cut_body"])
        crashes["overtaken"] = stop_in_the_body(proxies["overtaken"])

    def run(name: str) -> Campaign:
        random = Random(f"{SEED} {name}")  # noqa: S311  # no secret
        # A supervisor's death alone does not end a try that has a SQL journal: that is a campaign of its own.
        victims = [Victim.TASK, Victim.BOTH] if name == "sql_journal" else list(Victim)
        killer = Killer(airflow, name, sandboxes[name], random, victims, lambda: has_left_its_mark(begun))
        expected = outcome(ROWS if name in LARGE or name == "by_hand" else 10_000)
        begun = Campaign(name, airflow, sandboxes[name], killer, random, expected)
        for moment in held.get(name, ()):
            begun.moment(moment).hold()
        return begun.run(crashes[name])

    names = ["by_hand", *OURS] if IS_AIRFLOW_3 else OURS  # those that take long come first
    with ThreadPoolExecutor(AT_A_TIME) as side_by_side:
        ended = {campaign.name: campaign for campaign in side_by_side.map(run, names)}
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(*_figures(ended), sep="\n")  # noqa: T201  # for people, whatever the tests say
    return ended


def _figures(campaigns: dict[str, Campaign]) -> Iterator[str]:
    yield f"\n\nCRASHES={CRASHES} CRASH_SEED={SEED}"
    yield from (f"  {campaign.figures}" for campaign in campaigns.values())
    ours = _comparison([campaigns[name] for name in OURS])
    if (by_hand := campaigns.get("by_hand")) is None:
        yield f"ours: {ours}"
        return
    yield f"ours: {ours}; by hand: {_comparison([by_hand])}"
    if (alone := by_hand.seen.get("texted twice by kills at random moments")) is not None:
        yield f"(by hand, before the kill in its last batch: {alone:,} people texted twice)"


def _comparison(campaigns: list[Campaign]) -> str:
    kills = sum(len(campaign.killer.kills) for campaign in campaigns)
    people = sum(len(campaign.expected.accepted) for campaign in campaigns)
    texted = [campaign.sandbox.times_texted().keys() for campaign in campaigns]
    left_out = sum(len(campaign.expected.accepted - keys) for campaign, keys in zip(campaigns, texted, strict=True))
    twice = sum(campaign.texted_twice for campaign in campaigns)
    return f"{kills} kills, {twice:,} of {people:,} people texted twice, {left_out:,} left out"


@pytest.fixture
def campaign(campaigns: dict[str, Campaign], request: pytest.FixtureRequest) -> Campaign:
    return campaigns[request.param]


@pytest.mark.parametrize("campaign", OURS, indirect=True)
def test_everybody_is_texted_and_nobody_twice(campaign: Campaign) -> None:
    stats = campaign.sandbox.stats()
    assert stats["max_per_key"] == 1, campaign.figures
    assert stats["accepted"] == stats["distinct_keys"] == len(campaign.expected.accepted), campaign.figures
    assert campaign.sandbox.times_texted() == dict.fromkeys(campaign.expected.accepted, 1)


@pytest.mark.parametrize("campaign", OURS, indirect=True)
def test_the_task_ends_well_by_itself_and_its_result_adds_up(campaign: Campaign) -> None:
    expected, result = campaign.expected, campaign.result
    assert campaign.state == "success", campaign.airflow.log_text(campaign.name)[-4000:]
    assert result["accepted_count"] == len(expected.accepted)
    assert result["rejected_count"] == expected.rejected_count
    assert result["invalid_count"] == expected.invalid_count
    assert result["duplicate_count"] == expected.duplicate_count
    assert result["already_sent_count"] == result["not_sent_count"] == result["unknown_count"] == 0
    assert result["rows_read"] == expected.rows_read


@pytest.mark.parametrize("campaign", OURS, indirect=True)
def test_each_batch_has_its_report_with_a_umid_for_all_who_were_texted(campaign: Campaign) -> None:
    files = [Path(campaign.result["report"]) / f"{batch}.jsonl" for batch in campaign.result["client_batch_ids"]]
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    accepted = [line for line in lines if line["outcome"] == "accepted"]
    assert len(accepted) == len(campaign.expected.accepted)
    assert all(line["umid"] and line["client_message_id"] and line["batch_id"] for line in accepted)
    assert len({line["umid"] for line in accepted}) == len(accepted)


@pytest.mark.parametrize("campaign", TABLES, indirect=True)
def test_the_outcome_table_has_one_row_for_each_row_read(campaign: Campaign, outcomes: Database) -> None:
    table = TABLES[campaign.name]
    counts = dict(outcomes.execute(f"SELECT outcome, count(*) FROM {table} GROUP BY outcome"))
    named = ("accepted", "rejected", "invalid", "duplicate")
    assert counts == {name: campaign.result[f"{name}_count"] for name in named}, campaign.figures
    rows = [row for (row,) in outcomes.execute(f"SELECT source_row FROM {table} ORDER BY source_row")]
    assert rows == list(range(1, campaign.expected.rows_read + 1))
    accepted = outcomes.execute(f"SELECT row_key, umid, parts FROM {table} WHERE outcome = 'accepted'")
    assert len({umid for _, umid, _ in accepted if umid}) == len(accepted)
    assert {f"1202{5_000_000 + int(row_key)}" for row_key, _, _ in accepted} == campaign.expected.accepted
    assert all(parts == 1 for _, _, parts in accepted)


@pytest.mark.parametrize("campaign", TABLES, indirect=True)
def test_the_outcome_table_agrees_with_the_journal_and_with_8x8(
    campaign: Campaign, outcomes: Database, journal: Database
) -> None:
    """Message by message: which batch has it, and what became of it."""
    ids = "client_batch_id, batch_id, client_message_id, umid, outcome"
    table = outcomes.execute(f"SELECT {ids} FROM {TABLES[campaign.name]} WHERE client_batch_id IS NOT NULL")
    in_table = {(*batch, message, outcome) for *batch, message, _, outcome in table}
    assert len(in_table) == len(table) == len(campaign.expected.accepted) + campaign.expected.rejected_count
    assert in_table == set(_in_journal(journal, campaign.result["campaign_id"]))

    in_8x8 = campaign.sandbox.messages()
    named = {True: "accepted", False: "rejected"}
    assert in_table == {(*batch, message, named[is_accepted]) for *batch, message, _, is_accepted in in_8x8}
    umids = {message: umid for _, _, message, umid, is_accepted in in_8x8 if is_accepted}
    assert umids == {message: umid for _, _, message, umid, outcome in table if outcome == "accepted"}


def _in_journal(journal: Database, campaign_id: str) -> Iterator[tuple[str, str, str, str]]:
    """Yield each message that the journal says 8x8 has, as its tables are documented: row keys of ten bytes each."""
    entries = journal.execute(
        "SELECT client_batch_id, batch_id, state, row_keys, rejected_keys, unknown_keys FROM eight_by_eight_batch"
        f" JOIN eight_by_eight_campaign ON campaign = id WHERE campaign_id = '{campaign_id}'"
    )
    for client_batch_id, batch_id, state, *packed in entries:
        row_keys, rejected, unknown = (_unpacked(bytes(keys)) for keys in packed)
        if not row_keys or state == "not_sent":
            continue  # a canary; or what was proven to be lost
        assert (state, unknown) == ("sent", [])
        for key in row_keys:
            yield client_batch_id, batch_id, key, "rejected" if key in rejected else "accepted"


def _unpacked(keys: bytes) -> list[str]:
    return [keys[start : start + 10].hex() for start in range(0, len(keys), 10)]


def test_there_were_as_many_kills_as_were_planned(campaigns: dict[str, Campaign]) -> None:
    # On a busy machine the one in the last batch may come too late.
    assert all(CRASHES - 1 <= len(campaigns[name].killer.kills) <= CRASHES for name in LARGE)
    assert all(campaigns[name].tries > len(campaigns[name].killer.kills) for name in OURS), "each ended a try"


@pytest.mark.parametrize("campaign", DEFERRED, indirect=True)
def test_a_task_that_waits_for_8x8s_logs_without_a_worker_holds_no_slot(campaign: Campaign) -> None:
    assert campaign.seen["open slots while it runs"] == 0
    assert campaign.seen["open slots while it waits"] == 1


@pytest.mark.parametrize("campaign", DEFERRED, indirect=True)
def test_a_task_is_killed_before_it_waits_and_after_it_has_waited(campaign: Campaign) -> None:
    before, *after = [task.next_method for task in campaign.killer.killed]
    assert before is None
    # On a busy machine a part that goes on may be taken for lost, and the kill strikes the try after it.
    assert len(after) == 2
    assert "execute_complete" in after
    assert campaign.seen["accepted before its first wait"] < BATCH_SIZE, "the others are sent after it"
    assert campaign.seen["accepted before its second wait"] < len(campaign.expected.accepted), "what is lost is sent"


@pytest.mark.parametrize("campaign", DEFERRED, indirect=True)
def test_a_wait_outlives_its_triggerer(campaign: Campaign) -> None:
    assert campaign.seen["exports that its triggerer's death has cost"] == 0


@airflow_3_only
def test_faults_struck_before_and_after_batches_were_accepted(campaigns: dict[str, Campaign]) -> None:
    campaign = campaigns["faults"]
    assert len(campaign.seen["faults"]) >= len(FAULTS)
    assert campaign.sandbox.requests_made() > campaign.sandbox.stats()["batches"], "else none struck before"


@airflow_3_only
@pytest.mark.parametrize("campaign", CUT, indirect=True)
def test_a_request_that_was_cut_off_is_never_complete(campaign: Campaign, proxies: dict[str, NarrowProxy]) -> None:
    assert proxies[campaign.name].missing > 0
    assert campaign.sandbox.requests_made() == campaign.sandbox.stats()["batches"] == 1, "the newer try's alone"
    assert campaign.sandbox.stats()["singles"] == 1, "the canary, without which its absence cannot be proven"


@airflow_3_only
def test_a_try_was_continued_while_a_newer_one_was_running(campaigns: dict[str, Campaign]) -> None:
    assert campaigns["overtaken"].tries == 2
    assert campaigns["overtaken"].seen["overtaken while running"]


@airflow_3_only
def test_a_try_without_its_supervisor_shared_the_campaign_with_the_next_one(campaigns: dict[str, Campaign]) -> None:
    campaign = campaigns["orphaned"]
    assert campaign.seen["accepted before the next try"] > 2_000
    assert campaign.seen["beside the next try"]


@pytest.mark.parametrize("campaign", TOLD, indirect=True)
def test_a_try_that_has_time_to_end_leaves_nothing_to_be_reconciled(campaign: Campaign) -> None:
    assert campaign.tries == 2
    batches = 2 if campaign.name == "told_to_end" else BATCHES_OF_TEN_THOUSAND
    assert campaign.sandbox.requests_made() == campaign.sandbox.stats()["batches"] == batches
    assert campaign.sandbox.log_exports() == 0
    assert campaign.seen.get("accepted by the first try") != 0


@airflow_3_only
def test_a_batch_that_outlasts_its_try_when_the_task_is_marked_failed_is_found(campaigns: dict[str, Campaign]) -> None:
    campaign = campaigns["marked_failed_in_a_long_batch"]
    assert campaign.tries == 2
    assert campaign.seen["accepted by the first try"] == 0, "Airflow 3 has killed it before it had the answer"
    assert campaign.sandbox.requests_made() == campaign.sandbox.stats()["batches"] == 2
    assert campaign.sandbox.log_exports() > 0


@pytest.mark.parametrize("campaign", EARLY, indirect=True)
def test_tries_that_are_killed_before_their_first_batch_leave_nothing_to_be_reconciled(campaign: Campaign) -> None:
    assert campaign.seen["accepted before the kills were over"] == 0
    assert campaign.tries == 1 + sum(map(len, SLOW_MOMENTS.values()))
    assert campaign.sandbox.requests_made() == campaign.sandbox.stats()["batches"] == BATCHES_OF_TEN_THOUSAND
    assert campaign.sandbox.log_exports() == 0


@pytest.mark.parametrize("campaign", AT_ONCE, indirect=True)
def test_after_a_try_that_could_leave_no_mark_nothing_is_sent_until_a_person_says_so(campaign: Campaign) -> None:
    assert campaign.seen["made by those who do not know"] == 0
    assert r'settled_batches={"before try 3": "not_accepted"}' in campaign.seen["what it says"].replace("\\", "")
    assert campaign.tries == 3
    assert campaign.sandbox.requests_made() == campaign.sandbox.stats()["batches"] == BATCHES_OF_TEN_THOUSAND


@pytest.mark.parametrize("campaign", RECONFIGURED, indirect=True)
def test_another_journal_takes_over_what_the_first_try_has_sent(campaign: Campaign) -> None:
    assert campaign.tries == 2
    assert campaign.seen["made by the first try"] >= 3
    assert "Took over" in campaign.airflow.log_text(campaign.name)


@airflow_3_only
def test_the_dag_that_one_writes_by_hand_texts_people_twice(campaigns: dict[str, Campaign]) -> None:
    assert campaigns["by_hand"].texted_twice > 0, "else the kills come at moments that harm nobody"
