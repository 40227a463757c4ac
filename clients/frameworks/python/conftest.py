"""Starts the real binary, with the demo backend and a model server that fails."""

import sys
from pathlib import Path

import pytest
from gateway import Gateway

sys.path.append(str(Path(__file__).parents[2] / "openai" / "python"))

from scripted import Scripted  # noqa: E402


@pytest.fixture(scope="session")
def scripted():
    """A model server that fails in the ways that its models are named after."""
    server = Scripted().start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def base_url(tmp_path_factory, scripted):
    """The address of a gateway with both backends."""
    settings = f"""
        [[backends]]
        name = "demo"
        kind = "demo"
        [[backends]]
        name = "scripted"
        kind = "openai"
        base_url = "{scripted.base_url}"
    """
    gateway = Gateway(tmp_path_factory.mktemp("tidemark"), settings).start()
    yield f"{gateway.url}/v1"
    assert gateway.stop() == 0, gateway.log()
