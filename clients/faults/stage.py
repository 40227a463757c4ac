"""Plays the rows of `table.json` for a client in any language, and judges what the client has read.

A suite starts it (`python3 clients/faults/stage.py`), reads its address from the first line, and for each row
  POST /play  {"row"}             begins it: where to connect, with what credential, what to do
  POST /left  {}                  the client has left and will come back: what is to happen meanwhile has happened
  POST /renew {}                  another credential, after one has ended
  POST /judge {"text", "seqs", "gaps", "end", "error", "kind"}    what is wrong with what it read: {"wrong": [...]}
It ends when its standard input does. `GET /rows` lists the names of the rows, or of
those that have TIDEMARK_FAULT_ROWS in them.
"""

import json
import os
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "tests/common")]

import model  # noqa: E402
from gateway import Gateway  # noqa: E402
from proxy import Proxy  # noqa: E402

TABLE = json.loads((HERE / "table.json").read_text())

# One second of the table in seconds: 1 in tests/deep, and less in tests/run.
TIME = float(os.environ.get("TIDEMARK_FAULT_TIME", "0.07"))

SECRET = "0123456789abcdef0123456789abcdef"

# Seconds that anything may take that will surely happen.
PATIENCE = 60

SETTINGS = """
[server]
drain = "1s"
[auth]
mode = "keys"
operator_secret_file = "{secret}"
[[backends]]
name = "scripted"
kind = "openai"
base_url = "{model}"
[limits]
{limits}
"""


