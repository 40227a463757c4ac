//! What of an HTTP request travels with its gRPC call.
//!
//! It owns the list of headers that become metadata. It must never know what they prove: that is decided behind the call.

use http::request::Parts;
use http::{Extensions, HeaderMap, HeaderName, header};
use tidemark_proto::names;
use tonic::metadata::MetadataMap;

const CARRIED: [HeaderName; 7] = [
    header::AUTHORIZATION,
    HeaderName::from_static(names::CLIENT),
    HeaderName::from_static(names::FOREIGN_CREDENTIALS[0]),
    HeaderName::from_static(names::FOREIGN_CREDENTIALS[1]),
    HeaderName::from_static(names::OWNER),
    HeaderName::from_static(names::SCOPES),
    HeaderName::from_static(names::REQUEST_ID),
];

/// Who asks, as far as the bridge can tell: the credential headers for a gateway elsewhere, the request's extensions (with the
/// principal that the listener put there, D-34) for one in this process.
#[derive(Debug)]
pub(crate) struct Caller {
    metadata: MetadataMap,
    extensions: Extensions,
}

impl Caller {
    /// Takes the extensions out of `parts` and copies the headers that are carried, every value of each: the gateway decides
    /// what two credentials mean.
    pub(crate) fn take(parts: &mut Parts) -> Self {
        let mut carried = HeaderMap::with_capacity(CARRIED.len());
        for name in CARRIED {
            for value in parts.headers.get_all(&name) {
                carried.append(name.clone(), value.clone());
            }
        }
        Self {
            metadata: MetadataMap::from_headers(carried),
            extensions: std::mem::take(&mut parts.extensions),
        }
    }

    /// The call that brings `message` in this caller's name.
    pub(crate) fn call<M>(self, message: M) -> tonic::Request<M> {
        tonic::Request::from_parts(self.metadata, self.extensions, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_named_headers_travel_and_all_their_values() {
        #[derive(Clone, Debug, PartialEq)]
        struct Mark(u8);

        let (mut parts, ()) = http::Request::builder()
            .header("authorization", "Bearer a")
            .header("authorization", "Bearer b")
            .header("x-api-key", "c")
            .header("x-tidemark-owner", "ada")
            .header("x-tidemark-scopes", "models.read")
            .header("x-request-id", "req-1")
            .header("x-forwarded-for", "203.0.113.7")
            .header("cookie", "secret")
            .header("grpc-timeout", "1S")
            .extension(Mark(7))
            .body(())
            .unwrap()
            .into_parts();

        let call = Caller::take(&mut parts).call(());

        let mut names: Vec<_> =
            call.metadata().clone().into_headers().keys().map(ToString::to_string).collect();
        names.sort();
        assert_eq!(
            names,
            [
                "authorization",
                "x-api-key",
                "x-forwarded-for",
                "x-request-id",
                "x-tidemark-owner",
                "x-tidemark-scopes"
            ]
        );
        let credentials: Vec<_> = call.metadata().get_all("authorization").iter().collect();
        assert_eq!(credentials, ["Bearer a", "Bearer b"]);
        assert_eq!(call.extensions().get::<Mark>(), Some(&Mark(7)));
    }
}
