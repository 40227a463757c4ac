// A key is all that the stock SDK for Node needs; each that is not good is the exception that the SDK has for it.

import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";

import OpenAI from "openai";

import { Gateway } from "../../../tests/common/gateway.mjs";

const SECRET = "0123456789abcdef0123456789abcdef";

let dir;
let gateway;

before(async () => {
  dir = await mkdtemp(join(tmpdir(), "tidemark-secret-"));
  await writeFile(join(dir, "operator"), SECRET);
  gateway = await Gateway.start(`[auth]
    mode = "keys"
    operator_secret_file = "${join(dir, "operator")}"
  `);
});

after(async () => {
  await gateway?.close();
  await rm(dir, { recursive: true });
});

const clientWith = (apiKey, options = {}) => new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey, ...options });

const makeKey = (owner, ...scopes) => clientWith(SECRET).post("/keys", { body: { owner, scopes } });

test("a key is all that the SDK needs", async () => {
  const client = clientWith((await makeKey("acme", "responses.read", "responses.write")).key);
  const made = await client.responses.create({ model: "demo", input: "Hello" });
  assert.equal((await client.responses.retrieve(made.id)).status, "completed");
  const other = clientWith((await makeKey("other", "responses.read")).key);
  await assert.rejects(other.responses.retrieve(made.id), OpenAI.NotFoundError);
});

test("a wrong or disabled key is an AuthenticationError", async () => {
  const { id, key } = await makeKey("acme", "models.read");
  await clientWith(SECRET).post(`/keys/${id}/disable`);
  const messages = new Set();
  for (const wrong of ["unused", key, key.slice(0, -1)]) {
    await assert.rejects(clientWith(wrong).models.list(), (error) => {
      messages.add(error.message);
      return error instanceof OpenAI.AuthenticationError && error.code === "unauthorized";
    });
  }
  assert.equal(messages.size, 1);
});

test("a missing scope is a PermissionDeniedError that names it", async () => {
  const client = clientWith((await makeKey("acme", "responses.read")).key);
  await assert.rejects(client.responses.create({ model: "demo", input: "Hello" }), (error) => {
    assert.equal(error.code, "insufficient_scope");
    return error instanceof OpenAI.PermissionDeniedError && error.message.includes("responses.write");
  });
});

test("two credentials are a BadRequestError", async () => {
  const { key } = await makeKey("acme", "models.read");
  const client = clientWith(key, { defaultHeaders: { "x-api-key": key } });
  await assert.rejects(client.models.list(), (error) => {
    return error instanceof OpenAI.BadRequestError && error.code === "ambiguous_credentials";
  });
});
