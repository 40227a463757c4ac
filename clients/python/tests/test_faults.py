"""The table of faults (`clients/faults`), for the blocking client and for the one for asyncio."""

import asyncio
import json
import os
import pathlib

import pytest

import tidemark
from tidemark import aio

TABLE = json.loads((pathlib.Path(__file__).resolve().parents[2] / "faults/table.json").read_text())

ROWS = [row["name"] for row in TABLE if os.environ.get("TIDEMARK_FAULT_ROWS", "") in row["name"]]

SETTINGS = tidemark.Settings(idle_timeout=1, min_delay=0.02, max_delay=0.2)


class Read:
    """All that a client has read of one response, over all the readers that it took."""

    def __init__(self, play):
        self.play, self.leave = play, list(play["leave"])
        self.text, self.seqs, self.gaps, self.end, self.error, self.kind = "", [], [], None, None, None
        self.id, self.after = play["id"], play["after"]

    def open(self, client):
        if self.id is None:
            return client.create_stream(tidemark.CreateRequest(**self.play["create"]))
        return client.resume(self.id, self.after, on_gap=self.play["on_gap"])

    def take(self, item):
        """Whether the client stays."""
        if isinstance(item, tidemark.Gap):
            self.gaps.append([item.from_, item.to])
            return True
        self.seqs.append(item.seq)
        self.text += item.text
        if item.type in ("response.completed", "response.incomplete", "response.failed"):
            self.end = item.json()["response"]["status"]
        # Positions are those of the table, or the next ones that there are.
        if not (self.leave and item.seq >= self.leave[0]):
            return True
        self.leave.pop(0)
        return False

    def keep(self, reader):
        """Where the next reader goes on. What is kept is plain data."""
        kept = json.dumps([reader.id, reader.after])
        self.id, self.after = json.loads(kept)

    def failed(self, error, reader):
        self.keep(reader)
        self.error, self.kind = error.code, type(error).__name__

    def renewed(self, stage):
        """Whether another credential was given after the first has ended."""
        if not (self.error and self.play["renew"]):
            return False
        self.play = self.play | stage.ask("/renew", {}) | {"renew": False}
        self.error = self.kind = None
        return True

    def report(self):
        return {name: getattr(self, name) for name in ("text", "seqs", "gaps", "end", "error", "kind")}


@pytest.mark.parametrize("row", ROWS)
def test_blocking(stage, row):
    read = Read(stage.ask("/play", {"row": row}))
    stays = False
    while not stays:
        stays = True
        with tidemark.Client(read.play["url"], credential=read.play["credential"], settings=SETTINGS) as client:
            reader = read.open(client)
            try:
                for item in reader:
                    if not read.take(item):
                        stays = False
                        break
                read.keep(reader)
            except tidemark.TidemarkError as error:
                read.failed(error, reader)
        if not stays:
            stage.ask("/left", {})
        stays = stays and not read.renewed(stage)
    assert stage.ask("/judge", read.report()) == {"wrong": []}


@pytest.mark.parametrize("row", ROWS)
def test_asyncio(stage, row):
    async def play():
        read = Read(stage.ask("/play", {"row": row}))
        stays = False
        while not stays:
            stays = True
            async with aio.Client(read.play["url"], credential=read.play["credential"], settings=SETTINGS) as client:
                reader = read.open(client)
                try:
                    async for item in reader:
                        if not read.take(item):
                            stays = False
                            break
                    read.keep(reader)
                except tidemark.TidemarkError as error:
                    read.failed(error, reader)
                await reader.close()
            if not stays:
                stage.ask("/left", {})
            stays = stays and not read.renewed(stage)
        return read

    read = asyncio.run(play())
    assert stage.ask("/judge", read.report()) == {"wrong": []}
