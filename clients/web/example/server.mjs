// The page's own server: it holds the key, begins answers, and hands the page a ticket for each. It keeps no state.
//
//   TIDEMARK_KEY=tmk_… node server.mjs      with a gateway at TIDEMARK_URL (http://127.0.0.1:4700) that lets this origin call:
//                                           cors.origins = ["http://127.0.0.1:8000"]
//
// `./run` starts both. A real application would know its users; here whoever has the cookie of a visit owns its answers.

import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname } from "node:path";
import { fileURLToPath } from "node:url";

import { Client, Refused, TicketRights, TidemarkError } from "tidemark-client";

/** The largest question, in bytes of JSON. */
const MAX_BODY_BYTES = 16 << 10;

/** How long a ticket is good, in seconds. A page that needs it longer asks for another. */
const TICKET_SECONDS = 3600n;

/** The cookie of a visit. */
const COOKIE = "visit";

const HERE = new URL(".", import.meta.url);
const TYPES = { ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8" };

/** What the page may load: its own files, and the packages of the client, of which a bundler would make one file. */
const FILES = { "/": "index.html", "/chat.js": "chat.js", "/chat.css": "chat.css" };
const PACKAGES = ["tidemark-client", "@bufbuild/protobuf", "@connectrpc/connect", "@connectrpc/connect-web"];

/** Where the files of a package lie, and what it exports to a browser. */
async function packageOf(name) {
  const file = new URL(import.meta.resolve(name));
  const folder = file.href.slice(0, file.href.indexOf("/dist/") + 1);
  const { exports } = JSON.parse(await readFile(new URL("package.json", folder), "utf8"));
  const target = (entry) => (typeof entry === "string" ? entry : target(entry.import ?? entry.default));
  const imports = Object.entries(exports).map(([path, entry]) => [name + path.slice(1), `/lib/${name}${target(entry).slice(1)}`]);
  return { folder, imports };
}

/** Starts the page's server. `metadata` goes with every answer; it is how the demo backend is told how fast to speak. */
export async function start({ gateway, key, model = "demo-long", metadata = {}, port = 0, ticketSeconds = TICKET_SECONDS }) {
  const client = new Client({ url: gateway, credential: key });
  const packages = new Map();
  for (const name of PACKAGES) packages.set(name, await packageOf(name));
  const imports = Object.fromEntries([...packages.values()].flatMap(({ imports }) => imports));
  const importMap = JSON.stringify({ imports });
  const hash = createHash("sha256").update(importMap).digest("base64");
  const policy = [
    "default-src 'none'",
    `script-src 'self' 'sha256-${hash}'`,
    "style-src 'self'",
    `connect-src 'self' ${new URL(gateway).origin}`,
    "img-src data:",
    "base-uri 'none'",
    "form-action 'self'",
    "frame-ancestors 'none'",
  ].join("; ");

  /** Whose answers a caller may see: nobody can guess another visit, and its cookie is no secret of the gateway's. */
  const visitOf = (request) => {
    const found = new RegExp(`(?:^|; )${COOKIE}=([0-9a-f]{32})(?:;|$)`).exec(request.headers.cookie ?? "");
    return found && createHash("sha256").update(found[1]).digest("hex").slice(0, 32);
  };

  /** The response, if it is one of this visit. A stranger's is as unknown as none. */
  async function owned(id, visit) {
    const response = await client.get(id);
    if (response.metadata.visit !== visit) throw new Failed(404, "not_found");
    return response;
  }

  /** The calls of the page. */
  const calls = {
    /** Begins an answer. `attempt` is the page's own name for the question: asked twice, it is the same answer. */
    "/ask": async ({ attempt, text, previous }, visit) => {
      if (typeof attempt !== "string" || !/^[0-9a-f]{32}$/.test(attempt)) throw new Failed(400, "attempt is 32 hexadecimal digits");
      if (typeof text !== "string" || !text.trim()) throw new Failed(400, "text is required");
      if (previous !== undefined) await owned(String(previous), visit);
      const { response, ticket } = await client.create({
        model,
        input: { case: "text", value: text },
        background: true,
        metadata: { ...metadata, visit },
        idempotencyKey: `${visit}-${attempt}`,
        ticket: { rights: TicketRights.READ_AND_CANCEL, lifetime: { seconds: BigInt(ticketSeconds) } },
        ...(previous === undefined ? {} : { previousResponseId: String(previous) }),
      });
      return { id: response.id, ticket: ticket.value, gateway };
    },
    /** Another ticket for an answer of this visit. */
    "/ticket": async ({ id }, visit) => {
      await owned(String(id), visit);
      const ticket = await client.createTicket(String(id), { rights: TicketRights.READ_AND_CANCEL, lifetime: { seconds: BigInt(ticketSeconds) } });
      return { ticket: ticket.value };
    },
  };

  async function post(request, path) {
    // Only our own page may ask: the type makes a browser say where a call comes from, and the origin is what it says.
    const ours = request.headers.origin === `http://${request.headers.host}` || request.headers.origin === `https://${request.headers.host}`;
    if (!ours || request.headers["content-type"] !== "application/json") throw new Failed(403, "not from this page");
    const visit = visitOf(request);
    if (!visit) throw new Failed(403, "open the page first");
    return calls[path](await bodyOf(request), visit);
  }

  async function fileOf(path) {
    if (Object.hasOwn(FILES, path)) return [extname(FILES[path]), await readFile(new URL(FILES[path], HERE), "utf8")];
    const name = PACKAGES.find((name) => path.startsWith(`/lib/${name}/`));
    if (!name || !path.endsWith(".js")) throw new Failed(404, "no such file");
    const { folder } = packages.get(name);
    // A URL resolves every `..` before it is compared.
    const file = new URL(path.slice(`/lib/${name}/`.length), folder);
    if (!file.href.startsWith(folder)) throw new Failed(404, "no such file");
    return [".js", await readFile(file, "utf8")];
  }

  const server = createServer(async (request, reply) => {
    const { pathname } = new URL(request.url, "http://page");
    const headers = { "x-content-type-options": "nosniff", "referrer-policy": "no-referrer", "cache-control": "no-store" };
    try {
      if (request.method === "POST" && Object.hasOwn(calls, pathname)) {
        const answer = JSON.stringify(await post(request, pathname));
        return reply.writeHead(200, { ...headers, "content-type": "application/json" }).end(answer);
      }
      if (request.method !== "GET") throw new Failed(405, "no such call");
      const [kind, text] = await fileOf(pathname);
      if (kind === ".html") {
        headers["content-security-policy"] = policy;
        if (!visitOf(request)) headers["set-cookie"] = `${COOKIE}=${randomBytes(16).toString("hex")}; HttpOnly; SameSite=Strict; Path=/; Max-Age=2592000`;
      }
      reply.writeHead(200, { ...headers, "content-type": TYPES[kind] }).end(text.replace("IMPORT_MAP", () => importMap));
    } catch (error) {
      const [status, code] = refusal(error);
      reply.writeHead(status, { ...headers, "content-type": "application/json" }).end(JSON.stringify({ error: code }));
    }
  });
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  return { origin: `http://127.0.0.1:${server.address().port}`, close: () => (server.close(), server.closeAllConnections()) };
}

/** A call that the page's server refuses. */
class Failed extends Error {
  constructor(status, code) {
    super(code);
    this.status = status;
  }
}

/** The status and the text that the page gets. What is wrong between us and the gateway is not its business. */
function refusal(error) {
  if (error instanceof Failed) return [error.status, error.message];
  if (error instanceof Refused && error.code === "not_found") return [404, "not_found"];
  if (error?.code === "ENOENT") return [404, "no such file"];
  if (!(error instanceof TidemarkError)) console.error(error);
  else console.error(`the gateway: ${error.message}`);
  return [502, "the gateway gave no answer"];
}

async function bodyOf(request) {
  let text = "";
  for await (const piece of request.setEncoding("utf8")) {
    text += piece;
    if (text.length > MAX_BODY_BYTES) throw new Failed(413, "the question is too long");
  }
  try {
    return Object(JSON.parse(text));
  } catch {
    throw new Failed(400, "the body is no JSON");
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { TIDEMARK_URL = "http://127.0.0.1:4700", TIDEMARK_KEY, TIDEMARK_MODEL, PORT = "8000" } = process.env;
  const { origin } = await start({ gateway: TIDEMARK_URL, key: TIDEMARK_KEY, model: TIDEMARK_MODEL, port: Number(PORT) });
  console.log(`open ${origin}`);
}
