import type { GenFile, GenMessage } from "@bufbuild/protobuf/codegenv2";
import type { Message } from "@bufbuild/protobuf";
/**
 * Describes the file tidemark/v1/event.proto.
 */
export declare const file_tidemark_v1_event: GenFile;
/**
 * One entry of a response's log. It is durable before anybody sees it, and neither its number nor its bytes ever change.
 *
 * @generated from message tidemark.v1.Event
 */
export type Event = Message<"tidemark.v1.Event"> & {
    /**
     * The number of the event in its response: from 0, strictly increasing, dense while nothing was compacted.
     *
     * @generated from field: uint64 seq = 1;
     */
    seq: bigint;
    /**
     * The OpenAI name of the event, for example `response.output_text.delta`. ASCII, at most 255 bytes.
     *
     * @generated from field: string type = 2;
     */
    type: string;
    /**
     * The event as one line of JSON, exactly the bytes that follow `data: ` in the SSE form. Usually below 1 KiB; a terminal
     * event carries the whole output and may reach some 9 MiB.
     *
     * @generated from field: bytes data = 3;
     */
    data: Uint8Array;
};
/**
 * Describes the message tidemark.v1.Event.
 * Use `create(EventSchema)` to create a new message.
 */
export declare const EventSchema: GenMessage<Event>;
/**
 * A stretch of the log that is gone, sent once before the first event after it, only to readers that asked for
 * `ON_GAP_EARLIEST`.
 *
 * @generated from message tidemark.v1.Gap
 */
export type Gap = Message<"tidemark.v1.Gap"> & {
    /**
     * The first lost event.
     *
     * @generated from field: uint64 from = 1;
     */
    from: bigint;
    /**
     * The last lost event.
     *
     * @generated from field: uint64 to = 2;
     */
    to: bigint;
};
/**
 * Describes the message tidemark.v1.Gap.
 * Use `create(GapSchema)` to create a new message.
 */
export declare const GapSchema: GenMessage<Gap>;
