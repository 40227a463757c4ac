// What the stock SDK for Node does with a gateway that works: create, stream, parse, come back, cancel, and every way to end.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import OpenAI from "openai";
import { zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

import { Backend, breaks, finishes, hangs, says } from "../../../tests/common/backend.mjs";
import { Gateway, until } from "../../../tests/common/gateway.mjs";
import { makeClient, numbers, range, readAll, readUntil, SHORT, SLOW, textOf } from "./support.mjs";

/** The last event that is read before a stream is dropped. */
const CUT = 10;

/** The last event of a `SHORT` background response. */
const LAST = 28;

let backend;
let gateway;

before(async () => {
  backend = await Backend.start({
    breaks: [says("one "), says("two"), breaks()],
    filtered: [says("one"), finishes("content_filter")],
    short: [says("one"), finishes("length")],
    hangs: [says("one"), hangs()],
  });
  gateway = await Gateway.start(backend.config);
});

after(async () => {
  await gateway?.close();
  backend?.close();
});

test("create returns the answer", async () => {
  const response = await makeClient(gateway).responses.create({ model: "demo", input: "one two three" });
  assert.equal(response.status, "completed");
  assert.equal(response.output_text, "one two three");
  assert.ok(response._request_id);
});

test("stream is dense and ends with the terminal event", async () => {
  const events = await readAll(await makeClient(gateway).responses.create({ ...SHORT, stream: true }));
  assert.deepEqual(numbers(events), range(0, events.length - 1));
  assert.equal(events[0].type, "response.created");
  assert.equal(events.at(-1).type, "response.completed");
  assert.equal(events.at(-1).response.output[0].content[0].text, textOf(events));
});

test("parse gives the structured output", async () => {
  const weather = z.object({ city: z.string(), degrees: z.number() });
  const response = await makeClient(gateway).responses.parse({
    model: "demo",
    input: '{"city": "Lisbon", "degrees": 21}',
    text: { format: zodTextFormat(weather, "weather") },
  });
  assert.deepEqual(response.output_parsed, { city: "Lisbon", degrees: 21 });
});

test("the stream helper parses the structured output", async () => {
  const client = makeClient(gateway);
  const stream = client.responses.stream({
    model: "demo",
    input: '{"city": "Lisbon"}',
    text: { format: zodTextFormat(z.object({ city: z.string() }), "weather") },
  });
  assert.deepEqual((await stream.finalResponse()).output_parsed, { city: "Lisbon" });
});

test("background is queued and can be polled", async () => {
  const client = makeClient(gateway);
  const queued = await client.responses.create({ ...SHORT, background: true });
  assert.equal(queued.status, "queued");
  const done = await until("its end", async () => {
    const response = await client.responses.retrieve(queued.id);
    return response.status === "completed" && response;
  });
  assert.equal(done.id, queued.id);
  assert.ok(done.output_text);
});

test("retrieve goes on after a break at 10", async () => {
  const client = makeClient(gateway);
  const head = await readUntil(await client.responses.create({ ...SHORT, background: true, stream: true }), CUT);
  const { id } = head[0].response;
  const tail = await readAll(await client.responses.retrieve(id, { stream: true, starting_after: CUT }));
  assert.deepEqual(numbers(tail), range(CUT + 1, LAST));
  assert.equal(tail.at(-1).type, "response.completed");
  assert.equal(textOf([...head, ...tail]), (await client.responses.retrieve(id)).output_text);
});

test("retrieve goes on with a foreground response", async () => {
  const client = makeClient(gateway);
  const head = await readUntil(await client.responses.create({ ...SHORT, stream: true }), CUT);
  const tail = await readAll(
    await client.responses.retrieve(head[0].response.id, { stream: true, starting_after: CUT }),
  );
  assert.deepEqual(numbers(tail), range(CUT + 1, LAST - 1));
});

test("the stream helper goes on after a break at 10 and has the whole response", async () => {
  const client = makeClient(gateway);
  const head = await readUntil(await client.responses.create({ ...SHORT, background: true, stream: true }), CUT);
  const { id } = head[0].response;
  const stream = client.responses.stream({ response_id: id, starting_after: CUT });
  const tail = await readAll(stream);
  assert.deepEqual(numbers(tail), range(CUT + 1, LAST));
  const final = await stream.finalResponse();
  assert.equal(final.status, "completed");
  assert.equal(final.output_text, textOf([...head, ...tail]));
});

test("replay is the same as what was seen", async () => {
  const client = makeClient(gateway);
  const seen = await readAll(await client.responses.create({ ...SHORT, stream: true }));
  const again = await readAll(await client.responses.retrieve(seen[0].response.id, { stream: true }));
  assert.deepEqual(again, seen);
});

test("starting_after 0 is after event 0 and the end is empty", async () => {
  const client = makeClient(gateway);
  const { id } = await client.responses.create(SHORT);
  const read = async (starting_after) =>
    numbers(await readAll(await client.responses.retrieve(id, { stream: true, starting_after })));
  assert.deepEqual(await read(0), range(1, LAST - 1));
  assert.deepEqual(await read(LAST - 1), []);
  assert.deepEqual(await read(LAST + 1000), []);
});

test("cancel stops a running response and its stream ends with a known event", async () => {
  const client = makeClient(gateway);
  const events = [];
  let cancelled;
  for await (const event of await client.responses.create({ ...SLOW, stream: true })) {
    events.push(event);
    if (event.sequence_number === CUT) cancelled = await client.responses.cancel(events[0].response.id);
  }
  assert.equal(cancelled.status, "cancelled");
  assert.equal(events.at(-1).type, "response.incomplete");
  assert.equal(events.at(-1).response.status, "cancelled");
  assert.deepEqual(numbers(events), range(0, events.length - 1));
  assert.equal((await client.responses.cancel(cancelled.id)).status, "cancelled");
});

test("the stream helper survives a cancelled end", async () => {
  const client = makeClient(gateway);
  const { id } = await client.responses.create({ ...SLOW, background: true });
  const stream = client.responses.stream({ response_id: id });
  const [final] = await Promise.all([stream.finalResponse(), client.responses.cancel(id)]);
  assert.equal(final.status, "cancelled");
});

test("cancel of a finished response changes nothing", async () => {
  const client = makeClient(gateway);
  const { id } = await client.responses.create(SHORT);
  assert.equal((await client.responses.cancel(id)).status, "completed");
});

test("a cancel reaches the backend", async () => {
  const client = makeClient(gateway);
  const { id } = await client.responses.create({ model: "hangs", input: "x", background: true });
  await until("its text", async () => (await client.responses.retrieve(id)).output_text === "one");
  const before = backend.dropped.hangs ?? 0;
  const cancelled = await client.responses.cancel(id);
  assert.equal(cancelled.status, "cancelled");
  await until("the end of its request", () => backend.dropped.hangs === before + 1);
  assert.equal((await client.responses.retrieve(id)).output_text, "one");
});

test("a failed end is an event with the failed response", async () => {
  const client = makeClient(gateway);
  const events = await readAll(await client.responses.create({ model: "breaks", input: "x", stream: true }));
  assert.equal(events.at(-1).type, "response.failed");
  assert.equal(events.at(-1).response.error.code, "backend_error");
  assert.equal(textOf(events), "one two");
  const final = await client.responses.stream({ response_id: events[0].response.id }).finalResponse();
  assert.equal(final.status, "failed");
  assert.equal(final.output_text, "one two");
});

test("a failure after output is a failed response, not an error", async () => {
  const response = await makeClient(gateway).responses.create({ model: "breaks", input: "x" });
  assert.equal(response.status, "failed");
  assert.equal(response.output_text, "one two");
});

for (const [model, reason] of [["filtered", "content_filter"], ["short", "max_output_tokens"]]) {
  test(`an incomplete end says ${reason}`, async () => {
    const client = makeClient(gateway);
    const events = await readAll(await client.responses.create({ model, input: "x", stream: true }));
    assert.equal(events.at(-1).type, "response.incomplete");
    const final = await client.responses.stream({ response_id: events[0].response.id }).finalResponse();
    assert.equal(final.status, "incomplete");
    assert.equal(final.incomplete_details.reason, reason);
  });
}

test("models are listed and retrieved", async () => {
  const client = makeClient(gateway);
  const ids = (await readAll(client.models.list())).map((model) => model.id);
  assert.ok(["breaks", "demo", "demo-long"].every((id) => ids.includes(id)), ids.join());
  assert.equal((await client.models.retrieve("demo")).id, "demo");
});

test("a conversation goes on from an earlier response", async () => {
  const client = makeClient(gateway);
  const first = await client.responses.create({ model: "demo", input: "one" });
  const second = await client.responses.create({ model: "demo", input: "two", previous_response_id: first.id });
  assert.equal(second.previous_response_id, first.id);
  assert.equal(second.output_text, "two");
});

test("delete removes a response once", async () => {
  const client = makeClient(gateway);
  const { id } = await client.responses.create(SHORT);
  assert.deepEqual(await client.responses.delete(id), { id, object: "response", deleted: true });
  for (const call of ["delete", "retrieve", "cancel"]) await assert.rejects(client.responses[call](id), OpenAI.NotFoundError);
});

test("delete of a running response stops its backend", async () => {
  const client = makeClient(gateway);
  const { id } = await client.responses.create({ model: "hangs", input: "x", background: true });
  await until("its text", async () => (await client.responses.retrieve(id)).output_text === "one");
  const before = backend.dropped.hangs ?? 0;
  await client.responses.delete(id);
  await until("the end of its request", () => backend.dropped.hangs === before + 1);
});

test("input items are listed page by page", async () => {
  const client = makeClient(gateway);
  const input = ["one", "two", "three"].map((content) => ({ role: "user", content }));
  const { id } = await client.responses.create({ model: "demo", input });
  const texts = async (query) => (await readAll(client.responses.inputItems.list(id, query))).map((item) => item.content[0].text);
  assert.deepEqual(await texts({ order: "asc", limit: 2 }), ["one", "two", "three"]);
  assert.deepEqual(await texts({ limit: 1 }), ["three", "two", "one"]);
});
