import { type MessageInitShape } from "@bufbuild/protobuf";
import { CreateRequestSchema, type CreateResponse, type ListResponse, type Response, type Ticket, type TicketOrderSchema } from "./gen/tidemark/v1/responses_pb.js";
import { type Item, type Settings } from "./rules.js";
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
export declare class Client {
    #private;
    constructor({ url, credential, owner, ...settings }: ClientOptions);
    /** Starts a response; with `Wait.TERMINAL`, resolves when it has ended. It is made once, however often it is tried. */
    create(request: MessageInitShape<typeof CreateRequestSchema>, limits?: CallLimits): Promise<CreateResponse>;
    /** Starts a response and reads it to its end. It is made once, however often it is tried. */
    createStream(request: MessageInitShape<typeof CreateRequestSchema>, { onGap }?: Pick<ResumeOptions, "onGap">): Reader;
    /** Reads a response to its end, from its first event or behind the position `after`. */
    resume(id: string, { after, onGap }?: ResumeOptions): Reader;
    /** The response as it is now, with all output so far. */
    get(id: string, limits?: CallLimits): Promise<Response>;
    /** Stops a running response; one that has ended is returned unchanged. */
    cancel(id: string, limits?: CallLimits): Promise<Response>;
    /** Removes a response for good; a running one is cancelled first. */
    delete(id: string, limits?: CallLimits): Promise<void>;
    /** A page of one's own responses, the newest first; `nextPageToken` asks for the next. */
    list(page?: {
        pageSize?: number;
        pageToken?: string;
    }, limits?: CallLimits): Promise<ListResponse>;
    /** A ticket: the right to read one response, for a reader without a key. Without an order to read, for an hour. */
    createTicket(id: string, order?: MessageInitShape<typeof TicketOrderSchema>, limits?: CallLimits): Promise<Ticket>;
}
/**
 * Reads one response to its end, and reconnects by itself: `for await (const item of reader)`.
 *
 * `id` and `after` are the position to save: `client.resume(id, { after })` goes on there, also after a reload of the page.
 */
export declare class Reader implements AsyncIterable<Item> {
    #private;
    /** The response's id; absent until `createStream` has learnt it. */
    id: string | undefined;
    /** The ticket that the create has asked for. */
    ticket: Ticket | undefined;
    /** Called when the connection is lost (`false`), and when the gateway is heard again (`true`). */
    onConnection: (connected: boolean) => void;
    /** The last event that was handed out; absent if there was none. */
    get after(): number | undefined;
    /** Stops reading. The response goes on. */
    close(): void;
    [Symbol.asyncIterator](): AsyncIterator<Item>;
}
