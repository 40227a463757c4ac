"""Starts the real binary and gives every test a stock OpenAI client of an owner of its own.

With TIDEMARK_TEST_BRIDGE set the clients talk to bridges alone, each in front of its gateway.
"""

import os
import uuid
from dataclasses import dataclass

import pytest
from gateway import Bridge, Gateway, Server
from openai import OpenAI
from scripted import Scripted


@dataclass
class Front:
    """The server that clients call, and the gateway that answers in the end; without a bridge they are the same."""

    server: Server
    gateway: Gateway

    @property
    def url(self):
        return self.server.url


@pytest.fixture(scope="session")
def start_gateway(tmp_path_factory):
    """Starts gateways with these settings, or bridges to them; at the end each must stop well when it is asked to."""
    started = []

    def start(settings=""):
        gateway = Gateway(tmp_path_factory.mktemp("tidemark"), settings).start()
        started.append(gateway)
        if "TIDEMARK_TEST_BRIDGE" in os.environ:
            started.append(Bridge(tmp_path_factory.mktemp("bridge"), gateway, settings).start())
        return Front(started[-1], gateway)

    yield start
    codes = [server.stop() for server in reversed(started)]
    assert not any(codes), "\n".join(server.log() for server in started)


@pytest.fixture(scope="session")
def base_url(start_gateway):
    """The address of a gateway with the demo backend, as it is without any setting."""
    return start_gateway().url


@pytest.fixture
def make_client(base_url):
    """Makes clients; each closes at the end of the test."""
    clients = []

    def make(owner=None, path="/v1", url=base_url, **options):
        headers = {"x-tidemark-owner": owner or f"owner-{uuid.uuid4()}"}
        options = {"max_retries": 0, "timeout": 60} | options
        clients.append(OpenAI(base_url=url + path, api_key="unused", default_headers=headers, **options))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def client(make_client):
    """A client of an owner that nobody else is."""
    return make_client()


@pytest.fixture(scope="session")
def scripted():
    """A model server that fails in the ways that its models are named after."""
    server = Scripted().start()
    yield server
    server.stop()
