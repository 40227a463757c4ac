"""Chat Completions with the stock OpenAI SDK for Python: create, stream, its helpers, tools, errors, retries, and resume."""

import json

import openai
import pytest
from pydantic import BaseModel

HELLO = [{"role": "user", "content": "Hello wide world"}]

FAST = {"model": "demo", "messages": HELLO, "metadata": {"demo.rate": "0"}}

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


@pytest.fixture(scope="module")
def scripted_url(start_gateway, scripted):
    """A gateway in front of the model server that fails."""
    settings = f'[[backends]]\nname = "scripted"\nkind = "openai"\nbase_url = "{scripted.base_url}"\n'
    return start_gateway(settings).front.url


def text_of(chunks):
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


def test_create_returns_the_answer(client):
    completion = client.chat.completions.create(**FAST)
    assert completion.id.startswith("chatcmpl-")
    assert completion.object == "chat.completion"
    choice = completion.choices[0]
    assert (choice.message.role, choice.message.content) == ("assistant", "Hello wide world")
    assert choice.finish_reason == "stop"
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens > 0


def test_a_stream_has_chunks_of_one_id_and_the_usage_if_it_is_asked_for(client):
    chunks = list(client.chat.completions.create(stream=True, **FAST))
    assert text_of(chunks) == "Hello wide world"
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks)
    counted = list(client.chat.completions.create(stream=True, stream_options={"include_usage": True}, **FAST))
    assert counted[-1].choices == []
    assert counted[-1].usage.total_tokens == 6


def test_the_stream_helper_accumulates_the_same_answer(client):
    with client.chat.completions.stream(**FAST) as stream:
        deltas = [event.delta for event in stream if event.type == "content.delta"]
        final = stream.get_final_completion()
    assert "".join(deltas) == "Hello wide world" == final.choices[0].message.content
    assert final.choices[0].finish_reason == "stop"


def test_a_tool_is_called_and_its_output_answered(client):
    first = client.chat.completions.create(tools=[WEATHER], **FAST).choices[0]
    assert first.finish_reason == "tool_calls"
    call = first.message.tool_calls[0]
    assert (call.function.name, json.loads(call.function.arguments)) == ("weather", {"city": "demo"})
    messages = [*HELLO, first.message, {"role": "tool", "tool_call_id": call.id, "content": "sun"}]
    second = client.chat.completions.create(**{**FAST, "messages": messages}, tools=[WEATHER])
    assert second.choices[0].message.content == "Hello wide world"


def test_the_stream_helper_assembles_tool_calls(client):
    with client.chat.completions.stream(tools=[WEATHER], **FAST) as stream:
        done = [event for event in stream if event.type == "tool_calls.function.arguments.done"]
        final = stream.get_final_completion()
    assert done[0].parsed_arguments == {"city": "demo"}
    assert final.choices[0].message.tool_calls[0].function.parsed_arguments == {"city": "demo"}


def test_parse_reads_an_answer_into_a_type(client):
    class City(BaseModel):
        city: str

    asked = {**FAST, "messages": [{"role": "user", "content": '{"city": "demo"}'}]}
    completion = client.chat.completions.parse(response_format=City, **asked)
    assert completion.choices[0].message.parsed == City(city="demo")


def test_a_stored_completion_is_retrieved_listed_and_deleted(client):
    made = client.chat.completions.create(store=True, **FAST)
    found = client.chat.completions.retrieve(made.id)
    assert found.choices == made.choices
    assert [listed.id for listed in client.chat.completions.list().data] == [made.id]
    deleted = client.chat.completions.delete(made.id)
    assert (deleted.id, deleted.deleted) == (made.id, True)
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.retrieve(made.id)


def test_stored_completions_are_paged_through_and_have_their_messages(client):
    made = [client.chat.completions.create(store=True, **FAST).id for _ in range(3)]
    page = client.chat.completions.list(limit=2, order="desc")
    assert page.has_more
    assert [listed.id for listed in page] == made[::-1], "the SDK turns the pages by itself"
    parts = [{"type": "text", "text": "two"}]
    messages = [{"role": "system", "content": "one"}, {"role": "user", "content": parts}]
    made = client.chat.completions.create(store=True, **{**FAST, "messages": messages})
    stored = list(client.chat.completions.messages.list(made.id, limit=1))
    assert [(message.role, message.content) for message in stored] == [("system", "one"), ("user", None)]
    assert stored[1].content_parts[0].text == "two"
    assert stored[0].id != stored[1].id


