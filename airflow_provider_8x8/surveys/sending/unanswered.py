"""
What a person is told of batches for which 8x8 has not answered: what would prove what and when, and the ways out.

The first line of each text is the reason, what can be done is on those after it. ``docs/runbook.md`` has a chapter for
each, with its first line as heading.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum, auto

from airflow_provider_8x8.surveys.settings import OnUnknown

MAX_LINE_LENGTH = 160
"""Characters: Airflow's log view shows a line of so many whole."""

IS_LOOKED_FOR = "8x8 has not said whether it accepted {messages}: looking for {batches} in its logs until {until}"
IS_NOT_KNOWN = "Whether 8x8 accepted {messages} is not known, and its logs did not tell in time"
IS_DECIDED = "Whether 8x8 accepted {messages} is not known, and on_unknown={on_unknown!r} decided about batch {batch}"
IS_RESENT_TOO_OFTEN = (
    "Batch {batch} of {messages} stays unknown: this try has {times} times sent again what then became unknown"
)

_OFFERS = {
    OnUnknown.FAIL: "the task fails, and with a journal another try looks again. Nobody is texted twice",
    OnUnknown.ASSUME_SENT: "never sent again, counted unknown, the task succeeds. Whom 8x8 has not reached is left out",
    OnUnknown.RESEND: "sent again at once. Whom 8x8 has reached by the first is texted twice",
}


HAS_NOT_LOOKED = "This try has not looked into the logs."


class Watermark(Enum):
    """What shows, or is to show, that 8x8's logs have come past a batch."""

    SEEN = auto()
    """The logs have shown it."""
    BEGUN = auto()
    """A younger batch or a canary, which 8x8 has."""
    CANARY = auto()
    """A canary that can be sent."""
    NONE = auto()
    """Nothing there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """
    What 8x8's logs can still tell of a batch; all times in seconds since 1970.

    :ivar watermark: by what they can tell that it was not accepted
    :ivar counts_from: how young that must be
    :ivar tells_from: when at the earliest they do; where nothing is that young, if it were there
    :ivar serves_from: from when on another try does not wait in vain
    :ivar worth_until: what the logs have not shown by then is not waited for any more
    """

    watermark: Watermark
    counts_from: float
    tells_from: float
    serves_from: float
    worth_until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tries:
    """
    What comes after this try.

    :ivar left: how many more Airflow makes, None if that is not known
    :ivar retry_delay: between them, None if that is not known
    :ivar is_remembered: whether another one knows what this one knows
    """

    left: int | None
    retry_delay: timedelta | None
    is_remembered: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Unanswered:
    """
    The batches of which something is not known.

    :ivar client_batch_ids: theirs
    :ivar messages: how many of their messages that is
    :ivar outlooks: of each
    """

    client_batch_ids: Sequence[str]
    messages: int
    outlooks: Sequence[Outlook]


def is_looked_for(
    unanswered: Unanswered,
    tries: Tries,
    *,
    now: float,
    until: float,
    log_settle_time: timedelta,
    on_unknown: OnUnknown,
) -> str:
    """
    Say at the first wait what is waited for.

    :param until: seconds since 1970, when this try ends or decides
    """
    batches = counted(len(unanswered.client_batch_ids), "batch", "batches")
    messages = counted(unanswered.messages, "message")
    last = _last(unanswered)
    settled = f"{_span(log_settle_time)} (log_settle_time)"
    decides = on_unknown is not OnUnknown.FAIL
    return "\n".join(
        [
            IS_LOOKED_FOR.format(messages=messages, batches=batches, until=moment(until)),
            *_listed("To look for: client batch ids ", unanswered.client_batch_ids),
            f"What the logs show was accepted. What they lack for {settled} after showing a younger message was not.",
            f"Younger is what this campaign, or a canary of it, began at {moment(last.counts_from)} or later.",
            *_by_what(last, now),
            *(_when_to_decide(last, now, until) if decides else _advice(unanswered, tries, until)),
            _how_long(unanswered, now),
            "What is still unknown when its time is over is decided by on_unknown:",
            *(
                f"- {offer.value!r}{' (set here)' if offer is on_unknown else ''}: {risk}"
                for offer, risk in _OFFERS.items()
            ),
            *_a_person(unanswered.client_batch_ids, is_remembered=tries.is_remembered),
            *_what_follows(tries),
        ]
    )


def outlook(unanswered: Unanswered, tries: Tries, *, now: float) -> str:
    """Say at the end of a try what another one can tell, and from when on."""
    if not tries.is_remembered:
        return "\n".join(_what_follows(tries))
    lines = []
    known = [each for each in unanswered.outlooks if each.watermark is not Watermark.NONE]
    if known:
        earliest = min(each.tells_from for each in known)
        lines.append(f"Another try can tell, at the earliest, from {moment(earliest)} on.")
    if len(known) < len(unanswered.outlooks):
        lines += _by_what(_last(unanswered), now)
    return "\n".join([*lines, *_advice(unanswered, tries, now), _how_long(unanswered, now), *_what_follows(tries)])


def is_not_known(
    messages: int,
    client_batch_ids: Sequence[str],
    what_follows: str | None,
    *,
    problem: str | None,
    is_remembered: bool,
) -> str:
    """
    Say at the end of a try what is not known.

    :param what_follows: see :func:`outlook`; None if all was decided
    :param problem: why the logs could not be read
    """
    if what_follows is None:
        decided = "They were decided about by on_unknown='assume_sent', and are never sent again."
    else:
        decided = (
            "They are not sent again until the logs prove that they were not accepted; another try looks again."
            if is_remembered
            else "They are not sent again."
        )
    return "\n".join(
        [
            IS_NOT_KNOWN.format(messages=counted(messages, "message")),
            *([f"8x8's logs could not be read: {problem}"] if problem else []),
            *_listed("To look for: client batch ids ", client_batch_ids),
            decided,
            *([what_follows] if what_follows else []),
            *_a_person(client_batch_ids, is_remembered=is_remembered),
        ]
    )


def is_decided(on_unknown: OnUnknown, client_batch_id: str, messages: int) -> str:
    """Say what ``on_unknown`` has decided about one batch."""
    what = IS_DECIDED.format(messages=counted(messages, "message"), on_unknown=on_unknown.value, batch=client_batch_id)
    settled = f'settled_batches={{"{client_batch_id}": "not_accepted"}}'
    what_then = {
        OnUnknown.ASSUME_SENT: f"They are never sent again. If 8x8 has nothing of it, clear the task with {settled}",
        OnUnknown.RESEND: "They are free to be sent again. Whom 8x8 has reached by the first is texted twice",
    }
    return f"{what}\n{what_then[on_unknown]}"


def is_resent_too_often(client_batch_id: str, messages: int, times: int) -> str:
    """Say that one try resends no more."""
    what = IS_RESENT_TOO_OFTEN.format(batch=client_batch_id, messages=counted(messages, "message"), times=times)
    return f"{what}\n8x8 is not well: see to that first, then let another try look again"


def counted(number: int, one: str, more: str | None = None) -> str:
    """Say how many."""
    return f"{number:,} {one if number == 1 else more or f'{one}s'}"


def moment(seconds: float) -> str:
    """Say when."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _last(unanswered: Unanswered) -> Outlook:
    """Return the outlook of the batch that is known last."""
    return max(unanswered.outlooks, key=lambda each: (each.watermark is Watermark.NONE, each.tells_from))


