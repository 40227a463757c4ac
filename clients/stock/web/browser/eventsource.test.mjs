// The demo page with a plain EventSource in a real browser: through reloads, offline times and restarts of the gateway it
// neither loses nor doubles an event, and it stops by itself (D-9).

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { Gateway, until } from "../../../../tests/common/gateway.mjs";
import { launch, Site } from "./support.mjs";

/** How long the page is left alone offline, in milliseconds: long enough for the browser to try in vain. */
const OFFLINE_MS = 4000;

/** A place for screenshots, if somebody wants to look. */
const PICTURES = process.env.TIDEMARK_PICTURES;

let browser;
let site;
let gateway;
let context;
let page;

before(async () => {
  [site, browser] = [await Site.start(), await launch()];
  gateway = await Gateway.start(`[server]\ndrain = "1s"\n[cors]\norigins = ["${site.origin}"]\n`);
});

after(async () => {
  await browser?.close();
  await gateway?.close();
  site?.close();
});

beforeEach(async () => {
  context = await browser.newContext();
  page = await context.newPage();
});

afterEach(async (t) => {
  if (PICTURES) await page.screenshot({ path: `${PICTURES}/${t.name.replaceAll(" ", "-")}.png` });
  await context.close();
});

/** Opens the page and asks for so many words, so many a second. */
async function ask(words, rate) {
  const metadata = JSON.stringify({ "demo.events": `${words}`, "demo.rate": `${rate}` });
  const query = new URLSearchParams({ gateway: gateway.url, metadata });
  await page.goto(`${site.origin}/demo/index.html?${query}`);
  await page.click("button:text-is('Ask')");
  await seen(5);
}

/** What the page shows. */
const read = async (id) => await page.textContent(`#${id}`);

/** Waits until the page has had so many events, and gives how many it has. */
const seen = (count) =>
  until(`${count} events in the page`, async () => {
    const found = Number(await read("count"));
    return found >= count && found;
  });

const state = (wanted) => until(`the state ${wanted}`, async () => (await read("state")) === wanted);

/** The response as the gateway has it. */
const response = async () => (await fetch(`${gateway.url}/v1/responses/${await read("id")}`)).json();

const ended = () => until("the end of the response", async () => !["queued", "in_progress"].includes((await response()).status));

/** Waits until the browser has stopped by itself, and compares what the page has with what the gateway has. */
async function endsAs(status) {
  await state("ended");
  const found = await response();
  assert.equal(found.status, status);
  assert.equal(await read("end"), status);
  assert.equal(await read("wrong"), "0");
  assert.equal(Number(await read("count")), Number(await read("last")) + 1);
  assert.equal(await read("text"), found.output[0].content[0].text);
}

test("an undisturbed answer ends by 204", async () => {
  const answers = [];
  page.on("response", (reply) => reply.url().includes("event_ids") && answers.push(reply.status()));
  await ask(60, 50);
  await endsAs("completed");
  assert.deepEqual(answers, [200, 204]);
});

test("a reload goes on after the last event", async () => {
  await ask(150, 50);
  for (const _ of [1, 2, 3]) {
    const count = await seen(Number(await read("count")) + 10);
    await page.reload();
    assert.ok(Number(await read("count")) >= count, "the page forgot what it had");
  }
  await endsAs("completed");
});

test("a reload after the end changes nothing", async () => {
  await ask(10, 0);
  await endsAs("completed");
  await page.reload();
  await endsAs("completed");
});

test("an answer that ends while the page is offline is read to its end", async () => {
  await ask(150, 50);
  await seen(20);
  await context.setOffline(true);
  await state("reconnecting");
  const count = await read("count");
  await ended();
  await sleep(OFFLINE_MS);
  assert.equal(await read("count"), count);
  await context.setOffline(false);
  await endsAs("completed");
});

for (const signal of ["SIGTERM", "SIGKILL"]) {
  test(`a restart by ${signal} ends the answer where it was cut`, async () => {
    await ask(2000, 50);
    const count = await seen(30);
    assert.equal(await gateway.stop(signal), signal === "SIGTERM" ? 0 : null);
    await state("reconnecting");
    await gateway.restart();
    await endsAs("failed");
    assert.ok(Number(await read("count")) > count);
    assert.equal((await response()).error.code, "gateway_restarted");
  });
}

test("an answer that ended before a restart is read to its end after it", async () => {
  await ask(100, 50);
  await seen(20);
  await context.setOffline(true);
  await state("reconnecting");
  await ended();
  await gateway.stop("SIGKILL");
  await gateway.restart();
  await context.setOffline(false);
  await endsAs("completed");
});

test("stop cancels the answer and ends the page's reading", async () => {
  await ask(2000, 50);
  await seen(20);
  await page.click("button:text-is('Stop')");
  await endsAs("cancelled");
});
