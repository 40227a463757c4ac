// LangChain.js against the gateway, unchanged, in the words of Chat Completions and of the Responses API.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, test } from "node:test";

import { HumanMessage, ToolMessage } from "@langchain/core/messages";
import { tool } from "@langchain/core/tools";
import { ChatOpenAI } from "@langchain/openai";
import { z } from "zod";

import { Gateway } from "../../../tests/common/gateway.mjs";

const TEXT = "Hello wide world";

const City = z.object({ city: z.string() });

const weather = tool(() => "sun", { name: "weather", description: "The weather", schema: City });

let gateway;

before(async () => {
  gateway = await Gateway.start();
});

after(async () => {
  await gateway?.close();
});

for (const useResponsesApi of [false, true]) {
  const words = useResponsesApi ? "responses" : "chat";
  const model = (fields) =>
    new ChatOpenAI({
      model: "demo",
      apiKey: "unused",
      maxRetries: 0,
      useResponsesApi,
      ...fields,
      configuration: {
        baseURL: `${gateway.url}/v1`,
        defaultHeaders: { "x-tidemark-owner": `owner-${randomUUID()}` },
      },
    });

  test(`${words}: a message is answered`, async () => {
    const answer = await model().invoke(TEXT);
    assert.equal(answer.text, TEXT);
    assert.equal(answer.usage_metadata.total_tokens, 6);
  });

  test(`${words}: an answer is streamed`, async () => {
    const pieces = [];
    for await (const piece of await model().stream(TEXT)) pieces.push(piece.text);
    assert.equal(pieces.join(""), TEXT);
    assert.ok(pieces.length > 2);
  });

  test(`${words}: a tool is called and its output answered`, async () => {
    const withTools = model().bindTools([weather]);
    const first = await withTools.invoke(TEXT);
    assert.deepEqual(first.tool_calls.map(({ name, args }) => ({ name, args })), [{ name: "weather", args: { city: "demo" } }]);
    const output = new ToolMessage({ content: "sun", tool_call_id: first.tool_calls[0].id });
    const second = await withTools.invoke([new HumanMessage(TEXT), first, output]);
    assert.equal(second.text, TEXT);
  });

  test(`${words}: an answer is read into a type`, async () => {
    for (const [method, text] of [["jsonSchema", '{"city": "demo"}'], ["functionCalling", TEXT]]) {
      assert.deepEqual(await model().withStructuredOutput(City, { name: "city", method }).invoke(text), { city: "demo" });
    }
  });

  test(`${words}: what is wrong is an error with its status`, async () => {
    await assert.rejects(model({ temperature: 3 }).invoke(TEXT), { status: 400, param: "temperature" });
  });
}
