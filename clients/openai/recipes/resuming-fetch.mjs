// A fetch for the stock SDKs that goes on where a stream was cut. It needs nothing of a library but that it takes a `fetch`.
//
// A streaming POST gets an idempotency key, so that it can be sent again, and ids on its events. When its body breaks off, the
// same POST with `Last-Event-ID` brings exactly what follows. The library sees one reply that was never cut.

/** What ends a stream in good order. */
const DONE = "data: [DONE]";

/** The line that numbers an event. The library does not get it: it gets the stream as it is without our asking. */
const ID = /^id: ?(.*)\n/m;

/**
 * Makes the fetch. `tries` further connections are made in a row without an event; the pause before each doubles, from
 * `pauseMs` to ten seconds. `fetch` is the one to stand on.
 */
export function resumingFetch({ tries = 8, pauseMs = 200, fetch = globalThis.fetch } = {}) {
  return async (url, init = {}) => {
    if (init.method !== "POST" || typeof init.body !== "string" || JSON.parse(init.body).stream !== true) return fetch(url, init);
    const headers = new Headers(init.headers);
    if (!headers.has("idempotency-key")) headers.set("idempotency-key", crypto.randomUUID());
    const numbered = new URL(url);
    numbered.searchParams.set("event_ids", "true");
    const send = () => fetch(numbered, { ...init, headers });
    const reply = await send();
    if (!reply.ok || !reply.body) return reply;
    const body = ReadableStream.from(frames(reply, headers, send, init.signal, tries, pauseMs));
    return new Response(body.pipeThrough(new TextEncoderStream()), { status: reply.status, headers: reply.headers });
  };
}

/** All frames of the stream, each whole and each once. */
async function* frames(reply, headers, send, signal, tries, pauseMs) {
  for (let left = tries; ; left -= 1) {
    try {
      reply ??= await send();
      // There is nothing behind the last event that we have.
      if (reply.status === 204) return;
      if (!reply.ok && reply.status < 500 && reply.status !== 429) return yield `event: error\ndata: ${await reply.text()}\n\n`;
      if (!reply.ok) throw new Error(`HTTP ${reply.status}`);
      let rest = "";
      for await (const text of reply.body.pipeThrough(new TextDecoderStream())) {
        const found = (rest + text).split("\n\n");
        rest = found.pop();
        for (const frame of found) {
          const id = ID.exec(frame)?.[1];
          if (id) {
            headers.set("last-event-id", id);
            left = tries;
          }
          yield `${frame.replace(ID, "")}\n\n`;
          if (frame.includes(DONE)) return;
        }
      }
    } catch (error) {
      if (signal?.aborted || left <= 0) throw error;
    }
    // A stream that only ended is asked once more as well: the gateway says whether there is more.
    if (left <= 0) throw new Error("the stream was cut too often");
    reply = undefined;
    await new Promise((done) => setTimeout(done, Math.min(pauseMs * 2 ** (tries - left), 10_000)));
  }
}
