// All that a client has read of one response, over all the readers that it took.

import { Client, TidemarkError } from "tidemark-client";

const SETTINGS = { idleTimeoutMs: 1000, minDelayMs: 20, maxDelayMs: 200 };

export class Told {
  text = "";
  seqs = [];
  gaps = [];
  end = null;
  error = null;
  kind = null;

  /** Reads the response of a play, with all the comings and goings that the play asks for. */
  static async of(play, ask) {
    const told = new Told();
    const leave = [...play.leave];
    let kept = JSON.stringify({ id: play.id ?? undefined, after: play.after ?? undefined });
    for (;;) {
      const { stayed, position } = await told.#read(play, JSON.parse(kept), leave);
      kept = JSON.stringify(position);
      if (!stayed) {
        await ask("/left", {});
      } else if (told.error && play.renew) {
        play = { ...play, ...(await ask("/renew", {})), renew: false };
        told.error = told.kind = null;
      } else {
        return told;
      }
    }
  }

  /** Reads with one client, as after a reload: nothing is left of the one before but the position. */
  async #read(play, { id, after }, leave) {
    const client = new Client({ url: play.url, credential: play.credential, ...SETTINGS });
    const { model, text } = play.create;
    const reader = id ? client.resume(id, { after, onGap: play.on_gap }) : client.createStream({ model, input: { case: "text", value: text } });
    let stayed = true;
    try {
      for await (const item of reader) {
        this.#take(item);
        if (reader.after >= leave[0]) {
          leave.shift();
          stayed = false;
          break;
        }
      }
    } catch (error) {
      if (!(error instanceof TidemarkError)) throw error;
      [this.error, this.kind] = [error.code, error.name];
    }
    return { stayed, position: { id: reader.id, after: reader.after } };
  }

  #take(item) {
    this.text += item.text;
    if (item.kind === "gap") return this.gaps.push([item.from, item.to]);
    this.seqs.push(item.seq);
    if (["response.completed", "response.incomplete", "response.failed"].includes(item.type)) this.end = item.json().response.status;
  }
}
