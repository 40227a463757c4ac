"""Asks, and prints the answer as it comes: `chat.py URL`."""

import sys

from tidemark import Client, CreateRequest

with Client(sys.argv[1]) as client:
    for item in client.create_stream(CreateRequest(model="demo", text="What is a tide mark?")):
        print(item.text, end="", flush=True)
