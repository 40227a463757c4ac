"""A stock OAuth client, which knows nothing of Tidemark, from discovery to revocation."""

import re
import socket
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests
from authlib.common.security import generate_token
from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata, get_well_known_url
from gateway import Gateway

SECRET = "0123456789abcdef0123456789abcdef"
CALLBACK = "http://127.0.0.1:9/callback"
SCOPE = "responses.read models.read"
FIELD = re.compile(r'<input type="hidden" name="request" value="([^"]+)"')


@pytest.fixture(scope="module")
def issuer(tmp_path_factory):
    """A gateway that lets apps in. Its port is chosen before it starts: the issuer must be known by then."""
    directory = tmp_path_factory.mktemp("tidemark")
    (directory / "secret").write_text(SECRET)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{free.getsockname()[1]}"
    settings = f"""
[auth]
mode = "keys"
operator_secret_file = "{directory / "secret"}"
[oauth]
mode = "both"
issuer = "http://{listen}"
registration = "open"
"""
    gateway = Gateway(directory, settings, listen).start()
    yield gateway.url
    assert gateway.stop() == 0, gateway.log()


@pytest.fixture(scope="module")
def metadata(issuer):
    found = AuthorizationServerMetadata(requests.get(get_well_known_url(issuer, external=True)).json())
    assert found["issuer"] == issuer
    # The library wants https, of which there is none on this machine; all else it checks.
    secured = {name: value.replace("http:", "https:") if isinstance(value, str) else value for name, value in found.items()}
    AuthorizationServerMetadata(secured).validate()
    return found


@pytest.fixture(scope="module")
def key(issuer):
    body = {"owner": "acme", "scopes": SCOPE.split()}
    return requests.post(f"{issuer}/v1/keys", json=body, headers={"authorization": f"Bearer {SECRET}"}).json()["key"]


@pytest.fixture
def session(metadata):
    body = {"client_name": "A stock client", "redirect_uris": [CALLBACK], "scope": SCOPE}
    registered = requests.post(metadata["registration_endpoint"], json=body)
    assert registered.status_code == 201
    return OAuth2Session(
        registered.json()["client_id"],
        scope=SCOPE,
        redirect_uri=CALLBACK,
        token_endpoint_auth_method="none",
        code_challenge_method="S256",
    )


def allow(url, key):
    """What a person does: reads the page, shows a key, and is sent back."""
    request = FIELD.search(requests.get(url).text)[1]
    sent = requests.post(url.split("?")[0], data={"request": request, "key": key, "decision": "key"}, allow_redirects=False)
    assert sent.status_code == 303
    return sent.headers["location"]


def granted(session, metadata, key):
    verifier = generate_token(48)
    url, state = session.create_authorization_url(metadata["authorization_endpoint"], code_verifier=verifier)
    back = allow(url, key)
    token = session.fetch_token(metadata["token_endpoint"], authorization_response=back, state=state, code_verifier=verifier)
    return token, back, verifier


def status(issuer, token):
    return requests.get(f"{issuer}/v1/models", headers={"authorization": f"Bearer {token}"}).status_code


def test_code_refresh_and_revocation(issuer, metadata, session, key):
    token, _, _ = granted(session, metadata, key)
    assert token["scope"] == SCOPE
    assert session.get(f"{issuer}/v1/models").status_code == 200
    renewed = session.refresh_token(metadata["token_endpoint"])
    assert renewed["refresh_token"] != token["refresh_token"]
    assert session.get(f"{issuer}/v1/models").status_code == 200
    gone = session.revoke_token(metadata["revocation_endpoint"], renewed["refresh_token"], "refresh_token")
    assert gone.status_code == 200
    assert status(issuer, renewed["access_token"]) == 401
    with pytest.raises(OAuthError, match="invalid_grant"):
        session.refresh_token(metadata["token_endpoint"])


def test_a_refresh_token_used_twice_ends_the_grant(issuer, metadata, session, key):
    token, _, _ = granted(session, metadata, key)
    renewed = session.refresh_token(metadata["token_endpoint"], refresh_token=token["refresh_token"])
    with pytest.raises(OAuthError, match="invalid_grant"):
        session.refresh_token(metadata["token_endpoint"], refresh_token=token["refresh_token"])
    assert status(issuer, renewed["access_token"]) == 401


def test_a_person_who_says_no_sends_the_client_an_error(issuer, metadata, session):
    url, state = session.create_authorization_url(metadata["authorization_endpoint"], code_verifier=generate_token(48))
    request = FIELD.search(requests.get(url).text)[1]
    sent = requests.post(url.split("?")[0], data={"request": request, "decision": "deny"}, allow_redirects=False)
    said = dict(parse_qsl(urlsplit(sent.headers["location"]).query))
    assert (said["error"], said["state"], said["iss"]) == ("access_denied", state, issuer)
