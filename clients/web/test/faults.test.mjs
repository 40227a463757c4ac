// The table of faults (`clients/faults`), for this client in Node.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Stage } from "./stage.mjs";
import { Told } from "./told.mjs";

const stage = await Stage.start();

after(() => stage.stop());

for (const row of await stage.rows()) {
  test(row, async () => {
    const told = await Told.of(await stage.ask("/play", { row }), (path, body) => stage.ask(path, body));
    assert.deepEqual(await stage.ask("/judge", told), { wrong: [] });
  });
}
