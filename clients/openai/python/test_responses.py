"""The stock OpenAI SDK for Python against the gateway with its demo backend: no code of ours on the client's side."""

import itertools
import json
import time

import openai
import pytest

# Slow enough to be caught while it runs: 200 events a second over 2000 words.
SLOW = {"model": "demo-long", "input": "Tell me", "metadata": {"demo.rate": "200"}}

# Short enough to be read to its end, long enough to be cut off in the middle.
SHORT = {"model": "demo-long", "input": "Tell me", "metadata": {"demo.rate": "0", "demo.events": "40"}}

TERMINAL = {"response.completed", "response.incomplete", "response.failed"}

# Events that are read before a stream is dropped.
CUT = 10

# Seconds that a background response may take to reach a state.
PATIENCE = 30


def numbers(events):
    return [event.sequence_number for event in events]


def text_of(events):
    return "".join(event.delta for event in events if event.type == "response.output_text.delta")


def poll(client, response_id, *states):
    """The response once it has one of these states."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        response = client.responses.retrieve(response_id)
        if response.status in states:
            return response
        time.sleep(0.05)
    pytest.fail(f"{response_id} stays {response.status}")


def begin(client, **fields):
    """Creates a stream, reads its first events, drops it, and gives them."""
    with client.responses.create(stream=True, **fields) as stream:
        return list(itertools.islice(stream, CUT))


def test_create_returns_the_answer(client):
    response = client.responses.create(model="demo", input="one two three")
    assert response.status == "completed"
    assert response.id.startswith("resp_")
    assert "two" in response.output_text
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens > 0


def test_stream_is_dense_and_ends_with_the_terminal_event(client):
    with client.responses.create(stream=True, **SHORT) as stream:
        events = list(stream)
    assert numbers(events) == list(range(len(events)))
    assert [event.type for event in events[:2]] == ["response.created", "response.in_progress"]
    assert events[-1].type == "response.completed"
    assert [event.type for event in events if event.type in TERMINAL] == ["response.completed"]
    assert events[-1].response.output_text == text_of(events) != ""


def test_background_is_queued_and_can_be_polled(client):
    queued = client.responses.create(background=True, **SHORT)
    assert (queued.status, queued.output, queued.background) == ("queued", [], True)
    done = poll(client, queued.id, "completed")
    assert done.output_text
    assert done.id == queued.id


def test_background_stream_resumes_after_a_drop(client):
    head = begin(client, background=True, **SLOW | {"metadata": {"demo.rate": "200", "demo.events": "200"}})
    assert [event.type for event in head[:3]] == ["response.created", "response.queued", "response.in_progress"]
    response_id = head[0].response.id
    with client.responses.retrieve(response_id, stream=True, starting_after=head[-1].sequence_number) as stream:
        tail = list(stream)
    events = head + tail
    assert numbers(events) == list(range(len(events)))
    assert tail[-1].type == "response.completed"
    assert text_of(events) == client.responses.retrieve(response_id).output_text


def test_foreground_stream_resumes_after_a_drop(client):
    head = begin(client, **SHORT)
    response_id = head[0].response.id
    with client.responses.retrieve(response_id, stream=True, starting_after=CUT - 1) as stream:
        tail = list(stream)
    assert numbers(head + tail) == list(range(CUT + len(tail)))
    assert tail[-1].type == "response.completed"


def test_replay_is_the_same_as_what_was_seen(client):
    with client.responses.create(stream=True, **SHORT) as stream:
        first = [event.model_dump() for event in stream]
    with client.responses.retrieve(first[0]["response"]["id"], stream=True) as stream:
        assert [event.model_dump() for event in stream] == first


def test_stream_helper_by_id_gives_the_whole_response(client):
    head = begin(client, background=True, **SHORT)
    with client.responses.stream(response_id=head[0].response.id, starting_after=CUT - 1) as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert numbers(events)[0] == CUT
    assert final.status == "completed"
    assert final.output_text.startswith(text_of(head))


def test_stream_helper_creates_and_accumulates(client):
    with client.responses.stream(model="demo", input="one two three") as stream:
        text = text_of(stream)
        final = stream.get_final_response()
    assert final.output_text == text != ""


def test_starting_after_zero_is_after_event_zero(client):
    with client.responses.create(stream=True, **SHORT) as stream:
        events = list(stream)
    with client.responses.retrieve(events[0].response.id, stream=True, starting_after=0) as stream:
        assert numbers(stream) == numbers(events)[1:]


@pytest.mark.parametrize("beyond", [0, 1000])
def test_resume_at_the_end_is_empty(client, beyond):
    with client.responses.create(stream=True, **SHORT) as stream:
        last = list(stream)[-1]
    after = last.sequence_number + beyond
    with client.responses.retrieve(last.response.id, stream=True, starting_after=after) as stream:
        assert list(stream) == []


def test_a_response_created_without_stream_can_be_streamed(client):
    response = client.responses.create(**SHORT)
    with client.responses.retrieve(response.id, stream=True) as stream:
        events = list(stream)
    assert events[0].type == "response.created"
    assert events[-1].response.output_text == response.output_text


def test_cancel_stops_a_running_response_and_is_idempotent(client):
    head = begin(client, background=True, **SLOW)
    response_id = head[0].response.id
    cancelled = client.responses.cancel(response_id)
    assert cancelled.status == "cancelled"
    again = client.responses.cancel(response_id)
    assert again.model_dump() == cancelled.model_dump() == client.responses.retrieve(response_id).model_dump()


def test_cancel_of_a_finished_response_changes_nothing(client):
    response = client.responses.create(**SHORT)
    assert client.responses.cancel(response.id).status == "completed"


def test_a_cancelled_stream_ends_with_a_known_event(client):
    with client.responses.create(stream=True, **SLOW) as stream:
        head = list(itertools.islice(stream, CUT))
        client.responses.cancel(head[0].response.id)
        tail = list(stream)
    assert tail[-1].type == "response.incomplete"
    assert tail[-1].response.status == "cancelled"
    assert numbers(head + tail) == list(range(len(head + tail)))


def test_conversation_goes_on_from_an_earlier_response(client):
    first = client.responses.create(model="demo", input="one")
    second = client.responses.create(model="demo", input="two", previous_response_id=first.id)
    assert second.previous_response_id == first.id
    assert second.status == "completed"


def test_instructions_and_labels_are_echoed(client):
    labels = {"project": "tidemark"}
    response = client.responses.create(model="demo", input="one", instructions="Be brief.", metadata=labels, temperature=0.5)
    assert (response.instructions, response.metadata, response.temperature) == ("Be brief.", labels, 0.5)
    assert client.responses.retrieve(response.id).instructions == "Be brief."


def test_max_output_tokens_ends_as_incomplete(client):
    response = client.responses.create(**SHORT, max_output_tokens=16)
    assert response.status == "incomplete"
    assert response.incomplete_details.reason == "max_output_tokens"


TOOL = {
    "type": "function",
    "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def test_a_tool_is_called_and_its_output_answered(client):
    call = client.responses.create(model="demo", input="How is the weather?", tools=[TOOL]).output[-1]
    assert (call.type, call.name) == ("function_call", "weather")
    assert isinstance(json.loads(call.arguments)["city"], str)
    question = {"role": "user", "content": "How is the weather?"}
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    items = [question, call.model_dump(exclude_none=True), output]
    answer = client.responses.create(model="demo", input=items, tools=[TOOL])
    assert answer.output[-1].type == "message"
    assert answer.status == "completed"


def test_a_tool_call_streams_its_arguments(client):
    with client.responses.create(model="demo", input="Weather?", tools=[TOOL], stream=True) as stream:
        events = list(stream)
    deltas = "".join(event.delta for event in events if event.type == "response.function_call_arguments.delta")
    done = [event for event in events if event.type == "response.function_call_arguments.done"]
    assert [event.arguments for event in done] == [deltas]
    assert done[0].name == "weather"


def test_models_are_listed_and_retrieved(client):
    models = {model.id: model for model in client.models.list()}
    assert {"demo", "demo-long"} <= models.keys()
    assert client.models.retrieve("demo").id == "demo"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no-such-model")


def code_of(caught):
    return caught.value.code, caught.value.param


def test_an_unknown_response_is_a_not_found_error(client):
    for call in (client.responses.retrieve, client.responses.cancel):
        with pytest.raises(openai.NotFoundError) as caught:
            call("resp_" + "0" * 32)
        assert caught.value.code == "not_found"
        assert caught.value.response.headers["x-request-id"] == caught.value.request_id


def test_the_response_of_another_owner_is_as_unknown(make_client):
    response = make_client("alice").responses.create(model="demo", input="mine")
    mallory = make_client("mallory")
    bodies = set()
    for response_id in (response.id, "resp_" + "0" * 32):
        for call in (mallory.responses.retrieve, mallory.responses.cancel):
            with pytest.raises(openai.NotFoundError) as caught:
                call(response_id, extra_headers={"x-request-id": "the-same"})
            bodies.add(caught.value.response.text)
    assert len(bodies) == 1
    with pytest.raises(openai.NotFoundError) as caught:
        mallory.responses.create(model="demo", input="steal", previous_response_id=response.id)
    assert code_of(caught) == ("previous_response_not_found", "previous_response_id")


def test_an_unknown_model_is_a_not_found_error(client):
    with pytest.raises(openai.NotFoundError) as caught:
        client.responses.create(model="no-such-model", input="x")
    assert code_of(caught) == ("model_not_found", "model")


@pytest.mark.parametrize("cursor", ["12abc", "-1", "", "1.0", "99999999999999999999"])
def test_a_malformed_position_is_a_bad_request(client, cursor):
    response = client.responses.create(model="demo", input="x")
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.retrieve(response.id, stream=True, extra_query={"starting_after": cursor})
    assert code_of(caught) == ("invalid_cursor", "starting_after")


def test_a_malformed_body_is_a_bad_request_that_names_the_field(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model="demo", input="x", extra_body={"background": "yes"})
    assert code_of(caught) == ("invalid_request", "background")


def test_a_malformed_owner_is_a_bad_request(make_client):
    with pytest.raises(openai.BadRequestError) as caught:
        make_client("two words").models.list()
    assert code_of(caught) == ("invalid_request", "x-tidemark-owner")


def test_the_request_id_is_the_callers_if_it_is_well_formed(client):
    reply = client.models.with_raw_response.list(extra_headers={"x-request-id": "mine-1"})
    assert reply.headers["x-request-id"] == "mine-1"
    reply = client.models.with_raw_response.list(extra_headers={"x-request-id": "not, mine"})
    assert reply.headers["x-request-id"] not in ("", "not, mine")


def test_paths_without_v1_are_the_same(make_client):
    response = make_client("alice").responses.create(model="demo", input="x")
    assert make_client("alice", path="").responses.retrieve(response.id) == response


def test_delete_removes_a_response_once(client):
    response = client.responses.create(background=True, **SLOW)
    client.responses.delete(response.id)
    for again in (client.responses.retrieve, client.responses.delete, client.responses.cancel, client.responses.input_items.list):
        with pytest.raises(openai.NotFoundError) as raised:
            again(response.id)
        assert raised.value.code == "not_found"


def test_input_items_are_paged(client):
    texts = [f"part {number}" for number in range(5)]
    given = [{"role": "user", "content": text} for text in texts]
    response = client.responses.create(model="demo", input=given)
    for order, expected in (("asc", texts), ("desc", texts[::-1])):
        page = client.responses.input_items.list(response.id, order=order, limit=2)
        assert (len(page.data), page.has_more) == (2, True)
        items = list(page)
        assert [item.content[0].text for item in items] == expected
        assert len({item.id for item in items}) == 5
    newest = client.responses.input_items.list(response.id)
    assert [item.content[0].text for item in newest.data] == texts[::-1]
    with pytest.raises(openai.BadRequestError) as raised:
        client.responses.input_items.list(response.id, after="msg_none")
    assert (raised.value.code, raised.value.param) == ("invalid_cursor", "after")
