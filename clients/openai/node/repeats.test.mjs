// The SDK's own retry after a cut connection finds the response that its first try began (C-6, W-35).

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import OpenAI from "openai";

import { Backend, finishes, says } from "../../../tests/common/backend.mjs";
import { Cutter } from "../../../tests/common/cutter.mjs";
import { Gateway } from "../../../tests/common/gateway.mjs";
import { makeClient, numbers, range, readAll, textOf } from "./support.mjs";

const SCRIPT = [says("one "), says("two"), finishes("stop")];

/** One model for each test, so that each counts its own questions. */
const MODELS = ["buffered", "streamed", "own key", "no key"];

/** Requests that an SDK with its default settings makes before it gives up. */
const TRIES = 3;

let backend;
let gateway;

before(async () => {
  backend = await Backend.start(Object.fromEntries(MODELS.map((model) => [model, SCRIPT])));
  gateway = await Gateway.start(backend.config);
});

after(async () => {
  await gateway?.close();
  backend?.close();
});

/** Gives a client behind a proxy that cuts the answers to its first requests. */
async function behindCuts(cuts, use) {
  const cutter = await Cutter.start(gateway.url, cuts);
  try {
    await use(makeClient(cutter, { maxRetries: TRIES - 1 }));
    assert.equal(cutter.cuts, 0, "what was to be cut was not");
  } finally {
    cutter.close();
  }
}

test("a retry of a buffered create gets the first response", () =>
  behindCuts(2, async (client) => {
    client.idempotencyHeader = "Idempotency-Key";
    const call = client.responses.create({ model: "buffered", input: "x" });
    const { data, response } = await call.withResponse();
    assert.equal(response.headers.get("idempotency-replayed"), "true");
    assert.equal(data.output_text, "one two");
    assert.equal(client.requests.length, TRIES);
    assert.equal(backend.asked.buffered, 1);
  }));

test("a retry of a stream is read from its first event", () =>
  behindCuts(1, async (client) => {
    client.idempotencyHeader = "Idempotency-Key";
    const events = await readAll(await client.responses.create({ model: "streamed", input: "x", stream: true }));
    assert.deepEqual(numbers(events), range(0, events.length - 1));
    assert.equal(textOf(events), "one two");
    assert.equal(events.at(-1).type, "response.completed");
    assert.equal(backend.asked.streamed, 1);
  }));

test("a key of the caller's own does the same", () =>
  behindCuts(1, async (client) => {
    const options = { headers: { "Idempotency-Key": "order-7" } };
    const body = { model: "own key", input: "x" };
    const first = await client.responses.create(body, options);
    assert.equal((await client.responses.create(body, options)).id, first.id);
    const before = client.requests.length;
    await assert.rejects(client.responses.create({ ...body, input: "y" }, options), (error) => {
      assert.ok(error instanceof OpenAI.ConflictError);
      assert.equal(error.code, "idempotency_key_reused");
      return true;
    });
    assert.equal(client.requests.length - before, 1);
    assert.equal(backend.asked["own key"], 1);
  }));

test("without a key the model is asked again", () =>
  behindCuts(1, async (client) => {
    await client.responses.create({ model: "no key", input: "x" });
    assert.equal(backend.asked["no key"], 2);
  }));
