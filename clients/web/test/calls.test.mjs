// The unary calls, against the real binary.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Client, outputText, Refused, Status, TidemarkError, Wait } from "tidemark-client";

import { Gateway } from "../../../tests/common/gateway.mjs";

const QUICK = { minDelayMs: 20, maxDelayMs: 100, timeoutMs: 3000, owner: "acme" };

const ONE_TWO = { model: "demo", input: { case: "text", value: "one two" }, wait: Wait.TERMINAL };

let gateway;
let client;

before(async () => {
  gateway = await Gateway.start();
  client = new Client({ url: gateway.url, ...QUICK });
});

after(() => gateway?.close());

async function textOf(reader) {
  let text = "";
  for await (const item of reader) text += item.text;
  return text;
}

const refusedAs = (code) => (error) => error instanceof Refused && error.code === code;

test("a response is made, read, listed and removed", async () => {
  const { response, replayed } = await client.create(ONE_TWO);
  assert.deepEqual([response.status, replayed], [Status.COMPLETED, false]);
  assert.equal(outputText(await client.get(response.id)), "one two");
  assert.ok((await client.list()).responses.some(({ id }) => id === response.id));
  assert.equal(await textOf(client.resume(response.id)), "one two");
  await client.delete(response.id);
  await assert.rejects(client.get(response.id), refusedAs("not_found"));
  await assert.rejects(client.delete(response.id), refusedAs("not_found"));
});

test("a response is cancelled", async () => {
  const request = { ...ONE_TWO, model: "demo-long", metadata: { "demo.rate": "20" }, background: true, wait: Wait.NONE };
  const { response } = await client.create(request);
  assert.equal((await client.cancel(response.id)).status, Status.CANCELLED);
});

test("a ticket reads its response alone", async () => {
  const mine = (await client.create(ONE_TWO)).response.id;
  const other = (await client.create(ONE_TWO)).response.id;
  const { value: credential } = await client.createTicket(mine);
  const holder = new Client({ url: gateway.url, credential, ...QUICK, owner: undefined });
  assert.equal(await textOf(holder.resume(mine)), "one two");
  await assert.rejects(textOf(holder.resume(other)), Refused);
});

test("what is wrong is named and asked once", async () => {
  await assert.rejects(client.create({ ...ONE_TWO, model: "" }), (error) => refusedAs("invalid_request")(error) && error.details.param === "model");
});

test("nobody there is said after the time that was given", async () => {
  const nobody = new Client({ url: "http://127.0.0.1:1", ...QUICK, patienceMs: 300 });
  await assert.rejects(nobody.get("resp_x"), TidemarkError);
  await assert.rejects(textOf(nobody.resume("resp_x")), TidemarkError);
});

test("a create that is tried through a restart is made once", async () => {
  const request = { ...ONE_TWO, idempotencyKey: "through-a-restart" };
  const first = (await client.create(request)).response.id;
  await gateway.stop("SIGKILL");
  const repeated = client.create(request);
  await gateway.restart();
  const { response, replayed } = await repeated;
  assert.deepEqual([response.id, replayed], [first, true]);
});

test("a reader that is closed stops, and the response goes on", async () => {
  const request = { ...ONE_TWO, model: "demo-long", metadata: { "demo.rate": "20" }, background: true, wait: Wait.NONE };
  const { response } = await client.create(request);
  const reader = client.resume(response.id);
  setTimeout(() => reader.close(), 200);
  await textOf(reader);
  assert.equal((await client.get(response.id)).status, Status.IN_PROGRESS);
  await client.cancel(response.id);
});
