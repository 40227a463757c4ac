//! The client's address, also behind proxies (U-23, R-13 to R-16).
//!
//! It owns whose word on it counts: that of the peer if it is a trusted proxy, then that of the proxy before it, from the right
//! to the left, until one is not trusted: that is the client. A hop that is no address ends the walk at the last good one. What
//! others than trusted proxies say is not read. It must never know what the address is used for.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header::FORWARDED;
use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;
use tidemark_proto::names::CLIENT;

use crate::config::ForwardedHeader;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static(CLIENT);

/// Whoever opened the connection: put into the request's extensions by the listener.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) IpAddr);

/// Who sent the request, in its extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its address.
    pub address: IpAddr,
    /// Whether a trusted proxy has opened the connection: then its other headers can be believed too.
    pub proxied: bool,
    /// How the address was found.
    pub(super) forwarded: Forwarded,
}

impl Default for Client {
    /// Of a call that came through no socket.
    fn default() -> Self {
        Self { address: Ipv4Addr::UNSPECIFIED.into(), proxied: false, forwarded: Forwarded::Absent }
    }
}

/// What became of the word of proxies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Forwarded {
    /// There was none.
    Absent,
    /// It was not read: not from a trusted proxy, not in the right header, or no address.
    Ignored,
    /// It counts.
    Trusted,
}

impl Forwarded {
    /// Its name in the log.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Ignored => "ignored",
            Self::Trusted => "trusted",
        }
    }
}

/// The proxies whose word counts.
#[derive(Clone, Debug)]
pub struct Proxies(Arc<Rules>);

#[derive(Debug)]
struct Rules {
    trusted: Vec<IpNet>,
    header: ForwardedHeader,
}

impl Proxies {
    /// The proxies of these networks, which name their client in this header.
    pub fn new(trusted: Vec<IpNet>, header: ForwardedHeader) -> Self {
        Self(Arc::new(Rules { trusted, header }))
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.0.trusted.iter().any(|network| network.contains(&address))
    }

    fn client(&self, peer: IpAddr, headers: &HeaderMap) -> Client {
        let peer = peer.to_canonical();
        let mut hops = self.hops(headers);
        let (mut address, mut taken) = (peer, false);
        while self.trusts(address) {
            let Some(hop) = hops.next().flatten() else { break };
            (address, taken) = (hop, true);
        }
        let said = headers.contains_key(&X_FORWARDED_FOR) || headers.contains_key(FORWARDED);
        let forwarded = match (taken, said) {
            (true, _) => Forwarded::Trusted,
            (false, true) => Forwarded::Ignored,
            (false, false) => Forwarded::Absent,
        };
        Client { address, proxied: self.trusts(peer), forwarded }
    }

    /// The hops that the header names, the last one first; `None` for one that is no address.
    fn hops<'h>(&self, headers: &'h HeaderMap) -> impl Iterator<Item = Option<IpAddr>> + use<'h> {
        let (name, read): (_, fn(&str) -> Option<IpAddr>) = match self.0.header {
            ForwardedHeader::XForwardedFor => (X_FORWARDED_FOR, node),
            ForwardedHeader::Forwarded => (FORWARDED, for_of),
        };
        let lines = headers.get_all(name).iter().rev();
        // A line with a byte that is not ASCII is one bad hop.
        lines
            .flat_map(|line| elements(line.to_str().unwrap_or_default()))
            .map(move |element| read(element.trim()))
    }
}

/// The elements of a list, the last one first. Commas within quotes do not part them; as it is read from the end, quotes that a
/// client leaves open swallow only what the client wrote.
fn elements(line: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    line.rsplit(move |letter| {
        quoted ^= letter == '"';
        letter == ',' && !quoted
    })
}

/// The address in `for=` of an element of `Forwarded`.
fn for_of(element: &str) -> Option<IpAddr> {
    let mut pairs = element.split(';').filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.eq_ignore_ascii_case("for"))?;
    let bare = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    node(bare.unwrap_or(value))
}

/// An address, with or without a port.
fn node(text: &str) -> Option<IpAddr> {
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let address = text.parse().ok().or_else(bracketed).or_else(with_port)?;
    Some(IpAddr::to_canonical(&address))
}

/// Finds out who sent the request.
pub(super) async fn resolve(State(proxies): State<Proxies>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>();
    let client = peer.map_or_else(Client::default, |peer| proxies.client(peer.0, request.headers()));
    request.extensions_mut().insert(client);
    next.run(request).await
}

