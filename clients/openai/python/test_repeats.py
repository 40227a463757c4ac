"""The SDK's own retry after a cut connection finds the response that its first try began (C-6, W-35)."""

import openai
import pytest
from cutter import Cutter

# A model of the scripted server that ends by itself.
MODEL = "filters"


@pytest.fixture(scope="module")
def gateway(start_gateway, scripted):
    """A gateway in front of the scripted model server, which counts how often it is asked."""
    backend = f'[[backends]]\nname = "scripted"\nkind = "openai"\nbase_url = "{scripted.base_url}"\n'
    return start_gateway(backend)


@pytest.fixture
def asked(scripted):
    """How often the model was asked since the test began."""
    before = scripted.asked(MODEL)
    return lambda: scripted.asked(MODEL) - before


@pytest.fixture
def cut_client(gateway, make_client):
    """Makes clients with the SDK's own number of retries behind a proxy that cuts the answers to their first requests."""
    cutters = []

    def make(cuts=1):
        cutters.append(Cutter(gateway.front.url, cuts).start())
        return make_client(url=cutters[-1].url, max_retries=openai.DEFAULT_MAX_RETRIES)

    yield make
    for cutter in cutters:
        assert cutter.cuts < 0, "what was to be cut was not"
        cutter.stop()


def test_a_retry_of_a_buffered_create_gets_the_first_response(cut_client, asked):
    client = cut_client(cuts=2)
    client._idempotency_header = "Idempotency-Key"
    raw = client.responses.with_raw_response.create(model=MODEL, input="x")
    assert raw.headers["idempotency-replayed"] == "true"
    response = raw.parse()
    assert response.output_text.endswith("word19 ")
    assert asked() == 1
    assert client.responses.retrieve(response.id).output_text == response.output_text


def test_a_retry_of_a_stream_is_read_from_its_first_event(cut_client, asked):
    client = cut_client()
    client._idempotency_header = "Idempotency-Key"
    with client.responses.create(model=MODEL, input="x", stream=True) as stream:
        events = list(stream)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[-1].response.status == "incomplete"
    assert asked() == 1


def test_a_key_of_the_callers_own_does_the_same(cut_client, asked):
    client = cut_client()
    key = {"Idempotency-Key": "order-7"}
    first = client.responses.create(model=MODEL, input="x", extra_headers=key)
    again = client.responses.create(model=MODEL, input="x", extra_headers=key)
    assert (again.id, asked()) == (first.id, 1)
    with pytest.raises(openai.ConflictError) as caught:
        client.responses.create(model=MODEL, input="y", extra_headers=key)
    assert (caught.value.code, caught.value.param) == ("idempotency_key_reused", "idempotency-key")
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert asked() == 1


def test_without_a_key_the_model_is_asked_again(cut_client, asked):
    cut_client().responses.create(model=MODEL, input="x")
    assert asked() == 2
