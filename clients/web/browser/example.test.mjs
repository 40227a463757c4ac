// The example page in a real browser: through reloads, offline times, restarts of the gateway and the end of its ticket it has
// exactly the text that Get has, and it never holds a key.

import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, test } from "node:test";

import { Gateway, until } from "../../../tests/common/gateway.mjs";
import { launch } from "../../stock/web/browser/support.mjs";
import { start } from "../example/server.mjs";

const SECRET = "0123456789abcdef0123456789abcdef";

/** A port for the page that the gateway can name before the page is there. */
const PAGE_PORT = 20_000 + (process.pid % 10_000);

const SIZES = { desktop: { width: 1280, height: 800 }, phone: { width: 390, height: 844 } };

/** A place for screenshots, if somebody wants to look. */
const PICTURES = process.env.TIDEMARK_PICTURES;

let browser;
let gateway;
let dir;
let key;
let site;
let context;
let page;

before(async () => {
  [browser, dir] = [await launch(), await mkdtemp(join(tmpdir(), "tidemark-"))];
  await writeFile(join(dir, "secret"), SECRET);
  const auth = `[auth]\nmode = "keys"\noperator_secret_file = "${join(dir, "secret")}"\n`;
  gateway = await Gateway.start(`${auth}[server]\ndrain = "1s"\n[cors]\norigins = ["http://127.0.0.1:${PAGE_PORT}"]\n`);
  key = (await rest("POST", "/v1/keys", SECRET, { owner: "acme", scopes: ["responses.read", "responses.write"] })).key;
});

after(async () => {
  await browser?.close();
  await gateway?.close();
  await rm(dir, { recursive: true });
});

beforeEach(async () => {
  context = await browser.newContext({ viewport: SIZES.desktop });
  page = await context.newPage();
});

afterEach(async () => {
  await context.close();
  site?.close();
  site = undefined;
});

async function rest(method, path, bearer = key, body = undefined) {
  const headers = { authorization: `Bearer ${bearer}`, "content-type": "application/json" };
  const reply = await fetch(gateway.url + path, { method, headers, body: body && JSON.stringify(body) });
  assert.equal(reply.status, 200, await reply.clone().text());
  return reply.json();
}

/** Starts the page's server, opens the page, and asks for so many words, so many a second. */
async function ask(words, rate, { ticketSeconds } = {}) {
  const metadata = { "demo.events": `${words}`, "demo.rate": `${rate}` };
  site = await start({ gateway: gateway.url, key, metadata, port: PAGE_PORT, ticketSeconds });
  await page.goto(site.origin);
  await send("Tell me something long");
}

async function send(question) {
  await page.fill("#question", question);
  await page.keyboard.press("Enter");
}

const answers = () => page.locator(".answer");

const text = async () => (await answers().last().textContent()) ?? "";

/** Waits until the answer has so many characters, and gives what it has. */
const seen = (characters) =>
  until(`${characters} characters`, async () => {
    const found = await text().catch(() => "");
    return found.length >= characters && found;
  });

const state = (wanted) => until(`the state ${wanted}`, async () => (await page.getAttribute("#state", "data-state").catch(() => "")) === wanted);

const kept = () => page.evaluate(() => JSON.parse(sessionStorage.getItem("tidemark-chat")));

/** Waits until the page is done, and compares what it shows with what the gateway has. */
async function endsAs(status) {
  await state("ready");
  const { id, end } = (await kept()).at(-1);
  const response = await rest("GET", `/v1/responses/${id}`);
  assert.deepEqual([end, response.status], [status, status]);
  assert.equal(await text(), response.output[0].content[0].text);
  return response;
}

async function picture(name) {
  if (!PICTURES) return;
  for (const [size, viewport] of Object.entries(SIZES)) {
    await page.setViewportSize(viewport);
    await page.screenshot({ path: `${PICTURES}/example-${name}-${size}.png` });
  }
}

test("an answer comes through three reloads, each behind what was there", async () => {
  await ask(200, 60);
  for (const characters of [100, 300, 500]) {
    const before = await seen(characters);
    if (characters === 300) await picture("answering");
    await page.reload();
    assert.ok((await seen(before.length)).startsWith(before), "the page forgot what it had");
  }
  await endsAs("completed");
  await picture("completed");
  await page.reload();
  await endsAs("completed");
});

