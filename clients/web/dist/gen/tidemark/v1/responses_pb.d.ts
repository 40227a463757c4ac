import type { GenEnum, GenFile, GenMessage, GenService } from "@bufbuild/protobuf/codegenv2";
import type { Duration, Timestamp } from "@bufbuild/protobuf/wkt";
import type { Event, Gap } from "./event_pb.js";
import type { Message } from "@bufbuild/protobuf";
/**
 * Describes the file tidemark/v1/responses.proto.
 */
export declare const file_tidemark_v1_responses: GenFile;
/**
 * A ticket to be made. Nobody can give rights that they do not have: `responses.read`, and `responses.write` to cancel.
 *
 * @generated from message tidemark.v1.TicketOrder
 */
export type TicketOrder = Message<"tidemark.v1.TicketOrder"> & {
    /**
     * What it shall allow.
     *
     * @generated from field: tidemark.v1.TicketRights rights = 1;
     */
    rights: TicketRights;
    /**
     * How long it shall be good: at most 24 hours; absent = one hour.
     *
     * @generated from field: google.protobuf.Duration lifetime = 2;
     */
    lifetime?: Duration | undefined;
};
/**
 * Describes the message tidemark.v1.TicketOrder.
 * Use `create(TicketOrderSchema)` to create a new message.
 */
export declare const TicketOrderSchema: GenMessage<TicketOrder>;
/**
 * A ticket that was made.
 *
 * @generated from message tidemark.v1.Ticket
 */
export type Ticket = Message<"tidemark.v1.Ticket"> & {
    /**
     * The ticket itself, `tmt_…`, at most 512 bytes: here and nowhere else.
     *
     * @generated from field: string value = 1;
     */
    value: string;
    /**
     * When it ends: earlier than asked for if the credential that made it ends before.
     *
     * @generated from field: google.protobuf.Timestamp expires_at = 2;
     */
    expiresAt?: Timestamp | undefined;
    /**
     * What it allows.
     *
     * @generated from field: tidemark.v1.TicketRights rights = 3;
     */
    rights: TicketRights;
};
/**
 * Describes the message tidemark.v1.Ticket.
 * Use `create(TicketSchema)` to create a new message.
 */
export declare const TicketSchema: GenMessage<Ticket>;
/**
 * The response that a ticket is to be made for.
 *
 * @generated from message tidemark.v1.CreateTicketRequest
 */
export type CreateTicketRequest = Message<"tidemark.v1.CreateTicketRequest"> & {
    /**
     * The response's id, `resp_…`. Required.
     *
     * @generated from field: string id = 1;
     */
    id: string;
    /**
     * What it shall allow, and how long. Absent = to read, for an hour.
     *
     * @generated from field: tidemark.v1.TicketOrder order = 2;
     */
    order?: TicketOrder | undefined;
};
/**
 * Describes the message tidemark.v1.CreateTicketRequest.
 * Use `create(CreateTicketRequestSchema)` to create a new message.
 */
export declare const CreateTicketRequestSchema: GenMessage<CreateTicketRequest>;
/**
 * The ticket that was made.
 *
 * @generated from message tidemark.v1.CreateTicketResponse
 */
export type CreateTicketResponse = Message<"tidemark.v1.CreateTicketResponse"> & {
    /**
     * The ticket.
     *
     * @generated from field: tidemark.v1.Ticket ticket = 1;
     */
    ticket?: Ticket | undefined;
};
/**
 * Describes the message tidemark.v1.CreateTicketResponse.
 * Use `create(CreateTicketResponseSchema)` to create a new message.
 */
export declare const CreateTicketResponseSchema: GenMessage<CreateTicketResponse>;
/**
 * What the model shall answer, and how the answer is kept.
 *
 * @generated from message tidemark.v1.CreateRequest
 */
