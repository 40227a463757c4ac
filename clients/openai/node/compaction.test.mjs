// A response whose deltas are far more than its log keeps: the helper of the SDK puts it together as if nothing had been merged.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Gateway } from "../../../tests/common/gateway.mjs";
import { makeClient, readAll, textOf } from "./support.mjs";

/** Some thousand more than a log keeps, if the environment does not say. */
const DELTAS = process.env.TIDEMARK_DELTAS ?? "20000";

const LONG = { model: "demo-long", input: "x", metadata: { "demo.rate": "0", "demo.events": DELTAS } };

let gateway;

before(async () => {
  gateway = await Gateway.start("");
});

after(() => gateway?.close());

test("the stream helper has the whole text of a response that was merged while it ran", async () => {
  const client = makeClient(gateway, { timeout: 1_200_000 });
  const done = await client.responses.create(LONG);
  assert.equal(done.output_text.split(" ").length, Number(DELTAS));
  const stream = client.responses.stream({ response_id: done.id });
  let [text, count] = ["", 0];
  stream.on("response.output_text.delta", ({ delta }) => {
    text += delta;
    count += 1;
  });
  const final = await stream.finalResponse();
  assert.equal(final.status, "completed");
  assert.equal(final.output_text, done.output_text);
  assert.equal(text, done.output_text);
  assert.ok(count < Number(DELTAS), `${count} deltas`);
});

test("every position gets exactly the rest", async () => {
  const client = makeClient(gateway, { timeout: 1_200_000 });
  const { id, output_text } = await client.responses.create(LONG);
  // Two events come before the first delta of a foreground response, and two more that open its item and part.
  const words = output_text.split(" ");
  for (const after of [4, 5, 100, 9000, 17_001]) {
    const rest = textOf(await readAll(await client.responses.retrieve(id, { stream: true, starting_after: after })));
    assert.equal(`${words.slice(0, after - 3).join(" ")}${rest}`, output_text, `after ${after}`);
  }
});

test("the stream helper has the whole text of a chat that was merged while it ran", async () => {
  const client = makeClient(gateway, { timeout: 1_200_000 });
  const chat = { model: LONG.model, messages: [{ role: "user", content: "x" }], metadata: LONG.metadata };
  const again = { headers: { "Idempotency-Key": "chat" } };
  const done = await client.chat.completions.create(chat, again);
  const stream = client.chat.completions.stream(chat, again);
  let [text, count] = ["", 0];
  stream.on("content", (delta) => {
    text += delta;
    count += 1;
  });
  const final = await stream.finalChatCompletion();
  assert.equal(final.id, done.id);
  assert.equal(final.choices[0].message.content, done.choices[0].message.content);
  assert.equal(text, done.choices[0].message.content);
  assert.equal(text.split(" ").length, Number(DELTAS));
  assert.ok(count < Number(DELTAS), `${count} chunks`);
});
