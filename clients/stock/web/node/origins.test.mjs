// Which pages may call, and from where (D-41): what browsers send, byte by byte, to every route.

import assert from "node:assert/strict";
import { once } from "node:events";
import { request as send } from "node:http";
import { after, before, test } from "node:test";

import { Backend, finishes, says } from "../../../../tests/common/backend.mjs";
import { Gateway } from "../../../../tests/common/gateway.mjs";

const PAGE = "https://app.example";
const STRANGER = "https://evil.example";

const ROUTES = [
  ["POST", "/responses"],
  ["GET", "/responses"],
  ["GET", "/responses/resp_1"],
  ["DELETE", "/responses/resp_1"],
  ["POST", "/responses/resp_1/cancel"],
  ["GET", "/responses/resp_1/input_items"],
  ["GET", "/models"],
  ["GET", "/models/demo"],
];

/** Every route as method and path: REST with and without `/v1`, and grpc-web. */
const EVERYWHERE = [
  ...ROUTES.map(([method, path]) => [method, `/v1${path}`]),
  ...ROUTES,
  ["POST", "/tidemark.v1.ResponsesService/Create"],
  ["POST", "/tidemark.v1.ResponsesService/Resume"],
  ["POST", "/tidemark.v1.ModelsService/ListModels"],
];

/** Headers that a page may want to send: those of the SDKs, of grpc-web and of EventSource. */
const ASKED = "authorization,content-type,last-event-id,x-grpc-web,x-tidemark-owner,x-user-agent";

const GRPC_WEB = { "content-type": "application/grpc-web+proto", "x-grpc-web": "1" };

/** A grpc-web message without fields. */
const EMPTY_MESSAGE = Buffer.alloc(5);

let backend;
let gateway;
let closed;

before(async () => {
  backend = await Backend.start({ counted: [says("one"), finishes("stop")] });
  gateway = await Gateway.start(`${backend.config}
    [server]
    hosts = ["gate.internal"]
    [cors]
    origins = ["${PAGE}"]
  `);
  closed = await Gateway.start();
});

after(async () => {
  await gateway?.close();
  await closed?.close();
  backend?.close();
});

/** One request with exactly these headers. */
async function call(method, path, headers = {}, body = undefined, to = gateway) {
  const request = send(to.url + path, { method, headers });
  request.end(body);
  const [reply] = await once(request, "response");
  let text = "";
  for await (const piece of reply) text += piece;
  return { status: reply.statusCode, headers: reply.headers, text };
}

const preflight = (method, path, origin, to) =>
  call(
    "OPTIONS",
    path,
    { origin, "access-control-request-method": method, "access-control-request-headers": ASKED },
    undefined,
    to,
  );

/** The headers that tell a browser what a page may do. */
const granted = ({ headers }) => Object.keys(headers).filter((name) => name.startsWith("access-control-"));

const post = (headers, body, to) =>
  call("POST", "/v1/responses", { "content-type": "application/json", ...headers }, JSON.stringify(body), to);

const COUNTED = { model: "counted", input: "x" };

test("a named page may ask before every call", async () => {
  for (const [method, path] of EVERYWHERE) {
    const { status, headers } = await preflight(method, path, PAGE);
    assert.equal(status, 200, path);
    assert.equal(headers["access-control-allow-origin"], PAGE, path);
    assert.equal(headers["access-control-allow-methods"], method, path);
    assert.equal(headers["access-control-allow-headers"], ASKED, path);
    assert.match(headers.vary, /origin/i, path);
  }
});

test("a stranger, a page without an origin and a half-right name are told nothing", async () => {
  for (const origin of [STRANGER, "null", `${PAGE}.evil.example`, "http://app.example", `${PAGE}:444`]) {
    for (const [method, path] of EVERYWHERE) {
      const reply = await preflight(method, path, origin);
      assert.equal(reply.status, 403, `${origin} ${path}`);
      assert.deepEqual(granted(reply), [], `${origin} ${path}`);
    }
  }
});

