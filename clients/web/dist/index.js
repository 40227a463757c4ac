/**
 * A client of Tidemark: durable answers of language models, and readers that come back at the exact event.
 *
 * @packageDocumentation
 */
export { Client, Reader } from "./client.js";
export { Api, Status, TicketRights, Wait, } from "./gen/tidemark/v1/responses_pb.js";
export { OffsetLost, outputText, Refused, TidemarkError, TimedOut, Unreachable, } from "./rules.js";
