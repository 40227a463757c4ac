// A TCP proxy that cuts connections when their answer begins: the request has landed, and its sender never learns of it. Or it
// lets some bytes of each answer pass before.

import { once } from "node:events";
import { connect, createServer } from "node:net";

/** The proxy in front of a URL. It cuts as many answers as `cuts` says, each behind `bytes` of it, and passes on the others. */
export class Cutter {
  #server;

  static async start(url, cuts, bytes = 0) {
    const { hostname, port } = new URL(url);
    const cutter = new Cutter();
    cutter.cuts = cuts;
    cutter.bytes = bytes;
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
    let left = this.bytes;
    server.on("data", (piece) => {
      if (this.cuts > 0 && piece.length > left) {
        this.cuts -= 1;
        client.write(piece.subarray(0, left), close);
      } else {
        left -= piece.length;
        client.write(piece);
      }
    });
  }
}
