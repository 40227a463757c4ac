"""Makes Python code from the contract, starts the real binary, and gives every test a channel."""

import importlib
import pathlib
import sys
import types
import uuid

import grpc
import pytest
from gateway import Gateway
from grpc_tools import protoc

ROOT = pathlib.Path(__file__).resolve().parents[3]

# The largest message on both sides, in bytes; what the contract asks of clients.
MAX_MESSAGE_BYTES = 32 << 20

# Settings under which a response of some thousand words loses its first events.
CONFIG = """
[limits]
bytes_per_response = "64KiB"
"""


@pytest.fixture(scope="session")
def contract(tmp_path_factory):
    """The messages and stubs of `tidemark.v1`, as one namespace."""
    folder = tmp_path_factory.mktemp("generated")
    files = sorted((ROOT / "proto").rglob("*.proto"))
    command = ["protoc", f"-I{ROOT / 'proto'}", f"--python_out={folder}", f"--grpc_python_out={folder}"]
    # grpcio-tools carries the well-known types beside its compiler.
    command.insert(1, f"-I{pathlib.Path(protoc.__file__).parent / '_proto'}")
    assert protoc.main(command + [str(file) for file in files]) == 0
    sys.path.insert(0, str(folder))
    names = {}
    for file in files:
        module = ".".join(file.relative_to(ROOT / "proto").with_suffix("").parts)
        for suffix in ("_pb2", "_pb2_grpc"):
            names |= vars(importlib.import_module(module + suffix))
    return types.SimpleNamespace(**names)


@pytest.fixture(scope="session")
def target(tmp_path_factory):
    """`host:port` of a fresh gateway with the demo backend."""
    gateway = Gateway(tmp_path_factory.mktemp("tidemark"), CONFIG).start()
    yield gateway.url.removeprefix("http://")
    assert gateway.stop() == 0, gateway.log()


@pytest.fixture
def channel(target):
    """A channel that takes messages as large as the contract allows."""
    sizes = [(f"grpc.max_{way}_message_length", MAX_MESSAGE_BYTES) for way in ("send", "receive")]
    with grpc.insecure_channel(target, options=sizes) as channel:
        yield channel


@pytest.fixture
def responses(contract, channel):
    """The stub of `ResponsesService`."""
    return contract.ResponsesServiceStub(channel)


@pytest.fixture
def owner():
    """Metadata of an owner that nobody else is."""
    return (("x-tidemark-owner", f"owner-{uuid.uuid4()}"),)
