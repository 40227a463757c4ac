"""A model server that does what the name of the model says: what no healthy one does on demand."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MODELS = ("refuses", "breaks", "filters", "endless", "several", "choices")

# Pieces of text before the end.
PIECES = 20

# How often each choice and each call grows in the answer of several.
TURNS = 200

# Seconds between the pieces of the model that does not end.
PACE = 0.02


def chunk(text=None, finish=None, index=0):
    return choice(index, {} if text is None else {"content": text}, finish)


def choice(index, delta, finish=None, logprobs=None):
    return {"choices": [{"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}]}


def choices():
    """Two answers and two calls, each of which grows in turn."""
    for index in (0, 1):
        yield choice(index, {"role": "assistant", "content": ""})
    for turn in range(TURNS):
        for index in (0, 1):
            tokens = {"content": [{"token": f"{turn} ", "logprob": -0.5, "bytes": None, "top_logprobs": []}]}
            yield choice(index, {"content": f"{index}.{turn} é"}, logprobs=tokens)
    for index in (0, 1):
        function = {"name": f"f{index}", "arguments": ""}
        yield choice(1, {"tool_calls": [{"index": index, "id": f"call{index}", "type": "function", "function": function}]})
    for turn in range(TURNS):
        for index in (0, 1):
            yield choice(1, {"tool_calls": [{"index": index, "function": {"arguments": f"{index}{turn},"}}]})
    yield choice(0, {}, "stop")
    yield choice(1, {}, "tool_calls")


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

    def send(self, data):
        self.wfile.write(f"data: {json.dumps(data)}\n\n".encode())

    def do_GET(self):
        self.reply(200, {"object": "list", "data": [{"id": model, "object": "model"} for model in MODELS]})

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        model = request["model"]
        with self.server.lock:
            self.server.asked.append(model)
        if model == "refuses":
            self.reply(500, {"error": {"message": "out of memory"}})
            return
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        if model == "several":
            self.answer(request["n"])
            return
        if model == "choices":
            self.wfile.write(b"".join(f"data: {json.dumps(each)}\n\n".encode() for each in choices()) + b"data: [DONE]\n\n")
            return
        for number in range(PIECES):
            self.send(chunk(f"word{number} "))
        if model == "filters":
            self.send(chunk(finish="content_filter"))
            self.wfile.write(b"data: [DONE]\n\n")
        elif model == "endless":
            self.go_on()
        # "breaks": the connection closes here, without a reason to stop.

    def answer(self, n):
        """As many answers as were asked for, a piece of each in turn."""
        for piece in ("answer ", "{}"):
            for index in range(n):
                self.send(chunk(piece.format(index), index=index))
        for index in range(n):
            self.send(chunk(finish="stop", index=index))
        self.send({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2 * n, "total_tokens": 3 + 2 * n}})
        self.wfile.write(b"data: [DONE]\n\n")

    def go_on(self):
        try:
            while not self.server.closing.is_set():
                self.send(chunk("more "))
                time.sleep(PACE)
        except OSError:
            self.server.left.set()


class Scripted:
    """The server, from `start` to `stop`. `asked` has the model of each generation; `left` is set when a client has gone away."""

    def start(self):
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.lock = threading.Lock()
        self.server.asked, self.server.left, self.server.closing = [], threading.Event(), threading.Event()
        self.base_url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def asked(self, model):
        """How often this model was asked."""
        with self.server.lock:
            return self.server.asked.count(model)

    def abandoned(self, seconds):
        """Whether a client goes away from the endless answer within this time."""
        return self.server.left.wait(seconds)

    def stop(self):
        self.server.closing.set()
        self.server.shutdown()
        self.server.server_close()
