//! Reads `[oauth]`.
//!
//! It owns what must be set before an app can be connected. It must never know how.

use http::HeaderName;
use url::Url;

use super::load::{check_host, hours, millis};
use super::reader::Section;
use super::tree::{Auth, OAuth, Server};

/// How the absence of a setting is spelled.
const OFF: &str = "off";

/// The longest scheme of an app, in bytes.
const MAX_SCHEME_BYTES: usize = 128;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Off,
    Both,
    Only,
}

/// The authorization server: absent if there is none, `None` if something is wrong.
pub(super) fn oauth(
    section: Section<'_, '_>,
    auth: Option<&Auth>,
    server: Option<&Server>,
) -> Option<Option<OAuth>> {
    let years = hours(3650 * 24);
    let (second, hour) = (millis(1000), hours(1));
    let mode = section.word("mode", &[("off", Mode::Off), ("both", Mode::Both), ("only", Mode::Only)]);
    let issuer = section.string("issuer", "an origin or \"off\"", |text| match text {
        OFF => Ok(None),
        text => issuer(text).map(Some),
    });
    let on_or_off = [("on", true), (OFF, false)];
    let keys = section.word("keys", &on_or_off);
    let identity_header = section.string("identity_header", "a header or \"off\"", |text| match text {
        OFF => Ok(None),
        text => header(text).map(Some),
    });
    let open_registration = section.word("registration", &[("open", true), (OFF, false)]);
    let max_clients = section.count("max_clients", &(1..=100_000));
    let rate = |key| section.rate_or_off(key, &(1..=1_000_000), &(second..=hours(24)));
    let (registration_rate, calls) = (rate("registration_rate"), rate("rate"));
    let redirect_hosts = section.list("redirect_hosts", check_host);
    let redirect_schemes = section.list("redirect_schemes", scheme);
    let code_ttl = section.duration("code_ttl", &(second..=millis(600_000)));
    let access_ttl = section.duration("access_ttl", &(millis(60_000)..=hour));
    let refresh_idle = section.duration("refresh_idle", &(hour..=years));
    let refresh_absolute = section.duration("refresh_absolute", &(hour..=years));
    let keep_ended = section.duration("keep_ended", &(second..=years));
    let orphan_after = section.duration("orphan_after", &(second..=years));
    let sweep_period = section.duration("sweep_period", &(second..=hours(24)));
    let signing_rotation = section.duration("signing_rotation", &(hour..=years));
    if mode.is_some_and(|mode| mode != Mode::Off) {
        check(&section, auth, server, &issuer, keys, &identity_header);
    }
    section.end();
    let settings = OAuth {
        only: mode? == Mode::Only,
        issuer: issuer?.unwrap_or_default(),
        keys: keys?,
        identity_header: identity_header?,
        open_registration: open_registration?,
        max_clients: max_clients?,
        registration_rate: registration_rate?,
        rate: calls?,
        redirect_hosts: redirect_hosts?,
        redirect_schemes: redirect_schemes?,
        code_ttl: code_ttl?,
        access_ttl: access_ttl?,
        refresh_idle: refresh_idle?,
        refresh_absolute: refresh_absolute?,
        keep_ended: keep_ended?,
        orphan_after: orphan_after?,
        sweep_period: sweep_period?,
        signing_rotation: signing_rotation?,
    };
    Some(Some(settings).filter(|_| mode != Some(Mode::Off)))
}

/// What an authorization server cannot do without.
fn check(
    section: &Section<'_, '_>,
    auth: Option<&Auth>,
    server: Option<&Server>,
    issuer: &Option<Option<String>>,
    keys: Option<bool>,
    identity_header: &Option<Option<HeaderName>>,
) {
    if matches!(auth, Some(Auth::Off)) {
        section
            .report("mode", "needs auth.mode = \"keys\": with auth off there is nothing to grant".to_owned());
    }
    if matches!(issuer, Some(None)) {
        let text = "is needed: the origin that the world sees, such as \"https://gate.example.com\"";
        section.report("issuer", text.to_owned());
    }
    let users = matches!(identity_header, Some(Some(_)));
    if keys == Some(false) && !users {
        let text = "\"off\" needs identity_header: else nobody could let an app in";
        section.report("keys", text.to_owned());
    }
    if users && server.is_some_and(|server| server.trusted_proxies.is_empty()) {
        let text = "needs server.trusted_proxies: it is read from these alone";
        section.report("identity_header", text.to_owned());
    }
}

/// An origin: https, or http on this machine.
fn issuer(text: &str) -> Result<String, String> {
    let refused = || {
        format!(
            "{text:?} is no issuer: write https, host and port as in \"https://gate.example.com\"; http is for loopback alone"
        )
    };
    let url = Url::parse(text).map_err(|_| refused())?;
    let origin = url.origin().ascii_serialization();
    let loopback = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    let safe = url.scheme() == "https" || url.scheme() == "http" && loopback;
    // Clients compare it letter by letter.
    if safe && text == origin { Ok(origin) } else { Err(refused()) }
}