export type CreateRequest = Message<"tidemark.v1.CreateRequest"> & {
    /**
     * The model's name or alias, as ListModels gives it. Required, at most 256 bytes.
     *
     * @generated from field: string model = 1;
     */
    model: string;
    /**
     * The input. One of the two is required.
     *
     * @generated from oneof tidemark.v1.CreateRequest.input
     */
    input: {
        /**
         * The input as plain text of the user.
         *
         * @generated from field: string text = 2;
         */
        value: string;
        case: "text";
    } | {
        /**
         * The input as a JSON array of OpenAI input items; of messages with `API_CHAT_COMPLETIONS`.
         *
         * @generated from field: bytes items = 3;
         */
        value: Uint8Array;
        case: "items";
    } | {
        case: undefined;
        value?: undefined;
    };
    /**
     * Whether the response goes on when nobody reads it, and starts as `queued`.
     *
     * @generated from field: bool background = 4;
     */
    background: boolean;
    /**
     * Whether the response is kept after its end for `retention.responses`. Absent = true, with `API_CHAT_COMPLETIONS` false. An
     * unstored one is kept for `retention.unstored`, and is cancelled when nobody has read it for `runs.disconnect_grace` (unless `background`).
     *
     * @generated from field: optional bool store = 5;
     */
    store?: boolean | undefined;
    /**
     * The response this one continues: its input and output come before `input`. Same owner, ended.
     *
     * @generated from field: optional string previous_response_id = 6;
     */
    previousResponseId?: string | undefined;
    /**
     * Labels, echoed: at most 16, keys of at most 64 and values of at most 512 characters.
     *
     * @generated from field: map<string, string> metadata = 7;
     */
    metadata: {
        [key: string]: string;
    };
    /**
     * The rest of the OpenAI request body as one JSON object, for example `instructions`, `tools`, `temperature`. Fields that
     * the gateway does not know travel to the backend untouched. Empty = none.
     *
     * @generated from field: bytes extra = 8;
     */
    extra: Uint8Array;
    /**
     * What Create waits for. Ignored by CreateStream.
     *
     * @generated from field: tidemark.v1.Wait wait = 9;
     */
    wait: Wait;
    /**
     * Makes the create one that can be repeated: 1 to 255 visible ASCII characters. The first create of this owner with the key makes
     * the response; a repeat that asks for the same gets that one, waits or reads like the first, and counts as no new response.
     * Another request with the key is ALREADY_EXISTS. The key is free again when the response is gone, and when it failed with
     * nothing put out in a way that another try may mend. Absent = every create makes a response.
     *
     * @generated from field: optional string idempotency_key = 10;
     */
    idempotencyKey?: string | undefined;
    /**
     * A ticket to make for the new response. Absent = none. It is no part of the request to the model.
     *
     * @generated from field: tidemark.v1.TicketOrder ticket = 11;
     */
    ticket?: TicketOrder | undefined;
    /**
     * In whose words `items` and `extra` are, and the answer will be. With `API_CHAT_COMPLETIONS` there is neither `background` nor
     * `previous_response_id`.
     *
     * @generated from field: tidemark.v1.Api api = 12;
     */
    api: Api;
};
/**
 * Describes the message tidemark.v1.CreateRequest.
 * Use `create(CreateRequestSchema)` to create a new message.
 */
export declare const CreateRequestSchema: GenMessage<CreateRequest>;
/**
 * The response that was made.
 *
 * @generated from message tidemark.v1.CreateResponse
 */
export type CreateResponse = Message<"tidemark.v1.CreateResponse"> & {
    /**
     * The response, ended if `WAIT_TERMINAL` was asked for.
     *
     * @generated from field: tidemark.v1.Response response = 1;
     */
    response?: Response | undefined;
    /**
     * Whether an earlier create with the same idempotency key has made it.
     *
     * @generated from field: bool replayed = 2;
     */
    replayed: boolean;
    /**
     * The ticket that was asked for.
     *
     * @generated from field: tidemark.v1.Ticket ticket = 3;
     */
    ticket?: Ticket | undefined;
};
/**
 * Describes the message tidemark.v1.CreateResponse.
 * Use `create(CreateResponseSchema)` to create a new message.
 */
export declare const CreateResponseSchema: GenMessage<CreateResponse>;
/**
 * A response to create and read at once.
 *
 * @generated from message tidemark.v1.CreateStreamRequest
 */
export type CreateStreamRequest = Message<"tidemark.v1.CreateStreamRequest"> & {
    /**
     * What to create. Required.
     *
     * @generated from field: tidemark.v1.CreateRequest create = 1;
     */
    create?: CreateRequest | undefined;
    /**
     * The last seq that the reader has from an earlier create with the same idempotency key. A response that is made anew is read from
     * its first event all the same. Absent = nothing yet. Needs `create.idempotency_key`.
     *
     * @generated from field: optional uint64 after = 2;
     */
    after?: bigint | undefined;
};
/**
 * Describes the message tidemark.v1.CreateStreamRequest.
 * Use `create(CreateStreamRequestSchema)` to create a new message.
 */
