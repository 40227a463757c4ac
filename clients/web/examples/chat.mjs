// Asks, and prints the answer as it comes: `node chat.mjs URL`. In a page the same lines work with a ticket as credential.

import { Client } from "tidemark-client";

const client = new Client({ url: process.argv[2] });
for await (const item of client.createStream({ model: "demo", input: { case: "text", value: "What is a tide mark?" } })) {
  process.stdout.write(item.text);
}