class Stage:
    """The gateways, the proxy in front of the one that plays, and the row that is played."""

    def __init__(self, directory):
        self.directory = Path(directory)
        (self.directory / "secret").write_text(SECRET)
        self.proxy = Proxy(self.act)
        self.model = model.start(self.proxy)
        self.gateways = {}
        self.plays = 0
        # Held while the gateway is down or about to be.
        self.away = threading.Lock()

    def gateway_with(self, limits):
        """The gateway with these settings below `[limits]`; each is started once."""
        if limits not in self.gateways:
            directory = self.directory / str(len(self.gateways))
            directory.mkdir()
            secret = self.directory / "secret"
            self.gateways[limits] = Gateway(directory, SETTINGS.format(secret=secret, model=self.model, limits=limits)).start()
        return self.gateways[limits]

    def call(self, method, path, body=None, bearer=SECRET, headers=()):
        headers = {"authorization": f"Bearer {bearer}", "content-type": "application/json", **dict(headers)}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.gateway.url + path, data, headers, method=method)
        with urllib.request.urlopen(request) as reply:
            return json.load(reply)

    def owned(self, method, path):
        """What the owner of the row gets, once the gateway is there and has time for it."""
        while True:
            try:
                with self.away:
                    return self.call(method, path, headers={"x-tidemark-owner": self.owner})
            except urllib.error.HTTPError as error:
                if error.code != 429:
                    raise
                time.sleep(0.1)

    def play(self, name):
        self.row = next(row for row in TABLE if row["name"] == name)
        self.plays += 1
        self.owner, self.id, self.left_times = f"owner-{self.plays}", None, 0
        self.gateway = self.gateway_with(self.row.get("limits", ""))
        self.proxy.target = tuple(self.gateway.url.removeprefix("http://").split(":"))
        scaled = [step | {"seconds": step["seconds"] * TIME} if "seconds" in step else step for step in self.row.get("steps", [])]
        self.proxy.begin(scaled)
        self.log_before = len(self.gateway.log())
        self.key = self.call("POST", "/v1/keys", {"owner": self.owner, "scopes": ["responses.read", "responses.write"]})
        create = {"model": self.row.get("model", "steady"), "input": "Hello", "background": True}
        play = {"url": self.proxy.url, "credential": self.key["key"], "id": None, "after": None, "leave": self.row.get("leave", [])}
        play["on_gap"], play["renew"] = self.row.get("on_gap", "fail"), self.row.get("renew", False)
        play["create"] = {"model": create["model"], "text": "Hello"}
        if not self.row.get("create"):
            self.id = self.call("POST", "/v1/responses", create, self.key["key"])["id"]
            play["id"] = self.id
        if "after" in self.row:
            self.ended()
            play["after"] = self.row["after"]
        if "ticket" in self.row:
            play["credential"] = self.ticket(self.row["ticket"])
        return play

    def ticket(self, lifetime):
        body = {"rights": ["read"], "lifetime_seconds": lifetime}
        return self.call("POST", f"/v1/responses/{self.id}/tickets", body, self.key["key"])["ticket"]

    def left(self):
        """A client has left. `meanwhile` says what happens before it is back."""
        if self.row.get("meanwhile") == "ends":
            self.ended()
        return {}

    def renew(self):
        return {"credential": self.ticket(3600)}

    def act(self, step):
        """What a step does to the gateway, beside the connection that has brought it on."""
        self.away.acquire()
        threading.Thread(target=self.change, args=(step, self.gateway), daemon=True).start()

    def change(self, step, gateway):
        try:
            if step["do"] == "disable":
                self.call("POST", f"/v1/keys/{self.key['id']}/disable", {})
                return
            if step["do"] == "drain":
                gateway.stop()
            elif step["do"] == "kill":
                gateway.kill()
            else:
                raise ValueError(step["do"])
            time.sleep(step.get("seconds", 0))
            gateway.start()
            self.proxy.target = tuple(gateway.url.removeprefix("http://").split(":"))
        finally:
            self.away.release()

    def ended(self):
        """The response, when it has ended."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            response = self.owned("GET", f"/v1/responses/{self.id}")
            if response["status"] not in ("queued", "in_progress"):
                return response
            time.sleep(0.02)
        raise RuntimeError(f"{self.id} did not end")

    def resumes(self, expected):
        """How often this row has asked to read, as the log of the gateway says it, which may come a little late."""
        until = time.monotonic() + 1
        while True:
            found = self.gateway.log()[self.log_before :].count('ResponsesService/Resume"')
            if found >= expected or time.monotonic() > until:
                return found
            time.sleep(0.02)

    def judge(self, read):
        """What is wrong with what a client has read."""
        row, wrong = self.row, []

        def expect(what, found, wanted):
            if found != wanted:
                wrong.append(f"{what}: {found!r} instead of {wanted!r}")

        responses = self.owned("GET", "/v1/responses")["data"]
        expect("responses that were made", len(responses), 1)
        self.id = responses[0]["id"]
        response = self.ended()
        text = "".join(part["text"] for item in response["output"] for part in item["content"])
        seqs, gaps = read["seqs"], read["gaps"]
        expect("error", read.get("error"), row.get("error"))
        expect("kind of error", read.get("kind"), row.get("kind"))
        expect("gaps", len(gaps), row.get("gaps", 0))
        if any(later <= earlier for earlier, later in zip(seqs, seqs[1:])):
            wrong.append(f"events that are doubled or out of order: {seqs}")
        if row.get("partial"):
            if not text.startswith(read["text"]):
                wrong.append(f"text {read['text']!r} is no beginning of {text!r}")
        elif gaps:
            if not text.endswith(read["text"]):
                wrong.append(f"text {read['text']!r} is no end of {text!r}")
        else:
            expect("text", read["text"], text)
        if not row.get("partial"):
            expect("end", read.get("end"), row.get("end", "completed"))
            expect("status", response["status"], row.get("end", "completed"))
        if not (gaps or row.get("merged") or "error" in row):
            expect("events", seqs, list(range(len(seqs))))
        if "asked" in row:
            expect("calls of Resume", self.resumes(row["asked"]), row["asked"])
        if self.proxy.cuts < row.get("cuts", 0):
            wrong.append(f"only {self.proxy.cuts} cuts")
        if self.proxy.connections < row.get("connections", 1):
            wrong.append(f"only {self.proxy.connections} connections")
        return {"wrong": wrong}


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def reply(self, status, body):
        body = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        wanted = os.environ.get("TIDEMARK_FAULT_ROWS", "")
        self.reply(200, [row["name"] for row in TABLE if wanted in row["name"]])

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])) or "{}")
        stage = self.server.stage
        calls = {"/play": lambda: stage.play(body["row"]), "/left": stage.left, "/renew": stage.renew}
        calls["/judge"] = lambda: stage.judge(body)
        try:
            self.reply(200, calls[self.path]())
        except urllib.error.HTTPError as error:
            self.reply(500, {"wrong": [f"{error.url}: {error.code} {error.read().decode()}"]})
        except Exception as error:
            self.reply(500, {"wrong": [repr(error)]})


def main():
    with tempfile.TemporaryDirectory(prefix="tidemark-faults-") as directory:
        stage = Stage(directory)
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        server.stage = stage
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(f"http://127.0.0.1:{server.server_port}", flush=True)
        sys.stdin.read()
        with stage.away:
            for gateway in stage.gateways.values():
                gateway.kill()


if __name__ == "__main__":
    main()
