"""The client for asyncio: the same names as in `tidemark`, to be awaited. What both follow is in `_rules.py`."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from tidemark import _channel as channels
from tidemark._client import WAIT_TIMEOUT
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


A = TypeVar("A")


class Client:
    """A client of one gateway. It belongs to one event loop; close it, or use it as a context manager.

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
            self._channel = grpc.aio.secure_channel(target, tls or grpc.ssl_channel_credentials(), options)
        else:
            self._channel = grpc.aio.insecure_channel(target, options)
        self._stub: Any = ResponsesServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._metadata = channels.metadata_of(credential, owner)
        self._settings = settings

    async def create(self, request: pb.CreateRequest, *, timeout: float | None = None) -> pb.CreateResponse:
        """Starts a response; with `WAIT_TERMINAL`, returns when it has ended. It is made once, however often it is tried."""
        if timeout is None and request.wait == pb.WAIT_TERMINAL:
            timeout = WAIT_TIMEOUT
        answer: pb.CreateResponse = await self._call(self._stub.Create, prepared(request), timeout)
        return answer

    def create_stream(self, request: pb.CreateRequest, *, on_gap: OnGap = "fail") -> "Reader":
        """Starts a response and reads it to its end. It is made once, however often it is tried."""
        return Reader(self, None, None, on_gap, prepared(request))

    def resume(self, id: str, after: int | None = None, *, on_gap: OnGap = "fail") -> "Reader":
        """Reads a response to its end, from its first event or behind the position `after`."""
        return Reader(self, id, after, on_gap, None)

    async def get(self, id: str, *, timeout: float | None = None) -> pb.Response:
        """The response as it is now, with all output so far."""
        answer: pb.GetResponse = await self._call(self._stub.Get, pb.GetRequest(id=id), timeout)
        return answer.response

    async def cancel(self, id: str, *, timeout: float | None = None) -> pb.Response:
        """Stops a running response; one that has ended is returned unchanged."""
        answer: pb.CancelResponse = await self._call(self._stub.Cancel, pb.CancelRequest(id=id), timeout)
        return answer.response

    async def delete(self, id: str, *, timeout: float | None = None) -> None:
        """Removes a response for good; a running one is cancelled first."""
        try:
            await self._call(self._stub.Delete, pb.DeleteRequest(id=id), timeout)
        except Refused as error:
            # An earlier try may have removed it, and its reply was lost.
            if not (error.code == "not_found" and error.repeated):
                raise

    async def list(self, *, page_size: int = 0, page_token: str = "", timeout: float | None = None) -> pb.ListResponse:
        """A page of one's own responses, the newest first; `next_page_token` asks for the next."""
        request = pb.ListRequest(page_size=page_size, page_token=page_token)
        answer: pb.ListResponse = await self._call(self._stub.List, request, timeout)
        return answer

    async def create_ticket(self, id: str, order: pb.TicketOrder | None = None, *, timeout: float | None = None) -> pb.Ticket:
        """A ticket: the right to read one response, for a reader without a key. Without an order to read, for an hour."""
        request = pb.CreateTicketRequest(id=id, order=order)
        answer: pb.CreateTicketResponse = await self._call(self._stub.CreateTicket, request, timeout)
        return answer.ticket

    async def close(self) -> None:
        """Closes the connection. Readers that are open end with an error."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def _call(self, method: Callable[..., Awaitable[A]], request: Message, timeout: float | None) -> A:
        deadline = Deadline(self._settings, self._settings.timeout if timeout is None else timeout)
        while True:
            try:
                return await method(request, timeout=deadline.left, metadata=self._metadata)
            except grpc.RpcError as error:
                await asyncio.sleep(deadline.failed(error))


class Reader:
    """Reads one response to its end: an asynchronous iterator over `Event` and `Gap` that reconnects by itself.

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

    async def close(self) -> None:
        """Stops reading. The response goes on."""
        await self._items.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event | Gap:
        return await anext(self._items)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def _read(self) -> AsyncGenerator[Event | Gap, None]:
        settings = self._client._settings
        tries = Tries(settings)
        while True:
            call = self._open()
            try:
                while (message := await asyncio.wait_for(call.read(), settings.idle_timeout)) is not grpc.aio.EOF:
                    tries.heard()
                    self._learn(message)
                    for item in self._position.take(message):
                        yield item
                    if self._position.ended:
                        return
                return
            except TimeoutError:
                failure = Failure(Unreachable(f"silent for {settings.idle_timeout} s"), again=True)
            except grpc.RpcError as error:
                failure = failure_of(error)
            finally:
                call.cancel()
            await asyncio.sleep(tries.failed(failure))

    def _open(self) -> Any:
        stub, metadata = self._client._stub, self._client._metadata
        if self.id is None:
            return stub.CreateStream(pb.CreateStreamRequest(create=self._create), metadata=metadata)
        return stub.Resume(pb.ResumeRequest(id=self.id, after=self.after, on_gap=self._on_gap), metadata=metadata)

    def _learn(self, message: Any) -> None:
        if self.id is None:
            self.id = message.id
            self.ticket = message.ticket if message.HasField("ticket") else None
