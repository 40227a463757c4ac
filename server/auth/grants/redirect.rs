//! Where a browser may be sent back to (B-7, B-8, B-s11).
//!
//! It owns which addresses are allowed at all, and when one is the same as another. It is asked at registration, at every request
//! and at every consent, so that a stricter rule acts on old clients too.

use std::net::{Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

use crate::auth::Digest;

/// The longest redirect URI, in bytes.
pub const MAX_REDIRECT_BYTES: usize = 2048;

/// Which redirect URIs are allowed besides those of this machine.
#[derive(Clone, Debug, Default)]
pub struct RedirectRules {
    /// The hosts that `https` may name; empty = all.
    pub hosts: Vec<String>,
    /// Schemes of apps, such as `com.example.app`.
    pub schemes: Vec<String>,
}

/// A redirect URI that is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedirectUri {
    url: Url,
    text: String,
    loopback: bool,
}

impl RedirectUri {
    /// The URI of this text. There is one spelling of each, so that no two readers of it can differ.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str, rules: &RedirectRules) -> Result<Self, String> {
        if text.is_empty() || text.len() > MAX_REDIRECT_BYTES {
            return Err(format!("a redirect URI has 1 to {MAX_REDIRECT_BYTES} characters"));
        }
        let url = Url::parse(text).map_err(|_| "a redirect URI must be absolute".to_owned())?;
        // The library adds the slash of an empty path.
        if url.as_str() != text && url.as_str().strip_suffix('/') != Some(text) {
            let form = "lower case, no default port, no `..`, all else percent-encoded";
            return Err(format!("a redirect URI must be in its normal form: {form}"));
        }
        if url.fragment().is_some() {
            return Err("a redirect URI must not have a fragment".to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() || url.authority().contains('@') {
            return Err("a redirect URI must not have a user".to_owned());
        }
        let loopback = match url.scheme() {
            "https" => {
                check_remote(&url, rules)?;
                false
            }
            "http" if is_loopback(&url) => true,
            "http" => return Err("http is for this machine alone: use https".to_owned()),
            scheme if rules.schemes.iter().any(|known| known == scheme) => false,
            scheme => return Err(format!("redirect URIs of the scheme {scheme} are not allowed here")),
        };
        Ok(Self { url, text: text.to_owned(), loopback })
    }

    /// Its text, as it came.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The name of the place that a person is sent to: a host, or the scheme of an app.
    pub fn place(&self) -> String {
        self.url.host_str().map_or_else(|| format!("{}:", self.url.scheme()), str::to_owned)
    }

    /// The place as a source of a content security policy.
    pub fn source(&self) -> String {
        // A policy can name neither the scheme of an app nor an IPv6 address more exactly than by its scheme.
        let host = self.url.host_str().filter(|host| !host.starts_with('['));
        match (self.url.scheme(), host, self.url.port()) {
            (scheme @ ("http" | "https"), Some(host), Some(port)) => format!("{scheme}://{host}:{port}"),
            (scheme @ ("http" | "https"), Some(host), None) => format!("{scheme}://{host}"),
            (scheme, ..) => format!("{scheme}:"),
        }
    }

    /// What is kept of it: two that have the same are the same. On this machine, the port does not count (RFC 8252).
    pub(super) fn digest(&self) -> Digest {
        let mut url = self.url.clone();
        if self.loopback {
            // A URL with a host takes any port.
            let _ = url.set_port(None);
        }
        Digest::of(url.as_str().as_bytes())
    }

    /// The same with these parameters behind those that it has.
    pub fn with(&self, params: &[(&str, &str)]) -> String {
        let mut url = self.url.clone();
        url.query_pairs_mut().extend_pairs(params);
        url.into()
    }
}

fn check_remote(url: &Url, rules: &RedirectRules) -> Result<(), String> {
    let host = url.host_str().unwrap_or_default();
    // The rest could not stand in a header.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-[]:".contains(&byte);
    if host.is_empty() || !host.bytes().all(plain) {
        return Err("a redirect URI must name a host".to_owned());
    }
    if !rules.hosts.is_empty() && !rules.hosts.iter().any(|known| known == host) {
        return Err(format!("redirect URIs of {host} are not allowed here"));
    }
    Ok(())
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => Ipv4Addr::is_loopback(&address),
        Some(Host::Ipv6(address)) => Ipv6Addr::is_loopback(&address),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> RedirectRules {
        RedirectRules { hosts: Vec::new(), schemes: vec!["com.example.app".to_owned()] }
    }

    fn parse(text: &str) -> Result<RedirectUri, String> {
        RedirectUri::parse(text, &rules())
    }

    #[test]
    fn b_7_a_redirect_uri_is_https_or_of_this_machine_or_of_a_named_app() {
        for good in [
            "https://app.example/cb",
            "https://app.example",
            "https://app.example:8443/cb?tenant=1",
            "http://127.0.0.1:3000/cb",
            "http://127.9.9.9/cb",
            "http://localhost/cb",
            "http://[::1]:1/cb",
            "com.example.app:/cb",
            "https://xn--bcher-kva.example/",
        ] {
            assert_eq!(parse(good).unwrap().as_str(), good);
        }
        let long = format!("https://app.example/{}", "a".repeat(MAX_REDIRECT_BYTES));
        for bad in [
            "",
            "/cb",
            "app.example/cb",
            "http://app.example/cb",
            "http://127.0.0.1.evil.example/cb",
            "http://localhost.evil.example/",
            "http://10.0.0.1/cb",
            "HTTPS://app.example/cb",
            "https://APP.example/cb",
            "https://app.example:443/cb",
            "https://app.example/a/../cb",
            "https://app.example/cb#x",
            "https://app.example/cb#",
            "https://user@app.example/cb",
            "https://@app.example/cb",
            "https://app.example@evil.example/cb",
            "https://app.example\\@evil.example/cb",
            "https://app.example/cb\n",
            " https://app.example/cb",
            "https://a;script-src/cb",
            "https://bücher.example/",
            "https:///cb",
            "javascript:alert(1)",
            "data:text/html,x",
            "file:///etc/passwd",
            "com.example.other:/cb",
            &long,
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn b_7_the_operators_list_of_hosts_is_exact() {
        let rules = RedirectRules { hosts: vec!["app.example".to_owned()], schemes: Vec::new() };
        let allowed = |text: &str| RedirectUri::parse(text, &rules).is_ok();
        assert!(allowed("https://app.example/cb") && allowed("http://localhost:1/cb"));
        for bad in [
            "https://evil.example/cb",
            "https://app.example.evil/",
            "https://a.app.example/",
            "com.example.app:/cb",
        ] {
            assert!(!allowed(bad), "{bad}");
        }
    }

    #[test]
    fn b_s11_the_host_is_compared_as_it_stands_and_only_the_port_of_this_machine_is_free() {
        let same = |a: &str, b: &str| parse(a).unwrap().digest() == parse(b).unwrap().digest();
        assert!(same("http://127.0.0.1:1/cb?x=1", "http://127.0.0.1:2/cb?x=1"));
        assert!(same("http://[::1]/cb", "http://[::1]:9/cb"));
        for (a, b) in [
            ("http://127.0.0.1:1/cb", "http://localhost:1/cb"),
            ("http://127.0.0.1/cb", "http://127.0.0.1/cb/"),
            ("http://127.0.0.1/cb?x=1", "http://127.0.0.1/cb?x=2"),
            ("http://127.0.0.1/cb", "http://127.0.0.2/cb"),
            ("https://app.example/cb", "https://app.example:8443/cb"),
            ("https://app.example/cb", "https://app.example/CB"),
        ] {
            assert!(!same(a, b), "{a} {b}");
        }
    }

    #[test]
    fn parameters_come_behind_those_that_are_there() {
        let uri = parse("https://app.example/cb?a=b%20c").unwrap();
        let sent = uri.with(&[("state", "ü &=#"), ("iss", "https://id.example")]);
        assert!(sent.starts_with("https://app.example/cb?a=b%20c&state="), "{sent}");
        let back: Vec<_> = Url::parse(&sent).unwrap().query_pairs().into_owned().collect();
        assert_eq!(back[1], ("state".to_owned(), "ü &=#".to_owned()));
        assert_eq!(parse("com.example.app:/cb").unwrap().with(&[("x", "1")]), "com.example.app:/cb?x=1");
        assert_eq!(uri.source(), "https://app.example");
        assert_eq!(parse("http://127.0.0.1:7/cb").unwrap().source(), "http://127.0.0.1:7");
        assert_eq!(parse("http://[::1]:7/cb").unwrap().source(), "http:");
        assert_eq!(parse("com.example.app:/cb").unwrap().source(), "com.example.app:");
    }
}
