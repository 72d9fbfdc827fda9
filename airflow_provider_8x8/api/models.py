"""
Requests and responses of 8x8's SMS API, with 8x8's limits.

Every limit of 8x8 stands here and nowhere else. Field names are snake_case here and camelCase on the wire.
msgspec checks the limits where a struct is made by :func:`msgspec.convert` or decoded, not in its constructor.

Source: 8x8's OpenAPI file for the SMS API, its `tutorial on SMS Engage
<https://developer.8x8.com/connect/docs/tutorial-sms-engage>`__ and its page "Send SMS API reference".
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta

MAX_BATCH_SIZE = 10_000
"""Messages in one batch."""

MAX_CLIENT_BATCH_ID_LENGTH = 20
"""Characters of a client batch id."""

MAX_CLIENT_MESSAGE_ID_LENGTH = 50
"""Characters of a client message id. 8x8's OpenAPI file allows 350, an older copy of its page 50: both take these."""

MAX_SCHEDULED_AHEAD = timedelta(days=7)
"""How far ahead a message may be scheduled."""

MAX_SOURCE_LENGTH = 16
"""Characters of a sender."""

MAX_ALPHANUMERIC_SOURCE_LENGTH = 11
"""Characters of a sender that is not all digits: the GSM limit. 8x8 lets 16 pass, phones may not."""

MAX_SMS_PARTS = 10
"""Parts of one text. 8x8 cuts off what is longer and sends the rest."""

SURVEY_LINK_LENGTH = 21
"""Characters of the short link that 8x8 puts where the template has ``{{url}}``."""

SubaccountId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9\-._&]{3,50}\Z")]
DESTINATION = r"\+?[1-9][0-9]{6,14}"
Destination = Annotated[str, Meta(pattern=rf"^{DESTINATION}\Z")]
CountryCode = Annotated[str, Meta(pattern=r"^[A-Z]{2}\Z")]
Source = Annotated[str, Meta(min_length=1, max_length=MAX_SOURCE_LENGTH)]
ClientMessageId = Annotated[str, Meta(min_length=1, max_length=MAX_CLIENT_MESSAGE_ID_LENGTH)]
ClientBatchId = Annotated[str, Meta(min_length=1, max_length=MAX_CLIENT_BATCH_ID_LENGTH)]
CallbackUrl = Annotated[str, Meta(pattern=r"^https?://[^\s/]+\S*\Z")]
Encoding = Literal["AUTO", "GSM7", "UCS2"]
AwareDatetime = Annotated[datetime, Meta(tz=True)]
TemplateBody = Annotated[str, Meta(min_length=1)]
TemplateVariables = dict[str, str | int | float]
# Wider than 8x8's UUIDs, yet nothing that a journal or a report could not hold.
BatchId = Annotated[str, Meta(pattern=r"^[!-~]{1,100}\Z")]
Umid = Annotated[str, Meta(min_length=1, max_length=100)]
Count = Annotated[int, Meta(ge=0, le=MAX_BATCH_SIZE)]
# 8x8's codes have four digits. What has more could be a phone number.
ErrorCode = Annotated[int, Meta(ge=0, le=999_999)]

T = TypeVar("T")

is_destination = re.compile(DESTINATION).fullmatch
"""Whether a text is a :data:`Destination`, without making a message of it."""


class _Request(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True):
    """What goes to 8x8: fields that are not set are not sent."""


class _Response(msgspec.Struct, rename="camel", kw_only=True):
    """What comes from 8x8: fields that this version does not know are ignored."""


class SurveyMessage(_Request, gc=False):  # ten thousand a batch, and nothing in it that could hold it
    """One message of a batch, or a survey of its own (``SurveyRequest``)."""

    destination: Destination
    """7 to 15 digits, the first of them not 0; with the country code, unless ``country`` is given."""
    country: CountryCode | None = None
    """ISO 3166-1 alpha-2, for a national number."""
    template_body: TemplateBody | None = None
    """The text in 8x8's braces; needed where there is no :class:`SurveyTemplate`."""
    template_variables: TemplateVariables | None = None
    """A text or number for each placeholder."""
    source: Source | None = None
    """The sender that phones show: at most 16 characters."""
    client_message_id: ClientMessageId | None = None
    """At most 50 characters. Where it is absent, 8x8 makes one up that holds the phone number."""
    encoding: Encoding | None = None
    """``AUTO`` by default."""
    scheduled: AwareDatetime | None = None
    """When to send, at most 7 days ahead; by default at once."""
    expiry: AwareDatetime | None = None
    """When the message is dropped if it was not sent by then."""
    dlr_callback_url: CallbackUrl | None = None
    """Where 8x8 posts delivery receipts."""

    def __repr__(self) -> str:
        # The generated repr would put the phone number and the variables into logs and tracebacks.
        return f"<SurveyMessage {self.client_message_id}>"


class SurveyTemplate(_Request):
    """The values for all messages of a batch that have none of their own (``SurveyTemplate``), as in those."""

    template_body: TemplateBody
    source: Source | None = None
    encoding: Encoding | None = None
    scheduled: AwareDatetime | None = None
    expiry: AwareDatetime | None = None
    dlr_callback_url: CallbackUrl | None = None

    def __repr__(self) -> str:
        return "<SurveyTemplate>"  # a sender may be a phone number, and the address of receipts may let one in there


class SurveyBatch(_Request):
    """A batch of surveys (``BatchSurveyRequest``)."""

    messages: Annotated[list[SurveyMessage], Meta(min_length=1, max_length=MAX_BATCH_SIZE)] | msgspec.Raw
    """1 to 10,000 messages; or a JSON array of them, encoded before."""
    template: SurveyTemplate | None = None
    client_batch_id: ClientBatchId | None = None
    """At most 20 characters; 8x8's logs have it. 8x8 does not deduplicate by it."""
    include_messages_in_response: bool = False
    """Without it 8x8 answers with counts only, and a rejected row cannot be told."""