export declare const CreateStreamRequestSchema: GenMessage<CreateStreamRequest>;
/**
 * A part of the stream: events, or nothing (a heartbeat).
 *
 * @generated from message tidemark.v1.CreateStreamResponse
 */
export type CreateStreamResponse = Message<"tidemark.v1.CreateStreamResponse"> & {
    /**
     * The id of the new response; in the first message only.
     *
     * @generated from field: string id = 1;
     */
    id: string;
    /**
     * The next events, in order: at most 64, or 64 KiB unless a single one is larger. Empty = heartbeat.
     *
     * @generated from field: repeated tidemark.v1.Event events = 2;
     */
    events: Event[];
    /**
     * The highest seq that was durable when this message was made.
     *
     * @generated from field: uint64 committed = 3;
     */
    committed: bigint;
    /**
     * Whether an earlier create with the same idempotency key has made the response; in the first message only.
     *
     * @generated from field: bool replayed = 4;
     */
    replayed: boolean;
    /**
     * The ticket that was asked for; in the first message only.
     *
     * @generated from field: tidemark.v1.Ticket ticket = 5;
     */
    ticket?: Ticket | undefined;
};
/**
 * Describes the message tidemark.v1.CreateStreamResponse.
 * Use `create(CreateStreamResponseSchema)` to create a new message.
 */
export declare const CreateStreamResponseSchema: GenMessage<CreateStreamResponse>;
/**
 * Which response to return.
 *
 * @generated from message tidemark.v1.GetRequest
 */
export type GetRequest = Message<"tidemark.v1.GetRequest"> & {
    /**
     * The response\'s id, `resp_…` or `chatcmpl-…`. Required.
     *
     * @generated from field: string id = 1;
     */
    id: string;
    /**
     * NOT_FOUND unless the response is of this API.
     *
     * @generated from field: tidemark.v1.Api api = 2;
     */
    api: Api;
};
/**
 * Describes the message tidemark.v1.GetRequest.
 * Use `create(GetRequestSchema)` to create a new message.
 */
export declare const GetRequestSchema: GenMessage<GetRequest>;
/**
 * The response as it is now.
 *
 * @generated from message tidemark.v1.GetResponse
 */
export type GetResponse = Message<"tidemark.v1.GetResponse"> & {
    /**
     * The response.
     *
     * @generated from field: tidemark.v1.Response response = 1;
     */
    response?: Response | undefined;
};
/**
 * Describes the message tidemark.v1.GetResponse.
 * Use `create(GetResponseSchema)` to create a new message.
 */
export declare const GetResponseSchema: GenMessage<GetResponse>;
/**
 * Which response to stop.
 *
 * @generated from message tidemark.v1.CancelRequest
 */
export type CancelRequest = Message<"tidemark.v1.CancelRequest"> & {
    /**
     * The response\'s id, `resp_…` or `chatcmpl-…`. Required.
     *
     * @generated from field: string id = 1;
     */
    id: string;
    /**
     * NOT_FOUND unless the response is of this API.
     *
     * @generated from field: tidemark.v1.Api api = 2;
     */
    api: Api;
};
/**
 * Describes the message tidemark.v1.CancelRequest.
 * Use `create(CancelRequestSchema)` to create a new message.
 */
export declare const CancelRequestSchema: GenMessage<CancelRequest>;
/**
 * The response after the cancel.
 *
 * @generated from message tidemark.v1.CancelResponse
 */
export type CancelResponse = Message<"tidemark.v1.CancelResponse"> & {
    /**
     * The response: `cancelled`, or unchanged if it had ended before.
     *
     * @generated from field: tidemark.v1.Response response = 1;
     */
    response?: Response | undefined;
};
/**
 * Describes the message tidemark.v1.CancelResponse.
 * Use `create(CancelResponseSchema)` to create a new message.
 */
export declare const CancelResponseSchema: GenMessage<CancelResponse>;
/**
 * From where to read.
 *
 * @generated from message tidemark.v1.ResumeRequest
 */
