"""A response whose deltas are far more than its log keeps: merged, resumable from everywhere, and whole for the helpers.

TIDEMARK_DELTAS says how many deltas (default 20000: some thousand more than the log keeps); tests/deep takes many more.
"""

import os
import time

import openai
import pytest
from scripted import TURNS

FULL = "TIDEMARK_DELTAS" in os.environ
DELTAS = int(os.environ.get("TIDEMARK_DELTAS", "20000"))

# Seconds that anything here may take.
PATIENCE = 1200

LONG = {"model": "demo-long", "input": "x", "metadata": {"demo.rate": "0", "demo.events": str(DELTAS)}}


def deltas(events):
    return [(event.sequence_number, event.delta) for event in events if event.type == "response.output_text.delta"]


@pytest.fixture(scope="module")
def merged(start_gateway, make_module_client):
    """A client, a response that was merged while it ran, and the deltas that were seen meanwhile."""
    client = make_module_client(start_gateway('[retention]\nevents = "1s"\n' if FULL else "").front.url)
    with client.responses.create(**LONG, background=True, stream=True) as stream:
        events = list(stream)
    assert events[-1].type == "response.completed"
    return client, events[0].response.id, deltas(events)


@pytest.fixture(scope="module")
def make_module_client():
    clients = []

    def make(url):
        clients.append(openai.OpenAI(base_url=url + "/v1", api_key="unused", max_retries=0, timeout=PATIENCE))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def whole_by_helper(client, response_id):
    """What the helper of the SDK puts together from the first event on, and how many deltas that takes."""
    with client.responses.stream(response_id=response_id) as stream:
        seen = deltas(stream)
        final = stream.get_final_response()
    assert "".join(delta for _, delta in seen) == final.output_text
    return final.output_text, len(seen)


def test_the_text_is_whole_for_readers_get_and_the_helper(merged):
    client, response_id, seen = merged
    text = "".join(delta for _, delta in seen)
    assert client.responses.retrieve(response_id).output_text == text
    assert len(text.split()) == DELTAS
    replayed, count = whole_by_helper(client, response_id)
    assert replayed == text
    assert count < min(DELTAS, 8192)


def test_every_position_that_was_seen_gets_exactly_the_rest(merged):
    client, response_id, seen = merged
    if FULL:
        pytest.skip("these events are kept for a second only")
    text = "".join(delta for _, delta in seen)
    for index in range(0, len(seen), max(1, len(seen) // 50)):
        with client.responses.retrieve(response_id, stream=True, starting_after=seen[index][0]) as stream:
            rest = deltas(stream)
        assert all(number > seen[index][0] for number, _ in rest)
        assert "".join(delta for _, delta in seen[: index + 1]) + "".join(delta for _, delta in rest) == text


@pytest.mark.skipif(not FULL, reason="the sweeper comes once a minute")
def test_after_the_retention_of_events_the_helper_still_has_it_all(merged):
    client, response_id, seen = merged
    end = time.monotonic() + PATIENCE
    while True:
        try:
            with client.responses.retrieve(response_id, stream=True, starting_after=seen[1][0]) as stream:
                next(stream)
        except openai.ConflictError as error:
            assert error.code == "offset_lost"
            break
        assert time.monotonic() < end
        time.sleep(1)
    # A log is merged a window at a time, and what has been merged so far can be read at any moment.
    count = None
    while count is None or count > len(client.responses.retrieve(response_id).output_text) // (128 << 10) + 2:
        assert time.monotonic() < end, f"{count} deltas"
        text, count = whole_by_helper(client, response_id)
        assert text == "".join(delta for _, delta in seen) == client.responses.retrieve(response_id).output_text


def keyed(name):
    """Who sends this again gets the chat of the first time, from its first chunk."""
    return {"extra_headers": {"Idempotency-Key": name}}


# The helper for chats copies all it has with every chunk, so these are few, and of a log that keeps fewer.
FEW = 2000
KEPT = 128

CHAT = {
    "model": "demo-long",
    "messages": [{"role": "user", "content": "x"}],
    "metadata": {"demo.rate": "0", "demo.events": str(FEW)},
}


@pytest.fixture(scope="module")
def small(start_gateway, make_module_client, scripted):
    """A client of a gateway whose logs keep few events."""
    backends = '[[backends]]\nname = "demo"\nkind = "demo"\n[[backends]]\nname = "scripted"\nkind = "openai"\n'
    settings = f'[limits]\nevents_per_response = {KEPT}\n{backends}base_url = "{scripted.base_url}"\n'
    return make_module_client(start_gateway(settings).front.url)


def test_the_stream_helper_has_the_whole_of_a_chat_that_was_merged_while_it_ran(small):
    done = small.chat.completions.create(**CHAT, **keyed("text"))
    text = done.choices[0].message.content
    assert len(text.split()) == FEW
    with small.chat.completions.stream(**CHAT, **keyed("text")) as stream:
        seen = [event.delta for event in stream if event.type == "content.delta"]
        final = stream.get_final_completion()
    assert final.id == done.id
    assert final.choices[0].message.content == "".join(seen) == text
    assert len(seen) < KEPT


def test_choices_and_calls_that_grow_in_turn_are_whole_for_the_stream_helper(small, scripted):
    chat = {"model": "choices", "messages": CHAT["messages"], "n": 2, "logprobs": True}
    done = small.chat.completions.create(**chat, **keyed("choices"))
    with small.chat.completions.stream(**chat, **keyed("choices")) as stream:
        chunks = sum(event.type == "chunk" for event in stream)
        final = stream.get_final_completion()
    assert chunks <= KEPT
    assert scripted.asked("choices") == 1
    for index, (first, again) in enumerate(zip(done.choices, final.choices, strict=True)):
        assert first.message.content == again.message.content == "".join(f"{index}.{turn} é" for turn in range(TURNS))
        assert [token.token for token in again.logprobs.content] == [f"{turn} " for turn in range(TURNS)]
        assert first.finish_reason == again.finish_reason
    calls = final.choices[1].message.tool_calls
    assert [(call.id, call.function.name) for call in calls] == [("call0", "f0"), ("call1", "f1")]
    for index, (first, again) in enumerate(zip(done.choices[1].message.tool_calls, calls, strict=True)):
        assert first.function.arguments == again.function.arguments == "".join(f"{index}{turn}," for turn in range(TURNS))
