"""The unary calls, against the real binary."""

import asyncio

import pytest
from gateway import Gateway

import tidemark
from tidemark import aio

QUICK = tidemark.Settings(min_delay=0.02, max_delay=0.1, timeout=3)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    gateway = Gateway(tmp_path_factory.mktemp("tidemark")).start()
    yield gateway
    gateway.kill()


@pytest.fixture
def client(gateway):
    with tidemark.Client(gateway.url, owner="acme", settings=QUICK) as client:
        yield client


def request(**fields):
    return tidemark.CreateRequest(**{"model": "demo", "text": "one two", "wait": tidemark.WAIT_TERMINAL} | fields)


def test_a_response_is_made_read_listed_and_removed(client):
    created = client.create(request())
    id = created.response.id
    assert (created.response.status, created.replayed) == (tidemark.STATUS_COMPLETED, False)
    assert tidemark.output_text(client.get(id)) == "one two"
    assert id in [response.id for response in client.list().responses]
    assert "".join(item.text for item in client.resume(id)) == "one two"
    client.delete(id)
    with pytest.raises(tidemark.Refused) as caught:
        client.get(id)
    assert caught.value.code == "not_found"


def test_a_response_is_cancelled(client):
    running = client.create(request(model="demo-long", metadata={"demo.rate": "20"}, background=True, wait=tidemark.WAIT_NONE))
    assert client.cancel(running.response.id).status == tidemark.STATUS_CANCELLED


def test_a_chat_has_its_text_too(client):
    items = b'[{"role": "user", "content": "three four"}]'
    reader = client.create_stream(tidemark.CreateRequest(model="demo", items=items, api=tidemark.API_CHAT_COMPLETIONS, store=True))
    assert "".join(item.text for item in reader) == "three four"
    assert tidemark.output_text(client.get(reader.id)) == "three four"


def test_a_ticket_reads_its_response_alone(client, gateway):
    mine, other = (client.create(request()).response.id for _ in range(2))
    with tidemark.Client(gateway.url, credential=client.create_ticket(mine).value, settings=QUICK) as holder:
        assert "".join(item.text for item in holder.resume(mine)) == "one two"
        with pytest.raises(tidemark.Refused) as caught:
            list(holder.resume(other))
    assert caught.value.code in ("not_found", "insufficient_scope")


def test_what_is_wrong_is_named_and_asked_once(client):
    with pytest.raises(tidemark.Refused) as caught:
        client.create(request(model=""))
    assert (caught.value.code, caught.value.details["param"]) == ("invalid_request", "model")


def test_nobody_there_is_said_after_the_time_that_was_given():
    with tidemark.Client("http://127.0.0.1:1", settings=QUICK) as client:
        with pytest.raises((tidemark.Unreachable, tidemark.TimedOut)):
            client.get("resp_x", timeout=0.5)
        short = tidemark.Settings(patience=0.3, min_delay=0.02)
    with tidemark.Client("http://127.0.0.1:1", settings=short) as client, pytest.raises(tidemark.Unreachable):
        list(client.resume("resp_x"))


def test_a_create_that_is_tried_through_a_restart_is_made_once(client, gateway):
    key = "through-a-restart"
    first = client.create(request(idempotency_key=key)).response.id
    gateway.kill()
    gateway.start()
    with tidemark.Client(gateway.url, owner="acme", settings=QUICK) as again:
        repeated = again.create(request(idempotency_key=key))
    assert (repeated.response.id, repeated.replayed) == (first, True)


def test_asyncio_has_the_same_calls(gateway):
    async def main():
        async with aio.Client(gateway.url, owner="asyncio", settings=QUICK) as client:
            id = (await client.create(request())).response.id
            assert tidemark.output_text(await client.get(id)) == "one two"
            assert [response.id for response in (await client.list()).responses] == [id]
            assert (await client.cancel(id)).status == tidemark.STATUS_COMPLETED
            assert (await client.create_ticket(id)).value.startswith("tmt_")
            await client.delete(id)
            with pytest.raises(tidemark.Refused):
                await client.delete(id)

    asyncio.run(main())
