"""The main flows with the stock OpenAI SDK, the gateway's binary and a real model server. `tests/real-model` starts this."""

import argparse
import contextlib
import datetime
import itertools
import json
import platform
import random
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

import openai
from gateway import BINARY, Gateway
from openai import OpenAI

PROMPT = "Write a long story about a lighthouse keeper and the sea. Leave nothing out."

# A finite answer even from a model that never stops by itself: the form ends.
FORM = {
    "type": "object",
    "properties": {"tides": {"type": "array", "items": {"enum": ["ebb", "flow"]}, "minItems": 20, "maxItems": 20}},
    "required": ["tides"],
    "additionalProperties": False,
}
FINITE = {"text": {"format": {"type": "json_schema", "name": "tides", "schema": FORM}}}

TERMINAL = ("response.completed", "response.incomplete", "response.failed")

# What the gateway logs when it closes the connection of an unfinished answer.
GIVEN_UP = "an answer is given up"

# Responses that stream at once when the gateway is killed.
STREAMS = 3

# Seconds between two looks at something that is waited for.
LOOK = 0.05


class Wrong(Exception):
    """What a flow found that must not be."""


def check(holds, text):
    if not holds:
        raise Wrong(text)


def wait_for(condition, seconds, text):
    """Waits until something holds, and gives the seconds that it took."""
    begin = time.monotonic()
    while not condition():
        check(time.monotonic() - begin < seconds, f"{text}: not within {seconds} s")
        time.sleep(LOOK)
    return time.monotonic() - begin


class Witness:
    """Tells whether the model server works: by its `/slots` (llama.cpp), else only by what the gateway logs."""

    def __init__(self, base_url, gateway):
        self.url = base_url.rstrip("/").removesuffix("/v1") + "/slots"
        self.gateway = gateway
        self.has_slots = self._slots() is not None

    def _slots(self):
        try:
            with urllib.request.urlopen(self.url, timeout=60) as reply:
                return [slot["is_processing"] for slot in json.load(reply)]
        except (urllib.error.URLError, ValueError, TypeError, KeyError):
            return None

    def working(self):
        """How many answers the server works on; 0 where it cannot be asked."""
        return sum(self._slots() or [])

    def given_up(self):
        return self.gateway.log().count(GIVEN_UP)


class Seen:
    """All events of one response that any client ever got: their bytes, by number."""

    def __init__(self):
        self.events = {}
        self.response_id = None

    def read(self, request):
        """Reads a raw stream to its end, or to where it breaks off. Whether `[DONE]` came."""
        rest = b""
        with request as reply:
            for piece in reply.iter_bytes():
                *frames, rest = (rest + piece).split(b"\n\n")
                for data in filter(None, map(data_of, frames)):
                    if data == b"[DONE]":
                        return True
                    self.note(data)
        return False

    def note(self, data):
        event = json.loads(data)
        before = self.events.setdefault(event["sequence_number"], data)
        check(before == data, f"event {event['sequence_number']} of {self.response_id} has changed")
        if event["type"] == "response.created":
            self.response_id = event["response"]["id"]

    def last(self):
        return max(self.events, default=None)


def data_of(frame):
    """The data of a frame; a comment has none."""
    return next((line.removeprefix(b"data: ") for line in frame.split(b"\n") if line.startswith(b"data: ")), None)


def dense(events):
    numbers = [event.sequence_number for event in events]
    check(numbers == list(range(len(numbers))), f"the numbers are not dense: {numbers}")


def text_of(events):
    return "".join(event.delta for event in events if event.type == "response.output_text.delta")


