// Reads a long answer and keeps its position in a file. Started again it goes on there: `node resume.mjs URL FILE [EVENTS]`.
//
// With EVENTS it leaves after so many, in the middle of the answer. A page keeps the same two values in `sessionStorage`.

import { existsSync, readFileSync, writeFileSync } from "node:fs";

import { Client, OffsetLost } from "tidemark-client";

const [url, file, events] = process.argv.slice(2);
const client = new Client({ url });

async function begin() {
  const metadata = { "demo.events": "300", "demo.rate": "300" };
  const { response } = await client.create({ model: "demo-long", input: { case: "text", value: "Tell me" }, background: true, metadata });
  return { id: response.id };
}

const { id, after } = existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : await begin();
const reader = client.resume(id, { after });
let count = 0;
try {
  for await (const item of reader) {
    process.stdout.write(item.text);
    writeFileSync(file, JSON.stringify({ id: reader.id, after: reader.after }));
    if (++count === Number(events)) break;
  }
} catch (error) {
  if (!(error instanceof OffsetLost)) throw error;
  console.error(`the events up to ${error.watermark} are gone`);
}
