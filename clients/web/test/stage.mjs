// The stage that plays the table of faults, as a child process. It ends when its standard input does.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));

/** `clients/faults/stage.py`, from `start` to `stop`. */
export class Stage {
  #process;
  #url;

  static async start() {
    const stage = new Stage();
    stage.#process = spawn("python3", ["clients/faults/stage.py"], { cwd: ROOT, stdio: ["pipe", "pipe", "inherit"] });
    [stage.#url] = await once(createInterface({ input: stage.#process.stdout }), "line");
    return stage;
  }

  async rows() {
    return (await fetch(`${this.#url}/rows`)).json();
  }

  async ask(path, body) {
    const reply = await fetch(this.#url + path, { method: "POST", body: JSON.stringify(body) });
    if (!reply.ok) throw new Error(await reply.text());
    return reply.json();
  }

  async stop() {
    this.#process.stdin.end();
    await once(this.#process, "exit");
  }
}
