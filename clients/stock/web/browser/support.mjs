// A headless Chromium, and the site that its pages come from.
//
// `TIDEMARK_CHROMIUM` names the browser; without it, the one of Debian's package is taken.

import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, normalize } from "node:path";
import { fileURLToPath } from "node:url";

import { chromium } from "playwright-core";

const BROWSER = process.env.TIDEMARK_CHROMIUM ?? "/usr/bin/chromium";

/** Flags for a machine without a screen and without a network. */
const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

const ROOT = fileURLToPath(new URL("..", import.meta.url));

const TYPES = { ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8" };

/** The packages that the generated code and the flows import by name. */
const PACKAGES = ["@bufbuild/protobuf", "@connectrpc/connect", "@connectrpc/connect-web"];

/** Starts a browser. */
export const launch = () => chromium.launch({ executablePath: BROWSER, args: FLAGS });

/** A web site on a port of its own, which is an origin of its own: the files of `clients/stock/web`, and `/empty.html`. */
export class Site {
  #server;

  static async start() {
    const site = new Site();
    const empty = `<!doctype html><title>empty</title><script type="importmap">${JSON.stringify(await importMap())}</script>`;
    site.#server = createServer((request, reply) => serve(request, reply, empty));
    site.#server.listen(0, "127.0.0.1");
    await once(site.#server, "listening");
    return site;
  }

  /** As a browser sends it. */
  get origin() {
    return `http://127.0.0.1:${this.#server.address().port}`;
  }

  close() {
    this.#server.close();
    this.#server.closeAllConnections();
  }
}

async function serve(request, reply, empty) {
  const { pathname } = new URL(request.url, "http://site");
  try {
    const body = pathname === "/empty.html" ? empty : await readFile(ROOT + normalize(pathname));
    reply.writeHead(200, { "content-type": TYPES[extname(pathname)] ?? "application/octet-stream" });
    reply.end(body);
  } catch {
    reply.writeHead(404).end();
  }
}

/** Where the browser finds what the packages export; it needs no bundler. */
async function importMap() {
  const imports = {};
  for (const name of PACKAGES) {
    const { exports } = JSON.parse(await readFile(`${ROOT}node_modules/${name}/package.json`, "utf8"));
    for (const [path, target] of Object.entries(exports)) {
      imports[name + path.slice(1)] = `/node_modules/${name}${target.import.slice(1)}`;
    }
  }
  return { imports };
}
