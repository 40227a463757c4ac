// A page without a library: one POST, then a plain EventSource that comes back by itself.
//
// What it has of an answer lies in `sessionStorage`, so that a reload goes on after the last event instead of from the start.
// With `?response=…&ticket=…` it reads a response that somebody else began, such as the page's own server, and holds no key.
// Served from any folder: `python3 -m http.server 8000 -d clients/stock/web/demo`, with `cors.origins = ["http://localhost:8000"]`.

const KEPT = "tidemark-demo";

/** How an answer can end. */
const TERMINAL = ["response.completed", "response.incomplete", "response.failed"];

/** All that a text answer is made of. An EventSource passes on only the types that it is asked for. */
const TYPES = [
  "response.created",
  "response.queued",
  "response.in_progress",
  "response.output_item.added",
  "response.content_part.added",
  "response.output_text.delta",
  "response.output_text.done",
  "response.content_part.done",
  "response.output_item.done",
  ...TERMINAL,
];

const query = new URLSearchParams(location.search);
const gateway = query.get("gateway") ?? "http://127.0.0.1:4700";
const ticket = query.get("ticket");
const part = (id) => document.getElementById(id);

/** What the page has of a response before its first event. */
const unread = (id) => ({ id, last: null, count: 0, wrong: 0, end: null, text: "" });

const named = query.get("response");
let answer = JSON.parse(sessionStorage.getItem(KEPT));
if (named && answer?.id !== named) answer = unread(named);
let source;

function show(state = document.body.dataset.state ?? "idle") {
  document.body.dataset.state = state;
  part("state").textContent = state;
  if (!answer) return;
  part("id").textContent = answer.id;
  part("count").textContent = answer.count;
  part("last").textContent = answer.last ?? "-";
  part("wrong").textContent = answer.wrong;
  part("end").textContent = answer.end ?? "-";
  part("text").textContent = answer.text;
}

function take({ type, data }) {
  const event = JSON.parse(data);
  const expected = (answer.last ?? -1) + 1;
  if (event.sequence_number !== expected) answer.wrong += 1;
  answer.last = event.sequence_number;
  answer.count += 1;
  if (type === "response.output_text.delta") answer.text += event.delta;
  if (TERMINAL.includes(type)) answer.end = event.response.status;
  sessionStorage.setItem(KEPT, JSON.stringify(answer));
  show();
}

/** Reads on after the last event that the page has. The browser reconnects by itself until the gateway says 204. */
function follow() {
  const after = answer.last === null ? "" : `&starting_after=${answer.last}`;
  const credential = ticket ? `&ticket=${ticket}` : "";
  source = new EventSource(`${gateway}/v1/responses/${answer.id}?stream=true&event_ids=true${after}${credential}`);
  for (const type of TYPES) source.addEventListener(type, take);
  source.onopen = () => show("connected");
  source.onerror = () => show(source.readyState === EventSource.CLOSED ? "ended" : "reconnecting");
}

async function ask(input) {
  source?.close();
  const body = JSON.stringify({
    model: query.get("model") ?? "demo-long",
    input,
    background: true,
    metadata: JSON.parse(query.get("metadata") ?? "{}"),
  });
  const headers = { "content-type": "application/json" };
  const reply = await fetch(`${gateway}/v1/responses`, { method: "POST", headers, body });
  const response = await reply.json();
  if (!reply.ok) return show(response.error.message);
  answer = unread(response.id);
  sessionStorage.setItem(KEPT, JSON.stringify(answer));
  follow();
}

part("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  ask(part("question").value).catch((error) => show(`no answer: ${error.message}`));
});

part("stop").addEventListener("click", () => {
  const headers = ticket ? { authorization: `Bearer ${ticket}` } : {};
  if (answer) fetch(`${gateway}/v1/responses/${answer.id}/cancel`, { method: "POST", headers }).catch(() => show("no answer"));
});

show();
if (answer) follow();