class Flows:
    """Each method is a flow; what it gives is what the line behind PASS says."""

    def __init__(self, arguments, gateway):
        self.arguments = arguments
        self.gateway = gateway
        self.witness = Witness(arguments.base_url, gateway)

    def client(self):
        return OpenAI(base_url=self.gateway.url + "/v1", api_key="unused", max_retries=0, timeout=self.arguments.patience)

    def long(self, **more):
        tokens = self.arguments.tokens
        return {"model": self.arguments.model, "input": PROMPT, "max_output_tokens": tokens, "background": True} | more

    def begin(self, client, **fields):
        """Creates a background stream and drops it after the event of the chosen number."""
        with client.responses.create(stream=True, **fields) as stream:
            head = list(itertools.islice(stream, self.arguments.drop_at + 1))
        status = client.responses.retrieve(head[0].response.id).status
        check(head[-1].type not in TERMINAL, "the answer was too short to be cut")
        return head, status

    def resume(self):
        """create, drop, retrieve(stream=True, starting_after=…)"""
        with self.client() as client:
            head, status = self.begin(client, **self.long())
            last = head[-1].sequence_number
            with client.responses.retrieve(head[0].response.id, stream=True, starting_after=last) as stream:
                tail = list(stream)
            final = client.responses.retrieve(head[0].response.id)
        dense(head + tail)
        check(tail[-1].type in TERMINAL, f"the stream ends with {tail[-1].type}")
        check(tail[-1].response.model_dump() == final.model_dump(), "the last event and the response differ")
        check(text_of(head + tail) == final.output_text != "", "the deltas are not the text")
        return f"dropped after event {last} ({status}), then {last + 1} to {tail[-1].sequence_number}, {final.status}"

    def helper(self):
        """create, drop, stream(response_id=…, starting_after=…)"""
        with self.client() as client:
            head, status = self.begin(client, **self.long(**FINITE))
            last = head[-1].sequence_number
            with client.responses.stream(response_id=head[0].response.id, starting_after=last) as stream:
                tail = list(stream)
                final = stream.get_final_response()
        dense(head + tail)
        check(final.status == "completed", f"it is {final.status}")
        check(text_of(head + tail) == final.output_text, "the deltas are not the text")
        check(len(json.loads(final.output_text)["tides"]) == 20, "the answer does not have the form that was asked for")
        return f"dropped after event {last} ({status}), then {last + 1} to {tail[-1].sequence_number}, final response whole"

    def cancel(self):
        """create, cancel in mid-stream; the model server stops"""
        with self.client() as client, client.responses.create(stream=True, **self.long()) as stream:
            head = list(itertools.islice(stream, self.arguments.drop_at + 1))
            working, before = self.witness.working(), self.witness.given_up()
            check(working > 0 or not self.witness.has_slots, "the model server was idle before the cancel")
            cancelled = client.responses.cancel(head[0].response.id)
            log = wait_for(lambda: self.witness.given_up() > before, self.arguments.patience, "the gateway closes the connection")
            tail = list(stream)
        check(cancelled.status == "cancelled", f"it is {cancelled.status}")
        check((tail[-1].type, tail[-1].response.status) == ("response.incomplete", "cancelled"), f"it ends with {tail[-1]}")
        dense(head + tail)
        text = f"at event {tail[-1].sequence_number}; connection to the model closed after {log:.2f} s"
        return text + self.idle()

    def idle(self):
        """Waits until the model server works on nothing."""
        if not self.witness.has_slots:
            return ""
        took = wait_for(lambda: self.witness.working() == 0, self.arguments.patience, "the model server becomes idle")
        return f"; /slots: none busy after {took:.2f} s"

    def kill(self):
        """kill -9 in mid-stream, start, resume"""
        counts = [self.round(number) for number in range(1, self.arguments.rounds + 1)]
        events, cut = (sum(column) for column in zip(*counts, strict=True))
        return f"{len(counts)} rounds, {len(counts) * STREAMS} responses ({cut} cut off), {events} events seen, none lost or changed"

    def round(self, number):
        """One kill. The events that were seen before it, and the responses that it cut off."""
        all_seen = [Seen() for _ in range(STREAMS)]
        readers = [threading.Thread(target=self.read_until_death, args=(seen,)) for seen in all_seen]
        for reader in readers:
            reader.start()
        enough = random.randint(1, self.arguments.drop_at)
        begun = lambda: all(seen.last() is not None for seen in all_seen) and all_seen[0].last() >= enough  # noqa: E731
        wait_for(begun, self.arguments.patience, "the streams begin")
        self.gateway.kill()
        for reader in readers:
            reader.join()
        count = sum(len(seen.events) for seen in all_seen)
        idle = self.idle()
        self.gateway.start()
        statuses = [self.whole(seen) for seen in all_seen]
        print(f"     round {number}: {count} events seen, then kill -9{idle}; after the start: {', '.join(statuses)}")
        return count, statuses.count("failed")

    def read_until_death(self, seen):
        # How a connection breaks is nothing to test.
        with self.client() as client, contextlib.suppress(Exception):
            seen.read(client.responses.with_streaming_response.create(stream=True, **self.long()))

    def whole(self, seen):
        """What was seen is there, the rest follows, and the response has ended; its status."""
        before = dict(seen.events)
        with self.client() as client:
            streaming = client.responses.with_streaming_response
            done = seen.read(streaming.retrieve(seen.response_id, stream=True, starting_after=seen.last()))
            check(done, f"the rest of {seen.response_id} does not end")
            everything = Seen()
            check(everything.read(streaming.retrieve(seen.response_id, stream=True)), "the replay does not end")
            final = client.responses.retrieve(seen.response_id)
        check(everything.events == seen.events, f"{seen.response_id}: the replay is not what was seen and what came after it")
        check(before.items() <= everything.events.items(), f"{seen.response_id}: an event is gone")
        check(sorted(everything.events) == list(range(len(everything.events))), f"{seen.response_id} has a hole")
        events = [json.loads(data) for _, data in sorted(everything.events.items())]
        check([event["type"] in TERMINAL for event in events].index(True) == len(events) - 1, "it does not end once")
        check(events[-1]["response"]["status"] == final.status, "the last event and the response differ")
        check(final.status != "failed" or final.error.code == "gateway_restarted", f"it failed with {final.error}")
        return final.status


