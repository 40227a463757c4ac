"""The recipe for resuming (`clients/openai/recipes/resuming_transport.py`) with LangChain, behind a proxy that cuts its streams."""

import pathlib
import sys

import httpx2 as httpx
import pytest
from langchain_openai import ChatOpenAI

CLIENTS = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(CLIENTS / "openai/recipes"), str(CLIENTS / "faults")]

from proxy import Proxy  # noqa: E402
from resuming_transport import ResumingTransport  # noqa: E402

TEXT = " ".join(f"word{number}" for number in range(300))

# The events at which a connection is cut.
CUTS = [(5, "after"), (100, "before"), (101, "after"), (250, "before")]


@pytest.mark.parametrize("responses", [False, True], ids=["chat", "responses"])
def test_a_stream_that_is_cut_is_one_stream(base_url, responses):
    proxy = Proxy(lambda step: None)
    proxy.target = base_url.removeprefix("http://").removesuffix("/v1").split(":")
    proxy.begin([{"at": at, "when": when, "do": "cut"} for at, when in CUTS])
    with httpx.Client(transport=ResumingTransport(pause=0.01)) as http:
        model = ChatOpenAI(
            model="demo", base_url=f"{proxy.url}/v1", api_key="unused", max_retries=0, use_responses_api=responses, http_client=http
        )
        assert "".join(piece.text for piece in model.stream(TEXT)) == TEXT
    assert proxy.cuts == len(CUTS)
    proxy.begin([])
