// What the tests of the SDK have in common.

import { randomUUID } from "node:crypto";

import OpenAI from "openai";

/** Two thousand words, slow enough to be caught while they come. */
export const SLOW = { model: "demo-long", input: "Tell me", metadata: { "demo.rate": "50" } };

/** Twenty deltas: with `background`, events 0 to 28. */
export const SHORT = { model: "demo-long", input: "Tell me", metadata: { "demo.rate": "0", "demo.events": "20" } };

/** A client of an owner that nobody else is, with a count of the requests that it has made. */
export function makeClient(gateway, { owner = `owner-${randomUUID()}`, headers = {}, ...options } = {}) {
  const requests = [];
  const client = new OpenAI({
    baseURL: `${gateway.url}/v1`,
    apiKey: "unused",
    defaultHeaders: { "x-tidemark-owner": owner, ...headers },
    maxRetries: 0,
    fetch: (url, init) => {
      requests.push({ method: init?.method ?? "GET", url: String(url) });
      return fetch(url, init);
    },
    ...options,
  });
  return Object.assign(client, { requests });
}

/** The events of a stream up to the one with this number; the stream is dropped there. */
export async function readUntil(stream, last) {
  const events = [];
  for await (const event of stream) {
    events.push(event);
    if (event.sequence_number === last) return events;
  }
  throw new Error(`the stream ended before event ${last}`);
}

/** All events of a stream. */
export async function readAll(stream) {
  const events = [];
  for await (const event of stream) events.push(event);
  return events;
}

export const numbers = (events) => events.map((event) => event.sequence_number);

/** The whole numbers from `first` to `last`. */
export const range = (first, last) => Array.from({ length: last - first + 1 }, (_, index) => first + index);

export const textOf = (events) =>
  events.filter((event) => event.type === "response.output_text.delta").map((event) => event.delta).join("");