def test_what_lists_cannot_do_is_refused(client):
    for asked, param in [({"order": "asc"}, "order"), ({"model": "demo"}, "model"), ({"metadata": {"a": "b"}}, "metadata")]:
        with pytest.raises(openai.BadRequestError) as refused:
            client.chat.completions.list(**asked)
        assert refused.value.param == param


def test_labels_of_a_stored_completion_cannot_be_changed(client):
    made = client.chat.completions.create(store=True, **FAST)
    with pytest.raises(openai.APIStatusError) as refused:
        client.chat.completions.update(made.id, metadata={"a": "b"})
    assert (refused.value.status_code, refused.value.code) == (405, "method_not_allowed")


@pytest.mark.parametrize("stream", [False, True])
def test_several_answers_are_told_apart(make_client, scripted_url, stream):
    client = make_client(url=scripted_url)
    asked = {"model": "several", "messages": HELLO, "n": 3}
    if stream:
        with client.chat.completions.stream(**asked) as events:
            completion = events.get_final_completion()
    else:
        completion = client.chat.completions.create(**asked)
        assert completion.usage.completion_tokens == 6
    assert [choice.message.content for choice in completion.choices] == ["answer 0", "answer 1", "answer 2"]
    assert [choice.finish_reason for choice in completion.choices] == ["stop"] * 3


def test_a_stream_that_was_dropped_is_read_again(client):
    raw = client.chat.completions.with_raw_response.create(stream=True, store=True, **FAST)
    completion_id = raw.headers["x-tidemark-response-id"]
    with raw.parse() as stream:
        first = next(iter(stream))
    path = f"/chat/completions/{completion_id}?stream=true"
    again = client.get(path, cast_to=type(first), stream=True, stream_cls=openai.Stream[type(first)])
    chunks = list(again)
    assert (chunks[0], text_of(chunks)) == (first, "Hello wide world")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": 3}, "temperature"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        ({"n": 2}, "n"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
    ],
)
def test_what_is_wrong_is_a_bad_request_that_names_it(client, fields, param):
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(**{**FAST, **fields})
    assert refused.value.param == param


def test_an_unknown_model_is_not_found(client):
    with pytest.raises(openai.NotFoundError) as refused:
        client.chat.completions.create(**{**FAST, "model": "nobody"})
    assert refused.value.code == "model_not_found"


@pytest.mark.parametrize("stream", [False, True])
def test_a_backend_that_refuses_is_tried_again_and_then_an_error(make_client, scripted, scripted_url, stream):
    client = make_client(url=scripted_url, max_retries=2)
    before = scripted.asked("refuses")
    with pytest.raises(openai.InternalServerError) as refused:
        client.chat.completions.create(model="refuses", messages=HELLO, stream=stream)
    assert (refused.value.status_code, refused.value.code) == (502, "backend_error")
    assert scripted.asked("refuses") - before == 3


def test_a_backend_that_breaks_off_is_an_error_behind_what_came(make_client, scripted_url):
    client = make_client(url=scripted_url)
    stream = client.chat.completions.create(model="breaks", messages=HELLO, stream=True)
    seen = []
    with pytest.raises(openai.APIError) as broken:
        seen.extend(stream)
    assert broken.value.code == "backend_error"
    with pytest.raises(openai.InternalServerError):
        client.chat.completions.create(model="breaks", messages=HELLO)


def test_what_a_filter_withholds_is_said(make_client, scripted_url):
    client = make_client(url=scripted_url)
    completion = client.chat.completions.create(model="filters", messages=HELLO)
    assert completion.choices[0].finish_reason == "content_filter"


def test_a_retry_with_a_key_gets_the_first_answer(client):
    keyed = {"extra_headers": {"Idempotency-Key": "k"}}
    first = client.chat.completions.create(**FAST, **keyed)
    assert client.chat.completions.create(**FAST, **keyed) == first
    with pytest.raises(openai.ConflictError) as refused:
        client.chat.completions.create(**{**FAST, "messages": [{"role": "user", "content": "other"}]}, **keyed)
    assert refused.value.code == "idempotency_key_reused"
