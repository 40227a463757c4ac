"""A model server that says words that are hard to get right; if the row wants it, each after the one before has passed the proxy."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WORDS = ["Grüße ", "an ", "alle: ", '"quoted" ', "back\\slash ", "new\nline ", "🌊", "👩‍👩‍👧 ", "汉字 ", "‮rtl ", "\t", "</script> "]

# How many words each model says, and seconds between two.
MODELS = {"steady": (24, 0.01), "leisurely": (24, 0.07), "long": (3000, 0)}

# The longest that a word waits for the one before, in seconds.
WAIT = 0.3


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        body = json.dumps({"object": "list", "data": [{"id": model, "object": "model"} for model in MODELS]}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        words, pace = MODELS[json.loads(self.rfile.read(int(self.headers["content-length"])))["model"]]
        proxy = self.server.proxy
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        try:
            for number in range(words):
                time.sleep(pace)
                proxy.passed.clear()
                self.say({"content": WORDS[number % len(WORDS)]})
                if proxy.in_step:
                    proxy.passed.wait(WAIT)
            self.say({}, "stop")
            self.wfile.write(b"data: [DONE]\n\n")
        except OSError:
            pass  # the gateway has gone

    def say(self, delta, finish=None):
        chunk = {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
        self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())


def start(proxy):
    """The server behind the gateway behind this proxy, and its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.proxy = proxy
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}/v1"