export type ResumeRequest = Message<"tidemark.v1.ResumeRequest"> & {
    /**
     * The response's id, `resp_…`. Required.
     *
     * @generated from field: string id = 1;
     */
    id: string;
    /**
     * The last seq the reader has. Absent = nothing yet, so that event 0 comes first. Beyond the end of a running response =
     * wait; of a finished one = an empty stream.
     *
     * @generated from field: optional uint64 after = 2;
     */
    after?: bigint | undefined;
    /**
     * What to do when events after `after` are gone.
     *
     * @generated from field: tidemark.v1.OnGap on_gap = 3;
     */
    onGap: OnGap;
    /**
     * NOT_FOUND unless the response is of this API.
     *
     * @generated from field: tidemark.v1.Api api = 4;
     */
    api: Api;
};
/**
 * Describes the message tidemark.v1.ResumeRequest.
 * Use `create(ResumeRequestSchema)` to create a new message.
 */
export declare const ResumeRequestSchema: GenMessage<ResumeRequest>;
/**
 * A part of the stream: events, a gap, or nothing (a heartbeat, every 15 s without events).
 *
 * @generated from message tidemark.v1.ResumeResponse
 */
export type ResumeResponse = Message<"tidemark.v1.ResumeResponse"> & {
    /**
     * The next events, in order: at most 64, or 64 KiB unless a single one is larger. Empty = heartbeat.
     *
     * @generated from field: repeated tidemark.v1.Event events = 1;
     */
    events: Event[];
    /**
     * The highest seq that was durable when this message was made. Absent = none.
     *
     * @generated from field: optional uint64 committed = 2;
     */
    committed?: bigint | undefined;
    /**
     * What is gone between the reader's position and the first of `events`.
     *
     * @generated from field: optional tidemark.v1.Gap gap = 3;
     */
    gap?: Gap | undefined;
};
/**
 * Describes the message tidemark.v1.ResumeResponse.
 * Use `create(ResumeResponseSchema)` to create a new message.
 */
export declare const ResumeResponseSchema: GenMessage<ResumeResponse>;
/**
 * Which response to remove.
 *
 * @generated from message tidemark.v1.DeleteRequest
 */
export type DeleteRequest = Message<"tidemark.v1.DeleteRequest"> & {
    /**
     * The response\'s id, `resp_…` or `chatcmpl-…`. Required.
     *
     * @generated from field: string id = 1;
     */
    id: string;
    /**
     * NOT_FOUND unless the response is of this API.
     *
     * @generated from field: tidemark.v1.Api api = 2;
     */
    api: Api;
};
/**
 * Describes the message tidemark.v1.DeleteRequest.
 * Use `create(DeleteRequestSchema)` to create a new message.
 */
export declare const DeleteRequestSchema: GenMessage<DeleteRequest>;
/**
 * The response is removed.
 *
 * @generated from message tidemark.v1.DeleteResponse
 */
export type DeleteResponse = Message<"tidemark.v1.DeleteResponse"> & {
    /**
     * The id that it had.
     *
     * @generated from field: string id = 1;
     */
    id: string;
};
/**
 * Describes the message tidemark.v1.DeleteResponse.
 * Use `create(DeleteResponseSchema)` to create a new message.
 */
export declare const DeleteResponseSchema: GenMessage<DeleteResponse>;
/**
 * Which of the caller's responses to list.
 *
 * @generated from message tidemark.v1.ListRequest
 */
export type ListRequest = Message<"tidemark.v1.ListRequest"> & {
    /**
     * The most responses in the page. 0 = 50; more than 1000 = 1000.
     *
     * @generated from field: uint32 page_size = 1;
     */
    pageSize: number;
    /**
     * `next_page_token` of the page before, unchanged. Empty = the first page. Anything else, or a token that was given to another
     * owner, is `invalid_cursor`.
     *
     * @generated from field: string page_token = 2;
     */
    pageToken: string;
    /**
     * Only the responses of this API.
     *
     * @generated from field: tidemark.v1.Api api = 3;
     */
    api: Api;
};
/**
 * Describes the message tidemark.v1.ListRequest.
 * Use `create(ListRequestSchema)` to create a new message.
 */
export declare const ListRequestSchema: GenMessage<ListRequest>;
/**
 * A page of responses.
 *
 * @generated from message tidemark.v1.ListResponse
 */
