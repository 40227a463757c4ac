"""The recipe for resuming (`recipes/resuming_transport.py`) with the stock SDK, behind a proxy that cuts its streams."""

import pathlib
import sys

import httpx2 as httpx
import pytest
from openai import OpenAI

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "recipes"), str(ROOT.parent / "faults")]

from proxy import Proxy  # noqa: E402
from resuming_transport import ResumingTransport  # noqa: E402

# Two hundred words in two seconds, of which the connection is cut four times.
LONG = {"demo.events": "200", "demo.rate": "100"}
CUTS = [(5, "after"), (40, "before"), (41, "after"), (150, "before")]


@pytest.fixture
def cut(base_url):
    """A proxy in front of the gateway; `begin` says what it does."""
    proxy = Proxy(lambda step: None)
    proxy.target = base_url.removeprefix("http://").split(":")
    proxy.begin([{"at": at, "when": when, "do": "cut"} for at, when in CUTS])
    yield proxy
    proxy.begin([])


@pytest.fixture
def resuming(cut):
    """The stock client with the transport of the recipe, and without tries of its own."""
    transport = ResumingTransport(pause=0.01)
    with OpenAI(base_url=f"{cut.url}/v1", api_key="unused", max_retries=0, http_client=httpx.Client(transport=transport)) as client:
        yield client


def test_a_stream_that_is_cut_is_one_stream(resuming, cut):
    events = list(resuming.responses.create(model="demo-long", input="Tell me", metadata=LONG, stream=True))
    assert cut.cuts == len(CUTS)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == events[-1].response.output_text == resuming.responses.retrieve(events[-1].response.id).output_text


def test_the_helper_of_the_sdk_sees_no_cut(resuming, cut):
    with resuming.responses.stream(model="demo-long", input="Tell me", metadata=LONG) as stream:
        final = stream.get_final_response()
    assert cut.cuts == len(CUTS)
    assert final.status == "completed"
    assert len(final.output_text.split()) == 200


def test_what_is_no_stream_passes_untouched(resuming):
    assert resuming.responses.create(model="demo", input="one two").output_text == "one two"


def test_a_stream_that_is_refused_is_an_error_as_ever(resuming):
    with pytest.raises(Exception, match="no-such"):
        list(resuming.responses.create(model="no-such", input="x", stream=True))


def test_one_by_hand_goes_on_behind_the_last_number(make_client):
    """Without the transport: a background response, its id, and `starting_after`."""
    client = make_client()
    stream = client.responses.create(model="demo-long", input="Tell me", metadata=LONG, background=True, stream=True)
    head = [next(stream) for _ in range(20)]
    stream.close()
    tail = list(client.responses.retrieve(head[0].response.id, stream=True, starting_after=head[-1].sequence_number))
    assert [event.sequence_number for event in head + tail] == list(range(len(head + tail)))
    assert tail[-1].type == "response.completed"
