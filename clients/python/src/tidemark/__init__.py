"""A client of Tidemark: durable answers of language models, and readers that come back at the exact event.

`Client` blocks; `tidemark.aio.Client` is the same for asyncio. Requests and answers are the messages of the contract.
"""

from tidemark import aio
from tidemark._client import Client, Reader
from tidemark._rules import (
    Event,
    Gap,
    OffsetLost,
    OnGap,
    Refused,
    Settings,
    TidemarkError,
    TimedOut,
    Unreachable,
    output_text,
)
from tidemark.v1.responses_pb2 import (
    API_CHAT_COMPLETIONS,
    API_RESPONSES,
    STATUS_CANCELLED,
    STATUS_COMPLETED,
    STATUS_FAILED,
    STATUS_INCOMPLETE,
    STATUS_IN_PROGRESS,
    STATUS_QUEUED,
    TICKET_RIGHTS_READ,
    TICKET_RIGHTS_READ_AND_CANCEL,
    WAIT_NONE,
    WAIT_TERMINAL,
    CreateRequest,
    CreateResponse,
    ListResponse,
    Response,
    Ticket,
    TicketOrder,
)

__all__ = [
    "API_CHAT_COMPLETIONS",
    "API_RESPONSES",
    "STATUS_CANCELLED",
    "STATUS_COMPLETED",
    "STATUS_FAILED",
    "STATUS_INCOMPLETE",
    "STATUS_IN_PROGRESS",
    "STATUS_QUEUED",
    "TICKET_RIGHTS_READ",
    "TICKET_RIGHTS_READ_AND_CANCEL",
    "WAIT_NONE",
    "WAIT_TERMINAL",
    "Client",
    "CreateRequest",
    "CreateResponse",
    "Event",
    "Gap",
    "ListResponse",
    "OffsetLost",
    "OnGap",
    "Reader",
    "Refused",
    "Response",
    "Settings",
    "Ticket",
    "TicketOrder",
    "TidemarkError",
    "TimedOut",
    "Unreachable",
    "aio",
    "output_text",
]
