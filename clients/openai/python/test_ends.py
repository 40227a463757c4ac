"""How a response ends, as the stock SDK tells it: completed, incomplete, failed, cancelled (D-11, W-15, W-18)."""

import itertools

import openai
import pytest

# Seconds within which a model server must be left alone after a cancel.
PATIENCE = 30


@pytest.fixture(scope="module")
def front(start_gateway, scripted):
    return start_gateway(f'[[backends]]\nname = "scripted"\nkind = "openai"\nbase_url = "{scripted.base_url}"\n')


@pytest.fixture
def client(make_client, front):
    return make_client(url=front.url)


def end_of(client, **fields):
    """The last event of a new stream, whose object must be the one that is kept."""
    with client.responses.create(stream=True, input="x", **fields) as stream:
        events = list(stream)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    response = events[-1].response
    assert client.responses.retrieve(response.id).model_dump() == response.model_dump()
    return events[-1]


def test_a_stream_that_the_backend_breaks_off_ends_as_failed(client):
    end = end_of(client, model="breaks")
    assert (end.type, end.response.status, end.response.error.code) == ("response.failed", "failed", "backend_error")
    assert end.response.output_text.startswith("word0 word1 ")


def test_a_stream_that_the_backend_refuses_ends_as_failed(client):
    end = end_of(client, model="refuses")
    assert (end.type, end.response.status, end.response.error.code) == ("response.failed", "failed", "backend_error")
    assert end.response.output == []


def test_what_failed_after_some_output_is_answered_with_it(client):
    response = client.responses.create(model="breaks", input="x")
    assert (response.status, response.error.code) == ("failed", "backend_error")
    assert response.output_text.startswith("word0 word1 ")


def test_a_filtered_answer_ends_as_incomplete(client):
    end = end_of(client, model="filters")
    assert (end.type, end.response.status) == ("response.incomplete", "incomplete")
    assert end.response.incomplete_details.reason == "content_filter"


@pytest.mark.parametrize("model", ["breaks", "filters"])
def test_the_helper_gives_every_event_and_then_says_that_nothing_is_complete(client, model):
    with client.responses.stream(model=model, input="x") as stream:
        last = list(stream)[-1]
        with pytest.raises(RuntimeError, match="response.completed"):
            stream.get_final_response()
    assert last.type in ("response.failed", "response.incomplete")


def test_cancel_ends_the_stream_and_the_work_of_the_backend(client, front, scripted):
    given_up = front.gateway.log().count("an answer is given up")
    with client.responses.create(model="endless", input="x", background=True, stream=True) as stream:
        head = list(itertools.islice(stream, 10))
        assert client.responses.cancel(head[0].response.id).status == "cancelled"
        tail = list(stream)
    assert (tail[-1].type, tail[-1].response.status) == ("response.incomplete", "cancelled")
    assert tail[-1].response.output_text.startswith("word0 ")
    assert scripted.abandoned(PATIENCE)
    assert front.gateway.log().count("an answer is given up") == given_up + 1


def test_the_next_turn_of_what_failed_can_be_asked(client):
    failed = client.responses.create(model="breaks", input="x")
    with pytest.raises(openai.InternalServerError):
        client.responses.create(model="refuses", input="and?", previous_response_id=failed.id)
