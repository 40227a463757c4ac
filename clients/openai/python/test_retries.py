"""Which error the stock SDK raises, and how many requests it makes for it (D-14, W-32)."""

import itertools
import json
import time

import openai
import pytest

# Attempts of the SDK as it comes: the first one and two more.
ATTEMPTS = 3

# Events that are kept of a response, in a gateway that keeps few.
# More deltas than a log of the smallest size has room for: at the end their text stands in it four times.
MANY = 2000

LOG = '[log]\nformat = "json"\n'

# Seconds until a budget of one create is full again.
PERIOD = 5

# Seconds until the log must have a line.
PATIENCE = 30

# So slow that it runs until it is cancelled.
SLOW = {"model": "demo-long", "input": "Tell me", "background": True, "metadata": {"demo.rate": "5"}}


class Retrying:
    """A client with the SDK's own number of retries, whose requests are counted in the log of who takes them."""

    def __init__(self, gateway, make_client):
        self.gateway = gateway
        self.client = make_client(url=gateway.front.url, max_retries=openai.DEFAULT_MAX_RETRIES)
        self.names = (f"call-{id(self)}-{number}" for number in itertools.count())

    def lines(self, name):
        records = map(json.loads, self.gateway.front.log().splitlines())
        return sum(record.get("request_id") == name for record in records)

    def requests(self, error, call, **fields):
        """The error of this kind that a call raises, and how many requests were made for it."""
        name, last = next(self.names), next(self.names)
        with pytest.raises(error) as caught:
            call(extra_headers={"x-request-id": name}, **fields)
        # The log is in order: once the line of a later call is there, so are all earlier ones.
        self.client.models.list(extra_headers={"x-request-id": last})
        end = time.monotonic() + PATIENCE
        while not self.lines(last):
            assert time.monotonic() < end, self.gateway.front.log()
            time.sleep(0.02)
        return caught.value, self.lines(name)


@pytest.fixture(scope="module")
def small(start_gateway):
    """A gateway that keeps few bytes, and runs one response of an owner and two in all."""
    return start_gateway(f"{LOG}[limits]\nlive = 2\nlive_per_owner = 1\nbytes_per_response = \"16KiB\"\n")


@pytest.fixture
def hurried(start_gateway):
    """A gateway that takes a create every few seconds and one question about a response a day."""
    return start_gateway(f'{LOG}[limits]\nrate_creates = "1 per {PERIOD}s"\nrate_responses = "1 per 24h"\n')


@pytest.fixture(scope="module")
def unwell(start_gateway, scripted):
    """A gateway in front of the scripted model server, and of one that is not there."""
    there, gone = (f'[[backends]]\nname = "{name}"\nkind = "openai"\n' for name in ("there", "gone"))
    return start_gateway(
        f'{LOG}{there}base_url = "{scripted.base_url}"\n{gone}base_url = "http://127.0.0.1:9/v1"\nmodels = ["nowhere"]\n'
    )


def test_a_lost_position_is_a_conflict_that_is_not_tried_again(small, make_client):
    retrying = Retrying(small, make_client)
    responses = retrying.client.responses
    done = responses.create(model="demo-long", input="x", metadata={"demo.rate": "0", "demo.events": str(MANY)})
    error, requests = retrying.requests(
        openai.ConflictError, responses.retrieve, response_id=done.id, stream=True, starting_after=10
    )
    assert requests == 1
    assert (error.code, error.param) == ("offset_lost", "starting_after")
    assert error.response.headers["x-should-retry"] == "false"
    assert error.body["earliest"] == error.body["watermark"] + 1
    with responses.retrieve(done.id, stream=True, starting_after=error.body["watermark"]) as stream:
        assert [event.sequence_number for event in stream] == list(range(error.body["earliest"], error.body["committed"] + 1))
    assert responses.retrieve(done.id).output_text == done.output_text


def test_too_many_of_ones_own_is_a_rate_limit_that_is_tried_again(small, make_client):
    retrying = Retrying(small, make_client)
    running = retrying.client.responses.create(**SLOW)
    error, requests = retrying.requests(openai.RateLimitError, retrying.client.responses.create, **SLOW)
    assert (error.code, requests) == ("quota_exceeded", ATTEMPTS)
    assert int(error.response.headers["retry-after"]) >= 1
    retrying.client.responses.cancel(running.id)


def test_too_often_is_a_rate_limit_and_another_try_comes_when_the_refusal_says(hurried, make_client):
    retrying = Retrying(hurried, make_client)
    create = {"model": "demo", "input": "x", "extra_headers": {"x-request-id": next(retrying.names)}}
    with pytest.raises(openai.RateLimitError) as caught:
        for _ in range(1000):
            retrying.client.with_options(max_retries=0).responses.create(**create)
    wait = int(caught.value.response.headers["retry-after-ms"])
    assert (caught.value.code, 0 < wait <= PERIOD * 1000) == ("rate_limited", True)
    assert int(caught.value.response.headers["retry-after"]) == -(-wait // 1000)
    # The SDK waits so long by itself; a refusal that said too little would need a third try.
    name = next(retrying.names)
    assert retrying.client.responses.create(model="demo", input="x", extra_headers={"x-request-id": name}).output_text
    retrying.requests(openai.NotFoundError, retrying.client.responses.retrieve, response_id="resp_none")
    assert retrying.lines(name) == 2


def test_a_budget_that_is_used_up_for_long_is_not_waited_for(hurried, make_client):
    retrying = Retrying(hurried, make_client)
    with pytest.raises(openai.NotFoundError):
        retrying.client.responses.retrieve("resp_none")
    error, requests = retrying.requests(openai.RateLimitError, retrying.client.responses.retrieve, response_id="resp_none")
    assert (error.code, requests) == ("rate_limited", 1)


def test_too_many_in_all_is_a_server_error_that_is_tried_again(small, make_client):
    others = [make_client(url=small.front.url) for _ in range(2)]
    running = [(other, other.responses.create(**SLOW).id) for other in others]
    retrying = Retrying(small, make_client)
    error, requests = retrying.requests(openai.InternalServerError, retrying.client.responses.create, **SLOW)
    assert (error.status_code, error.code, requests) == (503, "overloaded", ATTEMPTS)
    for other, response_id in running:
        other.responses.cancel(response_id)


@pytest.mark.parametrize(
    ("model", "status", "code"), [("refuses", 502, "backend_error"), ("nowhere", 502, "backend_unreachable")]
)
def test_a_backend_that_fails_is_a_server_error_that_is_tried_again(unwell, make_client, model, status, code):
    retrying = Retrying(unwell, make_client)
    error, requests = retrying.requests(
        openai.InternalServerError, retrying.client.responses.create, model=model, input="x"
    )
    assert (error.status_code, error.code, requests) == (status, code, ATTEMPTS)
    # The response that failed is there, and says why (S-3).
    failed = retrying.client.responses.retrieve(error.response.headers["x-tidemark-response-id"])
    assert (failed.status, failed.error.code) == ("failed", code)


@pytest.mark.parametrize(
    ("error", "fields"),
    [
        (openai.BadRequestError, {"model": "demo", "input": "x", "extra_body": {"background": "yes"}}),
        (openai.NotFoundError, {"model": "no-such-model", "input": "x"}),
        (openai.NotFoundError, {"model": "demo", "input": "x", "previous_response_id": "resp_" + "0" * 32}),
    ],
)
def test_a_mistake_of_the_caller_is_not_tried_again(small, make_client, error, fields):
    retrying = Retrying(small, make_client)
    assert retrying.requests(error, retrying.client.responses.create, **fields)[1] == 1
