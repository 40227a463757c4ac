"""The contract over gRPC with the stock library for Python: code is generated from `proto/` at test time, none of it is ours."""

import json
import time

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

# Events that are read before a stream is dropped.
CUT = 10

# Seconds that anything may take that will surely happen.
PATIENCE = 60

UNKNOWN = "resp_" + "0" * 32


def short(contract, **fields):
    """Twenty deltas at once: with `background`, events 0 to 28."""
    labels = {"demo.rate": "0", "demo.events": "20"}
    return contract.CreateRequest(**{"model": "demo-long", "text": "Tell me", "metadata": labels} | fields)


def slow(contract, **fields):
    """Slow enough to be caught while it runs."""
    return short(contract, **{"metadata": {"demo.rate": "50"}} | fields)


def events_of(stream):
    return [event for message in stream for event in message.events]


def take(stream, count):
    """The first messages of a stream that together have `count` events."""
    messages, events = [], 0
    for message in stream:
        messages.append(message)
        events += len(message.events)
        if events >= count:
            return messages
    raise AssertionError(f"the stream ended after {events} events")


def seqs(events):
    return [event.seq for event in events]


def details(error):
    """The details of an error by their type; there is one of each."""
    status = rpc_status.from_call(error)
    found = {}
    for any_ in status.details:
        message = getattr(error_details_pb2, any_.TypeName().removeprefix("google.rpc."))()
        assert any_.Unpack(message)
        found[type(message).__name__] = message
    assert (status.code, status.message) == (error.code().value[0], error.details())
    return found


