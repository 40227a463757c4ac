// The rules by which a client follows a response: F-1 to F-9 of `clients/README.md`.
//
// It owns events, errors, the position of a reader, and what is tried again when. It must never know how a call is made.
import { Code, ConnectError } from "@connectrpc/connect";
import { ErrorInfoSchema, RetryInfoSchema } from "./gen/google/rpc/error_details_pb.js";
import { Api } from "./gen/tidemark/v1/responses_pb.js";
/** The events that end a response (F-4). */
const TERMINAL = new Set(["response", "chat.completion"].flatMap((kind) => ["completed", "incomplete", "failed"].map((end) => `${kind}.${end}`)));
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
const DEFAULTS = { timeoutMs: 60_000, idleTimeoutMs: 45_000, patienceMs: 300_000, minDelayMs: 200, maxDelayMs: 10_000 };
/** The settings, with what was left out. */
export function settingsOf(given) {
    const settings = { ...DEFAULTS, ...given };
    for (const [name, value] of Object.entries(settings)) {
        if (!(value > 0))
            throw new RangeError(`${name} must be more than 0 ms`);
    }
    return settings;
}
/** One entry of the log of a response. */
export class Event {
    kind = "event";
    /** Its number: from 0, strictly increasing. */
    seq;
    /** The name of the event, for example `response.output_text.delta`. */
    type;
    /** One line of JSON. */
    data;
    constructor({ seq, type, data }) {
        this.seq = Number(seq);
        this.type = type;
        this.data = new TextDecoder().decode(data);
    }
    /** The data as a value. */
    // biome-ignore lint/suspicious/noExplicitAny: an event of any model
    json() {
        return JSON.parse(this.data);
    }
    /** What the event adds to the text of the answer; empty for most. */
    get text() {
        if (this.type === "response.output_text.delta")
            return this.json().delta;
        if (this.type !== "chat.completion.chunk")
            return "";
        return this.json().choices.map((choice) => choice.delta.content ?? "").join("");
    }
}
/** A stretch of the log that is gone, from its first to its last event. Only a reader with `onGap: "earliest"` meets one. */
export class Gap {
    from;
    to;
    kind = "gap";
    text = "";
    constructor(from, to) {
        this.from = from;
        this.to = to;
    }
}
/** The text of an answer so far: that of its output messages, or of the choices of a chat. */
export function outputText(response) {
    const whole = JSON.parse(new TextDecoder().decode(response.json));
    if (response.api === Api.CHAT_COMPLETIONS) {
        return whole.choices.map((choice) => choice.message.content ?? "").join("");
    }
    const parts = whole.output.flatMap((item) => item.content ?? []);
    return parts.filter((part) => part.type === "output_text").map((part) => part.text).join("");
}
/** A call that failed for good. `code` is stable: that of the gateway, `unreachable` or `timeout`. */
export class TidemarkError extends Error {
    code;
    constructor(code, message) {
        super(`${message} (${code})`);
        this.code = code;
        this.name = new.target.name;
    }
}
/** No sign of the gateway for `patienceMs`; a reader can be opened again at its position. */
export class Unreachable extends TidemarkError {
    constructor(message) {
        super("unreachable", message);
    }
}
/** The call took longer than its `timeoutMs`; what it asked for may have happened. */
export class TimedOut extends TidemarkError {
    constructor(message) {
        super("timeout", message);
    }
}
/** The gateway, or something in front of it, said no. `docs/errors/` has a page for each code. */
export class Refused extends TidemarkError {
    status;
    details;
    constructor(code, message, 
    /** The gRPC status. */
    status, 
    /** Details by name: `param`, `scope`, `response_id`, … */
    details) {
        super(code, message);
        this.status = status;
        this.details = details;
    }
}
/** Events after the position are gone. `onGap: "earliest"` goes on behind them. */
export class OffsetLost extends Refused {
    /** The first event that can be read. */
    earliest = Number(this.details["earliest"]);
    /** The highest event that is durable. */
    committed = Number(this.details["committed"]);
    /** The highest event that is gone; absent if the position itself never was (any more). */
    watermark = this.details["watermark"] === undefined ? undefined : Number(this.details["watermark"]);
    /** Whether a power cut took what was read (`durability = "os"`). */
    rolledBack = this.details["reason"] === "rolled_back";
}
/** A connection that was lost. */
export const lost = (message) => ({ error: new Unreachable(message), again: true, waitMs: 0 });
/** What a failed call means (F-5, F-6). */
export function failureOf(reason) {
    const error = ConnectError.from(reason);
    const { code, rawMessage } = error;
    const info = error.findDetails(ErrorInfoSchema).find(({ domain }) => domain === DOMAIN);
    if (!info) {
        // The library's own complaint about a body that ended within a message has a code that a gateway would mean differently.
        const torn = code === Code.InvalidArgument && rawMessage.startsWith("protocol error");
        if (LOST.has(code) || torn)
            return lost(rawMessage);
        return { error: new Refused(Code[code] ?? "unknown", rawMessage, code, {}), again: false, waitMs: 0 };
    }
    const [retry] = error.findDetails(RetryInfoSchema);
    const Kind = info.reason === "offset_lost" ? OffsetLost : Refused;
    const { seconds = 0n, nanos = 0 } = retry?.retryDelay ?? {};
    const waitMs = Number(seconds) * 1000 + nanos / 1e6;
    return { error: new Kind(info.reason, rawMessage, code, info.metadata), again: retry !== undefined, waitMs };
}
/** The delays between tries, and when to give up (F-6, F-7). */
export class Tries {
    settings;
    end;
    #inVain = 0;
    #giveUp;
    /** `end`: when the last try is over at the latest (F-8). */
    constructor(settings, end = Number.POSITIVE_INFINITY) {
        this.settings = settings;
        this.end = end;
    }
    /** The gateway has given a sign of life: everything begins anew. */
    heard() {
        this.#inVain = 0;
        this.#giveUp = undefined;
    }
    /** The milliseconds to wait before another try. Throws what failed if there shall be none. */
    failed({ error, again, waitMs }) {
        const { patienceMs, minDelayMs, maxDelayMs } = this.settings;
        this.#giveUp ??= Date.now() + patienceMs;
        const doubled = minDelayMs * 2 ** Math.min(this.#inVain, MAX_DOUBLINGS);
        const delay = Math.max(Math.min(doubled, maxDelayMs) * (0.5 + Math.random() / 2), waitMs);
        if (!again || Date.now() + delay > Math.min(this.#giveUp, this.end))
            throw error;
        this.#inVain += 1;
        return delay;
    }
}
/** Where a reader is: it says what to ask for, and lets through what is new (F-1 to F-4). */
export class Position {
    after;
    /** Whether the last event of the response was handed out. */
    ended = false;
    /** `after`: the last event that was handed out. */
    constructor(after) {
        this.after = after;
    }
    /** What a message has that was not handed out yet. The position moves as each one is taken. */
    *take(message) {
        if ("gap" in message && message.gap) {
            const { from, to } = message.gap;
            if (this.#isNew(Number(to)))
                yield this.#moved(new Gap(Number(from), Number(to)), Number(to));
        }
        for (const event of message.events) {
            if (!this.#isNew(Number(event.seq)))
                continue;
            this.ended = TERMINAL.has(event.type);
            yield this.#moved(new Event(event), Number(event.seq));
        }
    }
    #isNew(seq) {
        return this.after === undefined || seq > this.after;
    }
    #moved(item, after) {
        this.after = after;
        return item;
    }
}
