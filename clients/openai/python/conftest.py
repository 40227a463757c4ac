"""Starts the real binary once and gives every test a stock OpenAI client of an owner of its own.

With TIDEMARK_TEST_BRIDGE set the clients talk to a bridge alone, in front of the gateway.
"""

import contextlib
import os
import re
import subprocess
import uuid

import pytest
from openai import OpenAI

BINARY = os.environ.get("TIDEMARK_BIN", "target/debug/tidemark")

# Seconds that the process may take to stop after SIGTERM.
STOP_SECONDS = 40


@contextlib.contextmanager
def running(log_file, *arguments):
    """The binary with these arguments: gives its address, read from the first line that it prints."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TIDEMARK_")}
    command = [BINARY, *arguments, "--listen", "127.0.0.1:0", "--admin", "off"]
    with open(log_file, "wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=environment, text=True)
    line = process.stdout.readline()
    found = re.fullmatch(r"listening on (http://127\.0\.0\.1:[1-9][0-9]*)\n", line)
    if not found:
        process.kill()
        process.wait()
        pytest.fail(f"{arguments} did not start: {line!r}\n{log_file.read_text()}")
    yield found[1]
    process.terminate()
    try:
        code = process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        pytest.fail(f"{arguments} did not stop within {STOP_SECONDS} s")
    assert code == 0, log_file.read_text()


@pytest.fixture(scope="session")
def base_url(tmp_path_factory):
    """The address of a fresh gateway with the demo backend, or of a bridge in front of it."""
    data = tmp_path_factory.mktemp("tidemark")
    with running(data / "log", "serve", "--data-dir", str(data / "data")) as gateway:
        if "TIDEMARK_TEST_BRIDGE" not in os.environ:
            yield gateway
            return
        with running(data / "bridge-log", "bridge", "--gateway", gateway) as bridge:
            yield bridge


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
