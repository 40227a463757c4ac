// The recipe for resuming (`recipes/resuming-fetch.mjs`) with the stock SDK, behind a proxy that cuts its streams.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Cutter } from "../../../tests/common/cutter.mjs";
import { Gateway } from "../../../tests/common/gateway.mjs";
import { resumingFetch } from "../recipes/resuming-fetch.mjs";
import { makeClient, numbers, range, readAll, textOf } from "./support.mjs";

/** Two hundred words in two seconds. */
const LONG = { model: "demo-long", input: "Tell me", metadata: { "demo.events": "200", "demo.rate": "100" } };

const CUTS = 4;

/** How many bytes of each answer pass before it is cut. */
const BYTES = 6000;

let gateway;

before(async () => {
  gateway = await Gateway.start();
});

after(() => gateway?.close());

/** Gives a client with the recipe's fetch behind a proxy that cuts its first answers. */
async function behindCuts(use, bytes = BYTES) {
  const cutter = await Cutter.start(gateway.url, CUTS, bytes);
  try {
    await use(makeClient(cutter, { fetch: resumingFetch({ pauseMs: 10 }) }));
    assert.equal(cutter.cuts, 0, "what was to be cut was not");
  } finally {
    cutter.close();
  }
}

test("a stream that is cut is one stream", () =>
  behindCuts(async (client) => {
    const events = await readAll(await client.responses.create({ ...LONG, stream: true }));
    assert.deepEqual(numbers(events), range(0, events.length - 1));
    assert.equal(events.at(-1).type, "response.completed");
    assert.equal(textOf(events), events.at(-1).response.output[0].content[0].text);
  }));

test("the helper of the SDK sees no cut", () =>
  behindCuts(async (client) => {
    const final = await client.responses.stream(LONG).finalResponse();
    assert.equal(final.status, "completed");
    assert.equal(final.output_text.split(" ").length, 200);
  }));

test("a chat that is cut is one chat", () =>
  behindCuts(async (client) => {
    const { model, metadata } = LONG;
    const stream = await client.chat.completions.create({ model, metadata, store: true, messages: [{ role: "user", content: "x" }], stream: true });
    let text = "";
    for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? "";
    assert.equal(text.split(" ").length, 200);
  }));
