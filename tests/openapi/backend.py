"""A model server that answers whatever it is asked at once, in both dialects: `chat` and `responses` are its models."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MODELS = ("chat", "responses")

MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant"}


def chat(request):
    """One piece and one end for each of the answers that were asked for."""
    for index in range(request.get("n") or 1):
        delta = {"role": "assistant", "content": "yes"}
        yield {"choices": [{"index": index, "delta": delta, "finish_reason": None}]}
        yield {"choices": [{"index": index, "delta": {}, "finish_reason": "stop"}]}
    yield {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}


def responses(_):
    """One message with one text."""
    item = MESSAGE | {"status": "in_progress", "content": []}
    place = {"item_id": MESSAGE["id"], "output_index": 0, "content_index": 0}
    part = {"type": "output_text", "text": "yes", "annotations": [], "logprobs": []}
    done = MESSAGE | {"status": "completed", "content": [part]}
    usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
    yield {"type": "response.output_item.added", "output_index": 0, "item": item}
    yield {"type": "response.content_part.added", **place, "part": part | {"text": ""}}
    yield {"type": "response.output_text.delta", **place, "delta": "yes", "logprobs": []}
    yield {"type": "response.output_text.done", **place, "text": "yes", "logprobs": []}
    yield {"type": "response.content_part.done", **place, "part": part}
    yield {"type": "response.output_item.done", "output_index": 0, "item": done}
    yield {"type": "response.completed", "response": {"status": "completed", "output": [done], "usage": usage}}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def reply(self, kind, body):
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        data = [{"id": model, "object": "model"} for model in MODELS]
        self.reply("application/json", json.dumps({"object": "list", "data": data}).encode())

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        answer = chat if self.path.endswith("/chat/completions") else responses
        events = "".join(f"data: {json.dumps(event)}\n\n" for event in answer(request))
        self.reply("text/event-stream", f"{events}data: [DONE]\n\n".encode())


class Backend:
    """The server, from `start` to `stop`."""

    def start(self):
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
