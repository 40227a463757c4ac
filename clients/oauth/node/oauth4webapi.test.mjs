// A stock OAuth client, which knows nothing of Tidemark, finds its way from the address of the API to a token, and back.

import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";

import * as oauth from "oauth4webapi";

import { Gateway } from "../../../tests/common/gateway.mjs";
import { allow, freePort, makeKey, settings } from "./person.mjs";

const SECRET = "0123456789abcdef0123456789abcdef";
const CALLBACK = "http://127.0.0.1:9/callback";
const SCOPE = "responses.read responses.write models.read";
const plain = { [oauth.allowInsecureRequests]: true };

let dir, gateway, issuer, key;

before(async () => {
  dir = await mkdtemp(join(tmpdir(), "tidemark-oauth-"));
  await writeFile(join(dir, "secret"), SECRET);
  const port = await freePort();
  issuer = `http://127.0.0.1:${port}`;
  gateway = await Gateway.start(settings(issuer, join(dir, "secret")), `127.0.0.1:${port}`);
  key = await makeKey(issuer, SECRET, "acme", SCOPE.split(" "));
});

after(async () => {
  await gateway.close();
  await rm(dir, { recursive: true });
});

/** From the address of the API alone to a registered client, by what the servers say. */
async function discovered() {
  const api = new URL(`${issuer}/v1`);
  const resource = await oauth.resourceDiscoveryRequest(api, plain).then((reply) => oauth.processResourceDiscoveryResponse(api, reply));
  const server = new URL(resource.authorization_servers[0]);
  const found = await oauth.discoveryRequest(server, { algorithm: "oauth2", ...plain });
  const as = await oauth.processDiscoveryResponse(server, found);
  const metadata = {
    client_name: "A stock client",
    redirect_uris: [CALLBACK],
    grant_types: ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"],
    token_endpoint_auth_method: "none",
    scope: SCOPE,
  };
  const registered = await oauth.dynamicClientRegistrationRequest(as, metadata, plain);
  const client = await oauth.processDynamicClientRegistrationResponse(registered);
  return { as, client, resource };
}

/** The address of a consent page, and what the client keeps for itself. */
async function begun({ as, client, resource }) {
  const verifier = oauth.generateRandomCodeVerifier();
  const state = oauth.generateRandomState();
  const url = new URL(as.authorization_endpoint);
  url.search = new URLSearchParams({
    client_id: client.client_id,
    redirect_uri: CALLBACK,
    response_type: "code",
    scope: SCOPE,
    state,
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
    code_challenge_method: "S256",
    resource: resource.resource,
  });
  return { url, verifier, state };
}

/** Tokens, by a person who says yes. */
async function granted(found) {
  const { as, client } = found;
  const { url, verifier, state } = await begun(found);
  const sent = await allow(url, key);
  assert.equal(sent.status, 303);
  const params = oauth.validateAuthResponse(as, client, new URL(sent.headers.get("location")), state);
  const reply = await oauth.authorizationCodeGrantRequest(as, client, oauth.None(), params, CALLBACK, verifier, plain);
  return { params, verifier, tokens: await oauth.processAuthorizationCodeResponse(as, client, reply) };
}

const models = (token) => fetch(`${issuer}/v1/models`, { headers: { authorization: `Bearer ${token}` } });

test("discovery, registration, code with PKCE, refresh and revocation", async () => {
  const refused = await fetch(`${issuer}/v1/models`);
  assert.match(refused.headers.get("www-authenticate"), /resource_metadata="([^"]+)"/);
  const found = await discovered();
  const { as, client, resource } = found;
  const { tokens } = await granted(found);
  assert.equal(tokens.scope, SCOPE);
  assert.equal((await models(tokens.access_token)).status, 200);

  const call = new Request(`${issuer}/v1/models`, { headers: { authorization: `Bearer ${tokens.access_token}` } });
  const claims = await oauth.validateJwtAccessToken(as, call, resource.resource, plain);
  assert.deepEqual([claims.sub, claims.client_id, claims.iss], ["acme", client.client_id, issuer]);

  const renewed = await oauth.refreshTokenGrantRequest(as, client, oauth.None(), tokens.refresh_token, plain);
  const next = await oauth.processRefreshTokenResponse(as, client, renewed);
  assert.equal((await models(next.access_token)).status, 200);
  const revoked = await oauth.revocationRequest(as, client, oauth.None(), next.refresh_token, plain);
  await oauth.processRevocationResponse(revoked);
  assert.equal((await models(next.access_token)).status, 401);
  await assert.rejects(async () => {
    const again = await oauth.refreshTokenGrantRequest(as, client, oauth.None(), next.refresh_token, plain);
    await oauth.processRefreshTokenResponse(as, client, again);
  }, { error: "invalid_grant" });
});

test("a code that was used before ends what it bought", async () => {
  const found = await discovered();
  const { as, client } = found;
  const { params, verifier, tokens } = await granted(found);
  const again = await oauth.authorizationCodeGrantRequest(as, client, oauth.None(), params, CALLBACK, verifier, plain);
  await assert.rejects(oauth.processAuthorizationCodeResponse(as, client, again), { error: "invalid_grant" });
  assert.equal((await models(tokens.access_token)).status, 401);
});

test("a code of somebody else's browser is worth nothing, and an answer of another issuer is noticed", async () => {
  const found = await discovered();
  const { as, client } = found;
  const attackers = await begun(found);
  const sent = new URL((await allow(attackers.url, key)).headers.get("location"));
  const victims = await begun(found);
  assert.throws(() => oauth.validateAuthResponse(as, client, sent, victims.state), /state/);
  const params = oauth.validateAuthResponse(as, client, sent, attackers.state);
  const injected = await oauth.authorizationCodeGrantRequest(as, client, oauth.None(), params, CALLBACK, victims.verifier, plain);
  await assert.rejects(oauth.processAuthorizationCodeResponse(as, client, injected), { error: "invalid_grant" });
  const mixed = new URL(sent);
  mixed.searchParams.set("iss", "https://evil.example");
  assert.throws(() => oauth.validateAuthResponse(as, client, mixed, attackers.state), /iss/);
});

test("the device flow", async () => {
  const { as, client } = await discovered();
  const asked = await oauth.deviceAuthorizationRequest(as, client, oauth.None(), { scope: "models.read" }, plain);
  const device = await oauth.processDeviceAuthorizationResponse(as, client, asked);
  const poll = async () => {
    const reply = await oauth.deviceCodeGrantRequest(as, client, oauth.None(), device.device_code, plain);
    return await oauth.processDeviceCodeResponse(as, client, reply);
  };
  await assert.rejects(poll, { error: "authorization_pending" });
  await assert.rejects(poll, { error: "slow_down" });
  const page = await allow(device.verification_uri_complete, key);
  assert.equal(page.status, 200);
  await new Promise((later) => setTimeout(later, 1000 * device.interval + 100));
  const tokens = await poll();
  assert.equal(tokens.scope, "models.read");
  assert.equal((await models(tokens.access_token)).status, 200);
});
