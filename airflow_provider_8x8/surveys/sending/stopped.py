"""Why no batch is begun any more."""

from __future__ import annotations


class SendingStopped(Exception):  # noqa: N818  # not an error in itself: the reason to end the loop from wherever it is
    """
    Sending must not go on.

    :param reason: phone numbers masked
    :param is_final: another try could not mend it
    """

    def __init__(self, reason: str, *, is_final: bool = False) -> None:
        super().__init__(reason)
        self.is_final = is_final
