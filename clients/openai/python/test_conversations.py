"""What the stock SDK for Python does with conversations."""

import openai
import pytest


def test_a_conversation_is_made_read_changed_and_removed(client):
    made = client.conversations.create(metadata={"topic": "tides"})
    assert (made.object, made.metadata) == ("conversation", {"topic": "tides"})
    assert client.conversations.retrieve(made.id) == made
    changed = client.conversations.update(made.id, metadata={"topic": "moon"})
    assert (changed.id, changed.metadata) == (made.id, {"topic": "moon"})
    gone = client.conversations.delete(made.id)
    assert (gone.id, gone.object, gone.deleted) == (made.id, "conversation.deleted", True)
    with pytest.raises(openai.NotFoundError):
        client.conversations.retrieve(made.id)


def test_responses_of_a_conversation_enter_it_and_the_next_one_knows_them(client):
    conversation = client.conversations.create(items=[{"type": "message", "role": "user", "content": "zero"}])
    first = client.responses.create(model="demo", input="one", conversation=conversation.id)
    assert first.conversation.id == conversation.id
    with client.responses.create(model="demo", input="two", conversation={"id": conversation.id}, stream=True) as stream:
        last = list(stream)[-1]
    assert last.type == "response.completed"
    items = list(client.conversations.items.list(conversation.id, order="asc", limit=2))
    assert [(item.role, item.content[0].text) for item in items] == [
        ("user", "zero"),
        ("user", "one"),
        ("assistant", "one"),
        ("user", "two"),
        ("assistant", "two"),
    ]
    assert items[2].id == first.output[0].id
    newest = client.conversations.items.list(conversation.id).data[0]
    assert newest.id == last.response.output[0].id


def test_items_are_added_found_and_taken_out(client):
    conversation = client.conversations.create()
    items = [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]},
        {"type": "function_call_output", "call_id": "call_1", "output": "42"},
    ]
    added = client.conversations.items.create(conversation.id, items=items)
    assert [item.type for item in added.data] == ["message", "function_call_output"]
    found = client.conversations.items.retrieve(added.data[0].id, conversation_id=conversation.id)
    assert found.content[0].text == "hi"
    assert client.conversations.items.delete(found.id, conversation_id=conversation.id).id == conversation.id
    with pytest.raises(openai.NotFoundError):
        client.conversations.items.retrieve(found.id, conversation_id=conversation.id)
    assert [item.type for item in client.conversations.items.list(conversation.id)] == ["function_call_output"]


def test_a_conversation_excludes_another_past(client):
    first = client.responses.create(model="demo", input="one")
    with pytest.raises(openai.BadRequestError) as refusal:
        client.responses.create(model="demo", input="two", conversation="mine", previous_response_id=first.id)
    assert refusal.value.param == "conversation"


def test_a_conversation_belongs_to_its_owner(make_client):
    conversation = make_client().conversations.create()
    with pytest.raises(openai.NotFoundError):
        make_client().conversations.retrieve(conversation.id)
