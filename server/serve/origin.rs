//! Keeps web pages of strangers away from a gateway without auth (D-41).
//!
//! It owns which `Host` and which `Origin` a call may have: the first defends against DNS rebinding, the second against posts
//! from other sites. It must never know who is calling.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header::{HOST, ORIGIN};
use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderValue, Uri};
use tidemark_proto::v1::ErrorCode;

use super::refusal::Surface;
use crate::error::Error;

/// The name of this machine for itself, with all names below it.
const LOCALHOST: &str = "localhost";

/// Which hosts and origins may call while auth is off.
#[derive(Clone, Debug)]
pub struct Visitors(Arc<Rules>);

#[derive(Debug)]
struct Rules {
    listen: IpAddr,
    hosts: Vec<String>,
    origins: Vec<String>,
}

impl Visitors {
    /// Calls to a loopback name or address, to `listen`, or to one of `hosts` (lower case, no port), from no page, a page of
    /// the gateway itself, or a page of `origins` (as browsers send them).
    ///
    /// A gateway that listens on all addresses takes any IP address as its host: only names can be rebound.
    pub fn new(listen: IpAddr, hosts: Vec<String>, origins: Vec<String>) -> Self {
        Self(Arc::new(Rules { listen, hosts, origins }))
    }

    fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Error> {
        let host =
            host(uri, headers).ok_or_else(|| refused("the request names no host, or more than one"))?;
        if !self.knows(&host) {
            return Err(refused(format!(
                "{:?} is not a host of this gateway: without auth it answers to loopback, its listen address and server.hosts",
                host.as_str()
            )));
        }
        match single(headers, ORIGIN) {
            Value::Absent => Ok(()),
            Value::One(origin) if self.admits(origin, &host) => Ok(()),
            Value::One(_) | Value::Several => {
                Err(refused("the page that made this call is not of this gateway, nor of cors.origins"))
            }
        }
    }

    fn knows(&self, host: &Authority) -> bool {
        let name = bare(host);
        if let Ok(address) = name.parse::<IpAddr>() {
            let listen = self.0.listen;
            return address.is_loopback() || address == listen || listen.is_unspecified();
        }
        name == LOCALHOST || name.ends_with(".localhost") || self.0.hosts.contains(&name)
    }

    fn admits(&self, origin: &HeaderValue, host: &Authority) -> bool {
        let Ok(origin) = origin.to_str() else { return false };
        self.0.origins.iter().any(|known| known == origin) || same_origin(origin, host)
    }
}

/// Refuses a call that these rules keep away.
pub(super) async fn guard(State(visitors): State<Visitors>, request: Request, next: Next) -> Response {
    match visitors.check(request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(error) => Surface::of(request.headers()).refuse(&error),
    }
}

enum Value<'h> {
    Absent,
    One(&'h HeaderValue),
    Several,
}

fn single(headers: &HeaderMap, name: http::HeaderName) -> Value<'_> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Value::Absent,
        (Some(value), None) => Value::One(value),
        (Some(_), Some(_)) => Value::Several,
    }
}

/// The host that the request was sent to: in HTTP/2 it is part of the URI. Where both are there they must agree.
fn host(uri: &Uri, headers: &HeaderMap) -> Option<Authority> {
    let header = match single(headers, HOST) {
        Value::Absent => None,
        Value::One(value) => Some(Authority::try_from(value.as_bytes()).ok()?),
        Value::Several => return None,
    };
    match (uri.authority(), header) {
        (Some(authority), Some(header)) if *authority != header => None,
        (Some(authority), _) => Some(authority.clone()),
        (None, header) => header,
    }
}

/// The name without port, brackets and final dot, in lower case.
fn bare(host: &Authority) -> String {
    let name = host.host();
    let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

fn same_origin(origin: &str, host: &Authority) -> bool {
    let Ok(uri) = origin.parse::<Uri>() else { return false };
    let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else { return false };
    let default = if *scheme == Scheme::HTTPS { 443 } else { 80 };
    let port = |of: &Authority| of.port_u16().unwrap_or(default);
    bare(authority) == bare(host) && port(authority) == port(host)
}

fn refused(text: impl Into<String>) -> Error {
    Error::new(ErrorCode::ForbiddenOrigin, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visitors(listen: &str) -> Visitors {
        Visitors::new(
            listen.parse().unwrap(),
            vec!["gate.internal".to_owned()],
            vec!["https://app.example".to_owned()],
        )
    }

    fn passes(listen: &str, headers: &[(http::HeaderName, &str)]) -> bool {
        let headers =
            headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()));
        visitors(listen).check(&Uri::from_static("/v1/models"), &headers.collect()).is_ok()
    }

    #[test]
    fn a_host_must_be_loopback_or_the_listen_address_or_named() {
        let host = |listen, host| passes(listen, &[(HOST, host)]);
        for good in [
            "localhost",
            "LOCALHOST:4700",
            "app.localhost:1",
            "127.0.0.1:4700",
            "127.1.2.3",
            "[::1]:4700",
            "gate.internal:9",
            "localhost.",
        ] {
            assert!(host("127.0.0.1", good), "{good}");
        }
        for bad in [
            "evil.example:4700",
            "localhost.evil.example",
            "192.168.0.9:4700",
            "127.0.0.1.evil.example",
            "",
            "a b",
        ] {
            assert!(!host("127.0.0.1", bad), "{bad}");
        }
        assert!(host("192.168.0.9", "192.168.0.9:4700"));
        assert!(host("0.0.0.0", "192.168.0.9:4700"));
        assert!(!host("0.0.0.0", "evil.example"));
        assert!(!passes("127.0.0.1", &[]), "no host at all");
        assert!(!passes("127.0.0.1", &[(HOST, "localhost"), (HOST, "localhost")]), "two hosts");
    }

    #[test]
    fn an_origin_must_be_our_own_or_named() {
        let origin = |origin| passes("127.0.0.1", &[(HOST, "localhost:4700"), (ORIGIN, origin)]);
        for good in ["http://localhost:4700", "https://app.example"] {
            assert!(origin(good), "{good}");
        }
        let bad = [
            "null",
            "http://localhost:3000",
            "http://localhost",
            "https://evil.example",
            "https://app.example.evil",
            "x",
        ];
        for bad in bad {
            assert!(!origin(bad), "{bad}");
        }
        assert!(passes("127.0.0.1", &[(HOST, "localhost"), (ORIGIN, "http://localhost:80")]));
        let twice = [(HOST, "localhost"), (ORIGIN, "https://app.example"), (ORIGIN, "https://app.example")];
        assert!(!passes("127.0.0.1", &twice));
    }

    #[test]
    fn the_authority_of_http2_counts_and_must_agree_with_the_header() {
        let check = |uri: &str, host: Option<&'static str>| {
            let headers = host.map(|host| (HOST, HeaderValue::from_static(host)));
            visitors("127.0.0.1").check(&uri.parse().unwrap(), &headers.into_iter().collect()).is_ok()
        };
        assert!(check("http://localhost:4700/x", None));
        assert!(!check("http://evil.example/x", None));
        assert!(!check("http://localhost/x", Some("evil.example")));
    }
}
