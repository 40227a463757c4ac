"""The rules by which a client follows a response, without a gateway."""

import grpc
import pytest
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

import tidemark
from tidemark import _channel as channels
from tidemark import _rules as rules
from tidemark.v1 import event_pb2, responses_pb2


class Failed(grpc.RpcError):
    """A call that failed as the library says it."""

    def __init__(self, status, reason=None, wait=None, domain="tidemark", details=None):
        packed = []
        for detail in (
            reason and error_details_pb2.ErrorInfo(reason=reason, domain=domain, metadata=details or {}),
            wait is not None and error_details_pb2.RetryInfo(retry_delay=Duration(seconds=wait)),
        ):
            if detail:
                packed.append(Any())
                packed[-1].Pack(detail)
        self.status, self.trailers = status, status_pb2.Status(details=packed).SerializeToString()

    def code(self):
        return self.status

    def details(self):
        return "text"

    def trailing_metadata(self):
        return (("grpc-status-details-bin", self.trailers),)


def message(*events, gap=None):
    whole = responses_pb2.ResumeResponse(events=[event_pb2.Event(seq=seq, type=type_, data=b"{}") for seq, type_ in events])
    if gap:
        whole.gap.CopyFrom(event_pb2.Gap(**{"from": gap[0], "to": gap[1]}))
    return whole


def test_nothing_is_handed_out_twice_and_a_gap_moves_the_position():
    position = rules.Position(3)
    assert [item.seq for item in position.take(message((2, "x"), (3, "x"), (4, "x"), (4, "x")))] == [4]
    assert [(item.from_, item.to) for item in position.take(message(gap=(5, 8)))] == [(5, 8)]
    assert list(position.take(message((8, "x"), gap=(5, 8)))) == []
    assert (position.after, position.ended) == (8, False)
    assert [item.seq for item in position.take(message((9, "response.failed")))] == [9]
    assert position.ended


def test_the_position_moves_with_each_item_and_not_with_the_message():
    position = rules.Position(None)
    items = position.take(message((0, "x"), (1, "x"), (2, "x")))
    assert position.after is None
    next(items)
    assert position.after == 0


def test_delays_double_up_to_their_bound_and_begin_anew_after_a_sign_of_life():
    tries = rules.Tries(tidemark.Settings())
    gone = rules.Failure(tidemark.Unreachable("gone"), again=True)
    for longest in (0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10):
        assert longest / 2 <= tries.failed(gone) <= longest
    tries.heard()
    assert tries.failed(gone) <= 0.2


def test_the_gateway_may_ask_for_more_time_and_patience_ends():
    later = rules.Failure(tidemark.Unreachable("later"), again=True, wait=30)
    assert rules.Tries(tidemark.Settings()).failed(later) == 30
    with pytest.raises(tidemark.Unreachable):
        rules.Tries(tidemark.Settings(patience=15)).failed(later)


@pytest.mark.parametrize("status", ["UNAVAILABLE", "UNKNOWN", "INTERNAL", "CANCELLED"])
def test_what_no_gateway_has_said_is_a_lost_connection(status):
    for error in (Failed(grpc.StatusCode[status]), Failed(grpc.StatusCode[status], "draining", domain="another")):
        failure = rules.failure_of(error)
        assert (failure.again, failure.error.code) == (True, "unreachable")


@pytest.mark.parametrize("status", ["PERMISSION_DENIED", "UNAUTHENTICATED", "UNIMPLEMENTED", "RESOURCE_EXHAUSTED", "INVALID_ARGUMENT"])
def test_a_no_of_something_in_front_of_the_gateway_is_final(status):
    failure = rules.failure_of(Failed(grpc.StatusCode[status]))
    assert (failure.again, failure.error.code) == (False, status.lower())


def test_the_gateway_says_what_is_worth_another_try():
    later = rules.failure_of(Failed(grpc.StatusCode.RESOURCE_EXHAUSTED, "rate_limited", wait=2))
    assert (later.again, later.wait, later.error.code) == (True, 2, "rate_limited")
    never = rules.failure_of(Failed(grpc.StatusCode.UNAVAILABLE, "backend_unreachable"))
    assert (never.again, never.error.code) == (False, "backend_unreachable")


def test_a_lost_position_says_from_where_reading_goes_on():
    details = {"earliest": "5", "committed": "9", "watermark": "4", "reason": "rolled_back"}
    error = rules.failure_of(Failed(grpc.StatusCode.OUT_OF_RANGE, "offset_lost", details=details)).error
    assert isinstance(error, tidemark.OffsetLost)
    assert (error.earliest, error.committed, error.watermark, error.rolled_back) == (5, 9, 4, True)


def test_a_create_gets_a_key_unless_it_has_one_and_the_callers_request_stays_as_it_is():
    request = tidemark.CreateRequest(model="demo", text="x")
    first, second = rules.prepared(request), rules.prepared(request)
    assert first.idempotency_key != second.idempotency_key
    assert not request.HasField("idempotency_key")
    request.idempotency_key = "mine"
    assert rules.prepared(request).idempotency_key == "mine"


@pytest.mark.parametrize("url", ["", "127.0.0.1:4700", "ftp://host", "http://", "http://host/v1", "http://host?x=1"])
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(ValueError, match="url must be"):
        channels.target_of(url)


def test_addresses_name_a_host_a_port_and_whether_there_is_tls():
    assert channels.target_of("http://127.0.0.1:4700") == ("127.0.0.1:4700", False)
    assert channels.target_of("https://gate.example/") == ("gate.example:443", True)
    assert channels.target_of("http://[::1]:4700") == ("[::1]:4700", False)


@pytest.mark.parametrize("name", ["timeout", "idle_timeout", "patience", "min_delay", "max_delay"])
def test_a_time_that_is_none_is_refused(name):
    for value in (0, -1, float("nan")):
        with pytest.raises(ValueError, match=name):
            tidemark.Settings(**{name: value})
