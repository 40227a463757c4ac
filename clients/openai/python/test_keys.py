"""Which error the stock SDK raises for which key, and that a good key is all that it needs (D-31, D-34)."""

import openai
import pytest
from openai import OpenAI

SECRET = "0123456789abcdef0123456789abcdef"


@pytest.fixture(scope="module")
def url(start_gateway, tmp_path_factory):
    """A gateway that asks for keys, or a bridge alone in front of one."""
    secret = tmp_path_factory.mktemp("secret") / "operator"
    secret.write_text(SECRET)
    return start_gateway(f'[auth]\nmode = "keys"\noperator_secret_file = "{secret}"\n').front.url


@pytest.fixture
def client_with(url):
    """Makes clients with a key and nothing else; each closes at the end of the test."""
    clients = []

    def make(key, **options):
        clients.append(OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=2, timeout=60, **options))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def make_key(client_with):
    """Makes keys, as the operator."""

    def make(owner, *scopes):
        return client_with(SECRET).post("/keys", cast_to=object, body={"owner": owner, "scopes": scopes})

    return make


def test_a_key_is_all_that_the_sdk_needs(client_with, make_key):
    client = client_with(make_key("acme", "responses.read", "responses.write", "models.read")["key"])
    assert "demo" in [model.id for model in client.models.list()]
    with client.responses.create(model="demo", input="Hello", stream=True) as stream:
        assert [event.type for event in stream][-1] == "response.completed"
    made = client.responses.create(model="demo", input="Hello")
    other = client_with(make_key("other", "responses.read")["key"])
    with pytest.raises(openai.NotFoundError):
        other.responses.retrieve(made.id)


@pytest.mark.parametrize("key", ["unused", "tmk_" + "0" * 32 + "_" + "A" * 43])
def test_a_wrong_key_is_an_authentication_error(client_with, key):
    with pytest.raises(openai.AuthenticationError) as raised:
        client_with(key).responses.create(model="demo", input="Hello")
    error = raised.value
    assert (error.status_code, error.code, error.type) == (401, "unauthorized", "authentication_error")
    assert error.response.headers["www-authenticate"] == "Bearer"


def test_a_disabled_key_is_an_authentication_error(client_with, make_key):
    made = make_key("acme", "models.read")
    client = client_with(made["key"])
    assert client.models.list().data
    client_with(SECRET).post(f"/keys/{made['id']}/disable", cast_to=object)
    with pytest.raises(openai.AuthenticationError):
        client.models.list()


def test_a_missing_scope_is_a_permission_denied_error(client_with, make_key):
    client = client_with(make_key("acme", "responses.read")["key"])
    with pytest.raises(openai.PermissionDeniedError) as raised:
        client.responses.create(model="demo", input="Hello")
    assert (raised.value.code, raised.value.type) == ("insufficient_scope", "permission_error")
    assert "responses.write" in raised.value.message


def test_two_credentials_are_a_bad_request_error(client_with, make_key):
    key = make_key("acme", "models.read")["key"]
    with pytest.raises(openai.BadRequestError) as raised:
        client_with(key, default_headers={"x-api-key": key}).models.list()
    assert raised.value.code == "ambiguous_credentials"
