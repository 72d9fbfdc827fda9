"""How messages for people are laid out: what is wrong first, on lines of their own what to do about it."""

from __future__ import annotations


def with_advice(reason: str, *advice: str | None) -> str:
    """
    Return a message of several lines: Airflow's log view shows lines whole, and a long one as a strip to be scrolled.

    :param reason: what was found and what was expected
    :param advice: what to do, and what else is to be known; None and nothing are left out
    """
    return "\n".join([reason, *filter(None, advice)])