class MessageStatus(_Response, gc=False):
    """Whether 8x8 took one message."""

    code: Literal["QUEUED", "REJECTED"]
    description: str = ""

    def __repr__(self) -> str:
        return f"<MessageStatus {self.code}>"  # a description may quote the phone number


class MessageResponse(_Response, gc=False):
    """What 8x8 says of one message (``SmsResponse``), without what it repeats of the request."""

    umid: Umid
    status: MessageStatus
    client_message_id: str | None = None

    def __repr__(self) -> str:
        return f"<MessageResponse {self.umid} {self.status.code}>"


class BatchResponse(_Response):
    """What 8x8 says of a batch (``BatchSmsResponse``)."""

    batch_id: BatchId
    """8x8's own."""
    accepted_count: Count
    rejected_count: Count
    client_batch_id: str | None = None
    messages: list[MessageResponse] | None = None
    """One for each message, in any order, if the request has asked for them."""


class ErrorEnvelope(_Response):
    """The body of every 4xx and 5xx that comes from 8x8's platform."""

    code: ErrorCode
    message: str
    error_id: str
    timestamp: str = ""

    def __repr__(self) -> str:
        return f"<ErrorEnvelope {self.code}>"  # a message may quote the phone number


class CancelResponse(_Response):
    """How many messages a cancellation stopped."""

    cancelled_count: Annotated[int, Meta(ge=0)] = 0


class MessageState(_Response):
    """Where a message stands: ``queued``, ``sent``, ``delivered``, ``undelivered``, ..."""

    state: str | None = None
    detail: str | None = None
    error_code: int | None = None
    error_message: str | None = None
    timestamp: str | None = None

    def __repr__(self) -> str:
        return f"<MessageState {self.state}>"  # an error message may quote the phone number


class MessageDetails(_Response):
    """One message as 8x8 has it."""

    umid: str
    sub_account_id: str | None = None
    status: MessageState | None = None
    client_message_id: str | None = None
    batch_id: str | None = None
    client_batch_id: str | None = None

    def __repr__(self) -> str:
        # A client message id that 8x8 made up holds the phone number.
        return f"<MessageDetails {self.umid} {self.status}>"


class LogExportRequest(_Request, rename={"from_": "from", "phone_number": "phoneNumber"}):
    """Which messages of the sub-account to export. There is no filter by batch."""

    from_: AwareDatetime
    """Messages that were made from then on; in JSON it is ``from``."""
    to: AwareDatetime
    phone_number: str | None = None
    """E.164."""
    countries: list[CountryCode] | None = None
    limit: Annotated[int, Meta(ge=0)] | None = None
    """Records at most; 0 means no limit, and None leaves it to 8x8."""

    def __repr__(self) -> str:
        return f"<LogExportRequest {self.from_} to {self.to}>"


class LogExportJob(_Response):
    """A log export that 8x8 has begun."""

    job_id: str
    """For :meth:`~airflow_provider_8x8.api.client.EightByEightClient.get_log_export`."""


class LogExport(_Response):
    """A log export as it stands; ``data`` holds links to CSV files once it has succeeded."""

    status: Literal["queued", "running", "succeeded", "failed", "cancelled", "empty", "error"]
    data: list[str] = []
    """Links, each of which is its own key."""
    expires: str | None = None
    """When the links end: a month later."""

    def __post_init__(self) -> None:
        # No link would else look like files in which nothing is.
        if self.status == "succeeded" and not self.data:
            raise ValueError("a log export that has succeeded gives no link to a file")

    def __repr__(self) -> str:
        return f"<LogExport {self.status}, {len(self.data)} files>"  # each link is its own key


class LogLine(msgspec.Struct, frozen=True, gc=False):
    """What one line of a log export says of a message; an id that the message does not have is empty."""

    umid: str
    client_message_id: str
    client_batch_id: str
    batch_id: str
    status: str
    """In lower case: ``queued``, ``rejected``, ``sent``, ``delivered``, ``undelivered``, ``read``."""
    code: str | None
    description: str | None
    """What went wrong; else the detail."""
    detail: str | None = None
    """Such as ``delivered_to_recipient``."""
    currency: str | None = None
    """ISO 4217, such as ``USD``."""
    price: str | None = None
    """For all parts of the message, in units of the currency, as 8x8 writes it."""

    def __repr__(self) -> str:
        # A client message id that 8x8 made up holds the phone number.
        return f"<LogLine {self.umid} {self.status}>"


class Balance(_Response):
    """What is left on a prepaid account."""

    balance: float
    """In units of the currency."""
    currency: str
    """ISO 4217, such as ``USD``."""


def decode(body: bytes, answer: type[T]) -> T:
    """
    Return what 8x8's answer says.

    :raises msgspec.MsgspecError: it is not what 8x8's API describes, in whatever way
    """
    try:
        decoded = msgspec.json.decode(body, type=answer)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(f"the answer is no JSON that can be read ({type(error).__name__})") from None
    # In one pass over some megabytes: of the two names only what they share is looked for at first.
    if body.count(_END_OF_COUNTS) > len(_COUNTS) and any(body.count(name) > 1 for name in _COUNTS):
        raise msgspec.DecodeError("the answer gives a count more than once")
    return decoded


_COUNTS = (b'"acceptedCount"', b'"rejectedCount"')
_END_OF_COUNTS = b"tedCount"
