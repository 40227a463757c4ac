// The client, and the reader that reconnects. It runs in browsers and in Node, over grpc-web.

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { type CallOptions, Code, createClient, type Client as Stub } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";

import {
  type CreateRequest,
  CreateRequestSchema,
  type CreateResponse,
  type CreateStreamResponse,
  type ListResponse,
  OnGap,
  type Response,
  ResponsesService,
  type ResumeResponse,
  type Ticket,
  type TicketOrderSchema,
  Wait,
} from "./gen/tidemark/v1/responses_pb.js";
import { failureOf, type Item, lost, Position, Refused, type Settings, settingsOf, TimedOut, Tries, Unreachable } from "./rules.js";

/** How long a create may take that waits for the end of its response, in milliseconds: as long as a run may take. */
const WAIT_TIMEOUT_MS = 3_600_000;

/** The longest time that a timer can have, in milliseconds. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** Where a gateway is, who calls, and how long to wait. */
export interface ClientOptions extends Partial<Settings> {
  /** `http://HOST:PORT` or `https://HOST:PORT`. */
  url: string;
  /** A key, or a ticket. */
  credential?: string | undefined;
  /** The owner to act for, where the gateway allows that. */
  owner?: string | undefined;
}

/** What a call may take, in place of the client's own `timeoutMs`. */
export interface CallLimits {
  timeoutMs?: number;
}

/** From where to read. */
export interface ResumeOptions {
  /** The last event that the reader has; absent = nothing yet. */
  after?: number | undefined;
  /** What to do where events are gone: fail with `OffsetLost`, or hand out a `Gap` and go on behind it. */
  onGap?: "fail" | "earliest";
}

/** A client of one gateway. Every method rejects with a `TidemarkError`. */
export class Client {
  /** @internal */
  readonly stub: Stub<typeof ResponsesService>;
  /** @internal */
  readonly headers: Record<string, string> = {};
  /** @internal */
  readonly settings: Settings;

  constructor({ url, credential, owner, ...settings }: ClientOptions) {
    this.settings = settingsOf(settings);
    this.stub = createClient(ResponsesService, createGrpcWebTransport({ baseUrl: new URL(url).href }));
    if (credential !== undefined) this.headers["authorization"] = `Bearer ${credential}`;
    if (owner !== undefined) this.headers["x-tidemark-owner"] = owner;
  }

  /** Starts a response; with `Wait.TERMINAL`, resolves when it has ended. It is made once, however often it is tried. */
  async create(request: MessageInitShape<typeof CreateRequestSchema>, limits: CallLimits = {}): Promise<CreateResponse> {
    const prepared = prepare(request);
    const timeoutMs = prepared.wait === Wait.TERMINAL ? WAIT_TIMEOUT_MS : undefined;
    return this.#call((options) => this.stub.create(prepared, options), { timeoutMs, ...limits });
  }

  /** Starts a response and reads it to its end. It is made once, however often it is tried. */
  createStream(request: MessageInitShape<typeof CreateRequestSchema>, { onGap }: Pick<ResumeOptions, "onGap"> = {}): Reader {
    return new Reader(this, { create: prepare(request) }, undefined, onGap);
  }

  /** Reads a response to its end, from its first event or behind the position `after`. */
  resume(id: string, { after, onGap }: ResumeOptions = {}): Reader {
    return new Reader(this, { id }, after, onGap);
  }