test("without cors.origins no page is told anything", async () => {
  for (const origin of [PAGE, "null", "http://localhost:3000"]) {
    assert.deepEqual(granted(await preflight("POST", "/v1/responses", origin, closed)), [], origin);
  }
});

test("a named page may read replies, errors and streams, with the headers that matter", async () => {
  const stream = JSON.stringify({ model: "demo", input: "x", stream: true });
  const replies = [
    await call("GET", "/v1/models", { origin: PAGE }),
    await call("GET", "/v1/responses/resp_none", { origin: PAGE }),
    await call("GET", "/v1/nothing", { origin: PAGE }),
    await call("PUT", "/v1/models", { origin: PAGE }),
    await call("GET", "/v1/models", { origin: PAGE, "x-tidemark-owner": "a b" }),
    await call("POST", "/v1/responses", { origin: PAGE, "content-type": "application/json" }, stream),
    await call("POST", "/tidemark.v1.ModelsService/ListModels", { origin: PAGE, ...GRPC_WEB }, EMPTY_MESSAGE),
    await call("POST", "/tidemark.v1.ResponsesService/Get", { origin: PAGE, ...GRPC_WEB }, EMPTY_MESSAGE),
  ];
  assert.deepEqual(replies.map(({ status }) => status), [200, 404, 404, 405, 400, 200, 200, 200]);
  for (const { headers } of replies) {
    assert.equal(headers["access-control-allow-origin"], PAGE);
    assert.equal(headers["access-control-allow-credentials"], undefined);
    const exposed = headers["access-control-expose-headers"].split(",");
    for (const name of ["grpc-status", "grpc-message", "grpc-status-details-bin", "x-request-id", "retry-after"]) {
      assert.ok(exposed.includes(name), name);
    }
  }
});

test("a post from another site is refused before it does anything", async () => {
  for (const origin of [STRANGER, "null"]) {
    for (const type of ["application/json", "text/plain", "application/x-www-form-urlencoded"]) {
      const reply = await post({ origin, "content-type": type }, COUNTED);
      assert.equal(reply.status, 403);
      assert.equal(JSON.parse(reply.text).error.code, "forbidden_origin");
      assert.deepEqual(granted(reply), []);
    }
  }
  assert.equal(backend.asked.counted, undefined);
  assert.equal((await post({ origin: PAGE }, COUNTED)).status, 200);
  assert.equal(backend.asked.counted, 1);
});

test("a page of the gateway itself and a tool without an origin may call", async () => {
  assert.equal((await call("GET", "/v1/models", { origin: gateway.url })).status, 200);
  assert.equal((await call("GET", "/v1/models")).status, 200);
  assert.equal((await post({}, { model: "demo", input: "x" }, closed)).status, 200);
});

test("a host name that is not ours is refused whoever calls", async () => {
  const { port } = new URL(gateway.url);
  for (const host of ["evil.example", `evil.example:${port}`, `127.0.0.1.evil.example:${port}`, `10.0.0.1:${port}`]) {
    for (const origin of [{}, { origin: `http://${host}` }, { origin: PAGE }]) {
      for (const [method, path] of EVERYWHERE) {
        const reply = await call(method, path, { host, ...origin });
        assert.equal(reply.status, 403, `${host} ${path}`);
        assert.deepEqual(granted(reply), [], `${host} ${path}`);
      }
    }
  }
  const web = await call("POST", "/tidemark.v1.ModelsService/ListModels", { host: "evil.example", ...GRPC_WEB }, EMPTY_MESSAGE);
  assert.equal(web.headers["grpc-status"], "7");
  for (const host of [`localhost:${port}`, `127.0.0.1:${port}`, "gate.internal"]) {
    assert.equal((await call("GET", "/v1/models", { host })).status, 200, host);
  }
});
