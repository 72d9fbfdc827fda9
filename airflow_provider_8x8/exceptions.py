"""
What a task that sends surveys fails with, for callbacks and retry policies to tell by its class.

Each is an ``AirflowException``. One that no other try can mend is an ``AirflowFailException`` besides, with which
Airflow retries no more. Its text holds neither a phone number nor a secret.

==========================================  ===================================================================
Raised                                      When
==========================================  ===================================================================
:class:`EightByEightUnknownOutcomeError`    8x8 may have accepted some messages, or not
:class:`EightByEightRefusedError`           8x8 has refused what all rows have in common, or every row
:class:`EightByEightUnavailableError`       8x8 cannot be reached, or asks to come again later
:class:`EightByEightLimitError`             a limit of the task's own was passed
:class:`EightByEightJournalError`           what was sent before cannot be known, or what is sent be kept
:class:`EightByEightSurveyError`            all else, such as a source that fails, or nobody who was surveyed
==========================================  ===================================================================
"""

from __future__ import annotations

from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException


class EightByEightSurveyError(AirflowException):
    """Surveys were not sent, or not all of them; the result was pushed before. The others are kinds of it."""


class EightByEightUnknownOutcomeError(EightByEightSurveyError):
    """
    8x8 may have accepted some messages, or not, and its logs did not tell in time.

    They are not sent again until the logs prove that they were not accepted. Another try looks again, best after
    ``log_settle_time``. Whatever else has ended the try, this is raised as long as something is unknown; but a try that
    could not begin to send fails with what kept it from that.
    """


class EightByEightRefusedError(EightByEightSurveyError):
    """8x8 has refused what all rows have in common (the API key, the survey, the text), or every row."""


class EightByEightUnavailableError(EightByEightSurveyError):
    """8x8 could not be reached, or asks to come again later than the try could wait: it has nothing of the rest."""


class EightByEightLimitError(EightByEightSurveyError):
    """A limit was passed: ``max_rejected``, ``max_invalid``, ``max_messages``, ``not_after``, ``on_invalid="fail"``."""


class EightByEightJournalError(EightByEightSurveyError):
    """The journal cannot serve: it is lost, of another campaign's kind, overtaken, or just not to be reached."""


class EightByEightSurveyFinalError(EightByEightSurveyError, AirflowFailException):
    """Likewise, and no other try can mend it."""


class EightByEightUnknownOutcomeFinalError(EightByEightUnknownOutcomeError, AirflowFailException):
    """Likewise, and no other try can know more: without a journal, or since nothing may be sent any more."""


class EightByEightRefusedFinalError(EightByEightRefusedError, AirflowFailException):
    """Likewise, and 8x8 would refuse it again."""


class EightByEightUnavailableFinalError(EightByEightUnavailableError, AirflowFailException):
    """Likewise, and without a journal no other try can know what was sent."""


class EightByEightLimitFinalError(EightByEightLimitError, AirflowFailException):
    """Likewise, and it would be passed again."""


class EightByEightJournalFinalError(EightByEightJournalError, AirflowFailException):
    """Likewise, and another try would find it so again."""
