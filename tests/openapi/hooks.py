"""What schemathesis cannot know from the document: who it is, which models there are, and what only the gateway can give out."""

import time

import schemathesis

MODELS = {"/v1/responses": "responses", "/v1/chat/completions": "chat"}

# These narrow what the caller sees and may do: with them, hardly any request would find what an earlier one has made.
NARROWING = ("x-tidemark-owner", "x-tidemark-scopes")

# A second credential, which is refused, and positions that must have come from an earlier page. Tests in Rust have them.
GIVEN_OUT = ("ticket", "cursor")

# Where `after` is one of these, too; of a history, it is for streams alone.
LISTS = ("/input_items", "/messages", "/items", "/history", "/oauth2/sessions")


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """Texts of 10 MiB would be most of the run; a test in Rust has them."""
    text, _ = raw_schema["components"]["schemas"]["CreateResponse"]["properties"]["input"]["anyOf"]
    del text["maxLength"]


@schemathesis.hook
def before_call(context, case, kwargs):
    path = case.operation.path
    if isinstance(case.body, dict):
        complete(path, case.body)
    if path != "/v1/models":
        for name in [name for name in case.headers or () if name.lower() in NARROWING]:
            del case.headers[name]
    if case.method == "GET" and case.query and "starting_after" in case.query:
        # It needs a stream, and may not pass what the reader has got meanwhile.
        if case.query.get("stream") in (None, False, "false"):
            case.query["stream"] = "true"
        if "last-event-id" in (case.headers or ()):
            del case.query["starting_after"]
    if "last-event-id" in (case.headers or ()) and not case.headers["last-event-id"].isdecimal():
        # What it must be depends on whether there is a stream.
        case.headers["last-event-id"] = "0"
    given_out = (*GIVEN_OUT, "after") if path.endswith(LISTS) else GIVEN_OUT
    for name in given_out:
        # An empty one is wrong whoever gives it out.
        if case.query and case.query.get(name):
            del case.query[name]


def complete(path, body):
    """A model that nobody serves, and a key that would have ended already, are tried often enough by what is wrong otherwise."""
    for name, value in body.items():
        # To a schema, 1.0 is an integer.
        if isinstance(value, float) and value.is_integer():
            body[name] = int(value)
    model = MODELS.get(path)
    if model and isinstance(body.get("model"), str) and 1 <= len(body["model"]) <= 256:
        body["model"] = model
    expires_at = body.get("expires_at")
    if isinstance(expires_at, int) and 1 <= expires_at < time.time():
        body["expires_at"] = 4_000_000_000
