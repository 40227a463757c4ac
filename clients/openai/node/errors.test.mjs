// Every error as the exception that the stock SDK for Node has for it, and how often the SDK asks again.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import OpenAI from "openai";

import { Backend, breaks, finishes, refuses, says, waits } from "../../../tests/common/backend.mjs";
import { Gateway, until } from "../../../tests/common/gateway.mjs";
import { makeClient, SHORT, SLOW } from "./support.mjs";

const UNKNOWN = `resp_${"0".repeat(32)}`;

/** Requests that an SDK with its default settings makes before it gives up. */
const TRIES = 3;

/** Nearly as much as a response may put out, in pieces: more than a connection can hold that nobody reads. */
const FLOOD = Array.from({ length: 130 }, () => says("x".repeat(60_000)));

let openGate;
let backend;
let gateway;
let forgetful;

before(async () => {
  const gate = new Promise((open) => (openGate = open));
  backend = await Backend.start({
    cut: [breaks()],
    refused: [refuses(500)],
    flood: [says("one"), waits(gate), ...FLOOD, finishes("stop")],
  });
  gateway = await Gateway.start(`${backend.config}
    [limits]
    live = 3
    live_per_owner = 2
  `);
  forgetful = await Gateway.start(`${backend.config}
    [limits]
    bytes_per_response = "16KiB"
  `);
});

after(async () => {
  await gateway?.close();
  await forgetful?.close();
  backend?.close();
});

/** Awaits the exception of this class, and checks what every error of the gateway has. */
async function rejects(call, kind, { code, ...fields }) {
  const error = await call.then(
    () => assert.fail("it should have failed"),
    (error) => error,
  );
  assert.ok(error instanceof kind, `${error.constructor.name}: ${error.message}`);
  assert.equal(error.code, code);
  assert.ok(error.requestID);
  for (const [name, value] of Object.entries(fields)) assert.equal(error[name], value, name);
  return error;
}

test("a malformed body is a BadRequestError that names the field", async () => {
  const call = makeClient(gateway).responses.create({ ...SHORT, background: "yes" });
  await rejects(call, OpenAI.BadRequestError, { status: 400, code: "invalid_request", param: "background" });
});

test("a malformed cursor is a BadRequestError", async () => {
  const call = makeClient(gateway).responses.retrieve(UNKNOWN, { stream: true, starting_after: -1 });
  await rejects(call, OpenAI.BadRequestError, { status: 400, code: "invalid_cursor", param: "starting_after" });
});

test("a page of a stranger is a PermissionDeniedError", async () => {
  const client = makeClient(gateway, { headers: { origin: "https://evil.example" } });
  await rejects(client.models.list(), OpenAI.PermissionDeniedError, { status: 403, code: "forbidden_origin" });
});

test("what is unknown or of another owner is a NotFoundError", async () => {
  const client = makeClient(gateway);
  const { id } = await makeClient(gateway).responses.create({ model: "demo", input: "mine" });
  const messages = new Set();
  for (const target of [UNKNOWN, id]) {
    for (const call of ["retrieve", "cancel"]) {
      const error = await rejects(client.responses[call](target), OpenAI.NotFoundError, { status: 404, code: "not_found" });
      messages.add(error.message);
    }
  }
  assert.equal(messages.size, 1);
  const create = client.responses.create({ model: "no-such-model", input: "x" });
  await rejects(create, OpenAI.NotFoundError, { code: "model_not_found", param: "model" });
  const next = client.responses.create({ model: "demo", input: "x", previous_response_id: id });
  await rejects(next, OpenAI.NotFoundError, { code: "previous_response_not_found", param: "previous_response_id" });
});

test("a stream of an unknown response is a NotFoundError", async () => {
  const client = makeClient(gateway);
  await rejects(client.responses.retrieve(UNKNOWN, { stream: true }), OpenAI.NotFoundError, { code: "not_found" });
  const helper = client.responses.stream({ response_id: UNKNOWN }).finalResponse();
  await rejects(helper, OpenAI.NotFoundError, { code: "not_found" });
});

test("a conflict is asked once", async () => {
  const client = makeClient(gateway, { maxRetries: TRIES - 1 });
  const running = await client.responses.create({ ...SLOW, background: true });
  const before = client.requests.length;
  const call = client.responses.create({ model: "demo", input: "x", previous_response_id: running.id });
  const error = await rejects(call, OpenAI.ConflictError, { status: 409, code: "previous_response_not_terminal" });
  assert.equal(error.headers.get("x-should-retry"), "false");
  assert.equal(client.requests.length - before, 1);
  await client.responses.cancel(running.id);
});

test("a lost place is a ConflictError, asked once", async () => {
  const client = makeClient(forgetful, { maxRetries: TRIES - 1 });
  const { id } = await client.responses.create({ ...SHORT, metadata: { "demo.rate": "0", "demo.events": "2000" } });
  const before = client.requests.length;
  const call = client.responses.retrieve(id, { stream: true, starting_after: 20 });
  const error = await rejects(call, OpenAI.ConflictError, { code: "offset_lost", param: "starting_after" });
  assert.ok(error.error.watermark > 20);
  assert.equal(client.requests.length - before, 1);
});

