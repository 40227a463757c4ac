import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from tidemark.v1 import event_pb2 as _event_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TicketRights(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TICKET_RIGHTS_UNSPECIFIED: _ClassVar[TicketRights]
    TICKET_RIGHTS_READ: _ClassVar[TicketRights]
    TICKET_RIGHTS_READ_AND_CANCEL: _ClassVar[TicketRights]

class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STATUS_UNSPECIFIED: _ClassVar[Status]
    STATUS_QUEUED: _ClassVar[Status]
    STATUS_IN_PROGRESS: _ClassVar[Status]
    STATUS_COMPLETED: _ClassVar[Status]
    STATUS_INCOMPLETE: _ClassVar[Status]
    STATUS_FAILED: _ClassVar[Status]
    STATUS_CANCELLED: _ClassVar[Status]

class Api(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    API_UNSPECIFIED: _ClassVar[Api]
    API_RESPONSES: _ClassVar[Api]
    API_CHAT_COMPLETIONS: _ClassVar[Api]

class Wait(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WAIT_UNSPECIFIED: _ClassVar[Wait]
    WAIT_NONE: _ClassVar[Wait]
    WAIT_TERMINAL: _ClassVar[Wait]

class OnGap(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ON_GAP_UNSPECIFIED: _ClassVar[OnGap]
    ON_GAP_FAIL: _ClassVar[OnGap]
    ON_GAP_EARLIEST: _ClassVar[OnGap]

class Order(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ORDER_UNSPECIFIED: _ClassVar[Order]
    ORDER_ASC: _ClassVar[Order]
    ORDER_DESC: _ClassVar[Order]
TICKET_RIGHTS_UNSPECIFIED: TicketRights
TICKET_RIGHTS_READ: TicketRights
TICKET_RIGHTS_READ_AND_CANCEL: TicketRights
STATUS_UNSPECIFIED: Status
STATUS_QUEUED: Status
STATUS_IN_PROGRESS: Status
STATUS_COMPLETED: Status
STATUS_INCOMPLETE: Status
STATUS_FAILED: Status
STATUS_CANCELLED: Status
API_UNSPECIFIED: Api
API_RESPONSES: Api
API_CHAT_COMPLETIONS: Api
WAIT_UNSPECIFIED: Wait
WAIT_NONE: Wait
WAIT_TERMINAL: Wait
ON_GAP_UNSPECIFIED: OnGap
ON_GAP_FAIL: OnGap
ON_GAP_EARLIEST: OnGap
ORDER_UNSPECIFIED: Order
ORDER_ASC: Order
ORDER_DESC: Order

class TicketOrder(_message.Message):
    __slots__ = ("rights", "lifetime")
    RIGHTS_FIELD_NUMBER: _ClassVar[int]
    LIFETIME_FIELD_NUMBER: _ClassVar[int]
    rights: TicketRights
    lifetime: _duration_pb2.Duration
    def __init__(self, rights: _Optional[_Union[TicketRights, str]] = ..., lifetime: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Ticket(_message.Message):
    __slots__ = ("value", "expires_at", "rights")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    RIGHTS_FIELD_NUMBER: _ClassVar[int]
    value: str
    expires_at: _timestamp_pb2.Timestamp
    rights: TicketRights
    def __init__(self, value: _Optional[str] = ..., expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., rights: _Optional[_Union[TicketRights, str]] = ...) -> None: ...

class CreateTicketRequest(_message.Message):
    __slots__ = ("id", "order")
    ID_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    id: str
    order: TicketOrder
    def __init__(self, id: _Optional[str] = ..., order: _Optional[_Union[TicketOrder, _Mapping]] = ...) -> None: ...

class CreateTicketResponse(_message.Message):
    __slots__ = ("ticket",)
    TICKET_FIELD_NUMBER: _ClassVar[int]
    ticket: Ticket
    def __init__(self, ticket: _Optional[_Union[Ticket, _Mapping]] = ...) -> None: ...

class CreateRequest(_message.Message):
    __slots__ = ("model", "text", "items", "background", "store", "previous_response_id", "metadata", "extra", "wait", "idempotency_key", "ticket", "api", "session")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    BACKGROUND_FIELD_NUMBER: _ClassVar[int]
    STORE_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_RESPONSE_ID_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    EXTRA_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    TICKET_FIELD_NUMBER: _ClassVar[int]
    API_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    model: str
    text: str
    items: bytes
    background: bool
    store: bool
    previous_response_id: str
    metadata: _containers.ScalarMap[str, str]
    extra: bytes
    wait: Wait
    idempotency_key: str
    ticket: TicketOrder
    api: Api
    session: str
    def __init__(self, model: _Optional[str] = ..., text: _Optional[str] = ..., items: _Optional[bytes] = ..., background: _Optional[bool] = ..., store: _Optional[bool] = ..., previous_response_id: _Optional[str] = ..., metadata: _Optional[_Mapping[str, str]] = ..., extra: _Optional[bytes] = ..., wait: _Optional[_Union[Wait, str]] = ..., idempotency_key: _Optional[str] = ..., ticket: _Optional[_Union[TicketOrder, _Mapping]] = ..., api: _Optional[_Union[Api, str]] = ..., session: _Optional[str] = ...) -> None: ...

class CreateResponse(_message.Message):
    __slots__ = ("response", "replayed", "ticket")
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    TICKET_FIELD_NUMBER: _ClassVar[int]
    response: Response
    replayed: bool
    ticket: Ticket
    def __init__(self, response: _Optional[_Union[Response, _Mapping]] = ..., replayed: _Optional[bool] = ..., ticket: _Optional[_Union[Ticket, _Mapping]] = ...) -> None: ...

class CreateStreamRequest(_message.Message):
    __slots__ = ("create", "after")
    CREATE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    create: CreateRequest
    after: int
    def __init__(self, create: _Optional[_Union[CreateRequest, _Mapping]] = ..., after: _Optional[int] = ...) -> None: ...

class CreateStreamResponse(_message.Message):
    __slots__ = ("id", "events", "committed", "replayed", "ticket")
    ID_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    TICKET_FIELD_NUMBER: _ClassVar[int]
    id: str
    events: _containers.RepeatedCompositeFieldContainer[_event_pb2.Event]
    committed: int
    replayed: bool
    ticket: Ticket
    def __init__(self, id: _Optional[str] = ..., events: _Optional[_Iterable[_Union[_event_pb2.Event, _Mapping]]] = ..., committed: _Optional[int] = ..., replayed: _Optional[bool] = ..., ticket: _Optional[_Union[Ticket, _Mapping]] = ...) -> None: ...

class GetRequest(_message.Message):
    __slots__ = ("id", "api")
    ID_FIELD_NUMBER: _ClassVar[int]
    API_FIELD_NUMBER: _ClassVar[int]
    id: str
    api: Api
    def __init__(self, id: _Optional[str] = ..., api: _Optional[_Union[Api, str]] = ...) -> None: ...

class GetResponse(_message.Message):
    __slots__ = ("response",)
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    response: Response
    def __init__(self, response: _Optional[_Union[Response, _Mapping]] = ...) -> None: ...

class CancelRequest(_message.Message):
    __slots__ = ("id", "api")
    ID_FIELD_NUMBER: _ClassVar[int]
    API_FIELD_NUMBER: _ClassVar[int]
    id: str
    api: Api
    def __init__(self, id: _Optional[str] = ..., api: _Optional[_Union[Api, str]] = ...) -> None: ...

class CancelResponse(_message.Message):
    __slots__ = ("response",)
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    response: Response
    def __init__(self, response: _Optional[_Union[Response, _Mapping]] = ...) -> None: ...

class ResumeRequest(_message.Message):
    __slots__ = ("id", "after", "on_gap", "api")
    ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    ON_GAP_FIELD_NUMBER: _ClassVar[int]
    API_FIELD_NUMBER: _ClassVar[int]
    id: str
    after: int
    on_gap: OnGap
    api: Api
    def __init__(self, id: _Optional[str] = ..., after: _Optional[int] = ..., on_gap: _Optional[_Union[OnGap, str]] = ..., api: _Optional[_Union[Api, str]] = ...) -> None: ...

class ResumeResponse(_message.Message):
    __slots__ = ("events", "committed", "gap")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_FIELD_NUMBER: _ClassVar[int]
    GAP_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[_event_pb2.Event]
    committed: int
    gap: _event_pb2.Gap
    def __init__(self, events: _Optional[_Iterable[_Union[_event_pb2.Event, _Mapping]]] = ..., committed: _Optional[int] = ..., gap: _Optional[_Union[_event_pb2.Gap, _Mapping]] = ...) -> None: ...

class DeleteRequest(_message.Message):
    __slots__ = ("id", "api")
    ID_FIELD_NUMBER: _ClassVar[int]
    API_FIELD_NUMBER: _ClassVar[int]
    id: str
    api: Api
    def __init__(self, id: _Optional[str] = ..., api: _Optional[_Union[Api, str]] = ...) -> None: ...

class DeleteResponse(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class ListRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "api", "after")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    API_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    api: Api
    after: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., api: _Optional[_Union[Api, str]] = ..., after: _Optional[str] = ...) -> None: ...

class ListResponse(_message.Message):
    __slots__ = ("responses", "next_page_token", "page_size")
    RESPONSES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    responses: _containers.RepeatedCompositeFieldContainer[Response]
    next_page_token: str
    page_size: int
    def __init__(self, responses: _Optional[_Iterable[_Union[Response, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., page_size: _Optional[int] = ...) -> None: ...

class ListInputItemsRequest(_message.Message):
    __slots__ = ("id", "page_size", "order", "after", "api")
    ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    API_FIELD_NUMBER: _ClassVar[int]
    id: str
    page_size: int
    order: Order
    after: str
    api: Api
    def __init__(self, id: _Optional[str] = ..., page_size: _Optional[int] = ..., order: _Optional[_Union[Order, str]] = ..., after: _Optional[str] = ..., api: _Optional[_Union[Api, str]] = ...) -> None: ...

class ListInputItemsResponse(_message.Message):
    __slots__ = ("items", "has_more", "page_size")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    HAS_MORE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[InputItem]
    has_more: bool
    page_size: int
    def __init__(self, items: _Optional[_Iterable[_Union[InputItem, _Mapping]]] = ..., has_more: _Optional[bool] = ..., page_size: _Optional[int] = ...) -> None: ...

class InputItem(_message.Message):
    __slots__ = ("id", "json")
    ID_FIELD_NUMBER: _ClassVar[int]
    JSON_FIELD_NUMBER: _ClassVar[int]
    id: str
    json: bytes
    def __init__(self, id: _Optional[str] = ..., json: _Optional[bytes] = ...) -> None: ...

class Response(_message.Message):
    __slots__ = ("id", "status", "model", "background", "store", "created_at", "completed_at", "usage", "error", "incomplete_reason", "cancel_reason", "previous_response_id", "metadata", "committed", "watermark", "json", "api", "session")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    BACKGROUND_FIELD_NUMBER: _ClassVar[int]
    STORE_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_AT_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    INCOMPLETE_REASON_FIELD_NUMBER: _ClassVar[int]
    CANCEL_REASON_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_RESPONSE_ID_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_FIELD_NUMBER: _ClassVar[int]
    WATERMARK_FIELD_NUMBER: _ClassVar[int]
    JSON_FIELD_NUMBER: _ClassVar[int]
    API_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    id: str
    status: Status
    model: str
    background: bool
    store: bool
    created_at: _timestamp_pb2.Timestamp
    completed_at: _timestamp_pb2.Timestamp
    usage: Usage
    error: ResponseError
    incomplete_reason: str
    cancel_reason: str
    previous_response_id: str
    metadata: _containers.ScalarMap[str, str]
    committed: int
    watermark: int
    json: bytes
    api: Api
    session: str
    def __init__(self, id: _Optional[str] = ..., status: _Optional[_Union[Status, str]] = ..., model: _Optional[str] = ..., background: _Optional[bool] = ..., store: _Optional[bool] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., completed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., usage: _Optional[_Union[Usage, _Mapping]] = ..., error: _Optional[_Union[ResponseError, _Mapping]] = ..., incomplete_reason: _Optional[str] = ..., cancel_reason: _Optional[str] = ..., previous_response_id: _Optional[str] = ..., metadata: _Optional[_Mapping[str, str]] = ..., committed: _Optional[int] = ..., watermark: _Optional[int] = ..., json: _Optional[bytes] = ..., api: _Optional[_Union[Api, str]] = ..., session: _Optional[str] = ...) -> None: ...

class Usage(_message.Message):
    __slots__ = ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "total_tokens")
    INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CACHED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    REASONING_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_TOKENS_FIELD_NUMBER: _ClassVar[int]
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int
    total_tokens: int
    def __init__(self, input_tokens: _Optional[int] = ..., cached_tokens: _Optional[int] = ..., output_tokens: _Optional[int] = ..., reasoning_tokens: _Optional[int] = ..., total_tokens: _Optional[int] = ...) -> None: ...

class ResponseError(_message.Message):
    __slots__ = ("code", "message")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...
