// A chat box without a framework. What it has of the conversation lies in `sessionStorage`: the text, and the position that
// belongs to it. After a reload it goes on behind the last event it has; it holds tickets, never a key.

import { Client, OffsetLost, outputText, Refused } from "tidemark-client";

const KEPT = "tidemark-chat";

/** How long what has come may wait to be kept, in milliseconds. */
const KEEP_MS = 250;

/** The turns that are kept over a reload. */
const MAX_TURNS = 50;

/** How near to its end the conversation is scrolled along, in pixels. */
const NEAR = 80;

/** How often the page's own server is asked for the same, and the longest time between two times, in milliseconds. */
const MAX_PAUSE_MS = 10_000;

const part = (id) => document.getElementById(id);

/** The conversation: for each turn the question, what has come of the answer (`text`, `after`), and how it ended. */
const turns = JSON.parse(sessionStorage.getItem(KEPT) ?? "[]");
let reading;

const keep = () => sessionStorage.setItem(KEPT, JSON.stringify(turns.slice(-MAX_TURNS)));

let keeping;
function keepSoon() {
  keeping ??= setTimeout(() => {
    keeping = undefined;
    keep();
  }, KEEP_MS);
}
addEventListener("pagehide", keep);

function say(state, text) {
  part("state").dataset.state = state;
  part("state").textContent = text;
}

/** What a person is told about an answer that is not simply complete. */
const ENDS = {
  failed: "The answer ended here: the gateway or the model failed.",
  cancelled: "Stopped.",
  incomplete: "The answer reached its limit.",
  lost: "This answer can no longer be read.",
};

/** The element of a turn; it is made when it is first needed. */
function shown(turn) {
  let article = part("turns").children[turns.indexOf(turn)];
  if (!article) {
    part("turns").append(part("turn").content.cloneNode(true));
    article = part("turns").lastElementChild;
    article.querySelector(".question").textContent = turn.question;
  }
  return article;
}

/** Shows what is new of a turn. Text is added to a text node, so that nothing that was there is made again. */
function show(turn) {
  const main = document.querySelector("main");
  const follows = main.scrollHeight - main.scrollTop - main.clientHeight < NEAR;
  const article = shown(turn);
  const answer = article.querySelector(".answer");
  const node = answer.firstChild ?? answer.appendChild(new Text());
  if (turn.text.startsWith(node.data)) node.appendData(turn.text.slice(node.data.length));
  else node.data = turn.text;
  answer.ariaBusy = turn.end ? "false" : "true";
  const note = article.querySelector(".note");
  note.textContent = ENDS[turn.end] ?? "";
  note.hidden = note.textContent === "";
  if (follows) main.scrollTop = main.scrollHeight;
}

/** Asks the page's own server until it answers; the question has a name, so that asking again does not ask twice. */
async function ask(path, body) {
  for (let pause = 500; ; pause = Math.min(pause * 2, MAX_PAUSE_MS)) {
    const reply = await fetch(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) }).catch(() => null);
    if (reply?.ok) return reply.json();
    if (reply && reply.status < 500) throw new Error((await reply.json()).error);
    say("lost", "No connection. Trying again…");
    await Promise.race([new Promise((done) => setTimeout(done, pause)), new Promise((done) => addEventListener("online", done, { once: true }))]);
  }
}

const clientOf = (turn) => new Client({ url: turn.gateway, credential: turn.ticket, patienceMs: Number.POSITIVE_INFINITY });

/** Reads a turn to its end, however often the page, the network or the gateway comes and goes. */
async function follow(turn) {
  reading = turn;
  part("stop").hidden = false;
  part("send").hidden = true;
  show(turn);
  try {
    if (!turn.id) {
      say("reading", "Asking…");
      const { attempt, question: text, previous } = turn;
      Object.assign(turn, await ask("/ask", { attempt, text, previous }));
      keep();
    }
    while (!turn.end) await read(turn);
  } catch (error) {
    turn.end = "lost";
    console.error(error);
  }
  keep();
  show(turn);
  reading = undefined;
  part("stop").hidden = true;
  part("send").hidden = false;
  say("ready", "Ready");
}

async function read(turn) {
  const reader = clientOf(turn).resume(turn.id, { after: turn.after });
  reader.onConnection = (connected) => (connected ? say("reading", "Answering…") : say("lost", "Connection lost. Reconnecting…"));
  try {
    for await (const item of reader) {
      turn.text += item.text;
      turn.after = item.seq;
      if (/\.(completed|incomplete|failed)$/.test(item.type)) turn.end = item.json().response.status;
      show(turn);
      keepSoon();
    }
    // The stream ends without an event when its last one was there already.
    if (!turn.end) await whole(turn);
  } catch (error) {
    if (error instanceof OffsetLost) return await whole(turn);
    if (!(error instanceof Refused) || error.code === "not_found") throw error;
    // The ticket has ended; the answer has not.
    Object.assign(turn, await ask("/ticket", { id: turn.id }));
    keep();
  }
}

/** The events behind our position are merged or gone, but the text is not: it is shown as it is now, and followed from there. */
async function whole(turn) {
  const response = await clientOf(turn).get(turn.id);
  turn.text = outputText(response);
  turn.after = Number(response.committed);
  const { status } = JSON.parse(new TextDecoder().decode(response.json));
  if (!["queued", "in_progress"].includes(status)) turn.end = status;
  show(turn);
}

part("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const question = part("question").value.trim();
  if (!question || reading) return;
  part("question").value = "";
  const attempt = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  const previous = turns.findLast((turn) => turn.end === "completed")?.id;
  turns.push({ attempt, question, previous, text: "" });
  keep();
  follow(turns.at(-1));
  document.querySelector("main").scrollTop = document.querySelector("main").scrollHeight;
});

part("question").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  part("ask").requestSubmit();
});

part("stop").addEventListener("click", () => {
  if (reading?.id) clientOf(reading).cancel(reading.id).catch((error) => say("lost", error.message));
});

part("forget").addEventListener("click", () => {
  sessionStorage.removeItem(KEPT);
  removeEventListener("pagehide", keep);
  location.reload();
});

for (const turn of turns) show(turn);
document.querySelector("main").scrollTop = document.querySelector("main").scrollHeight;
const open = turns.find((turn) => !turn.end);
if (open) follow(open);
