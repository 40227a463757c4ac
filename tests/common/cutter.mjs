// A TCP proxy that cuts connections when their answer begins: the request has landed, and its sender never learns of it.

import { once } from "node:events";
import { connect, createServer } from "node:net";

/** The proxy in front of a URL. It cuts as many answers as `cuts` says, and passes on the others. */
export class Cutter {
  #server;

  static async start(url, cuts) {
    const { hostname, port } = new URL(url);
    const cutter = new Cutter();
    cutter.cuts = cuts;
    cutter.#server = createServer((client) => cutter.#serve(client, connect(Number(port), hostname)));
    cutter.#server.listen(0, "127.0.0.1");
    await once(cutter.#server, "listening");
    cutter.url = `http://127.0.0.1:${cutter.#server.address().port}`;
    return cutter;
  }

  close() {
    this.#server.close();
  }

  #serve(client, server) {
    const close = () => {
      client.destroy();
      server.destroy();
    };
    for (const end of [client, server]) end.on("error", close).on("close", close);
    client.pipe(server);
    server.on("data", (piece) => {
      if (this.cuts > 0) {
        this.cuts -= 1;
        close();
      } else {
        client.write(piece);
      }
    });
  }
}