def arguments():
    parser = argparse.ArgumentParser(prog="tests/real-model", description="The main flows against a real model server.")
    parser.add_argument("base_url", help="URL before /chat/completions, such as http://127.0.0.1:8080/v1")
    parser.add_argument("model")
    parser.add_argument("--rounds", type=int, default=3, help="how often the gateway is killed (3)")
    parser.add_argument("--drop-at", type=int, default=25, help="number of the event after which streams are cut (25)")
    parser.add_argument("--tokens", type=int, default=400, help="max_output_tokens: long enough to be cut (400)")
    parser.add_argument("--patience", type=int, default=180, help="seconds that a step may take (180)")
    parser.add_argument("--key-env", help="environment variable with the key of the model server")
    return parser.parse_args()


def settings(given):
    """The gateway's settings. A JSON string is a TOML string too."""
    backend = {"name": "real", "kind": "openai", "base_url": given.base_url, "models": [given.model]}
    backend |= {"api_key_env": given.key_env} if given.key_env else {}
    return "[[backends]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in backend.items())


def main():
    given = arguments()
    version = subprocess.run([BINARY, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    print(f"{version}, openai {openai.__version__}, Python {platform.python_version()}, {given.model} at {given.base_url}, "
          f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC")
    failed = False
    with tempfile.TemporaryDirectory(prefix="tidemark-") as directory:
        gateway = Gateway(directory, settings(given)).start()
        flows = Flows(given, gateway)
        print(f"the model server {'has' if flows.witness.has_slots else 'has no'} /slots")
        for flow in (flows.resume, flows.helper, flows.cancel, flows.kill):
            try:
                print(f"PASS {flow.__doc__}: {flow()}")
            except (Wrong, RuntimeError, openai.OpenAIError) as problem:
                failed = True
                print(f"FAIL {flow.__doc__}: {problem}")
        code = gateway.stop()
        print(f"{'PASS' if code == 0 else 'FAIL'} SIGTERM: exit code {code}")
    sys.exit(failed or code != 0)


if __name__ == "__main__":
    main()
