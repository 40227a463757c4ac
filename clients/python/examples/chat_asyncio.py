"""Asks, and prints the answer as it comes, with asyncio: `chat_asyncio.py URL`."""

import asyncio
import sys

from tidemark import CreateRequest
from tidemark.aio import Client


async def main() -> None:
    async with Client(sys.argv[1]) as client:
        async for item in client.create_stream(CreateRequest(model="demo", text="What is a tide mark?")):
            print(item.text, end="", flush=True)


asyncio.run(main())
