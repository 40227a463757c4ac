import { Code } from "@connectrpc/connect";
import type { Event as LoggedEvent } from "./gen/tidemark/v1/event_pb.js";
import { type CreateStreamResponse, type Response, type ResumeResponse } from "./gen/tidemark/v1/responses_pb.js";
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
/** The settings, with what was left out. */
export declare function settingsOf(given: Partial<Settings>): Settings;
/** One entry of the log of a response. */
export declare class Event {
    readonly kind = "event";
    /** Its number: from 0, strictly increasing. */
    readonly seq: number;
    /** The name of the event, for example `response.output_text.delta`. */
    readonly type: string;
    /** One line of JSON. */
    readonly data: string;
    constructor({ seq, type, data }: LoggedEvent);
    /** The data as a value. */
    json(): any;
    /** What the event adds to the text of the answer; empty for most. */
    get text(): string;
}
/** A stretch of the log that is gone, from its first to its last event. Only a reader with `onGap: "earliest"` meets one. */
export declare class Gap {
    readonly from: number;
    readonly to: number;
    readonly kind = "gap";
    readonly text = "";
    constructor(from: number, to: number);
}
/** What a reader hands out. */
export type Item = Event | Gap;
/** The text of an answer so far: that of its output messages, or of the choices of a chat. */
export declare function outputText(response: Response): string;
/** A call that failed for good. `code` is stable: that of the gateway, `unreachable` or `timeout`. */
export declare class TidemarkError extends Error {
    readonly code: string;
    constructor(code: string, message: string);
}
/** No sign of the gateway for `patienceMs`; a reader can be opened again at its position. */
export declare class Unreachable extends TidemarkError {
    constructor(message: string);
}
/** The call took longer than its `timeoutMs`; what it asked for may have happened. */
export declare class TimedOut extends TidemarkError {
    constructor(message: string);
}
/** The gateway, or something in front of it, said no. `docs/errors/` has a page for each code. */
export declare class Refused extends TidemarkError {
    /** The gRPC status. */
    readonly status: Code;
    /** Details by name: `param`, `scope`, `response_id`, … */
    readonly details: Readonly<Record<string, string>>;
    constructor(code: string, message: string, 
    /** The gRPC status. */
    status: Code, 
    /** Details by name: `param`, `scope`, `response_id`, … */
    details: Readonly<Record<string, string>>);
}
/** Events after the position are gone. `onGap: "earliest"` goes on behind them. */
export declare class OffsetLost extends Refused {
    /** The first event that can be read. */
    readonly earliest: number;
    /** The highest event that is durable. */
    readonly committed: number;
    /** The highest event that is gone; absent if the position itself never was (any more). */
    readonly watermark: number | undefined;
    /** Whether a power cut took what was read (`durability = "os"`). */
    readonly rolledBack: boolean;
}
/** One try that failed: the error it is, whether another try may help, and not before how many milliseconds. */
export interface Failure {
    readonly error: TidemarkError;
    readonly again: boolean;
    readonly waitMs: number;
}
/** A connection that was lost. */
export declare const lost: (message: string) => Failure;
/** What a failed call means (F-5, F-6). */
export declare function failureOf(reason: unknown): Failure;
/** The delays between tries, and when to give up (F-6, F-7). */
export declare class Tries {
    #private;
    private readonly settings;
    private readonly end;
    /** `end`: when the last try is over at the latest (F-8). */
    constructor(settings: Settings, end?: number);
    /** The gateway has given a sign of life: everything begins anew. */
    heard(): void;
    /** The milliseconds to wait before another try. Throws what failed if there shall be none. */
    failed({ error, again, waitMs }: Failure): number;
}
/** Where a reader is: it says what to ask for, and lets through what is new (F-1 to F-4). */
export declare class Position {
    #private;
    after: number | undefined;
    /** Whether the last event of the response was handed out. */
    ended: boolean;
    /** `after`: the last event that was handed out. */
    constructor(after: number | undefined);
    /** What a message has that was not handed out yet. The position moves as each one is taken. */
    take(message: ResumeResponse | CreateStreamResponse): Generator<Item>;
}
