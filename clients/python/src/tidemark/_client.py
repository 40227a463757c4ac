"""The blocking client. `aio.py` is the same for asyncio; what both follow is in `_rules.py`."""

import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor, TimeoutError as Silence
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
from google.protobuf.message import Message

from tidemark import _channel as channels
from tidemark._rules import (
    ON_GAP,
    Deadline,
    Event,
    Failure,
    Gap,
    OnGap,
    Position,
    Refused,
    Settings,
    Tries,
    Unreachable,
    failure_of,
    prepared,
)
from tidemark.v1 import responses_pb2 as pb
from tidemark.v1.responses_pb2_grpc import ResponsesServiceStub

# How long a create may take that waits for the end of its response, in seconds: as long as a run may take.
WAIT_TIMEOUT = 3600

A = TypeVar("A")


class Client:
    """A client of one gateway. It can be shared by threads; close it, or use it as a context manager.

    `url` is `http://HOST:PORT` or `https://HOST:PORT`, `credential` a key or a ticket, `owner` the owner to act for where the
    gateway allows that. Every method raises `TidemarkError`.
    """

    def __init__(
        self,
        url: str,
        *,
        credential: str | None = None,
        owner: str | None = None,
        settings: Settings = Settings(),
        tls: grpc.ChannelCredentials | None = None,
    ) -> None:
        target, secure = channels.target_of(url)
        options = channels.options_of(settings)
        if secure:
            self._channel = grpc.secure_channel(target, tls or grpc.ssl_channel_credentials(), options)
        else:
            self._channel = grpc.insecure_channel(target, options)
        self._stub: Any = ResponsesServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._metadata = channels.metadata_of(credential, owner)
        self._settings = settings

    def create(self, request: pb.CreateRequest, *, timeout: float | None = None) -> pb.CreateResponse:
        """Starts a response; with `WAIT_TERMINAL`, returns when it has ended. It is made once, however often it is tried."""
        if timeout is None and request.wait == pb.WAIT_TERMINAL:
            timeout = WAIT_TIMEOUT
        answer: pb.CreateResponse = self._call(self._stub.Create, prepared(request), timeout)
        return answer

    def create_stream(self, request: pb.CreateRequest, *, on_gap: OnGap = "fail") -> "Reader":
        """Starts a response and reads it to its end. It is made once, however often it is tried."""
        return Reader(self, None, None, on_gap, prepared(request))

    def resume(self, id: str, after: int | None = None, *, on_gap: OnGap = "fail") -> "Reader":
        """Reads a response to its end, from its first event or behind the position `after`."""
        return Reader(self, id, after, on_gap, None)

    def get(self, id: str, *, timeout: float | None = None) -> pb.Response:
        """The response as it is now, with all output so far."""
        answer: pb.GetResponse = self._call(self._stub.Get, pb.GetRequest(id=id), timeout)
        return answer.response

    def cancel(self, id: str, *, timeout: float | None = None) -> pb.Response:
        """Stops a running response; one that has ended is returned unchanged."""
        answer: pb.CancelResponse = self._call(self._stub.Cancel, pb.CancelRequest(id=id), timeout)
        return answer.response

    def delete(self, id: str, *, timeout: float | None = None) -> None:
        """Removes a response for good; a running one is cancelled first."""
        try:
            self._call(self._stub.Delete, pb.DeleteRequest(id=id), timeout)
        except Refused as error:
            # An earlier try may have removed it, and its reply was lost.
            if not (error.code == "not_found" and error.repeated):
                raise

    def list(self, *, page_size: int = 0, page_token: str = "", timeout: float | None = None) -> pb.ListResponse:
        """A page of one's own responses, the newest first; `next_page_token` asks for the next."""
        request = pb.ListRequest(page_size=page_size, page_token=page_token)
        answer: pb.ListResponse = self._call(self._stub.List, request, timeout)
        return answer

    def create_ticket(self, id: str, order: pb.TicketOrder | None = None, *, timeout: float | None = None) -> pb.Ticket:
        """A ticket: the right to read one response, for a reader without a key. Without an order to read, for an hour."""
        request = pb.CreateTicketRequest(id=id, order=order)
        answer: pb.CreateTicketResponse = self._call(self._stub.CreateTicket, request, timeout)
        return answer.ticket

    def close(self) -> None:
        """Closes the connection. Readers that are open end with an error."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _call(self, method: Callable[..., A], request: Message, timeout: float | None) -> A:
        deadline = Deadline(self._settings, self._settings.timeout if timeout is None else timeout)
        while True:
            try:
                return method(request, timeout=deadline.left, metadata=self._metadata)
            except grpc.RpcError as error:
                time.sleep(deadline.failed(error))


class Reader:
    """Reads one response to its end: an iterator over `Event` and `Gap` that reconnects by itself.

    `id` and `after` are the position to save: `client.resume(id, after)` goes on there, in this process or another.
    """

    def __init__(
        self, client: Client, id: str | None, after: int | None, on_gap: OnGap, create: pb.CreateRequest | None
    ) -> None:
        # The response's id; absent until `create_stream` has learnt it.
        self.id = id
        # The ticket that the create has asked for.
        self.ticket: pb.Ticket | None = None
        self._client = client
        self._on_gap = ON_GAP[on_gap]
        self._create = create
        self._position = Position(after)
        self._items = self._read()

    @property
    def after(self) -> int | None:
        """The last event that was handed out; absent if there was none."""
        return self._position.after

    def close(self) -> None:
        """Stops reading. The response goes on."""
        self._items.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event | Gap:
        return next(self._items)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _read(self) -> Generator[Event | Gap, None, None]:
        settings = self._client._settings
        tries = Tries(settings)
        # grpcio has no bound for the wait for one message: another thread waits for it.
        with ThreadPoolExecutor(1, "tidemark-reader") as waiter:
            while True:
                call = self._open()
                try:
                    while (message := waiter.submit(next, call, None).result(settings.idle_timeout)) is not None:
                        tries.heard()
                        self._learn(message)
                        yield from self._position.take(message)
                        if self._position.ended:
                            return
                    return
                except Silence:
                    failure = Failure(Unreachable(f"silent for {settings.idle_timeout} s"), again=True)
                except grpc.RpcError as error:
                    failure = failure_of(error)
                finally:
                    call.cancel()
                time.sleep(tries.failed(failure))

    def _open(self) -> Any:
        stub, metadata = self._client._stub, self._client._metadata
        if self.id is None:
            return stub.CreateStream(pb.CreateStreamRequest(create=self._create), metadata=metadata)
        return stub.Resume(pb.ResumeRequest(id=self.id, after=self.after, on_gap=self._on_gap), metadata=metadata)

    def _learn(self, message: Any) -> None:
        if self.id is None:
            self.id = message.id
            self.ticket = message.ticket if message.HasField("ticket") else None
