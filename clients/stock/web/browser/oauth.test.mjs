// A person lets an app and a device in, in Chromium, without JavaScript. With TIDEMARK_SHOTS the pages are kept there as pictures.

import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { Gateway } from "../../../../tests/common/gateway.mjs";
import { freePort, makeKey, settings } from "../../../oauth/node/person.mjs";
import { launch } from "./support.mjs";

const SECRET = "0123456789abcdef0123456789abcdef";
const DESKTOP = { width: 1280, height: 860 };
const PHONE = { width: 390, height: 844 };
const CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const DEVICE = "urn:ietf:params:oauth:grant-type:device_code";

let dir, gateway, issuer, key, browser, app, client;

/** The site of the app: what it is sent. */
async function site() {
  const seen = [];
  const server = createServer((request, reply) => {
    seen.push(new URL(request.url, "http://app"));
    reply.writeHead(200, { "content-type": "text/html" }).end("<!doctype html><title>app</title>back at the app");
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { server, seen, callback: `http://127.0.0.1:${server.address().port}/cb` };
}

before(async () => {
  dir = await mkdtemp(join(tmpdir(), "tidemark-oauth-"));
  await writeFile(join(dir, "secret"), SECRET);
  const port = await freePort();
  issuer = `http://127.0.0.1:${port}`;
  gateway = await Gateway.start(settings(issuer, join(dir, "secret")), `127.0.0.1:${port}`);
  key = await makeKey(issuer, SECRET, "acme", ["responses.read", "models.read"]);
  app = await site();
  const metadata = { client_name: "Weather & <b>more</b>", redirect_uris: [app.callback], grant_types: ["authorization_code", DEVICE] };
  const headers = { "content-type": "application/json" };
  const made = await fetch(`${issuer}/oauth2/register`, { method: "POST", headers, body: JSON.stringify(metadata) });
  client = (await made.json()).client_id;
  browser = await launch();
});

after(async () => {
  await browser?.close();
  app?.server.close();
  app?.server.closeAllConnections();
  await gateway?.close();
  await rm(dir, { recursive: true });
});

const consentPage = () =>
  `${issuer}/oauth2/authorize?${new URLSearchParams({
    client_id: client,
    redirect_uri: app.callback,
    response_type: "code",
    state: "a b&c",
    code_challenge: CHALLENGE,
    code_challenge_method: "S256",
  })}`;

/** A page without JavaScript: all of it must work so. */
async function open(viewport, url) {
  const context = await browser.newContext({ viewport, javaScriptEnabled: false });
  const page = await context.newPage();
  await page.goto(url);
  return page;
}

/** Keeps a picture, if somebody wants to look at it, and asserts that nothing lies beyond the edge. */
async function look(page, name) {
  const box = await page.locator("main").boundingBox();
  assert.ok(box.x >= 0 && box.x + box.width <= page.viewportSize().width, `${name} is wider than the screen`);
  if (process.env.TIDEMARK_SHOTS) await page.screenshot({ path: join(process.env.TIDEMARK_SHOTS, `${name}.png`), fullPage: true });
}

for (const [name, viewport] of [["desktop", DESKTOP], ["phone", PHONE]]) {
  test(`a person lets an app in on a ${name}`, async () => {
    const page = await open(viewport, consentPage());
    await look(page, `consent-${name}`);
    assert.match(await page.locator("main").innerText(), /Weather & <b>more<\/b> asks for access/);
    await page.getByLabel("Your key").fill("tmk_wrong");
    await page.getByRole("button", { name: "Allow" }).click();
    assert.match(await page.getByRole("alert").innerText(), /not valid/);
    await look(page, `wrong-key-${name}`);
    await page.getByLabel("Your key").fill(key);
    await page.keyboard.press("Enter");
    await page.waitForURL(`${app.callback}**`);
    const sent = app.seen.findLast((url) => url.pathname === "/cb").searchParams;
    assert.deepEqual([sent.get("state"), sent.get("iss"), sent.has("code")], ["a b&c", issuer, true]);
    await page.context().close();
  });

  test(`a device is connected on a ${name}`, async () => {
    const body = new URLSearchParams({ client_id: client, scope: "models.read" });
    const device = await (await fetch(`${issuer}/oauth2/device_authorization`, { method: "POST", body })).json();
    const page = await open(viewport, device.verification_uri);
    await look(page, `code-${name}`);
    await page.getByLabel("The code that your device shows").fill("bbbb bbbb");
    await page.getByRole("button", { name: "Go on" }).click();
    assert.match(await page.getByRole("alert").innerText(), /No device waits/);
    await page.getByLabel("The code that your device shows").fill(device.user_code.toLowerCase().replace("-", " "));
    await page.keyboard.press("Enter");
    await page.locator("main", { hasText: device.user_code }).waitFor();
    await look(page, `device-${name}`);
    await page.getByLabel("Your key").fill(key);
    await page.getByRole("button", { name: "Allow" }).click();
    assert.match(await page.getByRole("status").innerText(), /goes on by itself/);
    await look(page, `done-${name}`);
    const poll = new URLSearchParams({ grant_type: DEVICE, client_id: client, device_code: device.device_code });
    assert.equal((await fetch(`${issuer}/oauth2/token`, { method: "POST", body: poll })).status, 200);
    await page.context().close();
  });
}

test("a person says no, and the app is told", async () => {
  const page = await open(DESKTOP, consentPage());
  await page.getByRole("button", { name: "Deny" }).click();
  await page.waitForURL(`${app.callback}**`);
  assert.equal(app.seen.findLast((url) => url.pathname === "/cb").searchParams.get("error"), "access_denied");
  await page.context().close();
});

test("a request that leads elsewhere ends on a page", async () => {
  const page = await open(PHONE, consentPage().replace(encodeURIComponent(app.callback), encodeURIComponent("https://evil.example/cb")));
  await look(page, "refused-phone");
  assert.equal(new URL(page.url()).origin, issuer);
  assert.match(await page.getByRole("alert").innerText(), /not one that this client has registered/);
  await page.context().close();
});

test("no page can frame the consent page, nor answer it for somebody", async () => {
  const evil = createServer((request, reply) => {
    const frame = `<!doctype html><title>evil</title><iframe src="${consentPage().replaceAll("&", "&amp;")}"></iframe>`;
    const form = `<form method="post" action="${issuer}/oauth2/authorize"><input name="request" value="x"><input name="decision" value="deny"><button>go</button></form>`;
    reply.writeHead(200, { "content-type": "text/html" }).end(frame + form);
  }).listen(0, "127.0.0.1");
  await once(evil, "listening");
  const page = await open(DESKTOP, `http://localhost:${evil.address().port}/`);
  const framed = await page.frames()[1].content();
  assert.ok(!framed.includes("asks for access"), framed);
  await page.getByRole("button", { name: "go" }).click();
  assert.match(await page.getByRole("alert").innerText(), /another site/);
  await page.context().close();
  evil.close();
  evil.closeAllConnections();
});

test("whoever turns their screen dark can read it too, and a keyboard is enough", async () => {
  const context = await browser.newContext({ viewport: PHONE, colorScheme: "dark", javaScriptEnabled: false });
  const page = await context.newPage();
  await page.goto(consentPage());
  await look(page, "dark-phone");
  const reached = [];
  for (let step = 0; step < 3; step++) {
    await page.keyboard.press("Tab");
    reached.push(await page.locator(":focus").getAttribute("id") ?? (await page.locator(":focus").innerText()));
  }
  assert.deepEqual(reached, ["key", "Allow", "Deny"]);
  await context.close();
});