/// A header that no client and no browser has a meaning for.
fn header(text: &str) -> Result<HeaderName, String> {
    let name = HeaderName::try_from(text).map_err(|_| format!("{text:?} is no name of a header"))?;
    let taken = ["authorization", "cookie", "host", "origin", "content-type", "forwarded", "x-forwarded-for"];
    if taken.contains(&name.as_str()) || name.as_str().starts_with("x-tidemark-") {
        return Err(format!("{text:?} has another meaning: let the proxy use a header of its own"));
    }
    Ok(name)
}

/// A scheme of an app: a domain turned round, so that no other app and no browser has it (RFC 8252).
fn scheme(text: &str) -> Result<String, String> {
    let letters =
        text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-+".contains(&byte));
    let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
    if first && letters && text.contains('.') && text.len() <= MAX_SCHEME_BYTES {
        return Ok(text.to_owned());
    }
    Err(format!("{text:?} is no scheme of an app: write a domain turned round, such as \"com.example.app\""))
}

#[cfg(test)]
mod tests {
    use super::super::load::{Overrides, parse};
    use super::*;

    fn read(text: &str) -> Result<Option<OAuth>, String> {
        let loaded =
            parse("file", text, Overrides::default(), &|_| None).map_err(|error| error.to_string())?;
        Ok(loaded.config.oauth)
    }

    fn with(settings: &str) -> Result<Option<OAuth>, String> {
        read(&format!("[auth]\nmode = \"keys\"\n[oauth]\n{settings}\n"))
    }

    const ISSUER: &str = "mode = \"both\"\nissuer = \"https://gate.example\"\n";

    #[test]
    fn b_1_it_is_off_unless_it_is_turned_on_and_needs_an_issuer() {
        assert!(read("").unwrap().is_none() && with("").unwrap().is_none());
        let on = with(ISSUER).unwrap().unwrap();
        assert_eq!(
            (on.only, on.keys, on.open_registration, on.issuer.as_str()),
            (false, true, false, "https://gate.example")
        );
        assert!(with(&ISSUER.replace("both", "only")).unwrap().unwrap().only);
        for (wrong, why) in [
            ("mode = \"both\"".to_owned(), "oauth.issuer: is needed"),
            ("mode = \"headers\"".to_owned(), "oauth.mode"),
            (format!("{ISSUER}keys = \"off\""), "needs identity_header"),
            (format!("{ISSUER}identity_header = \"x-user\""), "needs server.trusted_proxies"),
            (format!("{ISSUER}identity_header = \"Cookie\""), "another meaning"),
            (format!("{ISSUER}identity_header = \"x-tidemark-owner\""), "another meaning"),
            (format!("{ISSUER}redirect_schemes = [\"javascript\"]"), "no scheme of an app"),
            (format!("{ISSUER}redirect_hosts = [\"https://x\"]"), "no host name"),
        ] {
            let problem = with(&wrong).unwrap_err();
            assert!(problem.contains(why), "{problem}");
        }
        let off = read("[oauth]\nmode = \"both\"\nissuer = \"https://gate.example\"").unwrap_err();
        assert!(off.contains("needs auth.mode = \"keys\""), "{off}");
    }

    #[test]
    fn b_2_the_issuer_is_an_origin_spelled_as_clients_compare_it() {
        for good in [
            "https://gate.example",
            "https://gate.example:8443",
            "http://127.0.0.1:4700",
            "http://localhost:1",
            "http://[::1]:1",
        ] {
            assert_eq!(issuer(good).unwrap(), good);
        }
        for bad in [
            "",
            "gate.example",
            "http://gate.example",
            "https://gate.example/",
            "https://gate.example/x",
            "https://GATE.example",
            "https://gate.example:443",
            "https://user@gate.example",
            "https://gate.example?x",
            "ftp://gate.example",
        ] {
            assert!(issuer(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn check_26_a_duration_of_nothing_stops_the_start() {
        for key in [
            "code_ttl",
            "access_ttl",
            "refresh_idle",
            "refresh_absolute",
            "keep_ended",
            "orphan_after",
            "sweep_period",
            "signing_rotation",
        ] {
            for nothing in ["0s", "-1s", "off"] {
                let problem = with(&format!("{ISSUER}{key} = \"{nothing}\"")).unwrap_err();
                assert!(problem.contains(&format!("oauth.{key}")), "{problem}");
            }
        }
        for (key, too_much) in [("code_ttl", "601s"), ("access_ttl", "61m"), ("access_ttl", "59s")] {
            assert!(with(&format!("{ISSUER}{key} = \"{too_much}\"")).is_err(), "{key}");
        }
    }
}