export type ListResponse = Message<"tidemark.v1.ListResponse"> & {
    /**
     * By the time of their creation, the newest first: at most `page_size`, and fewer if they would have more than 16 MiB of
     * `json` together. Empty only if there are no more.
     *
     * @generated from field: repeated tidemark.v1.Response responses = 1;
     */
    responses: Response[];
    /**
     * Asks for the next page. Empty = this is the last one.
     *
     * @generated from field: string next_page_token = 2;
     */
    nextPageToken: string;
    /**
     * The page size that was used.
     *
     * @generated from field: uint32 page_size = 3;
     */
    pageSize: number;
};
/**
 * Describes the message tidemark.v1.ListResponse.
 * Use `create(ListResponseSchema)` to create a new message.
 */
export declare const ListResponseSchema: GenMessage<ListResponse>;
/**
 * Which items to list.
 *
 * @generated from message tidemark.v1.ListInputItemsRequest
 */
export type ListInputItemsRequest = Message<"tidemark.v1.ListInputItemsRequest"> & {
    /**
     * The response's id, `resp_…`. Required.
     *
     * @generated from field: string id = 1;
     */
    id: string;
    /**
     * The most items in the page. 0 = 20; more than 100 = 100.
     *
     * @generated from field: uint32 page_size = 2;
     */
    pageSize: number;
    /**
     * In which order.
     *
     * @generated from field: tidemark.v1.Order order = 3;
     */
    order: Order;
    /**
     * The id of the last item of the page before. Empty = from the beginning. An id that no item has is `invalid_cursor`.
     *
     * @generated from field: string after = 4;
     */
    after: string;
};
/**
 * Describes the message tidemark.v1.ListInputItemsRequest.
 * Use `create(ListInputItemsRequestSchema)` to create a new message.
 */
export declare const ListInputItemsRequestSchema: GenMessage<ListInputItemsRequest>;
/**
 * A page of input items.
 *
 * @generated from message tidemark.v1.ListInputItemsResponse
 */
export type ListInputItemsResponse = Message<"tidemark.v1.ListInputItemsResponse"> & {
    /**
     * In the order that was asked for: at most `page_size`, and fewer if they would have more than 16 MiB of `json` together.
     *
     * @generated from field: repeated tidemark.v1.InputItem items = 1;
     */
    items: InputItem[];
    /**
     * Whether there are more after the last of `items`.
     *
     * @generated from field: bool has_more = 2;
     */
    hasMore: boolean;
    /**
     * The page size that was used.
     *
     * @generated from field: uint32 page_size = 3;
     */
    pageSize: number;
};
/**
 * Describes the message tidemark.v1.ListInputItemsResponse.
 * Use `create(ListInputItemsResponseSchema)` to create a new message.
 */
export declare const ListInputItemsResponseSchema: GenMessage<ListInputItemsResponse>;
/**
 * One item of a response's input.
 *
 * @generated from message tidemark.v1.InputItem
 */
export type InputItem = Message<"tidemark.v1.InputItem"> & {
    /**
     * Its id: the one that came with it, or one that is made of the response's id and its place in the input. Unique in its
     * response, and the same at every call.
     *
     * @generated from field: string id = 1;
     */
    id: string;
    /**
     * The item as one line of JSON, as it was given, with what it left out: `id`, `type` of a message, and the content of a
     * message that is plain text as a list of one part.
     *
     * @generated from field: bytes json = 2;
     */
    json: Uint8Array;
};
/**
 * Describes the message tidemark.v1.InputItem.
 * Use `create(InputItemSchema)` to create a new message.
 */
export declare const InputItemSchema: GenMessage<InputItem>;
/**
 * One generation: what became of a create.
 *
 * @generated from message tidemark.v1.Response
 */
