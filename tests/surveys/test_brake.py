"""The brake, where another run of the campaign is at work at the same time."""

from __future__ import annotations

from datetime import timedelta

from tests.surveys.campaigns import NUMBERS, Campaign, outcomes


def test_a_first_batch_whose_rows_all_go_to_another_run_is_none(campaign: Campaign) -> None:
    others = [NUMBERS[:2]]

    def other_is_faster() -> None:
        if others:
            campaign.eight_by_eight.fates = [None]
            campaign.run(others.pop(), task="other", reconcile_timeout=timedelta())

    summary = campaign.run(read=other_is_faster, first_batch_size=2, reconcile_timeout=timedelta())
    assert outcomes(summary) == {"accepted": 4, "unknown": 2}
    assert (summary.stop, len(summary.batch_ids)) == (None, 2)


def test_the_batch_after_that_is_as_small_and_the_others_wait_for_its_answer(campaign: Campaign) -> None:
    others = [NUMBERS[:1]]

    def other_is_faster() -> None:
        if others:
            campaign.run(others.pop(), task="other")
            campaign.eight_by_eight.fates = [None]

    summary = campaign.run(read=other_is_faster, first_batch_size=1, reconcile_timeout=timedelta())
    assert outcomes(summary) == {"already_sent": 1, "unknown": 1, "not_sent": 2}
    assert "8x8 has not answered the first batch" in str(summary.stop)
