// A page that holds a ticket and no key (D-40): its server creates with its key, the page reads with `EventSource` and `?ticket=`.

import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, test } from "node:test";

import { Gateway, until } from "../../../../tests/common/gateway.mjs";
import { launch, Site } from "./support.mjs";

const SECRET = "0123456789abcdef0123456789abcdef";

let browser;
let site;
let gateway;
let dir;
let key;
let page;

before(async () => {
  [site, browser, dir] = [await Site.start(), await launch(), await mkdtemp(join(tmpdir(), "tidemark-"))];
  await writeFile(join(dir, "secret"), SECRET);
  const auth = `[auth]\nmode = "keys"\noperator_secret_file = "${join(dir, "secret")}"\n`;
  gateway = await Gateway.start(`${auth}[cors]\norigins = ["${site.origin}"]\n`);
  key = await post("/v1/keys", SECRET, { owner: "acme", scopes: ["responses.read", "responses.write"] });
});

after(async () => {
  await browser?.close();
  await gateway?.close();
  site?.close();
  await rm(dir, { recursive: true });
});

beforeEach(async () => {
  page = await browser.newPage();
});

afterEach(async () => {
  await page.close();
});

async function post(path, bearer, body, headers = {}) {
  const sent = { authorization: `Bearer ${bearer}`, "content-type": "application/json", ...headers };
  const reply = await fetch(gateway.url + path, { method: "POST", headers: sent, body: JSON.stringify(body) });
  assert.equal(reply.status, 200, await reply.clone().text());
  return { ...(await reply.json()), ticket: reply.headers.get("x-tidemark-ticket") };
}

/** What a page's own server does: begins a response of so many words, so many a second, and gets a ticket. */
const begin = (words, rate, rights) =>
  post(
    "/v1/responses",
    key.key,
    {
      model: "demo-long",
      input: "Hello",
      background: true,
      metadata: { "demo.events": `${words}`, "demo.rate": `${rate}` },
    },
    { "x-tidemark-ticket": rights },
  );

async function open({ id, ticket }) {
  const query = new URLSearchParams({ gateway: gateway.url, response: id, ticket });
  await page.goto(`${site.origin}/demo/index.html?${query}`);
}

const read = async (id) => await page.textContent(`#${id}`);

const seen = (count) => until(`${count} events in the page`, async () => Number(await read("count")) >= count);

const state = (wanted) => until(`the state ${wanted}`, async () => (await read("state")) === wanted);

test("a page with a ticket reads a response through a reload, to its end", async () => {
  const begun = await begin(150, 50, "read");
  await open(begun);
  await seen(20);
  await page.reload();
  await state("ended");
  assert.equal(await read("end"), "completed");
  assert.equal(await read("wrong"), "0");
  assert.equal((await gateway.log()).includes("tmt_"), false);
});

test("a page whose ticket allows it stops the response", async () => {
  await open(await begin(2000, 50, "read,cancel"));
  await seen(20);
  await page.click("button:text-is('Stop')");
  await state("ended");
  assert.equal(await read("end"), "cancelled");
});

test("a page whose ticket has died with its key stops reading and does not come back", async () => {
  const other = await post("/v1/keys", SECRET, { owner: "acme", scopes: ["responses.read", "responses.write"] });
  const begun = await begin(2000, 50, "read");
  const { ticket } = await (
    await fetch(`${gateway.url}/v1/responses/${begun.id}/tickets`, {
      method: "POST",
      headers: { authorization: `Bearer ${other.key}` },
    })
  ).json();
  await open({ ...begun, ticket });
  await seen(20);
  const asked = [];
  page.on("request", (request) => request.url().includes("event_ids") && asked.push(request.url()));
  await post(`/v1/keys/${other.id}/disable`, SECRET, {});
  await state("ended");
  assert.equal(await read("end"), "-");
  assert.ok(asked.length <= 1, `one try that is refused, and no more: ${asked.length}`);
  const response = await fetch(`${gateway.url}/v1/responses/${begun.id}`, { headers: { authorization: `Bearer ${key.key}` } });
  assert.equal((await response.json()).status, "in_progress", "the run goes on");
  await post(`/v1/responses/${begun.id}/cancel`, key.key, {});
});