  /** The response as it is now, with all output so far. */
  async get(id: string, limits: CallLimits = {}): Promise<Response> {
    return known((await this.#call((options) => this.stub.get({ id }, options), limits)).response);
  }

  /** Stops a running response; one that has ended is returned unchanged. */
  async cancel(id: string, limits: CallLimits = {}): Promise<Response> {
    return known((await this.#call((options) => this.stub.cancel({ id }, options), limits)).response);
  }

  /** Removes a response for good; a running one is cancelled first. */
  async delete(id: string, limits: CallLimits = {}): Promise<void> {
    let tries = 0;
    try {
      await this.#call((options) => this.stub.delete({ id }, (tries++, options)), limits);
    } catch (error) {
      // An earlier try may have removed it, and its reply was lost.
      if (!(tries > 1 && error instanceof Refused && error.code === "not_found")) throw error;
    }
  }

  /** A page of one's own responses, the newest first; `nextPageToken` asks for the next. */
  async list(page: { pageSize?: number; pageToken?: string } = {}, limits: CallLimits = {}): Promise<ListResponse> {
    return this.#call((options) => this.stub.list(page, options), limits);
  }

  /** A ticket: the right to read one response, for a reader without a key. Without an order to read, for an hour. */
  async createTicket(id: string, order?: MessageInitShape<typeof TicketOrderSchema>, limits: CallLimits = {}): Promise<Ticket> {
    const request = order ? { id, order } : { id };
    return known((await this.#call((options) => this.stub.createTicket(request, options), limits)).ticket);
  }

  /** One unary call, tried until it has an answer or its time is over (F-8). */
  async #call<T>(method: (options: CallOptions) => Promise<T>, { timeoutMs = this.settings.timeoutMs }: { timeoutMs?: number | undefined }) {
    const end = Date.now() + timeoutMs;
    const tries = new Tries(this.settings, end);
    for (;;) {
      const left = Math.min(Math.max(end - Date.now(), 1), MAX_TIMER_MS);
      try {
        return await method({ headers: this.headers, timeoutMs: left });
      } catch (reason) {
        const failure = failureOf(reason);
        if (Date.now() >= end && failure.error instanceof Unreachable) throw new TimedOut(failure.error.message);
        await pause(tries.failed(failure));
      }
    }
  }
}

/**
 * Reads one response to its end, and reconnects by itself: `for await (const item of reader)`.
 *
 * `id` and `after` are the position to save: `client.resume(id, { after })` goes on there, also after a reload of the page.
 */
export class Reader implements AsyncIterable<Item> {
  /** The response's id; absent until `createStream` has learnt it. */
  id: string | undefined;
  /** The ticket that the create has asked for. */
  ticket: Ticket | undefined;
  /** Called when the connection is lost (`false`), and when the gateway is heard again (`true`). */
  onConnection: (connected: boolean) => void = () => {};

  readonly #client: Client;
  readonly #create: CreateRequest | undefined;
  readonly #onGap: OnGap;
  readonly #position: Position;
  readonly #closed = new AbortController();
  #connected: boolean | undefined;
  readonly #items: AsyncGenerator<Item, void>;

  /** @internal */
  constructor(client: Client, source: { create: CreateRequest } | { id: string }, after?: number, onGap: ResumeOptions["onGap"] = "fail") {
    this.#client = client;
    this.#create = "create" in source ? source.create : undefined;
    this.id = "id" in source ? source.id : undefined;
    this.#onGap = onGap === "earliest" ? OnGap.EARLIEST : OnGap.FAIL;
    this.#position = new Position(after);
    this.#items = this.#read();
  }

  /** The last event that was handed out; absent if there was none. */
  get after(): number | undefined {
    return this.#position.after;
  }

  /** Stops reading. The response goes on. */
  close(): void {
    this.#closed.abort();
  }

  [Symbol.asyncIterator](): AsyncIterator<Item> {
    return this.#items;
  }

  async *#read(): AsyncGenerator<Item, void> {
    const closed = this.#closed.signal;
    const tries = new Tries(this.#client.settings);
    while (!closed.aborted) {
      const call = new AbortController();
      const stop = () => call.abort();
      closed.addEventListener("abort", stop);
      // A browser that knows that it is offline lets a stream hang.
      globalThis.addEventListener?.("offline", stop);
      try {
        const messages = this.#open(call.signal)[Symbol.asyncIterator]();
        for (let message = await this.#next(messages, call); message; message = await this.#next(messages, call)) {
          tries.heard();
          this.#tell(true);
          this.#learn(message);
          yield* this.#position.take(message);
          if (this.#position.ended) return;
        }
        return;
      } catch (reason) {
        if (closed.aborted) return;
        this.#tell(false);
        await pause(tries.failed(call.signal.aborted ? lost("the connection is silent or offline") : failureOf(reason)), closed);
      } finally {
        closed.removeEventListener("abort", stop);
        globalThis.removeEventListener?.("offline", stop);
        call.abort();
      }
    }
  }

  #open(signal: AbortSignal): AsyncIterable<CreateStreamResponse | ResumeResponse> {
    const { stub, headers } = this.#client;
    const options = { headers, signal };
    if (this.id === undefined && this.#create) return stub.createStream({ create: this.#create }, options);
    const after = this.after === undefined ? {} : { after: BigInt(this.after) };
    return stub.resume({ id: this.id ?? "", onGap: this.#onGap, ...after }, options);
  }

  /** The next message, unless it is silent for too long; nothing when the stream has ended well. */
  async #next<T>(messages: AsyncIterator<T>, call: AbortController): Promise<T | undefined> {
    const timer = setTimeout(() => call.abort(), Math.min(this.#client.settings.idleTimeoutMs, MAX_TIMER_MS));
    try {
      const { done, value } = await messages.next();
      return done ? undefined : value;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Tells what has changed, from outside of the loop: a fault of the listener is not one of the connection. */
  #tell(connected: boolean): void {
    if (connected === this.#connected) return;
    this.#connected = connected;
    queueMicrotask(() => this.onConnection(connected));
  }

  #learn(message: CreateStreamResponse | ResumeResponse): void {
    if (this.id !== undefined || !("id" in message)) return;
    this.id = message.id;
    this.ticket = message.ticket;
  }
}

/** The create, made safe to repeat: one without an idempotency key gets one (F-9). */
function prepare(request: MessageInitShape<typeof CreateRequestSchema>): CreateRequest {
  const prepared = create(CreateRequestSchema, request);
  prepared.idempotencyKey ??= randomKey();
  return prepared;
}

/** 128 random bits. `crypto.randomUUID` is missing in pages that came over plain HTTP. */
function randomKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function known<T>(field: T | undefined): T {
  if (field === undefined) throw new Refused("internal", "the answer has not what was asked for", Code.Internal, {});
  return field;
}

/** Waits, but no longer than until the browser is online again, or the reader is closed. */
function pause(ms: number, closed?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      globalThis.removeEventListener?.("online", done);
      closed?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, Math.min(ms, MAX_TIMER_MS));
    globalThis.addEventListener?.("online", done);
    closed?.addEventListener("abort", done);
  });
}