export type Response = Message<"tidemark.v1.Response"> & {
    /**
     * The id, `resp_` or `chatcmpl-` and 32 hexadecimal digits.
     *
     * @generated from field: string id = 1;
     */
    id: string;
    /**
     * Where it stands.
     *
     * @generated from field: tidemark.v1.Status status = 2;
     */
    status: Status;
    /**
     * The model as it was asked for.
     *
     * @generated from field: string model = 3;
     */
    model: string;
    /**
     * Whether it runs without readers.
     *
     * @generated from field: bool background = 4;
     */
    background: boolean;
    /**
     * Whether it is kept for `retention.responses`.
     *
     * @generated from field: bool store = 5;
     */
    store: boolean;
    /**
     * When it was created, with whole seconds.
     *
     * @generated from field: google.protobuf.Timestamp created_at = 6;
     */
    createdAt?: Timestamp | undefined;
    /**
     * When it was completed, with whole seconds. Absent unless `STATUS_COMPLETED`.
     *
     * @generated from field: google.protobuf.Timestamp completed_at = 7;
     */
    completedAt?: Timestamp | undefined;
    /**
     * What was used. Absent until known.
     *
     * @generated from field: tidemark.v1.Usage usage = 8;
     */
    usage?: Usage | undefined;
    /**
     * Why it failed. Absent unless `STATUS_FAILED`.
     *
     * @generated from field: tidemark.v1.ResponseError error = 9;
     */
    error?: ResponseError | undefined;
    /**
     * The exact code of the limit that ended it: `max_output_tokens`, `max_output_bytes` or `content_filter`. Empty unless
     * `STATUS_INCOMPLETE`.
     *
     * @generated from field: string incomplete_reason = 10;
     */
    incompleteReason: string;
    /**
     * The code of what cancelled it: empty for a Cancel, `client_disconnected`. Empty unless `STATUS_CANCELLED`.
     *
     * @generated from field: string cancel_reason = 11;
     */
    cancelReason: string;
    /**
     * The response it continues. Empty if none.
     *
     * @generated from field: string previous_response_id = 12;
     */
    previousResponseId: string;
    /**
     * The labels given at its creation.
     *
     * @generated from field: map<string, string> metadata = 13;
     */
    metadata: {
        [key: string]: string;
    };
    /**
     * The highest durable seq. Absent only if the log is gone.
     *
     * @generated from field: optional uint64 committed = 14;
     */
    committed?: bigint | undefined;
    /**
     * The highest seq that can no longer be read. Absent = none lost.
     *
     * @generated from field: optional uint64 watermark = 15;
     */
    watermark?: bigint | undefined;
    /**
     * The whole response object as JSON, in the shape of `api`, with all output so far.
     *
     * @generated from field: bytes json = 16;
     */
    json: Uint8Array;
    /**
     * In whose words it is.
     *
     * @generated from field: tidemark.v1.Api api = 17;
     */
    api: Api;
};
/**
 * Describes the message tidemark.v1.Response.
 * Use `create(ResponseSchema)` to create a new message.
 */
export declare const ResponseSchema: GenMessage<Response>;
/**
 * Tokens used, as the backend counted them.
 *
 * @generated from message tidemark.v1.Usage
 */
export type Usage = Message<"tidemark.v1.Usage"> & {
    /**
     * Tokens of the input.
     *
     * @generated from field: uint64 input_tokens = 1;
     */
    inputTokens: bigint;
    /**
     * Tokens of the input that came from the backend's cache.
     *
     * @generated from field: uint64 cached_tokens = 2;
     */
    cachedTokens: bigint;
    /**
     * Tokens of the output.
     *
     * @generated from field: uint64 output_tokens = 3;
     */
    outputTokens: bigint;
    /**
     * Tokens of the output that were reasoning.
     *
     * @generated from field: uint64 reasoning_tokens = 4;
     */
    reasoningTokens: bigint;
    /**
     * Input and output together.
     *
     * @generated from field: uint64 total_tokens = 5;
     */
    totalTokens: bigint;
};
/**
 * Describes the message tidemark.v1.Usage.
 * Use `create(UsageSchema)` to create a new message.
 */
export declare const UsageSchema: GenMessage<Usage>;
/**
 * Why a response failed.
 *
 * @generated from message tidemark.v1.ResponseError
 */
export type ResponseError = Message<"tidemark.v1.ResponseError"> & {
    /**
     * An `ErrorCode` name, lower case: `backend_error`, `gateway_restarted`, …
     *
     * @generated from field: string code = 1;
     */
    code: string;
    /**
     * For people. Never holds a credential.
     *
     * @generated from field: string message = 2;
     */
    message: string;
};
/**
 * Describes the message tidemark.v1.ResponseError.
 * Use `create(ResponseErrorSchema)` to create a new message.
 */
export declare const ResponseErrorSchema: GenMessage<ResponseError>;
/**
 * What the holder of a ticket may do with its response.
 *
 * @generated from enum tidemark.v1.TicketRights
 */
export declare enum TicketRights {
    /**
     * The same as `TICKET_RIGHTS_READ`.
     *
     * @generated from enum value: TICKET_RIGHTS_UNSPECIFIED = 0;
     */
    UNSPECIFIED = 0,
    /**
     * Get and Resume.
     *
     * @generated from enum value: TICKET_RIGHTS_READ = 1;
     */
    READ = 1,
    /**
     * Get, Resume and Cancel.
     *
     * @generated from enum value: TICKET_RIGHTS_READ_AND_CANCEL = 2;
     */
    READ_AND_CANCEL = 2
}
/**
 * Describes the enum tidemark.v1.TicketRights.
 */
