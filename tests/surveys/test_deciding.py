"""What is decided about batches of unknown outcome: by on_unknown, and by a person."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from airflow_provider_8x8.api.models import BatchResponse, MessageStatus, SurveyBatch
from airflow_provider_8x8.surveys.settings import OnUnknown, Said
from tests.surveys.campaigns import NUMBERS, START, Campaign, outcomes, taken

# deciding


def half_listed(batch: SurveyBatch, answer: BatchResponse) -> BatchResponse:
    messages = list(answer.messages or ())[:1]
    return BatchResponse(batch_id=answer.batch_id, accepted_count=1, rejected_count=0, messages=messages)


@pytest.mark.parametrize(
    ("on_unknown", "expected", "sent"),
    [
        (OnUnknown.FAIL, {"accepted": 5, "unknown": 1}, 6),
        (OnUnknown.ASSUME_SENT, {"accepted": 5, "unknown": 1}, 6),
        (OnUnknown.RESEND, {"accepted": 6}, 7),
    ],
)
def test_on_unknown_decides_about_rows_that_an_answer_leaves_unknown(
    campaign: Campaign, on_unknown: OnUnknown, expected: dict[str, int], sent: int
) -> None:
    campaign.eight_by_eight.fates, campaign.eight_by_eight.lag = [half_listed], 10_000_000.0
    assert outcomes(campaign.run(on_unknown=on_unknown)) == expected
    assert len(campaign.eight_by_eight.accepted) == sent
    if on_unknown is not OnUnknown.FAIL:
        assert outcomes(campaign.run(on_unknown=OnUnknown.FAIL)) == expected, "it is decided for good"
        assert len(campaign.eight_by_eight.accepted) == sent


def test_one_try_sends_again_three_times_what_then_becomes_unknown_and_says_so(
    campaign: Campaign, caplog: pytest.LogCaptureFixture
) -> None:
    campaign.eight_by_eight.fates = [None, taken, None, None, None]
    summary = campaign.run(NUMBERS[:4], on_unknown=OnUnknown.RESEND, reconcile_timeout=timedelta())
    assert outcomes(summary) == {"accepted": 2, "unknown": 2}
    (name,) = summary.unknown_client_batch_ids
    said = f"Batch {name} of 2 messages stays unknown: this try has 3 times sent again what then became unknown"
    assert said in caplog.text


def test_rows_that_an_answer_to_another_run_leaves_unknown_are_unknown_to_this_one(campaign: Campaign) -> None:
    campaign.eight_by_eight.fates, campaign.eight_by_eight.lag = [half_listed], 10_000_000.0
    campaign.run(NUMBERS[:2], task="other")
    summary = campaign.run()
    assert outcomes(summary) == {"accepted": 4, "already_sent": 1, "unknown": 1}
    assert summary.unknown_client_batch_ids


def test_rejected_and_unknown_rows_of_another_runs_batch_keep_nobody_reading(campaign: Campaign) -> None:
    def one_rejected_one_unlisted(batch: SurveyBatch, answer: BatchResponse) -> BatchResponse:
        first = msgspec.structs.replace(next(iter(answer.messages or ())), status=MessageStatus(code="REJECTED"))
        return BatchResponse(batch_id=answer.batch_id, accepted_count=0, rejected_count=1, messages=[first])

    campaign.eight_by_eight.fates, campaign.eight_by_eight.lag = [one_rejected_one_unlisted], 10_000_000.0
    campaign.run(NUMBERS[:2], task="other")
    assert outcomes(campaign.run(NUMBERS[:2])) == {"accepted": 1, "unknown": 1}
    assert outcomes(campaign.run(NUMBERS[:2], task="third")) == {"already_sent": 1, "unknown": 1}


@pytest.mark.parametrize("on_unknown", [OnUnknown.RESEND, OnUnknown.ASSUME_SENT])
def test_nobody_decides_about_a_batch_whose_call_can_still_be_answered(
    campaign: Campaign, on_unknown: OnUnknown
) -> None:
    at: list[float] = []

    def others_run(batch: SurveyBatch, answer: BatchResponse) -> BatchResponse:
        # While this call is out, another run of the campaign waits for its rows, and then decides.
        campaign.eight_by_eight.lag = 10_000_000.0
        summary = campaign.run(NUMBERS[:2], task="other", on_unknown=on_unknown, reconcile_timeout=timedelta(seconds=1))
        at.append(campaign.clock.time)
        assert sum(summary.outcomes.values()) == 2
        return answer

    campaign.eight_by_eight.fates = [others_run]
    summary = campaign.run(NUMBERS[:2], task="first")
    assert at[0] - START > 90, "30 s to send it and 60 s for its answer"
    assert summary.batch_ids, "what 8x8 has answered is not lost"
    assert summary.outcomes["accepted"] == 2


@pytest.mark.parametrize("on_unknown", [OnUnknown.RESEND, OnUnknown.ASSUME_SENT])
def test_nor_does_a_run_that_was_made_again_about_a_call_of_the_deleted_one(
    campaign: Campaign, on_unknown: OnUnknown
) -> None:
    at: list[float] = []

    def made_again(batch: SurveyBatch, answer: BatchResponse) -> BatchResponse:
        # While this call is out, its run is deleted, and made again under the same id: its first try is this one's.
        campaign.eight_by_eight.lag = 10_000_000.0
        campaign.forget_tries()
        summary = campaign.run(NUMBERS[:2], on_unknown=on_unknown, reconcile_timeout=timedelta(seconds=1))
        at.append(campaign.clock.time)
        assert sum(summary.outcomes.values()) == 2
        return answer

    campaign.eight_by_eight.fates = [made_again]
    assert campaign.run(NUMBERS[:2]).batch_ids, "what 8x8 has answered is not lost"
    assert at[0] - START > 90, "30 s to send it and 60 s for its answer"


# a person


@pytest.mark.parametrize(("what", "expected"), [("accepted", 4), ("not_accepted", 6)])
def test_a_person_says_what_became_of_a_batch(campaign: Campaign, what: Said, expected: int) -> None:
    campaign.eight_by_eight.fates = [None]
    unknown = campaign.run()
    (name,) = unknown.unknown_client_batch_ids
    summary = campaign.run(said={name: what})
    assert outcomes(summary) == {"accepted": 6}
    assert len(campaign.eight_by_eight.accepted) == expected


def test_a_person_may_name_only_batches_of_the_campaign(campaign: Campaign) -> None:
    campaign.eight_by_eight.fates = [None]
    (name,) = campaign.run().unknown_client_batch_ids
    summary = campaign.run(said={"no-such-batch": "accepted"})
    assert (summary.is_final, len(campaign.eight_by_eight.accepted)) == (True, 4)
    assert "no-such-batch" in str(summary.stop)
    assert name in str(summary.stop)


def test_what_8x8_has_said_beats_what_a_person_says(campaign: Campaign) -> None:
    first = campaign.run()
    summary = campaign.run(said={first.client_batch_ids[0]: "not_accepted"})
    assert outcomes(summary) == {"accepted": 6}
    assert len(campaign.eight_by_eight.accepted) == 6


def test_a_person_says_it_of_another_runs_batch(campaign: Campaign) -> None:
    campaign.eight_by_eight.fates = [None]
    (name,) = campaign.run(NUMBERS[:2], task="dead").unknown_client_batch_ids
    summary = campaign.run(task="other", said={name: "not_accepted"})
    assert outcomes(summary) == {"accepted": 6}


def test_what_a_person_says_waits_until_the_call_cannot_be_answered_any_more(campaign: Campaign) -> None:
    at: list[float] = []

    def while_it_is_out(batch: SurveyBatch, answer: BatchResponse) -> BatchResponse:
        said: dict[str, Said] = {str(batch.client_batch_id): "accepted"}
        summary = campaign.run(NUMBERS[:2], task="other", said=said)
        assert outcomes(summary) == {"already_sent": 2}
        at.append(campaign.clock.time)
        return answer

    campaign.eight_by_eight.fates = [while_it_is_out]
    assert campaign.run(NUMBERS[:2], task="first").batch_ids, "what 8x8 has answered is not lost"
    assert at[0] - START > 90, "30 s to send it and 60 s for its answer"


def test_nor_is_a_person_believed_before_by_a_run_that_was_made_again(campaign: Campaign) -> None:
    at: list[float] = []

    def while_it_is_out(batch: SurveyBatch, answer: BatchResponse) -> BatchResponse:
        campaign.forget_tries()
        campaign.run(NUMBERS[:2], said={str(batch.client_batch_id): "accepted"})
        at.append(campaign.clock.time)
        return answer

    campaign.eight_by_eight.fates = [while_it_is_out]
    assert campaign.run(NUMBERS[:2]).batch_ids, "what 8x8 has answered is not lost"
    assert at[0] - START > 90, "30 s to send it and 60 s for its answer"


def test_a_person_is_not_believed_too_early_when_the_task_is_to_end(campaign: Campaign) -> None:
    def while_it_is_out(batch: SurveyBatch, answer: BatchResponse) -> BatchResponse:
        campaign.stop.set()
        campaign.run(NUMBERS[:2], task="other", said={str(batch.client_batch_id): "not_accepted"})
        campaign.stop.clear()
        return answer

    campaign.eight_by_eight.fates = [while_it_is_out]
    assert outcomes(campaign.run(NUMBERS[:2], task="first")) == {"accepted": 2}
    assert len(campaign.eight_by_eight.accepted) == 2


def test_a_person_may_name_batches_of_another_task_beside_those_of_this_one(campaign: Campaign) -> None:
    campaign.eight_by_eight.fates = [None]
    (name,) = campaign.run().unknown_client_batch_ids
    assert outcomes(campaign.run(said={name: "not_accepted", "another-task's": "accepted"})) == {"accepted": 6}
