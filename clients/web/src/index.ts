/**
 * A client of Tidemark: durable answers of language models, and readers that come back at the exact event.
 *
 * @packageDocumentation
 */

export { type CallLimits, Client, type ClientOptions, Reader, type ResumeOptions } from "./client.js";
export {
  Api,
  type CreateRequest,
  type CreateResponse,
  type ListResponse,
  type Response,
  Status,
  type Ticket,
  TicketRights,
  Wait,
} from "./gen/tidemark/v1/responses_pb.js";
export {
  type Event,
  type Gap,
  type Item,
  OffsetLost,
  outputText,
  Refused,
  type Settings,
  TidemarkError,
  TimedOut,
  Unreachable,
} from "./rules.js";