export declare const TicketRightsSchema: GenEnum<TicketRights>;
/**
 * Where a response stands. The last four are final and never change.
 *
 * @generated from enum tidemark.v1.Status
 */
export declare enum Status {
    /**
     * Never sent.
     *
     * @generated from enum value: STATUS_UNSPECIFIED = 0;
     */
    UNSPECIFIED = 0,
    /**
     * Accepted, not begun.
     *
     * @generated from enum value: STATUS_QUEUED = 1;
     */
    QUEUED = 1,
    /**
     * The backend is generating.
     *
     * @generated from enum value: STATUS_IN_PROGRESS = 2;
     */
    IN_PROGRESS = 2,
    /**
     * Ended whole.
     *
     * @generated from enum value: STATUS_COMPLETED = 3;
     */
    COMPLETED = 3,
    /**
     * Ended at a limit; see `incomplete_reason`.
     *
     * @generated from enum value: STATUS_INCOMPLETE = 4;
     */
    INCOMPLETE = 4,
    /**
     * Ended by a fault; see `error`.
     *
     * @generated from enum value: STATUS_FAILED = 5;
     */
    FAILED = 5,
    /**
     * Stopped by Cancel, or because a response nobody may keep was left by its reader.
     *
     * @generated from enum value: STATUS_CANCELLED = 6;
     */
    CANCELLED = 6
}
/**
 * Describes the enum tidemark.v1.Status.
 */
export declare const StatusSchema: GenEnum<Status>;
/**
 * In the words of which OpenAI API a response is asked for and told. Each has its own input, events and object.
 *
 * @generated from enum tidemark.v1.Api
 */
export declare enum Api {
    /**
     * In a create the same as `API_RESPONSES`; anywhere else either of the two.
     *
     * @generated from enum value: API_UNSPECIFIED = 0;
     */
    UNSPECIFIED = 0,
    /**
     * The Responses API: events `response.…`, an object `response`, ids `resp_…`.
     *
     * @generated from enum value: API_RESPONSES = 1;
     */
    RESPONSES = 1,
    /**
     * Chat Completions: events `chat.completion.chunk` and the like, an object `chat.completion`, ids `chatcmpl-…`.
     *
     * @generated from enum value: API_CHAT_COMPLETIONS = 2;
     */
    CHAT_COMPLETIONS = 2
}
/**
 * Describes the enum tidemark.v1.Api.
 */
export declare const ApiSchema: GenEnum<Api>;
/**
 * What Create waits for.
 *
 * @generated from enum tidemark.v1.Wait
 */
export declare enum Wait {
    /**
     * The same as `WAIT_NONE`.
     *
     * @generated from enum value: WAIT_UNSPECIFIED = 0;
     */
    UNSPECIFIED = 0,
    /**
     * Returns when the response exists and is durable.
     *
     * @generated from enum value: WAIT_NONE = 1;
     */
    NONE = 1,
    /**
     * Returns when the response has ended: the buffered form.
     *
     * @generated from enum value: WAIT_TERMINAL = 2;
     */
    TERMINAL = 2
}
/**
 * Describes the enum tidemark.v1.Wait.
 */
export declare const WaitSchema: GenEnum<Wait>;
/**
 * What a reader wants when events after its position are gone.
 *
 * @generated from enum tidemark.v1.OnGap
 */
export declare enum OnGap {
    /**
     * The same as `ON_GAP_FAIL`.
     *
     * @generated from enum value: ON_GAP_UNSPECIFIED = 0;
     */
    UNSPECIFIED = 0,
    /**
     * OUT_OF_RANGE, `offset_lost`.
     *
     * @generated from enum value: ON_GAP_FAIL = 1;
     */
    FAIL = 1,
    /**
     * One `Gap`, then the events from the earliest that is left.
     *
     * @generated from enum value: ON_GAP_EARLIEST = 2;
     */
    EARLIEST = 2
}
/**
 * Describes the enum tidemark.v1.OnGap.
 */
export declare const OnGapSchema: GenEnum<OnGap>;
/**
 * In which order a list comes.
 *
 * @generated from enum tidemark.v1.Order
 */
