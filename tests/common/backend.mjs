// A model server for tests in JavaScript: it plays one script for each model.

import { once } from "node:events";
import { createServer } from "node:http";

const chunk = (index, delta, finish_reason = null) =>
  `data: ${JSON.stringify({ choices: [{ index, delta, finish_reason }] })}\n\n`;

/** A piece of an answer: of the first one, unless it has another number. */
export const says = (text, index = 0) => (reply) => reply.write(chunk(index, { content: text }));

/** The end of one of several answers. */
export const stops = (index) => (reply) => reply.write(chunk(index, {}, "stop"));

/** The end of the last answer, and why it ends. */
export const finishes = (reason, index = 0) => (reply) => reply.end(`${chunk(index, {}, reason)}data: [DONE]\n\n`);

/** The end of the connection in the middle of an answer. */
export const breaks = () => (reply) => reply.destroy();

/** Silence until a promise is kept. */
export const waits = (promise) => () => promise;

/** Silence until the client goes away. */
export const hangs = () => () => {};

/** An answer that is an error. */
export const refuses = (status) => (reply) => {
  reply.writeHead(status, { "content-type": "application/json" });
  reply.end(JSON.stringify({ error: { message: "on purpose" } }));
};

/** An OpenAI-compatible server on a free port. */
export class Backend {
  #server;

  /** How many generations each model was asked for. */
  asked = {};

  /** How many clients of each model went away before the end of their answer. */
  dropped = {};

  /** `scripts`: a list of steps for each model. */
  static async start(scripts) {
    const backend = new Backend();
    backend.#server = createServer((request, reply) => backend.#answer(scripts, request, reply));
    backend.#server.listen(0, "127.0.0.1");
    await once(backend.#server, "listening");
    return backend;
  }

  /** The settings of a gateway that has this backend and the demo. */
  get config() {
    const url = `http://127.0.0.1:${this.#server.address().port}/v1`;
    return `
      [[backends]]
      name = "demo"
      kind = "demo"
      [[backends]]
      name = "scripted"
      kind = "openai"
      base_url = "${url}"
    `;
  }

  close() {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  async #answer(scripts, request, reply) {
    if (request.url === "/v1/models") {
      const data = Object.keys(scripts).map((id) => ({ id, object: "model" }));
      reply.setHeader("content-type", "application/json");
      return reply.end(JSON.stringify({ object: "list", data }));
    }
    let body = "";
    for await (const piece of request) body += piece;
    const { model } = JSON.parse(body);
    this.asked[model] = (this.asked[model] ?? 0) + 1;
    reply.on("close", () => {
      if (!reply.writableEnded) this.dropped[model] = (this.dropped[model] ?? 0) + 1;
    });
    reply.setHeader("content-type", "text/event-stream");
    for (const step of scripts[model]) {
      await step(reply);
      // Each piece is on its way before the next step; a connection that is broken off keeps what was sent.
      await new Promise(setImmediate);
    }
  }
}
