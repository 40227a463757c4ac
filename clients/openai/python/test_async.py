"""The asynchronous client of the stock SDK: the same flows in its own form."""

import asyncio
import uuid

import openai
import pytest
from openai import AsyncOpenAI
from pydantic import BaseModel

# Events that are read before a stream is dropped: the last one is 10.
CUT = 11

LONG = {"model": "demo-long", "input": "Tell me", "background": True, "metadata": {"demo.rate": "200", "demo.events": "100"}}


def with_client(base_url, flow):
    """Runs a flow with a client of an owner that nobody else is."""

    async def run():
        headers = {"x-tidemark-owner": f"owner-{uuid.uuid4()}"}
        async with AsyncOpenAI(base_url=base_url + "/v1", api_key="unused", default_headers=headers, timeout=60) as client:
            return await flow(client)

    return asyncio.run(run())


async def begin(client, **fields):
    """Creates a stream, reads its first events, drops it, and gives them."""
    head = []
    async with await client.responses.create(stream=True, **fields) as stream:
        async for event in stream:
            head.append(event)
            if len(head) == CUT:
                return head


def test_both_forms_of_resume_after_a_drop(base_url):
    async def flow(client):
        head = await begin(client, **LONG)
        response_id, last = head[0].response.id, head[-1].sequence_number
        async with await client.responses.retrieve(response_id, stream=True, starting_after=last) as stream:
            tail = [event async for event in stream]
        async with client.responses.stream(response_id=response_id, starting_after=last) as stream:
            helped = [event async for event in stream]
            final = await stream.get_final_response()
        return head, tail, helped, final

    head, tail, helped, final = with_client(base_url, flow)
    assert [event.sequence_number for event in head + tail] == list(range(len(head + tail)))
    assert [event.sequence_number for event in helped] == [event.sequence_number for event in tail]
    assert tail[-1].type == helped[-1].type == "response.completed"
    assert final.output_text == tail[-1].response.output_text != ""


def test_many_readers_see_the_same(base_url):
    async def read(client, response_id):
        async with await client.responses.retrieve(response_id, stream=True) as stream:
            return [event.model_dump() async for event in stream]

    async def flow(client):
        response = await client.responses.create(**LONG)
        return await asyncio.gather(*(read(client, response.id) for _ in range(5)))

    first, *others = with_client(base_url, flow)
    assert first[-1]["type"] == "response.completed"
    assert all(other == first for other in others)


def test_cancel_ends_the_stream(base_url):
    async def flow(client):
        head = await begin(client, **LONG | {"metadata": {"demo.rate": "20"}})
        cancelled = await client.responses.cancel(head[0].response.id)
        async with await client.responses.retrieve(head[0].response.id, stream=True) as stream:
            return cancelled, [event async for event in stream]

    cancelled, events = with_client(base_url, flow)
    assert cancelled.status == "cancelled"
    assert (events[-1].type, events[-1].response.status) == ("response.incomplete", "cancelled")


def test_an_unknown_response_is_a_not_found_error(base_url):
    with pytest.raises(openai.NotFoundError) as caught:
        with_client(base_url, lambda client: client.responses.retrieve("resp_" + "0" * 32))
    assert caught.value.code == "not_found"


CHAT = {"model": "demo", "messages": [{"role": "user", "content": '{"city": "demo"}'}], "metadata": {"demo.rate": "0"}}


class City(BaseModel):
    city: str


def test_a_chat_is_created_streamed_parsed_and_answered_with_tools(base_url):
    async def flow(client):
        chat = client.chat.completions
        made = await chat.create(**CHAT)
        chunks = [chunk async for chunk in await chat.create(stream=True, stream_options={"include_usage": True}, **CHAT)]
        async with chat.stream(response_format=City, **CHAT) as stream:
            deltas = [event.delta async for event in stream if event.type == "content.delta"]
            streamed = await stream.get_final_completion()
        parsed = await chat.parse(response_format=City, **CHAT)
        called = await chat.parse(tools=[openai.pydantic_function_tool(City)], **CHAT)
        return made, chunks, deltas, streamed, parsed, called

    made, chunks, deltas, streamed, parsed, called = with_client(base_url, flow)
    text = made.choices[0].message.content
    assert "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices) == text
    assert "".join(deltas) == text
    assert chunks[-1].usage == made.usage
    assert streamed.choices[0].message.parsed == parsed.choices[0].message.parsed == City(city="demo")
    assert called.choices[0].finish_reason == "tool_calls"
    assert called.choices[0].message.tool_calls[0].function.parsed_arguments == City(city="demo")


def test_stored_chats_are_found_paged_and_deleted(base_url):
    async def flow(client):
        chat = client.chat.completions
        made = [(await chat.create(store=True, **CHAT)).id for _ in range(3)]
        listed = [found.id async for found in chat.list(limit=1)]
        messages = [message.content async for message in chat.messages.list(made[0])]
        deleted = await chat.delete(made[0])
        with pytest.raises(openai.NotFoundError):
            await chat.retrieve(made[0])
        with pytest.raises(openai.BadRequestError):
            await chat.create(**{**CHAT, "messages": []})
        return made, listed, messages, deleted

    made, listed, messages, deleted = with_client(base_url, flow)
    assert listed == made[::-1]
    assert messages == ['{"city": "demo"}']
    assert (deleted.id, deleted.deleted) == (made[0], True)