def _by_what(last: Outlook, now: float) -> list[str]:
    """Say which message shows how far the logs are, in one line or two."""
    tells_from = moment(last.tells_from)
    if last.watermark is Watermark.SEEN:
        return [f"They have shown such a message: if they still lack the batch at {tells_from}, it was not accepted."]
    if last.watermark is Watermark.BEGUN:
        return [f"8x8 has such a message: once the logs show it, they can tell, at {tells_from} at the earliest."]
    if last.watermark is Watermark.CANARY:
        when = "now" if last.counts_from <= now else f"at {moment(last.counts_from)}"
        return [
            f"The canary is to be such a message, sent {when}: they can tell from {tells_from} on, at the earliest."
        ]
    return [
        "Nothing of this campaign is young enough to show how far 8x8's logs are: they may tell that a batch was",
        "accepted, but not that it was not. Give canary_destination a number of your own, which gets one survey, or",
        f"send later batches. Another try can tell, at the earliest, from {tells_from} on, if there is either.",
    ]


def _how_long(unanswered: Unanswered, now: float) -> str:
    worth_until = max(each.worth_until for each in unanswered.outlooks)
    if now > worth_until:
        return (
            f"It is not worth waiting any longer: what the logs had not shown by {moment(worth_until)} takes a person."
        )
    return f"It is worth waiting until {moment(worth_until)}: what the logs have not shown by then takes a person."


def _when_to_decide(last: Outlook, now: float, until: float) -> list[str]:
    """Say how long a try that decides has to wait, so that the logs can tell before."""
    if last.tells_from <= until:
        return []
    minutes = math.ceil((last.tells_from - now) / 60)
    return [f"Set reconcile_timeout to at least {counted(minutes, 'minute')}, so that the logs can tell before that."]


def _advice(unanswered: Unanswered, tries: Tries, ends_at: float) -> list[str]:
    """Say how long after this try another one has to begin, so that it does not wait in vain."""
    seconds = max(each.serves_from for each in unanswered.outlooks) - ends_at
    if seconds <= 0 or not tries.is_remembered:
        return []
    at_least = f"at least {counted(math.ceil(seconds / 60), 'minute')}"
    if tries.retry_delay is not None and tries.retry_delay.total_seconds() >= seconds:
        return [f"With a retry_delay of {at_least} no try waits for that in vain: yours is {_span(tries.retry_delay)}."]
    return [f"Set retry_delay to {at_least}, so that no try waits for that in vain."]


def _what_follows(tries: Tries) -> list[str]:
    if not tries.is_remembered:
        return ["No other try can look: without journal_conn_id nothing is remembered on this Airflow."]
    kept = "The journal keeps what this try has seen"
    if tries.left == 0:
        return [f"{kept}: this is the last try; cleared, the task goes on from there."]
    if tries.left is None:
        return [f"{kept}: another try goes on from there."]
    delay = "" if tries.retry_delay is None else f" (retry_delay {_span(tries.retry_delay)})"
    return [f"{kept}: {counted(tries.left, 'more try', 'more tries')}{delay} can go on from there."]


def _a_person(client_batch_ids: Sequence[str], *, is_remembered: bool) -> list[str]:
    look = "To settle it yourself, look in 8x8 Connect's SMS logs for these ids: a batch that is there was accepted."
    if not is_remembered:
        return [
            look,
            "Then trigger a new DAG run with the rows that are missing. docs/runbook.md says how, step by step.",
        ]
    more = ", ..." if len(client_batch_ids) > 1 else ""
    said = f'settled_batches={{"{client_batch_ids[0]}": "accepted"{more}}}'
    return [look, f"Say so when you clear the task: {said}. docs/runbook.md says how, step by step."]


def _listed(what: str, names: Sequence[str]) -> list[str]:
    return textwrap.wrap(
        what + ", ".join(names), MAX_LINE_LENGTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def _span(time: timedelta) -> str:
    seconds = time.total_seconds()
    return f"{seconds:g} s" if seconds < 120 else f"{round(seconds / 60, 1):g} min"