test("a reader that is overtaken gets an APIError that says so", async () => {
  const client = makeClient(forgetful);
  const stream = await client.responses.create({ model: "flood", input: "x", background: true, stream: true });
  const events = stream[Symbol.asyncIterator]();
  const { id } = (await events.next()).value.response;
  openGate();
  await until("its end", async () => (await client.responses.retrieve(id)).status === "completed");
  const rest = (async () => {
    while (!(await events.next()).done);
  })();
  await assert.rejects(rest, (error) => error instanceof OpenAI.APIError && error.code === "offset_lost");
});

test("a full owner is a RateLimitError, asked three times with the delay that was named", async () => {
  const client = makeClient(gateway, { maxRetries: TRIES - 1 });
  const running = [];
  for (const _ of [1, 2]) running.push(await client.responses.create({ ...SLOW, background: true }));
  const before = client.requests.length;
  const call = client.responses.create({ ...SLOW, background: true });
  const error = await rejects(call, OpenAI.RateLimitError, { status: 429, code: "quota_exceeded" });
  assert.ok(Number(error.headers.get("retry-after")) >= 1);
  assert.ok(Number(error.headers.get("retry-after-ms")) >= 1);
  assert.equal(client.requests.length - before, TRIES);
  await Promise.all(running.map(({ id }) => client.responses.cancel(id)));
});

test("too often is a RateLimitError, and the try that waits as long as it says is answered", async () => {
  const hurried = await Gateway.start(`${backend.config}
    [limits]
    rate_models = "1 per 5s"
  `);
  try {
    const first = makeClient(hurried);
    await first.models.list();
    const error = await rejects(first.models.list(), OpenAI.RateLimitError, { status: 429, code: "rate_limited" });
    const wait = Number(error.headers.get("retry-after-ms"));
    assert.ok(wait >= 1 && wait <= 5000, wait);
    assert.equal(Number(error.headers.get("retry-after")), Math.ceil(wait / 1000));
    const patient = makeClient(hurried, { maxRetries: TRIES - 1 });
    await patient.models.list();
    assert.equal(patient.requests.length, 2);
  } finally {
    await hurried.close();
  }
});

test("a full gateway is an InternalServerError that a retry mends once there is room", async () => {
  const alice = makeClient(gateway);
  const bob = makeClient(gateway);
  const running = [];
  for (const client of [alice, alice, bob]) running.push(await client.responses.create({ ...SLOW, background: true }));
  const carol = makeClient(gateway, { maxRetries: TRIES - 1 });
  const call = carol.responses.create({ ...SLOW, background: true });
  const error = await rejects(call, OpenAI.InternalServerError, { status: 503, code: "overloaded" });
  assert.ok(Number(error.headers.get("retry-after-ms")) >= 1);
  assert.equal(carol.requests.length, TRIES);
  const dave = makeClient(gateway, {
    maxRetries: TRIES - 1,
    fetch: async (url, init) => {
      const reply = await fetch(url, init);
      if (reply.status === 503) await alice.responses.cancel(running[0].id);
      return reply;
    },
  });
  assert.equal((await dave.responses.create({ model: "demo", input: "in" })).output_text, "in");
  await Promise.all([alice.responses.cancel(running[1].id), bob.responses.cancel(running[2].id)]);
});

for (const model of ["cut", "refused"]) {
  test(`a backend that is ${model} before any output is an InternalServerError, asked three times`, async () => {
    const client = makeClient(gateway, { maxRetries: TRIES - 1 });
    const call = client.responses.create({ model, input: "x" });
    const error = await rejects(call, OpenAI.InternalServerError, { status: 502, code: "backend_error" });
    assert.equal(client.requests.length, TRIES);
    const failed = await client.responses.retrieve(error.headers.get("x-tidemark-response-id"));
    assert.equal(failed.status, "failed");
  });
}

test("a body above the limit is an APIError with status 413", async () => {
  const call = makeClient(gateway).responses.create({ model: "demo", input: "x".repeat(17 << 20) });
  await rejects(call, OpenAI.APIError, { status: 413, code: "payload_too_large" });
});

test("a gateway that is away is an APIConnectionError", async () => {
  const away = await Gateway.start();
  await away.close();
  await assert.rejects(makeClient(away).models.list(), OpenAI.APIConnectionError);
});

test("an aborted call is an APIUserAbortError", async () => {
  const aborted = AbortSignal.abort();
  await assert.rejects(makeClient(gateway).models.list({ signal: aborted }), OpenAI.APIUserAbortError);
});

test("an aborted stream ends without an exception, and its response goes on", async () => {
  const client = makeClient(gateway);
  const stream = await client.responses.create({ ...SHORT, stream: true });
  const { id } = (await stream[Symbol.asyncIterator]().next()).value.response;
  stream.controller.abort();
  await until("its end", async () => (await client.responses.retrieve(id)).status === "completed");
});
