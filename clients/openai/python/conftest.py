"""Starts the real binary once and gives every test a stock OpenAI client of an owner of its own."""

import uuid

import pytest
from openai import OpenAI

from gateway import serve


@pytest.fixture(scope="session")
def base_url(tmp_path_factory):
    """The address of a fresh gateway with the demo backend."""
    with serve(tmp_path_factory.mktemp("tidemark")) as url:
        yield url


@pytest.fixture
def make_client(base_url):
    """Makes clients; each closes at the end of the test."""
    clients = []

    def make(owner=None, path="/v1"):
        headers = {"x-tidemark-owner": owner or f"owner-{uuid.uuid4()}"}
        clients.append(OpenAI(base_url=base_url + path, api_key="unused", default_headers=headers, max_retries=0, timeout=60))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def client(make_client):
    """A client of an owner that nobody else is."""
    return make_client()
