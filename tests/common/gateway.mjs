// The real binary for tests in JavaScript, started with a configuration in a directory of its own.
//
// `TIDEMARK_BIN` names the binary; without it, the debug build of this tree is taken.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, open, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const BINARY = process.env.TIDEMARK_BIN ?? fileURLToPath(new URL("../../target/debug/tidemark", import.meta.url));

/** How long anything may take that will surely happen, in milliseconds. */
export const PATIENCE_MS = 60_000;

/** How long to wait between two looks, in milliseconds. */
const POLL_MS = 20;

/** Waits until `look` gives something truthy, and gives that. */
export async function until(what, look) {
  const end = Date.now() + PATIENCE_MS;
  while (Date.now() < end) {
    const found = await look();
    if (found) return found;
    await sleep(POLL_MS);
  }
  throw new Error(`waited ${PATIENCE_MS} ms for ${what}`);
}

/** A gateway. `close` kills it and removes its data. */
export class Gateway {
  #dir;
  #process;
  #exit;

  /** `http://127.0.0.1:PORT`; the port stays the same over restarts. */
  url;

  /** Starts a gateway with this TOML over the defaults, on a free port unless one is named. */
  static async start(config = "", listen = "127.0.0.1:0") {
    const gateway = new Gateway();
    gateway.#dir = await mkdtemp(join(tmpdir(), "tidemark-"));
    await writeFile(join(gateway.#dir, "tidemark.toml"), config);
    await gateway.#spawn(listen);
    return gateway;
  }

  /** Sends a signal, waits for the end of the process, and gives its exit code; null if the signal killed it. */
  async stop(signal = "SIGTERM") {
    this.#process.kill(signal);
    return await this.#exit;
  }

  /** Starts it again over the same data on the same port. */
  async restart() {
    await this.#spawn(new URL(this.url).host);
  }

  /** What it has written to its log so far. */
  async log() {
    return await readFile(join(this.#dir, "log"), "utf8");
  }

  async close() {
    await this.stop("SIGKILL");
    await rm(this.#dir, { recursive: true });
  }

  async #spawn(listen) {
    const log = await open(join(this.#dir, "log"), "a");
    const args = ["serve", "--listen", listen, "--admin", "off"];
    args.push("--config", join(this.#dir, "tidemark.toml"), "--data-dir", join(this.#dir, "data"));
    const env = Object.fromEntries(Object.entries(process.env).filter(([key]) => !key.startsWith("TIDEMARK_")));
    this.#process = spawn(BINARY, args, { env, stdio: ["ignore", "pipe", log.fd] });
    this.#exit = once(this.#process, "exit").then(([code]) => code);
    await log.close();
    this.url = await this.#address();
  }

  /** Reads the address from the first line. Whatever else comes is read too, so that it does not fill the pipe. */
  async #address() {
    const lines = createInterface({ input: this.#process.stdout });
    const [line] = await Promise.race([once(lines, "line"), this.#exit.then((code) => [`exit code ${code}`])]);
    lines.on("line", () => {});
    const found = /^listening on (http:\/\/127\.0\.0\.1:[1-9][0-9]*)$/.exec(line);
    if (!found) throw new Error(`the gateway did not start: ${line}\n${await this.log()}`);
    return found[1];
  }
}
