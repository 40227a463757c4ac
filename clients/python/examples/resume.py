"""Reads a long answer and keeps its position in a file. Started again it goes on there: `resume.py URL FILE [EVENTS]`.

With EVENTS it leaves after so many, in the middle of the answer. An answer that is to come again, or behind the gap, where
its events are gone: `client.resume(id, after, on_gap="earliest")`.
"""

import json
import sys
from pathlib import Path

from tidemark import Client, CreateRequest, OffsetLost

url, file = sys.argv[1], Path(sys.argv[2])
events = int(sys.argv[3]) if len(sys.argv) > 3 else None

with Client(url) as client:
    if file.exists():
        kept = json.loads(file.read_text())
    else:
        request = CreateRequest(model="demo-long", text="Tell me", background=True, metadata={"demo.events": "300", "demo.rate": "300"})
        kept = {"id": client.create(request).response.id, "after": None}
    try:
        with client.resume(kept["id"], kept["after"]) as reader:
            for number, item in enumerate(reader, 1):
                print(item.text, end="", flush=True)
                file.write_text(json.dumps({"id": reader.id, "after": reader.after}))
                if number == events:
                    break
    except OffsetLost as lost:
        print(f"the events up to {lost.watermark} are gone", file=sys.stderr)
