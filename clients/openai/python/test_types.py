"""The table of types that tests/e2e/types.rs walks over names every type that this SDK knows, in a form that it accepts."""

import json
import typing
from pathlib import Path

from openai.types.responses import ResponseInputItem, ResponseOutputItem, ResponseStreamEvent
from openai.types.responses.response_item import ResponseItem
from pydantic import TypeAdapter

TABLE = json.loads((Path(__file__).parents[3] / "tests/common/response_types.json").read_text())

# Events that tell of an item as a whole: the table of items is for them.
OF_ITEMS = ["response.output_item.added", "response.output_item.done"]

# Names that the Open Responses specification gives to events that are called otherwise here.
OPEN_RESPONSES = {"response.reasoning.delta", "response.reasoning.done"}

# No backend keeps items that could be referred to, so this one is refused.
REFUSED = {"item_reference"}


def members(union):
    """The classes of a union."""
    while typing.get_origin(union) is typing.Annotated:
        union = typing.get_args(union)[0]
    return typing.get_args(union)


def names(union):
    """Their types."""
    for each in members(union):
        literal = each.model_fields["type"].annotation
        while typing.get_origin(literal) is not typing.Literal:
            literal = next(arg for arg in typing.get_args(literal) if arg is not type(None))
        yield from typing.get_args(literal)


def test_every_event_of_the_sdk_is_in_the_table():
    table = {*TABLE["own"], *TABLE["events"], *OF_ITEMS}
    assert set(names(ResponseStreamEvent)) == table - OPEN_RESPONSES


def test_every_item_of_the_sdk_is_in_the_table():
    known = {*names(ResponseOutputItem), *names(ResponseItem), *names(ResponseInputItem)}
    assert known - REFUSED == set(TABLE["items"])


def test_the_samples_are_what_the_sdk_expects():
    adapter = TypeAdapter(ResponseStreamEvent)
    for name, sample in TABLE["events"].items():
        if name not in OPEN_RESPONSES:
            event = {"type": name, "sequence_number": 0, "item_id": "i", "output_index": 0} | sample["fields"]
            assert adapter.validate_python(event).type == name
