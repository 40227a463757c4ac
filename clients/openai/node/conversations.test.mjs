// What the stock SDK for Node does with conversations.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import OpenAI from "openai";

import { Gateway } from "../../../tests/common/gateway.mjs";
import { makeClient, readAll } from "./support.mjs";

let gateway;

before(async () => {
  gateway = await Gateway.start();
});

after(async () => {
  await gateway?.close();
});

test("a conversation is made, read, changed and removed", async () => {
  const { conversations } = makeClient(gateway);
  const made = await conversations.create({ metadata: { topic: "tides" } });
  assert.deepEqual([made.object, made.metadata], ["conversation", { topic: "tides" }]);
  assert.equal((await conversations.retrieve(made.id)).created_at, made.created_at);
  assert.deepEqual((await conversations.update(made.id, { metadata: { topic: "moon" } })).metadata, { topic: "moon" });
  assert.equal((await conversations.delete(made.id)).deleted, true);
  await assert.rejects(conversations.retrieve(made.id), OpenAI.NotFoundError);
});

test("responses of a conversation enter it, streamed or not", async () => {
  const client = makeClient(gateway);
  const conversation = await client.conversations.create();
  const first = await client.responses.create({ model: "demo", input: "one", conversation: conversation.id });
  assert.equal(first.conversation.id, conversation.id);
  const request = { model: "demo", input: "two", conversation: { id: conversation.id }, stream: true };
  const last = (await readAll(await client.responses.create(request))).at(-1);
  assert.equal(last.type, "response.completed");
  const items = await readAll(client.conversations.items.list(conversation.id, { order: "asc", limit: 1 }));
  assert.deepEqual(
    items.map((item) => [item.role, item.content[0].text]),
    [["user", "one"], ["assistant", "one"], ["user", "two"], ["assistant", "two"]],
  );
  assert.equal(items[3].id, last.response.output[0].id);
});

test("items are added, found and taken out", async () => {
  const { conversations } = makeClient(gateway);
  const { id } = await conversations.create();
  const added = await conversations.items.create(id, { items: [{ type: "message", role: "user", content: "hi" }] });
  const found = await conversations.items.retrieve(added.data[0].id, { conversation_id: id });
  assert.equal(found.content[0].text, "hi");
  await conversations.items.delete(found.id, { conversation_id: id });
  await assert.rejects(conversations.items.retrieve(found.id, { conversation_id: id }), OpenAI.NotFoundError);
});