test("an answer that ends while the page is offline is read to its end", async () => {
  await ask(120, 60);
  await seen(100);
  // `Network.emulateNetworkConditions` of the browser's devtools protocol.
  await context.setOffline(true);
  await state("lost");
  await picture("offline");
  const { id } = (await kept())[0];
  await until("the end of the response", async () => (await rest("GET", `/v1/responses/${id}`)).status === "completed");
  await context.setOffline(false);
  await endsAs("completed");
});

for (const signal of ["SIGTERM", "SIGKILL"]) {
  test(`a restart by ${signal} ends the answer where it was cut`, async () => {
    await ask(2000, 50);
    await seen(100);
    await gateway.stop(signal);
    // With SIGTERM the gateway still says how the answer ends; after SIGKILL only the next one can.
    if (signal === "SIGKILL") await state("lost");
    await gateway.restart();
    const response = await endsAs("failed");
    assert.equal(response.error.code, "gateway_restarted");
    await picture(`restart-${signal}`);
  });
}

test("an answer that ended before a restart is read to its end after it", async () => {
  await ask(80, 60);
  await seen(50);
  await context.setOffline(true);
  await state("lost");
  const { id } = (await kept())[0];
  await until("the end of the response", async () => (await rest("GET", `/v1/responses/${id}`)).status === "completed");
  await gateway.stop("SIGKILL");
  await gateway.restart();
  await context.setOffline(false);
  await endsAs("completed");
});

test("a ticket that ends is replaced, and the answer goes on", async () => {
  await ask(150, 50, { ticketSeconds: 1 });
  const first = await until("a ticket", async () => (await kept())[0].ticket);
  await endsAs("completed");
  assert.notEqual((await kept())[0].ticket, first);
});

test("a reload while the question is on its way asks once", async () => {
  await ask(20, 0);
  await endsAs("completed");
  const before = (await rest("GET", "/v1/responses?limit=1000")).data.length;
  // The answer to the question is lost: it is begun, and the page does not learn of it.
  await page.route("**/ask", async (route) => {
    await route.fetch();
    await route.abort();
  });
  await send("And now?");
  await state("lost");
  await page.unroute("**/ask");
  await page.reload();
  await endsAs("completed");
  assert.equal((await rest("GET", "/v1/responses?limit=1000")).data.length, before + 1);
  assert.equal(await answers().count(), 2);
});

test("stop cancels the answer", async () => {
  await ask(2000, 50);
  await seen(50);
  await page.click("#stop");
  await endsAs("cancelled");
  await picture("stopped");
});

test("the page holds no key, and a stranger gets no ticket", async () => {
  await ask(20, 0);
  await endsAs("completed");
  const { id, attempt } = (await kept())[0];
  const everything = await page.evaluate(async () => {
    const loaded = performance.getEntriesByType("resource").map((entry) => entry.name);
    const texts = await Promise.all([location.href, ...loaded].filter((url) => url.startsWith(location.origin)).map(async (url) => (await fetch(url)).text()));
    return [...texts, document.cookie, ...Object.values(sessionStorage)].join();
  });
  assert.ok(everything.includes("tmt_") && !everything.includes("tmk_"));
  const post = (path, body, headers) =>
    fetch(site.origin + path, { method: "POST", headers: { "content-type": "application/json", origin: site.origin, ...headers }, body: JSON.stringify(body) });
  const stranger = { cookie: `visit=${"0".repeat(32)}` };
  assert.equal((await post("/ticket", { id }, stranger)).status, 404);
  assert.equal((await post("/ask", { attempt, text: "x", previous: id }, stranger)).status, 404);
  assert.equal((await post("/ticket", { id })).status, 403);
  assert.equal((await post("/ask", { attempt, text: "x" }, { ...stranger, origin: "https://evil.example" })).status, 403);
  for (const path of ["/lib/tidemark-client/../../../package.json", "/lib/tidemark-client/%2e%2e/server.mjs", "/server.mjs", "/lib/none/x.js"]) {
    assert.equal((await fetch(site.origin + path)).status, 404, path);
  }
});

test("the page can be used with the keyboard and is named for those who do not see it", async () => {
  await ask(20, 0);
  await endsAs("completed");
  const tree = await page.locator("body").ariaSnapshot();
  for (const named of ['heading "A chat that survives the page"', 'log "Conversation"', 'status', 'textbox "Your question"', 'button "Send"']) {
    assert.ok(tree.includes(named), `${named} in\n${tree}`);
  }
  for (const size of Object.values(SIZES)) {
    await page.setViewportSize(size);
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true, "the page scrolls to the side");
  }
});
