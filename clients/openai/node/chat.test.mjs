// Chat Completions with the stock SDK for Node: create, stream, its runner, parse, tools, and what goes wrong.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

import { Backend, breaks, finishes, says, stops } from "../../../tests/common/backend.mjs";
import { Gateway } from "../../../tests/common/gateway.mjs";
import { makeClient, readAll } from "./support.mjs";

const HELLO = [{ role: "user", content: "Hello wide world" }];

const FAST = { model: "demo", messages: HELLO, metadata: { "demo.rate": "0" } };

const WEATHER = {
  type: "function",
  function: {
    name: "weather",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
};

const contentOf = (chunks) => chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");

let backend;
let gateway;

before(async () => {
  backend = await Backend.start({
    breaks: [says("one "), says("two"), breaks()],
    silent: [breaks()],
    short: [says("one"), finishes("length")],
    several: [says("answer ", 0), says("answer ", 1), says("0", 0), says("1", 1), stops(0), finishes("stop", 1)],
  });
  gateway = await Gateway.start(backend.config);
});

after(async () => {
  await gateway?.close();
  backend?.close();
});

test("create returns the answer", async () => {
  const completion = await makeClient(gateway).chat.completions.create(FAST);
  assert.match(completion.id, /^chatcmpl-/);
  assert.equal(completion.choices[0].message.content, "Hello wide world");
  assert.equal(completion.choices[0].finish_reason, "stop");
  assert.equal(completion.usage.total_tokens, 6);
});

test("a stream has chunks, and what was used if that is asked for", async () => {
  const client = makeClient(gateway);
  const chunks = await readAll(await client.chat.completions.create({ ...FAST, stream: true }));
  assert.equal(contentOf(chunks), "Hello wide world");
  const options = { stream: true, stream_options: { include_usage: true } };
  const counted = await readAll(await client.chat.completions.create({ ...FAST, ...options }));
  assert.deepEqual(counted.at(-1).choices, []);
  assert.equal(counted.at(-1).usage.total_tokens, 6);
});

test("the stream helper accumulates the same answer", async () => {
  const stream = makeClient(gateway).chat.completions.stream({ ...FAST, stream_options: { include_usage: true } });
  let text = "";
  stream.on("content", (delta) => (text += delta));
  const final = await stream.finalChatCompletion();
  assert.equal(text, "Hello wide world");
  assert.equal(final.choices[0].message.content, text);
  assert.equal(final.usage.total_tokens, 6);
});

test("the tool runner calls the function and goes on with its output", async () => {
  const called = [];
  const weather = {
    ...WEATHER,
    function: { ...WEATHER.function, parse: JSON.parse, function: (city) => (called.push(city), "sun") },
  };
  const runner = makeClient(gateway).chat.completions.runTools({ ...FAST, tools: [weather] });
  assert.equal(await runner.finalContent(), "Hello wide world");
  assert.deepEqual(called, [{ city: "demo" }]);
});

test("the stream helper assembles tool calls", async () => {
  const stream = makeClient(gateway).chat.completions.stream({ ...FAST, tools: [WEATHER] });
  const choice = (await stream.finalChatCompletion()).choices[0];
  assert.equal(choice.finish_reason, "tool_calls");
  assert.equal(choice.message.tool_calls[0].function.arguments, '{"city":"demo"}');
});

test("parse reads an answer into a type", async () => {
  const City = z.object({ city: z.string() });
  const completion = await makeClient(gateway).chat.completions.parse({
    ...FAST,
    messages: [{ role: "user", content: '{"city": "demo"}' }],
    response_format: zodResponseFormat(City, "city"),
  });
  assert.deepEqual(completion.choices[0].message.parsed, { city: "demo" });
});

test("an answer that is cut says so", async () => {
  const completion = await makeClient(gateway).chat.completions.create({ model: "short", messages: HELLO });
  assert.equal(completion.choices[0].finish_reason, "length");
});

test("what fails before the first chunk is an error with its status, streamed or not", async () => {
  for (const stream of [false, true]) {
    const asked = makeClient(gateway).chat.completions.create({ model: "silent", messages: HELLO, stream });
    await assert.rejects(asked, (error) => {
      assert.ok(error instanceof OpenAI.InternalServerError);
      assert.equal(error.status, 502);
      return true;
    });
  }
});

test("what fails after it is an error behind what came", async () => {
  const stream = await makeClient(gateway).chat.completions.create({ model: "breaks", messages: HELLO, stream: true });
  const seen = [];
  await assert.rejects(
    async () => {
      for await (const chunk of stream) seen.push(chunk);
    },
    (error) => error instanceof OpenAI.APIError && error.code === "backend_error",
  );
  assert.equal(contentOf(seen), "one two");
});

test("what is wrong is a bad request that names it", async () => {
  const wrong = { ...FAST, messages: [{ role: "tool", content: "x" }] };
  await assert.rejects(makeClient(gateway).chat.completions.create(wrong), (error) => {
    assert.ok(error instanceof OpenAI.BadRequestError);
    assert.equal(error.param, "messages[0].tool_call_id");
    return true;
  });
});

test("a stored completion is retrieved and deleted", async () => {
  const client = makeClient(gateway);
  const made = await client.chat.completions.create({ ...FAST, store: true });
  assert.deepEqual((await client.chat.completions.retrieve(made.id)).choices, made.choices);
  assert.equal((await client.chat.completions.delete(made.id)).deleted, true);
  await assert.rejects(client.chat.completions.retrieve(made.id), OpenAI.NotFoundError);
});

test("stored completions are paged through and have their messages", async () => {
  const client = makeClient(gateway);
  const made = [];
  for (let count = 0; count < 3; count += 1) {
    made.unshift((await client.chat.completions.create({ ...FAST, store: true })).id);
  }
  const listed = [];
  for await (const completion of client.chat.completions.list({ limit: 1 })) listed.push(completion.id);
  assert.deepEqual(listed, made);
  const messages = [];
  for await (const message of client.chat.completions.messages.list(made[0])) messages.push(message);
  assert.deepEqual(messages.map(({ role, content, content_parts }) => ({ role, content, content_parts })), [
    { ...HELLO[0], content_parts: null },
  ]);
});

test("what cannot be done with stored completions is refused", async () => {
  const client = makeClient(gateway);
  const { id } = await client.chat.completions.create({ ...FAST, store: true });
  for (const [asked, param] of [
    [{ order: "asc" }, "order"],
    [{ model: "demo" }, "model"],
    [{ metadata: { a: "b" } }, "metadata"],
  ]) {
    await assert.rejects(async () => await client.chat.completions.list(asked), { status: 400, param });
  }
  const update = client.chat.completions.update(id, { metadata: { a: "b" } });
  await assert.rejects(update, { status: 405, code: "method_not_allowed" });
});

test("several answers are told apart", async () => {
  const stream = makeClient(gateway).chat.completions.stream({ model: "several", messages: HELLO, n: 2 });
  const { choices } = await stream.finalChatCompletion();
  assert.deepEqual(
    choices.map(({ index, message, finish_reason }) => [index, message.content, finish_reason]),
    [[0, "answer 0", "stop"], [1, "answer 1", "stop"]],
  );
});

test("a chat that can be tried again is tried as often as the client says, and any other once", async () => {
  for (const [model, fields, tries] of [["silent", {}, 3], ["demo", { temperature: 3 }, 1], ["nobody", {}, 1]]) {
    const client = makeClient(gateway, { maxRetries: 2 });
    await assert.rejects(client.chat.completions.create({ model, messages: HELLO, ...fields }), OpenAI.APIError);
    assert.equal(client.requests.length, tries, model);
  }
});