export declare enum Order {
    /**
     * The same as `ORDER_DESC`.
     *
     * @generated from enum value: ORDER_UNSPECIFIED = 0;
     */
    UNSPECIFIED = 0,
    /**
     * The first one first.
     *
     * @generated from enum value: ORDER_ASC = 1;
     */
    ASC = 1,
    /**
     * The last one first.
     *
     * @generated from enum value: ORDER_DESC = 2;
     */
    DESC = 2
}
/**
 * Describes the enum tidemark.v1.Order.
 */
export declare const OrderSchema: GenEnum<Order>;
/**
 * Durable responses: create one, read its events as they come or later, come back to the exact event, cancel it, find it again,
 * delete it.
 *
 * The owner of a call is the principal behind `authorization: Bearer …`, or, with auth off, the metadata key
 * `x-tidemark-owner`. Another owner's response is NOT_FOUND, with the same bytes as an unknown one.
 * Every error carries `google.rpc.ErrorInfo` with an `ErrorCode` name as its reason. Messages may reach 32 MiB.
 *
 * @generated from service tidemark.v1.ResponsesService
 */
export declare const ResponsesService: GenService<{
    /**
     * Starts a response. Returns as soon as its first event is durable, or, with `WAIT_TERMINAL`, when it has ended.
     *
     * @generated from rpc tidemark.v1.ResponsesService.Create
     */
    create: {
        methodKind: "unary";
        input: typeof CreateRequestSchema;
        output: typeof CreateResponseSchema;
    };
    /**
     * Starts a response and reads it from its first event, in one round trip.
     *
     * @generated from rpc tidemark.v1.ResponsesService.CreateStream
     */
    createStream: {
        methodKind: "server_streaming";
        input: typeof CreateStreamRequestSchema;
        output: typeof CreateStreamResponseSchema;
    };
    /**
     * The response as it is now, with all output so far.
     *
     * @generated from rpc tidemark.v1.ResponsesService.Get
     */
    get: {
        methodKind: "unary";
        input: typeof GetRequestSchema;
        output: typeof GetResponseSchema;
    };
    /**
     * Stops a running response; a finished one is returned unchanged.
     *
     * @generated from rpc tidemark.v1.ResponsesService.Cancel
     */
    cancel: {
        methodKind: "unary";
        input: typeof CancelRequestSchema;
        output: typeof CancelResponseSchema;
    };
    /**
     * Sends the events after a position, then follows the response until its terminal event. Ends with OK only after that
     * event was sent; with UNAVAILABLE (`draining`) when the gateway shuts down: resume after the last event received.
     *
     * @generated from rpc tidemark.v1.ResponsesService.Resume
     */
    resume: {
        methodKind: "server_streaming";
        input: typeof ResumeRequestSchema;
        output: typeof ResumeResponseSchema;
    };
    /**
     * Removes a response for good; a running one is cancelled first. Afterwards it is NOT_FOUND, for a second Delete too. A reader
     * that has not got its terminal event by then ends with NOT_FOUND.
     *
     * @generated from rpc tidemark.v1.ResponsesService.Delete
     */
    delete: {
        methodKind: "unary";
        input: typeof DeleteRequestSchema;
        output: typeof DeleteResponseSchema;
    };
    /**
     * The caller's responses, the newest first, a page at a time.
     *
     * @generated from rpc tidemark.v1.ResponsesService.List
     */
    list: {
        methodKind: "unary";
        input: typeof ListRequestSchema;
        output: typeof ListResponseSchema;
    };
    /**
     * The input of one response, a page at a time. Input of the responses that it continues is not part of it.
     *
     * @generated from rpc tidemark.v1.ResponsesService.ListInputItems
     */
    listInputItems: {
        methodKind: "unary";
        input: typeof ListInputItemsRequestSchema;
        output: typeof ListInputItemsResponseSchema;
    };
    /**
     * Makes a ticket: a short-lived right to read one response, for a reader that shall not have a credential of its own. It is sent
     * as `authorization: Bearer …` with Get, Resume and, if it allows that, Cancel. It ends with the credential that made it.
     *
     * @generated from rpc tidemark.v1.ResponsesService.CreateTicket
     */
    createTicket: {
        methodKind: "unary";
        input: typeof CreateTicketRequestSchema;
        output: typeof CreateTicketResponseSchema;
    };
}>;
