"""A transport of httpx2 for the stock SDKs that goes on where a stream was cut.

A streaming POST gets an idempotency key, so that it can be sent again, and ids on its events. When its body breaks off, the same
POST with `Last-Event-ID` brings exactly what follows. The library sees one reply that was never cut.
"""

import json
import re
import time
import uuid
from collections.abc import Iterator

import httpx2 as httpx

# What ends a stream in good order.
DONE = b"data: [DONE]"

# The line that numbers an event. The library does not get it: it gets the stream as it is without our asking.
ID = re.compile(rb"^id: ?(.*)\n", re.MULTILINE)

# The longest pause between two tries, in seconds.
MAX_PAUSE = 10


class ResumingTransport(httpx.BaseTransport):
    """`tries` further connections are made in a row without an event; the pause before each doubles, from `pause` seconds."""

    def __init__(self, inner: httpx.BaseTransport | None = None, *, tries: int = 8, pause: float = 0.2) -> None:
        self.inner = inner or httpx.HTTPTransport()
        self.tries, self.pause = tries, pause

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if not streams(request):
            return self.inner.handle_request(request)
        request.headers.setdefault("idempotency-key", str(uuid.uuid4()))
        request.url = request.url.copy_merge_params({"event_ids": "true"})
        reply = self.inner.handle_request(request)
        if reply.status_code != 200:
            return reply
        headers = [(name, value) for name, value in reply.headers.multi_items() if name != "content-length"]
        return httpx.Response(200, headers=headers, stream=Frames(self, request, reply), extensions=reply.extensions)

    def close(self) -> None:
        self.inner.close()


class Frames(httpx.SyncByteStream):
    """All frames of a stream, each whole and each once."""

    def __init__(self, transport: ResumingTransport, request: httpx.Request, reply: httpx.Response) -> None:
        self.transport, self.request, self.reply = transport, request, reply

    def close(self) -> None:
        self.reply.close()

    def __iter__(self) -> Iterator[bytes]:
        left = self.transport.tries
        while True:
            try:
                if self.reply.is_closed:
                    self.reply = self.transport.inner.handle_request(self.request)
                if self.reply.status_code == 204:
                    return  # There is nothing behind the last event that we have.
                if self.reply.status_code not in (200, 429) and self.reply.status_code < 500:
                    yield b"event: error\ndata: " + self.reply.read() + b"\n\n"
                    return
                for frame in self.whole_frames() if self.reply.status_code == 200 else ():
                    if found := ID.search(frame):
                        self.request.headers["last-event-id"] = found[1].decode()
                        left = self.transport.tries
                    yield ID.sub(b"", frame)
                    if DONE in frame:
                        return
            except httpx.TransportError:
                if left <= 0:
                    raise
            # A stream that only ended is asked once more as well: the gateway says whether there is more.
            if left <= 0:
                raise httpx.ReadError("the stream was cut too often", request=self.request)
            self.reply.close()
            time.sleep(min(self.transport.pause * 2 ** (self.transport.tries - left), MAX_PAUSE))
            left -= 1

    def whole_frames(self) -> Iterator[bytes]:
        rest = b""
        for piece in self.reply.iter_raw():
            *frames, rest = (rest + piece).split(b"\n\n")
            yield from (frame + b"\n\n" for frame in frames)


def streams(request: httpx.Request) -> bool:
    """Whether a request asks for a stream."""
    if request.method != "POST" or not request.headers.get("content-type", "").startswith("application/json"):
        return False
    return json.loads(request.read()).get("stream") is True