def refusal(call):
    """The error that a call ends with, and its `ErrorInfo`."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    info = details(caught.value)["ErrorInfo"]
    assert info.domain == "tidemark"
    return caught.value, info


def until(what, look):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.02)
    pytest.fail(f"waited {PATIENCE} s for {what}")


def test_create_returns_before_the_end_and_get_the_whole(contract, responses, owner):
    response = responses.Create(short(contract, background=True), metadata=owner).response
    assert response.status in (contract.STATUS_QUEUED, contract.STATUS_IN_PROGRESS, contract.STATUS_COMPLETED)

    def ended():
        found = responses.Get(contract.GetRequest(id=response.id), metadata=owner).response
        return found if found.status == contract.STATUS_COMPLETED else None

    found = until("its end", ended)
    assert found.committed == 28
    assert not found.HasField("watermark")
    assert json.loads(found.json)["id"] == response.id == found.id


def test_create_can_wait_for_the_end(contract, responses, owner):
    request = contract.CreateRequest(model="demo", text="one two three", wait=contract.WAIT_TERMINAL)
    response = responses.Create(request, metadata=owner).response
    assert response.status == contract.STATUS_COMPLETED
    assert json.loads(response.json)["output"][0]["content"][0]["text"] == "one two three"
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens == 6
    assert response.completed_at.seconds >= response.created_at.seconds > 0


def test_create_stream_names_the_response_and_sends_every_event(contract, responses, owner):
    messages = list(responses.CreateStream(contract.CreateStreamRequest(create=short(contract)), metadata=owner))
    assert messages[0].id.startswith("resp_")
    assert [message.id for message in messages[1:]] == [""] * (len(messages) - 1)
    events = events_of(messages)
    assert seqs(events) == list(range(28))
    assert (events[0].type, events[-1].type) == ("response.created", "response.completed")
    for event in events:
        data = json.loads(event.data)
        assert (data["sequence_number"], data["type"]) == (event.seq, event.type)


def test_resume_goes_on_after_a_drop(contract, responses, owner):
    create = contract.CreateStreamRequest(create=slow(contract, metadata={"demo.rate": "50", "demo.events": "60"}))
    stream = responses.CreateStream(create, metadata=owner)
    messages = take(stream, CUT)
    stream.cancel()
    head = events_of(messages)
    after = head[-1].seq
    tail = events_of(responses.Resume(contract.ResumeRequest(id=messages[0].id, after=after), metadata=owner))
    assert seqs(head + tail) == list(range(68))
    assert tail[-1].type == "response.completed"


def test_no_position_is_from_the_first_event_and_zero_is_after_it(contract, responses, owner):
    request = short(contract, wait=contract.WAIT_TERMINAL)
    response_id = responses.Create(request, metadata=owner).response.id

    def read(**position):
        return seqs(events_of(responses.Resume(contract.ResumeRequest(id=response_id, **position), metadata=owner)))

    assert read() == list(range(28))
    assert read(after=0) == list(range(1, 28))
    assert read(after=27) == read(after=1000) == []


def test_cancel_stops_a_running_response_and_its_stream(contract, responses, owner):
    stream = responses.CreateStream(contract.CreateStreamRequest(create=slow(contract)), metadata=owner)
    messages = take(stream, CUT)
    cancel = contract.CancelRequest(id=messages[0].id)
    assert responses.Cancel(cancel, metadata=owner).response.status == contract.STATUS_CANCELLED
    last = events_of(stream)[-1]
    assert last.type == "response.incomplete"
    assert json.loads(last.data)["response"]["status"] == "cancelled"
    again = responses.Cancel(cancel, metadata=owner).response
    assert (again.status, again.committed) == (contract.STATUS_CANCELLED, last.seq)


def test_a_client_that_cancels_its_read_does_not_stop_the_response(contract, responses, owner):
    request = slow(contract, background=True)
    response_id = responses.Create(request, metadata=owner).response.id
    stream = responses.Resume(contract.ResumeRequest(id=response_id), metadata=owner)
    take(stream, CUT)
    assert stream.cancel()
    with pytest.raises(grpc.RpcError):
        list(stream)
    assert stream.code() == grpc.StatusCode.CANCELLED
    found = responses.Get(contract.GetRequest(id=response_id), metadata=owner).response
    assert found.status == contract.STATUS_IN_PROGRESS
    responses.Cancel(contract.CancelRequest(id=response_id), metadata=owner)


def test_a_deadline_ends_the_call_and_not_the_response(contract, responses, owner):
    response_id = responses.Create(slow(contract, background=True), metadata=owner).response.id
    stream = responses.Resume(contract.ResumeRequest(id=response_id), metadata=owner, timeout=1)
    with pytest.raises(grpc.RpcError) as caught:
        list(stream)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    cancelled = responses.Cancel(contract.CancelRequest(id=response_id), metadata=owner).response
    assert cancelled.status == contract.STATUS_CANCELLED


def test_what_is_unknown_or_of_another_owner_is_not_found_in_the_same_words(contract, responses, owner):
    response_id = responses.Create(short(contract), metadata=owner).response.id
    words = set()
    for wanted in (response_id, UNKNOWN, "resp_", ""):
        stranger = (("x-tidemark-owner", "stranger"),)
        reads = [
            lambda: responses.Get(contract.GetRequest(id=wanted), metadata=stranger),
            lambda: responses.Cancel(contract.CancelRequest(id=wanted), metadata=stranger),
            lambda: list(responses.Resume(contract.ResumeRequest(id=wanted), metadata=stranger)),
        ]
        for read in reads:
            error, info = refusal(read)
            assert error.code() == grpc.StatusCode.NOT_FOUND
            words.add((error.details(), info.SerializeToString(deterministic=True)))
    assert len(words) == 1


def test_delete_removes_a_response_once(contract, responses, owner):
    response_id = responses.Create(slow(contract, background=True), metadata=owner).response.id
    assert responses.Delete(contract.DeleteRequest(id=response_id), metadata=owner).id == response_id
    for call, request in ((responses.Delete, contract.DeleteRequest), (responses.Get, contract.GetRequest)):
        error, info = refusal(lambda: call(request(id=response_id), metadata=owner))
        assert (error.code(), info.reason) == (grpc.StatusCode.NOT_FOUND, "not_found")


def test_lists_come_page_by_page(contract, responses, owner):
    ids, token = [], ""
    made = [responses.Create(short(contract), metadata=owner).response.id for _ in range(3)]
    while page := responses.List(contract.ListRequest(page_size=2, page_token=token), metadata=owner):
        ids += [response.id for response in page.responses]
        if not (token := page.next_page_token):
            break
    assert ids == made[::-1]
    request = contract.ListInputItemsRequest(id=made[0], order=contract.ORDER_ASC)
    page = responses.ListInputItems(request, metadata=owner)
    assert [json.loads(item.json)["content"][0]["text"] for item in page.items] == ["Tell me"]
    assert not page.has_more


def test_a_bad_field_is_named_in_the_details(contract, responses, owner):
    with pytest.raises(grpc.RpcError) as caught:
        responses.Create(contract.CreateRequest(text="x"), metadata=owner)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    found = details(caught.value)
    assert (found["ErrorInfo"].reason, found["ErrorInfo"].metadata["param"]) == ("invalid_request", "model")
    assert [violation.field for violation in found["BadRequest"].field_violations] == ["model"]


def test_a_malformed_owner_is_refused(contract, responses):
    error, info = refusal(lambda: responses.Get(contract.GetRequest(id=UNKNOWN), metadata=(("x-tidemark-owner", "a b"),)))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert info.metadata["param"] == "x-tidemark-owner"


def test_an_unknown_model_is_not_found(contract, responses, owner):
    error, info = refusal(lambda: responses.Create(contract.CreateRequest(model="no-such", text="x"), metadata=owner))
    assert (error.code(), info.reason) == (grpc.StatusCode.NOT_FOUND, "model_not_found")


def test_a_lost_position_says_from_where_reading_goes_on(contract, responses, owner):
    labels = {"demo.rate": "0", "demo.events": "4000"}
    request = short(contract, metadata=labels, wait=contract.WAIT_TERMINAL)
    response = responses.Create(request, metadata=owner).response
    lost = contract.ResumeRequest(id=response.id, after=20)
    error, info = refusal(lambda: list(responses.Resume(lost, metadata=owner)))
    assert (error.code(), info.reason) == (grpc.StatusCode.OUT_OF_RANGE, "offset_lost")
    assert int(info.metadata["watermark"]) == response.watermark > 20
    assert int(info.metadata["committed"]) == response.committed
    earliest = int(info.metadata["earliest"])
    lost.on_gap = contract.ON_GAP_EARLIEST
    messages = list(responses.Resume(lost, metadata=owner))
    gaps = [message.gap for message in messages if message.HasField("gap")]
    assert [(getattr(gap, "from"), gap.to) for gap in gaps] == [(21, earliest - 1)]
    assert seqs(events_of(messages)) == list(range(earliest, response.committed + 1))


def test_messages_above_four_mebibytes_pass_in_both_directions(contract, responses, owner):
    text = "x" * (6 << 20) + " end"
    request = contract.CreateRequest(model="demo", text=text, wait=contract.WAIT_TERMINAL)
    response = responses.Create(request, metadata=owner).response
    assert response.status == contract.STATUS_COMPLETED
    assert json.loads(response.json)["output"][0]["content"][0]["text"] == text
    assert json.loads(events_of(responses.Resume(contract.ResumeRequest(id=response.id, on_gap=contract.ON_GAP_EARLIEST), metadata=owner))[-1].data)


def test_a_message_above_the_limit_is_refused(contract, target, owner):
    unlimited = [("grpc.max_send_message_length", -1)]
    request = contract.CreateRequest(model="demo", text="x" * (33 << 20))
    with grpc.insecure_channel(target, options=unlimited) as channel:
        error, info = refusal(lambda: contract.ResponsesServiceStub(channel).Create(request, metadata=owner))
    assert (error.code(), info.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "payload_too_large")


def test_a_message_that_is_none_is_refused(channel, owner):
    garbage = channel.unary_unary("/tidemark.v1.ResponsesService/Create")
    error, info = refusal(lambda: garbage(b"\xff\xff\xff", metadata=owner))
    assert (error.code(), info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "invalid_request")


@pytest.mark.parametrize("method", ["/tidemark.v1.ResponsesService/NoSuchMethod", "/no.such.Service/Method"])
def test_what_nobody_serves_is_unimplemented(channel, method):
    error, info = refusal(lambda: channel.unary_unary(method)(b""))
    assert (error.code(), info.reason) == (grpc.StatusCode.UNIMPLEMENTED, "method_not_allowed")


def test_models_are_listed(contract, channel):
    models = contract.ModelsServiceStub(channel).ListModels(contract.ListModelsRequest()).models
    ids = [model.id for model in models]
    assert ids == sorted(ids)
    assert {"demo", "demo-long"} <= set(ids)
