// The rules by which a client follows a response: F-1 to F-9 of `clients/README.md`.
//
// It owns events, errors, the position of a reader, and what is tried again when. It must never know how a call is made.

import { Code, ConnectError } from "@connectrpc/connect";

import { ErrorInfoSchema, RetryInfoSchema } from "./gen/google/rpc/error_details_pb.js";
import type { Event as LoggedEvent } from "./gen/tidemark/v1/event_pb.js";
import { Api, type CreateStreamResponse, type Response, type ResumeResponse } from "./gen/tidemark/v1/responses_pb.js";

/** The events that end a response (F-4). */
const TERMINAL = new Set(
  ["response", "chat.completion"].flatMap((kind) => ["completed", "incomplete", "failed"].map((end) => `${kind}.${end}`)),
);

/** The domain of every `ErrorInfo` of the gateway. */
const DOMAIN = "tidemark";

/** Codes of a status that comes from no gateway: the connection was lost (F-5). */
const LOST = new Set([
  Code.Unavailable,
  Code.Unknown,
  Code.Internal,
  Code.Canceled,
  Code.Aborted,
  Code.DataLoss,
  Code.DeadlineExceeded,
]);

/** How often the first delay is doubled at most: beyond it, every `maxDelayMs` is reached. */
const MAX_DOUBLINGS = 20;

/** How a client waits and tries again. All times are in milliseconds. */
export interface Settings {
  /** How long a unary call may take, all tries together; 60 s. A create that waits for the end of its response has an hour. */
  timeoutMs: number;
  /** How long a stream may be silent before it counts as lost; 45 s, three heartbeats of the gateway. */
  idleTimeoutMs: number;
  /** How long to go on trying without a sign of the gateway; 5 min. `Infinity` is allowed. */
  patienceMs: number;
  /** The delay before the first further try; 200 ms. It doubles with each one in vain. Half of it is random. */
  minDelayMs: number;
  /** The longest such delay; 10 s. */
  maxDelayMs: number;
}

const DEFAULTS: Settings = { timeoutMs: 60_000, idleTimeoutMs: 45_000, patienceMs: 300_000, minDelayMs: 200, maxDelayMs: 10_000 };

/** The settings, with what was left out. */
export function settingsOf(given: Partial<Settings>): Settings {
  const settings = { ...DEFAULTS, ...given };
  for (const [name, value] of Object.entries(settings)) {
    if (!(value > 0)) throw new RangeError(`${name} must be more than 0 ms`);
  }
  return settings;
}

/** One entry of the log of a response. */
export class Event {
  readonly kind = "event";
  /** Its number: from 0, strictly increasing. */
  readonly seq: number;
  /** The name of the event, for example `response.output_text.delta`. */
  readonly type: string;
  /** One line of JSON. */
  readonly data: string;

  constructor({ seq, type, data }: LoggedEvent) {
    this.seq = Number(seq);
    this.type = type;
    this.data = new TextDecoder().decode(data);
  }

  /** The data as a value. */
  // biome-ignore lint/suspicious/noExplicitAny: an event of any model
  json(): any {
    return JSON.parse(this.data);
  }

  /** What the event adds to the text of the answer; empty for most. */
  get text(): string {
    if (this.type === "response.output_text.delta") return this.json().delta;
    if (this.type !== "chat.completion.chunk") return "";
    return this.json().choices.map((choice: { delta: { content?: string | null } }) => choice.delta.content ?? "").join("");
  }
}

/** A stretch of the log that is gone, from its first to its last event. Only a reader with `onGap: "earliest"` meets one. */
export class Gap {
  readonly kind = "gap";
  readonly text = "";

  constructor(
    readonly from: number,
    readonly to: number,
  ) {}
}

/** What a reader hands out. */
export type Item = Event | Gap;

/** The text of an answer so far: that of its output messages, or of the choices of a chat. */
export function outputText(response: Response): string {
  const whole = JSON.parse(new TextDecoder().decode(response.json));
  if (response.api === Api.CHAT_COMPLETIONS) {
    return whole.choices.map((choice: { message: { content?: string | null } }) => choice.message.content ?? "").join("");
  }
  type Part = { type: string; text: string };
  const parts: Part[] = whole.output.flatMap((item: { content?: Part[] }) => item.content ?? []);
  return parts.filter((part) => part.type === "output_text").map((part) => part.text).join("");
}

/** A call that failed for good. `code` is stable: that of the gateway, `unreachable` or `timeout`. */
export class TidemarkError extends Error {
  constructor(
    readonly code: string,
    message: string,
  ) {
    super(`${message} (${code})`);
    this.name = new.target.name;
  }
}

/** No sign of the gateway for `patienceMs`; a reader can be opened again at its position. */
export class Unreachable extends TidemarkError {
  constructor(message: string) {
    super("unreachable", message);
  }
}

