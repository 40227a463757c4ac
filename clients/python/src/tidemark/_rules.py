"""The rules by which a client follows a response: F-1 to F-9 of `clients/README.md`.

It owns what is the same for blocking and asyncio code: events, errors, the position of a reader, and what is tried again
when. It must never know how a call is made, or how one waits.
"""

import json
import random
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from tidemark.v1 import responses_pb2 as pb

# The events that end a response (F-4).
TERMINAL = frozenset(
    f"{kind}.{end}" for kind in ("response", "chat.completion") for end in ("completed", "incomplete", "failed")
)

# The domain of every `ErrorInfo` of the gateway.
DOMAIN = "tidemark"

# Codes of a status that comes from no gateway: the connection was lost (F-5).
LOST = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.DATA_LOSS,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    }
)

# How often the first delay is doubled at most: beyond it, every `max_delay` is reached.
MAX_DOUBLINGS = 20


@dataclass(frozen=True, slots=True)
class Settings:
    """How a client waits and tries again. All times are in seconds."""

    # How long a unary call may take, all tries together. A create that waits for the end of its response has an hour.
    timeout: float = 60
    # How long a stream may be silent before it counts as lost: three heartbeats of the gateway. A third of it is the time
    # after which a silent connection is pinged.
    idle_timeout: float = 45
    # How long to go on trying without a sign of the gateway.
    patience: float = 300
    # The delay before the first further try; it doubles with each one in vain, up to `max_delay`. Half of it is random.
    min_delay: float = 0.2
    max_delay: float = 10

    def __post_init__(self) -> None:
        for name in ("timeout", "idle_timeout", "patience", "min_delay", "max_delay"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be more than 0 seconds")


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of the log of a response."""

    # Its number: from 0, strictly increasing.
    seq: int
    # The name of the event, for example `response.output_text.delta`.
    type: str
    # One line of JSON.
    data: bytes

    def json(self) -> Any:
        """The data as Python values."""
        return json.loads(self.data)

    @property
    def text(self) -> str:
        """What the event adds to the text of the answer; empty for most."""
        if self.type == "response.output_text.delta":
            return str(self.json()["delta"])
        if self.type == "chat.completion.chunk":
            return "".join(choice["delta"].get("content") or "" for choice in self.json()["choices"])
        return ""


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch of the log that is gone. Only a reader with `on_gap="earliest"` meets one."""

    # The first and the last event that is lost.
    from_: int
    to: int

    @property
    def text(self) -> str:
        """Nothing: what is gone adds no text."""
        return ""


class TidemarkError(Exception):
    """A call that failed for good. `code` is stable: that of the gateway, `unreachable` or `timeout`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code
        self.message = message
        # Whether an earlier try of the same call may have done what was asked for.
        self.repeated = False


class Unreachable(TidemarkError):
    """No sign of the gateway for `patience`; a reader can be opened again at its position."""

    def __init__(self, message: str) -> None:
        super().__init__("unreachable", message)


class TimedOut(TidemarkError):
    """The call took longer than its `timeout`; what it asked for may have happened."""

    def __init__(self, message: str) -> None:
        super().__init__("timeout", message)


class Refused(TidemarkError):
    """The gateway, or something in front of it, said no. `docs/errors/` has a page for each code."""

    def __init__(self, code: str, message: str, status: grpc.StatusCode, details: dict[str, str]) -> None:
        super().__init__(code, message)
        # The gRPC status.
        self.status = status
        # Details by name: `param`, `scope`, `response_id`, …
        self.details = details


class OffsetLost(Refused):
    """Events after the position are gone. `on_gap="earliest"` goes on behind them."""

    def __init__(self, code: str, message: str, status: grpc.StatusCode, details: dict[str, str]) -> None:
        super().__init__(code, message, status, details)
        # The first event that can be read, and the highest that is durable.
        self.earliest = int(details["earliest"])
        self.committed = int(details["committed"])
        # The highest event that is gone; absent if the position itself never was (any more).
        self.watermark = int(details["watermark"]) if "watermark" in details else None
        # Whether a power cut took what was read (`durability = "os"`).
        self.rolled_back = details.get("reason") == "rolled_back"


@dataclass(frozen=True, slots=True)
class Failure:
    """One try that failed: the error it is, whether another try may help, and not before how many seconds."""

    error: TidemarkError
    again: bool
    wait: float = 0


def failure_of(error: grpc.RpcError) -> Failure:
    """What a failed call means (F-5, F-6)."""
    info, wait = None, None
    trailers = dict(error.trailing_metadata() or ())
    try:
        details = status_pb2.Status.FromString(trailers.get("grpc-status-details-bin", b"")).details
        for packed in details:
            if packed.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
                info = error_details_pb2.ErrorInfo.FromString(packed.value)
            elif packed.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
                delay = error_details_pb2.RetryInfo.FromString(packed.value).retry_delay
                wait = delay.seconds + delay.nanos / 1e9
    except DecodeError:
        info = None
    status, message = error.code(), error.details() or ""
    if info is None or info.domain != DOMAIN:
        if status in LOST:
            return Failure(Unreachable(message), again=True)
        return Failure(Refused(status.name.lower(), message, status, {}), again=False)
    kind = OffsetLost if info.reason == "offset_lost" else Refused
    return Failure(kind(info.reason, message, status, dict(info.metadata)), again=wait is not None, wait=wait or 0)


class Tries:
    """The delays between tries, and when to give up (F-6, F-7)."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.heard()

    def heard(self) -> None:
        """The gateway has given a sign of life: everything begins anew."""
        self._in_vain = 0
        self._give_up: float | None = None

    def failed(self, failure: Failure) -> float:
        """The seconds to wait before another try. Raises what failed if there shall be none."""
        now = time.monotonic()
        if self._give_up is None:
            self._give_up = now + self._settings.patience
        doubled = self._settings.min_delay * 2.0 ** min(self._in_vain, MAX_DOUBLINGS)
        delay = max(min(doubled, self._settings.max_delay) * random.uniform(0.5, 1), failure.wait)
        if not failure.again or now + delay > self._give_up:
            raise failure.error
        self._in_vain += 1
        return delay


class Deadline:
    """The tries of one unary call, which end at a time (F-8)."""

    def __init__(self, settings: Settings, timeout: float) -> None:
        self._tries = Tries(settings)
        self._end = time.monotonic() + timeout
        self._repeated = False

    @property
    def left(self) -> float:
        """The seconds that are left, at least 1 ms."""
        return max(self._end - time.monotonic(), 0.001)

    def failed(self, error: grpc.RpcError) -> float:
        """The seconds to wait before another try. Raises what failed if there shall be none."""
        failure = failure_of(error)
        failure.error.repeated = self._repeated
        self._repeated = True
        now = time.monotonic()
        if now >= self._end and isinstance(failure.error, Unreachable):
            raise TimedOut(failure.error.message)
        delay = self._tries.failed(failure)
        if now + delay >= self._end:
            raise failure.error
        return delay


class Position:
    """Where a reader is: it says what to ask for, and lets through what is new (F-1 to F-4)."""

    def __init__(self, after: int | None) -> None:
        # The last event that was handed out.
        self.after = after
        # Whether that was the last one of the response.
        self.ended = False

    def take(self, message: pb.ResumeResponse | pb.CreateStreamResponse) -> Iterator[Event | Gap]:
        """What a message has that was not handed out yet. The position moves as each one is taken."""
        if isinstance(message, pb.ResumeResponse) and message.HasField("gap"):
            from_, to = getattr(message.gap, "from"), message.gap.to
            if self._is_new(to):
                self.after = to
                yield Gap(from_, to)
        for event in message.events:
            if self._is_new(event.seq):
                self.after = event.seq
                self.ended = event.type in TERMINAL
                yield Event(event.seq, event.type, event.data)

    def _is_new(self, seq: int) -> bool:
        return self.after is None or seq > self.after


def output_text(response: pb.Response) -> str:
    """The text of an answer so far: that of its output messages, or of the choices of a chat."""
    whole = json.loads(response.json)
    if response.api == pb.API_CHAT_COMPLETIONS:
        return "".join(choice["message"].get("content") or "" for choice in whole["choices"])
    parts = (part for item in whole["output"] if item["type"] == "message" for part in item["content"])
    return "".join(part["text"] for part in parts if part["type"] == "output_text")


OnGap = Literal["fail", "earliest"]
ON_GAP: dict[str, pb.OnGap] = {"fail": pb.ON_GAP_FAIL, "earliest": pb.ON_GAP_EARLIEST}


def prepared(request: pb.CreateRequest) -> pb.CreateRequest:
    """The create, made safe to repeat: one without an idempotency key gets one (F-9)."""
    keyed = pb.CreateRequest()
    keyed.CopyFrom(request)
    if not keyed.HasField("idempotency_key"):
        keyed.idempotency_key = str(uuid.uuid4())
    return keyed
