// The person at the browser: reads a page as it stands, and presses a button of it.

const FIELD = /<input type="hidden" name="request" value="([^"]+)"/;

/** Opens a consent page, proves a key, and gives the address that the browser is sent to. */
export async function allow(url, key) {
  const page = await fetch(url, { redirect: "manual" });
  const text = await page.text();
  if (page.status !== 200) throw new Error(`${page.status} ${page.headers.get("location") ?? text}`);
  const [, request] = FIELD.exec(text) ?? [];
  const body = new URLSearchParams({ request, key, decision: "key" });
  return await fetch(new URL(url).origin + new URL(url).pathname, { method: "POST", body, redirect: "manual" });
}

/** The next free port: the issuer must be known before the gateway starts. */
export async function freePort() {
  const { createServer } = await import("node:net");
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((listening) => server.once("listening", listening));
  const { port } = server.address();
  await new Promise((closed) => server.close(closed));
  return port;
}

/** The settings of a gateway at this address that lets apps in. */
export const settings = (issuer, secretFile, more = "") => `
[auth]
mode = "keys"
operator_secret_file = ${JSON.stringify(secretFile)}
[oauth]
mode = "both"
issuer = ${JSON.stringify(issuer)}
registration = "open"
${more}`;

/** A key of this owner, made by the operator. */
export async function makeKey(base, secret, owner, scopes) {
  const headers = { authorization: `Bearer ${secret}`, "content-type": "application/json" };
  const made = await fetch(`${base}/v1/keys`, { method: "POST", headers, body: JSON.stringify({ owner, scopes }) });
  return (await made.json()).key;
}
