// What a page does over grpc-web with the stock client. The same flows run in Node and in a browser: each takes the gateway's
// address and gives plain data, which `suite.mjs` judges.

import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";

import { BadRequestSchema, ErrorInfoSchema } from "../gen/google/rpc/error_details_pb.js";
import { ModelsService } from "../gen/tidemark/v1/models_pb.js";
import { OnGap, ResponsesService, Status, Wait } from "../gen/tidemark/v1/responses_pb.js";

/** Twenty deltas: events 0 to 27. */
const SHORT = {
  model: "demo-long",
  input: { case: "text", value: "Tell me" },
  metadata: { "demo.rate": "0", "demo.events": "20" },
};

/** Slow enough to be caught while it runs. */
const SLOW = { ...SHORT, metadata: { "demo.rate": "50" }, background: true };

/** How long a call with a deadline may take, in milliseconds. */
const DEADLINE_MS = 1000;

const clientOf = (url, service = ResponsesService) => createClient(service, createGrpcWebTransport({ baseUrl: url }));

const jsonOf = (bytes) => JSON.parse(new TextDecoder().decode(bytes));

const numbersOf = (events) => events.map((event) => Number(event.seq));

async function eventsOf(messages) {
  const events = [];
  for await (const message of messages) events.push(...message.events);
  return events;
}

/** The error that a call ends with, as plain data. */
async function refusal(call) {
  try {
    await call();
  } catch (error) {
    const { code, rawMessage } = ConnectError.from(error);
    const [info] = error.findDetails(ErrorInfoSchema);
    const fields = error.findDetails(BadRequestSchema).flatMap((bad) => bad.fieldViolations.map(({ field }) => field));
    return { code: Code[code], message: rawMessage, reason: info?.reason, domain: info?.domain, metadata: info?.metadata, fields };
  }
  throw new Error("the call should have failed");
}

/** A unary call, and which of its headers can be read. */
export async function unary(url) {
  const headers = {};
  const request = { model: "demo", input: { case: "text", value: "one two" }, wait: Wait.TERMINAL };
  const onHeader = (reply) => reply.forEach((value, name) => (headers[name] = value));
  const { response } = await clientOf(url).create(request, { onHeader });
  return { status: Status[response.status], text: jsonOf(response.json).output[0].content[0].text, headers };
}

/** A response that is created and read in one stream. */
export async function stream(url) {
  const messages = [];
  for await (const message of clientOf(url).createStream({ create: SHORT })) messages.push(message);
  const events = messages.flatMap((message) => message.events);
  return { ids: messages.map((message) => message.id), numbers: numbersOf(events), last: events.at(-1).type };
}

/** A stream that is dropped and gone on with. */
export async function resume(url) {
  const client = clientOf(url);
  const { response } = await client.create({ ...SLOW, metadata: { "demo.rate": "50", "demo.events": "60" } });
  const drop = new AbortController();
  const head = [];
  try {
    for await (const message of client.resume({ id: response.id }, { signal: drop.signal })) {
      head.push(...message.events);
      if (head.length > 10) drop.abort();
    }
  } catch (error) {
    if (ConnectError.from(error).code !== Code.Canceled) throw error;
  }
  const after = head.at(-1).seq;
  const tail = await eventsOf(client.resume({ id: response.id, after }));
  return { head: numbersOf(head), tail: numbersOf(tail), last: tail.at(-1).type };
}

/** A call that is cancelled by its caller, and what becomes of the response; then the response is cancelled. */
export async function cancellation(url) {
  const client = clientOf(url);
  const { id } = (await client.create(SLOW)).response;
  const leave = new AbortController();
  const read = async () => {
    for await (const _ of client.resume({ id }, { signal: leave.signal })) leave.abort();
  };
  const left = await refusal(read);
  const during = (await client.get({ id })).response.status;
  const cancelled = (await client.cancel({ id })).response.status;
  const events = await eventsOf(client.resume({ id }));
  return { left, during: Status[during], cancelled: Status[cancelled], last: events.at(-1).type };
}

/** A call that takes longer than its deadline. */
export async function deadline(url) {
  const client = clientOf(url);
  const { id } = (await client.create(SLOW)).response;
  const late = await refusal(() => eventsOf(client.resume({ id }, { timeoutMs: DEADLINE_MS })));
  await client.cancel({ id });
  return late;
}

/** A field that is wrong, a response that does not exist, a method that does not exist, an owner that cannot be. */
export async function refusals(url) {
  const client = clientOf(url);
  const parent = { ...ResponsesService, typeName: "no.such.Service" };
  const nothing = { ...parent, methods: parent.methods.map((method) => ({ ...method, parent })) };
  return {
    field: await refusal(() => client.create({ input: SHORT.input })),
    unknown: await refusal(() => client.get({ id: "resp_none" })),
    stream: await refusal(() => eventsOf(client.resume({ id: "resp_none" }))),
    owner: await refusal(() => client.get({ id: "x" }, { headers: { "x-tidemark-owner": "a b" } })),
    choice: await refusal(() => eventsOf(client.resume({ id: "x", onGap: OnGap.EARLIEST + 40 }))),
    service: await refusal(() => clientOf(url, nothing).get({ id: "x" })),
  };
}

/** The names of the models. */
export async function models(url) {
  const { models } = await clientOf(url, ModelsService).listModels({});
  return models.map((model) => model.id);
}

/** A response that is listed, and then removed. */
export async function removal(url) {
  const client = clientOf(url);
  const options = { headers: { "x-tidemark-owner": `owner-${Math.random()}` } };
  const { id } = (await client.create({ ...SHORT, wait: Wait.TERMINAL }, options)).response;
  const { responses, nextPageToken } = await client.list({}, options);
  const listed = responses.map((response) => response.id);
  const deleted = (await client.delete({ id }, options)).id;
  return { id, listed, nextPageToken, deleted, gone: await refusal(() => client.get({ id }, options)) };
}