/// Names the client to the gateway behind a bridge, in place of all that was said before.
pub(super) async fn announce(mut request: Request, next: Next) -> Response {
    let client = request.extensions().get::<Client>().copied().unwrap_or_default();
    request.headers_mut().remove(FORWARDED);
    request.headers_mut().remove(&X_FORWARDED_FOR);
    if let Ok(client) = HeaderValue::try_from(client.address.to_string()) {
        request.headers_mut().insert(X_FORWARDED_FOR, client);
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PROXY: &str = "10.0.0.1";

    fn find(header: ForwardedHeader, peer: &str, lines: &[(&str, &[u8])]) -> (String, Forwarded) {
        let trusted = ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().unwrap());
        let lines =
            lines.iter().map(|(name, line)| (name.parse().unwrap(), HeaderValue::from_bytes(line).unwrap()));
        let client = Proxies::new(trusted.to_vec(), header)
            .client(peer.parse().unwrap(), &lines.collect::<HeaderMap>());
        (client.address.to_string(), client.forwarded)
    }

    fn x_forwarded_for(peer: &str, lines: &[&str]) -> (String, Forwarded) {
        let lines: Vec<_> = lines.iter().map(|line| ("x-forwarded-for", line.as_bytes())).collect();
        find(ForwardedHeader::XForwardedFor, peer, &lines)
    }

    fn forwarded(lines: &[&str]) -> String {
        let lines: Vec<_> = lines.iter().map(|line| ("forwarded", line.as_bytes())).collect();
        find(ForwardedHeader::Forwarded, PROXY, &lines).0
    }

    #[test]
    fn check_19_the_client_is_the_first_from_the_right_that_is_not_trusted() {
        let trusted = |client: &str| (client.to_owned(), Forwarded::Trusted);
        assert_eq!(x_forwarded_for(PROXY, &["1.2.3.4, 203.0.113.7"]), trusted("203.0.113.7"));
        assert_eq!(x_forwarded_for(PROXY, &["1.2.3.4, 203.0.113.7, 10.9.9.9"]), trusted("203.0.113.7"));
        assert_eq!(
            x_forwarded_for(PROXY, &["1.2.3.4", "203.0.113.7,fd00::1"]),
            trusted("203.0.113.7"),
            "lines are joined"
        );
        assert_eq!(x_forwarded_for(PROXY, &["10.0.0.3,10.0.0.2"]), trusted("10.0.0.3"), "all are trusted");
        assert_eq!(x_forwarded_for("::ffff:10.0.0.1", &["::ffff:203.0.113.7"]), trusted("203.0.113.7"));
    }

    #[test]
    fn what_others_than_trusted_proxies_say_is_not_read() {
        let ignored = |client: &str| (client.to_owned(), Forwarded::Ignored);
        assert_eq!(x_forwarded_for("203.0.113.9", &["1.2.3.4"]), ignored("203.0.113.9"));
        let other = [("forwarded", b"for=1.2.3.4".as_slice())];
        assert_eq!(find(ForwardedHeader::XForwardedFor, PROXY, &other), ignored(PROXY), "the other header");
        let none = find(ForwardedHeader::XForwardedFor, PROXY, &[]);
        assert_eq!(none, (PROXY.to_owned(), Forwarded::Absent));
    }

    #[test]
    fn a_bad_hop_ends_the_walk_at_the_last_good_one() {
        for bad in ["", "unknown", "_hidden", "1.2.3", "1.2.3.4.5", "a b", "[::1", "1.2.3.4:99999", "\u{7f}"]
        {
            let line = format!("198.51.100.1, {bad}");
            if let Ok(line) = HeaderValue::from_str(&line) {
                let found =
                    find(ForwardedHeader::XForwardedFor, PROXY, &[("x-forwarded-for", line.as_bytes())]);
                assert_eq!(found, (PROXY.to_owned(), Forwarded::Ignored), "{bad}");
            }
            let behind = format!("198.51.100.1, {bad}, 10.0.0.2");
            if HeaderValue::from_str(&behind).is_ok() {
                assert_eq!(
                    x_forwarded_for(PROXY, &[&behind]),
                    ("10.0.0.2".to_owned(), Forwarded::Trusted),
                    "{bad}"
                );
            }
        }
        let bytes = [("x-forwarded-for", b"203.0.113.7, \xff".as_slice())];
        assert_eq!(find(ForwardedHeader::XForwardedFor, PROXY, &bytes).0, PROXY);
    }

    #[test]
    fn ports_and_brackets_are_left_out() {
        for (text, client) in [
            ("203.0.113.7:4711", "203.0.113.7"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
        ] {
            assert_eq!(x_forwarded_for(PROXY, &[text]).0, client, "{text}");
        }
    }

    #[test]
    fn the_standard_header_is_read_with_its_quotes() {
        assert_eq!(forwarded(&["for=1.2.3.4, for=203.0.113.7;proto=https"]), "203.0.113.7");
        assert_eq!(forwarded(&["by=10.0.0.1; FOR=\"[2001:db8::1]:4711\" ;host=h"]), "2001:db8::1");
        assert_eq!(forwarded(&["for=203.0.113.7, for=\"10.0.0.2\""]), "203.0.113.7");
        assert_eq!(
            forwarded(&["for=\"a, for=1.2.3.4, for=203.0.113.7"]),
            "203.0.113.7",
            "an open quote hides nothing"
        );
        for bad in ["for=unknown", "for=_x", "by=1.2.3.4", "for", "", ";;", "for=\"1.2.3.4", "203.0.113.7"] {
            assert_eq!(forwarded(&[bad]), PROXY, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic_or_lets_a_stranger_choose(line: Vec<u8>) {
            if HeaderValue::from_bytes(&line).is_ok() {
                for header in [ForwardedHeader::XForwardedFor, ForwardedHeader::Forwarded] {
                    let lines = [("x-forwarded-for", line.as_slice()), ("forwarded", line.as_slice())];
                    let _ = find(header, PROXY, &lines);
                    prop_assert_eq!(find(header, "203.0.113.9", &lines).0, "203.0.113.9");
                }
            }
        }
    }
}
