//! Names of metadata keys and headers, in one place so that gRPC, REST and clients use the same words.

/// Names the owner of a call: honoured with auth off, or from a principal that may act for owners.
pub const OWNER: &str = "x-tidemark-owner";

/// The only scopes that a call shall have, with blanks or commas between them: they narrow what its credential has.
pub const SCOPES: &str = "x-tidemark-scopes";

/// Headers in which other systems take a credential. Here only `authorization` is one; beside it they are a second.
pub const FOREIGN_CREDENTIALS: [&str; 2] = ["x-api-key", "api-key"];

/// Asks for a ticket to the response that is created, with `read` or `read,cancel`; on the reply, the ticket.
pub const TICKET: &str = "x-tidemark-ticket";

/// What every ticket begins with.
pub const TICKET_PREFIX: &str = "tmt_";

/// The id of a request: taken over if it is well-formed, made otherwise; on every reply.
pub const REQUEST_ID: &str = "x-request-id";

/// The address of the client, from a bridge that the gateway trusts as a proxy.
pub const CLIENT: &str = "x-forwarded-for";

/// The id of the response that a reply is about.
pub const RESPONSE_ID: &str = "x-tidemark-response-id";

/// Makes a create one that can be repeated: the same key and body are the same response.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Says that an earlier create with the same idempotency key has made the response.
pub const IDEMPOTENCY_REPLAYED: &str = "idempotency-replayed";

/// Tells the OpenAI SDKs whether to try again.
pub const SHOULD_RETRY: &str = "x-should-retry";

/// Tells the OpenAI SDKs how long to wait, in milliseconds.
pub const RETRY_AFTER_MS: &str = "retry-after-ms";

/// Keys of `google.rpc.ErrorInfo.metadata`.
pub mod detail {
    /// The request field or parameter that is wrong.
    pub const PARAM: &str = "param";
    /// The highest seq that can no longer be read.
    pub const WATERMARK: &str = "watermark";
    /// The first seq that can be read.
    pub const EARLIEST: &str = "earliest";
    /// The highest durable seq.
    pub const COMMITTED: &str = "committed";
    /// Why, where a code has several causes; `rolled_back` with `offset_lost`.
    pub const REASON: &str = "reason";
    /// The scope that is missing.
    pub const SCOPE: &str = "scope";
    /// The response that the failed call made.
    pub const RESPONSE_ID: &str = "response_id";
}