/** The call took longer than its `timeoutMs`; what it asked for may have happened. */
export class TimedOut extends TidemarkError {
  constructor(message: string) {
    super("timeout", message);
  }
}

/** The gateway, or something in front of it, said no. `docs/errors/` has a page for each code. */
export class Refused extends TidemarkError {
  constructor(
    code: string,
    message: string,
    /** The gRPC status. */
    readonly status: Code,
    /** Details by name: `param`, `scope`, `response_id`, … */
    readonly details: Readonly<Record<string, string>>,
  ) {
    super(code, message);
  }
}

/** Events after the position are gone. `onGap: "earliest"` goes on behind them. */
export class OffsetLost extends Refused {
  /** The first event that can be read. */
  readonly earliest = Number(this.details["earliest"]);
  /** The highest event that is durable. */
  readonly committed = Number(this.details["committed"]);
  /** The highest event that is gone; absent if the position itself never was (any more). */
  readonly watermark = this.details["watermark"] === undefined ? undefined : Number(this.details["watermark"]);
  /** Whether a power cut took what was read (`durability = "os"`). */
  readonly rolledBack = this.details["reason"] === "rolled_back";
}

/** One try that failed: the error it is, whether another try may help, and not before how many milliseconds. */
export interface Failure {
  readonly error: TidemarkError;
  readonly again: boolean;
  readonly waitMs: number;
}

/** A connection that was lost. */
export const lost = (message: string): Failure => ({ error: new Unreachable(message), again: true, waitMs: 0 });

/** What a failed call means (F-5, F-6). */
export function failureOf(reason: unknown): Failure {
  const error = ConnectError.from(reason);
  const { code, rawMessage } = error;
  const info = error.findDetails(ErrorInfoSchema).find(({ domain }) => domain === DOMAIN);
  if (!info) {
    // The library's own complaint about a body that ended within a message has a code that a gateway would mean differently.
    const torn = code === Code.InvalidArgument && rawMessage.startsWith("protocol error");
    if (LOST.has(code) || torn) return lost(rawMessage);
    // `PermissionDenied` is written as the gateway would: `permission_denied`.
    const name = (Code[code] ?? "unknown").replace(/(?<=[a-z])(?=[A-Z])/g, "_").toLowerCase();
    return { error: new Refused(name, rawMessage, code, {}), again: false, waitMs: 0 };
  }
  const [retry] = error.findDetails(RetryInfoSchema);
  const Kind = info.reason === "offset_lost" ? OffsetLost : Refused;
  const { seconds = 0n, nanos = 0 } = retry?.retryDelay ?? {};
  const waitMs = Number(seconds) * 1000 + nanos / 1e6;
  return { error: new Kind(info.reason, rawMessage, code, info.metadata), again: retry !== undefined, waitMs };
}

/** The delays between tries, and when to give up (F-6, F-7). */
export class Tries {
  #inVain = 0;
  #giveUp: number | undefined;

  /** `end`: when the last try is over at the latest (F-8). */
  constructor(
    private readonly settings: Settings,
    private readonly end = Number.POSITIVE_INFINITY,
  ) {}

  /** The gateway has given a sign of life: everything begins anew. */
  heard(): void {
    this.#inVain = 0;
    this.#giveUp = undefined;
  }

  /** The milliseconds to wait before another try. Throws what failed if there shall be none. */
  failed({ error, again, waitMs }: Failure): number {
    const { patienceMs, minDelayMs, maxDelayMs } = this.settings;
    this.#giveUp ??= Date.now() + patienceMs;
    const doubled = minDelayMs * 2 ** Math.min(this.#inVain, MAX_DOUBLINGS);
    const delay = Math.max(Math.min(doubled, maxDelayMs) * (0.5 + Math.random() / 2), waitMs);
    if (!again || Date.now() + delay > Math.min(this.#giveUp, this.end)) throw error;
    this.#inVain += 1;
    return delay;
  }
}

/** Where a reader is: it says what to ask for, and lets through what is new (F-1 to F-4). */
export class Position {
  /** Whether the last event of the response was handed out. */
  ended = false;

  /** `after`: the last event that was handed out. */
  constructor(public after: number | undefined) {}

  /** What a message has that was not handed out yet. The position moves as each one is taken. */
  *take(message: ResumeResponse | CreateStreamResponse): Generator<Item> {
    if ("gap" in message && message.gap) {
      const { from, to } = message.gap;
      if (this.#isNew(Number(to))) yield this.#moved(new Gap(Number(from), Number(to)), Number(to));
    }
    for (const event of message.events) {
      if (!this.#isNew(Number(event.seq))) continue;
      this.ended = TERMINAL.has(event.type);
      yield this.#moved(new Event(event), Number(event.seq));
    }
  }

  #isNew(seq: number): boolean {
    return this.after === undefined || seq > this.after;
  }

  #moved<T>(item: T, after: number): T {
    this.after = after;
    return item;
  }
}
