// The recipe for resuming (`clients/openai/recipes/resuming-fetch.mjs`) with LangChain.js and the Vercel AI SDK, behind a proxy that
// cuts their streams.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { createOpenAI } from "@ai-sdk/openai";
import { ChatOpenAI } from "@langchain/openai";
import { streamText } from "ai";

import { Cutter } from "../../../tests/common/cutter.mjs";
import { Gateway } from "../../../tests/common/gateway.mjs";
import { resumingFetch } from "../../openai/recipes/resuming-fetch.mjs";

/** Long enough to be cut, and different in every word. */
const TEXT = Array.from({ length: 300 }, (_, index) => `word${index}`).join(" ");

/** How many answers are cut, each behind so many bytes of it. */
const CUTS = 4;
const BYTES = 6000;

let gateway;

before(async () => {
  gateway = await Gateway.start();
});

after(() => gateway?.close());

async function behindCuts(use) {
  const cutter = await Cutter.start(gateway.url, CUTS, BYTES);
  try {
    const text = await use(`${cutter.url}/v1`, resumingFetch({ pauseMs: 10 }));
    assert.equal(text, TEXT);
    assert.equal(cutter.cuts, 0, "what was to be cut was not");
  } finally {
    cutter.close();
  }
}

for (const words of ["responses", "chat"]) {
  test(`${words}: the Vercel AI SDK sees no cut`, () =>
    behindCuts(async (baseURL, fetch) => {
      const model = createOpenAI({ baseURL, apiKey: "unused", fetch })[words]("demo");
      let text = "";
      for await (const piece of streamText({ model, prompt: TEXT, maxRetries: 0 }).textStream) text += piece;
      return text;
    }));

  test(`${words}: LangChain sees no cut`, () =>
    behindCuts(async (baseURL, fetch) => {
      const useResponsesApi = words === "responses";
      const model = new ChatOpenAI({ model: "demo", apiKey: "unused", maxRetries: 0, useResponsesApi, configuration: { baseURL, fetch } });
      let text = "";
      for await (const piece of await model.stream(TEXT)) text += piece.text;
      return text;
    }));
}
