"""The canary: one survey to a number of the team's own, a watermark where nothing else can be one."""

from __future__ import annotations

import logging

import msgspec

from airflow_provider_8x8.api.client import EightByEightClient
from airflow_provider_8x8.api.errors import EightByEightError, UnknownOutcomeError
from airflow_provider_8x8.api.masking import quotable
from airflow_provider_8x8.api.models import SurveyMessage
from airflow_provider_8x8.surveys.chance import Chance
from airflow_provider_8x8.surveys.clock import Clock
from airflow_provider_8x8.surveys.journal.entries import Entry, EntryState
from airflow_provider_8x8.surveys.journal.ledger import Ledger
from airflow_provider_8x8.surveys.settings import Run, Settings

log = logging.getLogger(__name__)


class Canary:
    """
    The canary of one try.

    :param client: the sub-account to send from
    :param ledger: gets its entry
    :param survey: the message, None if there is no number for it
    :param run: on whose behalf
    :param settings: which survey, and within what time a request is to be out
    :param clock: tells the time
    :param chance: makes its id
    """

    def __init__(
        self,
        client: EightByEightClient,
        ledger: Ledger,
        survey: SurveyMessage | None,
        *,
        run: Run,
        settings: Settings,
        clock: Clock,
        chance: Chance,
    ) -> None:
        self._client = client
        self._ledger = ledger
        self._survey = survey
        self._run = run
        self._settings = settings
        self._clock = clock
        self._chance = chance
        self.is_spent = False
        """Whether this try has sent it."""

    @property
    def has_number(self) -> bool:
        """Whether there is a number for it."""
        return self._survey is not None

    @property
    def can_be_sent(self) -> bool:
        """Whether this try may send it yet."""
        return self.has_number and not self.is_spent

    def send(self) -> None:
        """Send it, once."""
        if self._survey is None:
            raise RuntimeError("there is no canary")
        now = self._clock.now()
        message = msgspec.structs.replace(self._survey, client_message_id=self._chance.token(16))
        canary = Entry.of_no_batch(
            EntryState.CANARY,
            str(message.client_message_id),
            task_instance=self._run.task_instance,
            try_number=self._run.try_number,
            at=now,
            send_by=now + self._settings.send_within,  # or its line would be where no later look at the logs expects it
            answer_by=now + self._settings.send_within + self._client.timeout,
        )
        self.is_spent = True
        self._ledger.begin(lambda: canary)  # before it is sent, so that no other try sends another one
        try:
            response = self._client.send_survey(self._settings.survey_id, message, send_by=canary.send_by)
        except UnknownOutcomeError as error:
            log.warning("Whether 8x8 has the canary, which is to show how far its logs are, is not known: %s", error)
        except EightByEightError as error:
            self._give_up(canary, str(error))
        else:
            if response.status.code == "REJECTED":
                self._give_up(canary, f"8x8 rejected it: {quotable(response.status.description)}")
                return
            # When it was made 8x8 has it: it may have been held up on its way.
            self._ledger.settle(canary, state=EntryState.SENT, answer_by=self._clock.now())
            log.info("Sent the canary, one survey to the team's own number: its log line shows how far the logs are")

    def _give_up(self, canary: Entry, reason: str) -> None:
        self._ledger.settle(canary, state=EntryState.NOT_SENT)
        log.warning("The canary, which was to show how far 8x8's logs are, was not sent: %s", reason)
