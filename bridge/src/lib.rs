//! REST and SSE over tidemark.v1.
