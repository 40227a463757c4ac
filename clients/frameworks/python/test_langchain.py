"""LangChain against the gateway, unchanged, in the words of Chat Completions and of the Responses API."""

import asyncio
import uuid

import openai
import pytest
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

TEXT = "Hello wide world"


class City(BaseModel):
    """A city."""

    city: str


@tool
def weather(city: str) -> str:
    """The weather."""
    return f"sun in {city}"


@pytest.fixture(params=[False, True], ids=["chat", "responses"])
def make(request, base_url):
    """Makes models of an owner that nobody else is."""
    headers = {"x-tidemark-owner": f"owner-{uuid.uuid4()}"}

    def make(model="demo", **options):
        options = {"max_retries": 0, "use_responses_api": request.param, "default_headers": headers} | options
        return ChatOpenAI(model=model, base_url=base_url, api_key="unused", **options)

    make.responses = request.param
    return make


@pytest.fixture(scope="module")
def loop():
    """LangChain keeps connections for all models of an address: they must not outlive their event loop."""
    with asyncio.Runner() as runner:
        yield runner


def test_a_message_is_answered(make):
    answer = make().invoke(TEXT)
    assert answer.text == TEXT
    assert answer.usage_metadata["total_tokens"] == 6
    assert answer.response_metadata["model_name"] == "demo"
    assert answer.response_metadata["id"].startswith("resp_" if make.responses else "chatcmpl-")


def test_an_answer_is_streamed(make):
    whole, pieces = None, 0
    for piece in make(stream_usage=True).stream(TEXT):
        whole, pieces = piece if whole is None else whole + piece, pieces + 1
    assert whole.text == TEXT
    assert whole.usage_metadata["total_tokens"] == 6
    assert pieces > 3


def test_many_at_once_without_blocking(make, loop):
    async def ask(number):
        return "".join([piece.text async for piece in make().astream(f"number {number}")])

    async def ask_all():
        return await asyncio.gather(*(ask(number) for number in range(8)), make().ainvoke(TEXT))

    *texts, answer = loop.run(ask_all())
    assert texts == [f"number {number}" for number in range(8)]
    assert answer.text == TEXT
    assert [answer.text for answer in make().batch(["one", "two"])] == ["one", "two"]


@pytest.mark.parametrize("streamed", [False, True])
def test_a_tool_is_called_and_its_output_answered(make, streamed):
    model = make().bind_tools([weather])

    def ask(messages):
        if not streamed:
            return model.invoke(messages)
        first, *rest = model.stream(messages)
        return sum(rest, first)

    messages = [HumanMessage(TEXT)]
    messages.append(ask(messages))
    (call,) = messages[-1].tool_calls
    assert (call["name"], call["args"]) == ("weather", {"city": "demo"})
    messages.append(weather.invoke(call))
    assert isinstance(messages[-1], ToolMessage)
    assert ask(messages).text == TEXT


@pytest.mark.parametrize(
    ("method", "text"), [("json_schema", '{"city": "demo"}'), ("function_calling", TEXT), ("json_mode", '{"city": "demo"}')]
)
def test_an_answer_is_read_into_a_type(make, method, text):
    assert make().with_structured_output(City, method=method).invoke(text) == City(city="demo")


def test_a_conversation_goes_on(make):
    model = make(**({"use_previous_response_id": True} if make.responses else {}))
    messages = [HumanMessage("one")]
    messages += [model.invoke(messages), HumanMessage("two three")]
    answer = model.invoke(messages)
    assert answer.text == "two three"
    assert answer.usage_metadata["input_tokens"] == 4


def test_what_is_wrong_is_an_error_that_names_it(make):
    with pytest.raises(openai.BadRequestError) as refused:
        make(temperature=3).invoke(TEXT)
    assert refused.value.param == "temperature"
    with pytest.raises(openai.NotFoundError) as refused:
        make("nobody").invoke(TEXT)
    assert refused.value.code == "model_not_found"


def test_a_backend_that_refuses_is_tried_again_and_then_an_error(make, scripted):
    before = scripted.asked("refuses")
    with pytest.raises(openai.InternalServerError) as refused:
        make("refuses", max_retries=1).invoke(TEXT)
    assert (refused.value.status_code, refused.value.code) == (502, "backend_error")
    assert scripted.asked("refuses") - before == 2


def test_a_backend_that_breaks_off_is_an_error_behind_what_came(make):
    text = ""
    with pytest.raises((openai.APIError, ValueError)) as broken:
        for piece in make("breaks").stream(TEXT):
            text += piece.text
    assert "broke" in str(broken.value) or "backend" in str(broken.value), broken.value
    assert text.startswith("word0 ")


def test_several_answers_are_told_apart(make):
    if make.responses:
        return
    result = make("several", n=2).generate([[HumanMessage(TEXT)]])
    assert [answer.text for answer in result.generations[0]] == ["answer 0", "answer 1"]
