// The Vercel AI SDK against the gateway, unchanged: its provider for OpenAI (Responses and chat), and the one for compatible servers.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, test } from "node:test";

import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, generateText, Output, RetryError, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

import { Backend, breaks, finishes, refuses, says } from "../../../tests/common/backend.mjs";
import { Gateway } from "../../../tests/common/gateway.mjs";

const PROMPT = "Hello wide world";

const City = z.object({ city: z.string() });

let backend, gateway;

before(async () => {
  backend = await Backend.start({
    breaks: [says("one "), says("two"), breaks()],
    refuses: [refuses(500)],
    short: [says("cut"), finishes("length")],
  });
  gateway = await Gateway.start(backend.config);
});

after(async () => {
  await gateway?.close();
  backend?.close();
});

/** A model of each kind, of an owner that nobody else is. */
function models(id) {
  const headers = { "x-tidemark-owner": `owner-${randomUUID()}` };
  const baseURL = `${gateway.url}/v1`;
  const openai = createOpenAI({ baseURL, apiKey: "unused", headers });
  const compatible = createOpenAICompatible({
    name: "tidemark",
    baseURL,
    headers,
    includeUsage: true,
    supportsStructuredOutputs: true,
  });
  return { responses: openai.responses(id), chat: openai.chat(id), compatible: compatible.chatModel(id) };
}

const weather = (called) =>
  tool({ description: "The weather", inputSchema: City, execute: (input) => (called.push(input), "sun") });

for (const kind of ["responses", "chat", "compatible"]) {
  test(`${kind}: a text is generated`, async () => {
    const made = await generateText({ model: models("demo")[kind], prompt: PROMPT });
    assert.equal(made.text, PROMPT);
    assert.equal(made.finishReason, "stop");
    assert.deepEqual([made.usage.inputTokens, made.usage.outputTokens], [3, 3]);
    assert.deepEqual(made.warnings, []);
  });

  test(`${kind}: a text is streamed`, async () => {
    const stream = streamText({ model: models("demo")[kind], prompt: PROMPT });
    const pieces = [];
    for await (const piece of stream.textStream) pieces.push(piece);
    assert.equal(pieces.join(""), PROMPT);
    assert.ok(pieces.length > 1);
    assert.equal(await stream.finishReason, "stop");
    assert.equal((await stream.usage).totalTokens, 6);
  });

  test(`${kind}: tools are called and their outputs answered`, async () => {
    for (const streamed of [false, true]) {
      const called = [];
      const asked = {
        model: models("demo")[kind],
        prompt: PROMPT,
        tools: { weather: weather(called) },
        stopWhen: stepCountIs(4),
      };
      const made = streamed ? streamText(asked) : await generateText(asked);
      assert.equal(await made.text, PROMPT);
      assert.equal((await made.steps).length, 2);
      assert.deepEqual(called, [{ city: "demo" }]);
    }
  });

  test(`${kind}: an answer is read into a type`, async () => {
    const asked = { model: models("demo")[kind], prompt: '{"city": "demo"}', output: Output.object({ schema: City }) };
    assert.deepEqual((await generateText(asked)).output, { city: "demo" });
    assert.deepEqual(await streamText(asked).output, { city: "demo" });
  });

  test(`${kind}: an answer that is cut says so`, async () => {
    assert.equal((await generateText({ model: models("short")[kind], prompt: PROMPT })).finishReason, "length");
  });

  test(`${kind}: a backend that refuses is tried again, and then an error`, async () => {
    const before = backend.asked.refuses ?? 0;
    const asked = generateText({ model: models("refuses")[kind], prompt: PROMPT, maxRetries: 1 });
    await assert.rejects(asked, (error) => {
      assert.ok(RetryError.isInstance(error));
      assert.equal(error.lastError.statusCode, 502);
      return true;
    });
    assert.equal(backend.asked.refuses - before, 2);
  });

  test(`${kind}: what is wrong is said once, with its name`, async () => {
    const asked = generateText({ model: models("demo")[kind], prompt: PROMPT, temperature: 3 });
    await assert.rejects(asked, (error) => {
      assert.ok(APICallError.isInstance(error));
      assert.equal(error.isRetryable, false);
      assert.equal(JSON.parse(error.responseBody).error.param, "temperature");
      return error.statusCode === 400;
    });
    await assert.rejects(generateText({ model: models("nobody")[kind], prompt: PROMPT }), { statusCode: 404 });
  });

  test(`${kind}: a backend that breaks off is an error behind what came`, async () => {
    const faults = [];
    const stream = streamText({
      model: models("breaks")[kind],
      prompt: PROMPT,
      onError: ({ error }) => faults.push(error),
    });
    const parts = [];
    for await (const part of stream.fullStream) parts.push(part);
    const text = parts.filter((part) => part.type === "text-delta").map((part) => part.text);
    assert.equal(text.join(""), "one two");
    const ended = parts.some((part) => part.type === "error" || (part.type === "finish" && part.finishReason === "error"));
    assert.ok(ended, JSON.stringify(parts.at(-1)));
  });
}

test("a conversation goes on from the response before it", async () => {
  const model = models("demo").responses;
  const first = await generateText({ model, prompt: "one" });
  const { responseId } = first.providerMetadata.openai;
  assert.match(responseId, /^resp_/);
  const second = await generateText({
    model,
    prompt: "two three",
    providerOptions: { openai: { previousResponseId: responseId } },
  });
  assert.equal(second.text, "two three");
  assert.ok(second.usage.inputTokens > 2);
});

test("an answer whose reader went away can be read to its end", async () => {
  const headers = { "x-tidemark-owner": `owner-${randomUUID()}` };
  let id;
  const openai = createOpenAI({
    baseURL: `${gateway.url}/v1`,
    apiKey: "unused",
    headers,
    fetch: async (url, init) => {
      const reply = await fetch(url, init);
      id = reply.headers.get("x-tidemark-response-id");
      return reply;
    },
  });
  const leave = new AbortController();
  const stream = streamText({
    model: openai.responses("demo-long"),
    prompt: PROMPT,
    providerOptions: { openai: { metadata: { "demo.rate": "100", "demo.events": "60" } } },
    abortSignal: leave.signal,
  });
  let seen = "";
  for await (const text of stream.textStream) {
    seen += text;
    leave.abort();
  }
  const again = await fetch(`${gateway.url}/v1/responses/${id}?stream=true`, { headers });
  const events = (await again.text()).split("\n").filter((line) => line.startsWith("data: {"));
  const last = JSON.parse(events.at(-1).slice("data: ".length));
  assert.equal(last.type, "response.completed");
  const [{ text }] = last.response.output[0].content;
  assert.ok(seen && text.length > seen.length && text.startsWith(seen), text);
});
