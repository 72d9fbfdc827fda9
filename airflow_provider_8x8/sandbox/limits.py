"""
8x8's limits as its own side of the wire states them: lengths, patterns, codes.

The one place of the sandbox for them. They are stated a second time, apart from the client's, on purpose: a sandbox
that shared the client's limits could never find them wrong.
"""

from __future__ import annotations

import re
from datetime import timedelta
from enum import IntEnum

MAX_MESSAGES = 10_000
MAX_CLIENT_BATCH_ID_LENGTH = 20
MAX_CLIENT_MESSAGE_ID_LENGTH = 350
MAX_SOURCE_LENGTH = 16
MAX_SCHEDULED_AHEAD = timedelta(days=7)
MAX_E164_DIGITS = 15

ENCODINGS = ("AUTO", "GSM7", "UCS2")

# Without anchors, for fullmatch: "$" would let a trailing newline pass.
SUBACCOUNT_ID = re.compile(r"[A-Za-z0-9\-._&]{3,50}")
DESTINATION = re.compile(r"\+{0,1}[1-9]{1}[0-9]{6,14}")
ACCOUNT_ID = re.compile(r"[0-9A-Fa-f]{8}[-]?(?:[0-9A-Fa-f]{4}[-]?){3}[0-9A-Fa-f]{12}")

SURVEY_LINK_LENGTH = 21
"""Characters of the short link, always."""

MAX_PARTS = 10
"""Parts of one text: what is longer is cut off, and sent."""

REQUESTS_PER_SECOND = 1800
"""Requests to one sub-account; above it 429."""

GET_MESSAGE_PER_SECOND = 1
"""Reads of one message's details, for one sub-account; above it 429."""

LOG_EXPORT_LIFETIME = timedelta(days=30)
"""How long the links of a log export can be used."""


class Code(IntEnum):
    """8x8's error codes, as far as the sandbox gives them."""

    QUOTA_EXCEEDED = 429
    INVALID_PARAMETER = 1000
    INVALID_SUBACCOUNT = 1001
    INVALID_MSISDN = 1002
    INVALID_ENCODING = 1003
    INVALID_TEXT = 1004
    INVALID_SOURCE = 1005
    INVALID_EXPIRY = 1006
    INVALID_TEMPLATE = 1007
    INVALID_ID = 1008
    INVALID_COUNTRY = 1009
    INVALID_SCHEDULE = 1011
    UNAUTHORIZED = 1200
    NOT_FOUND = 1300
    INTERNAL = 2000
    CLIENT_MESSAGE_ID_TOO_LONG = 3009
    SOURCE_TOO_LONG = 3011
    NO_MESSAGES = 3012
    TOO_MANY_MESSAGES = 3013
    CLIENT_BATCH_ID_TOO_LONG = 3014
    UNKNOWN_COUNTRY = 3018
    INVALID_CALLBACK_URL = 3020
    INVALID_JOB_ID = 4018
