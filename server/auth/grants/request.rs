//! Requests of a client for a grant (B-8 to B-12), and how they travel through the page that asks the person.
//!
//! It owns what a request must be, and in which order that is looked at. A request that waits for an answer is held by the page
//! itself, sealed: people who never answer cost the store nothing.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use tidemark_store::{Owner, UnixMillis};

use super::Grants;
use super::clients::scopes_of;
use super::id::{ClientId, hex, unhex};
use super::record::{BoundRecord, ClientRecord};
use super::redirect::RedirectUri;
use super::refusal::{Code, Refusal};
use crate::auth::directory::Directory;
use crate::auth::{Digest, Scopes};
use crate::clock::millis;
use crate::error::Error;

/// The longest `state`, in bytes.
pub(super) const MAX_STATE_BYTES: usize = 2048;

/// The longest sealed request, in bytes: with the longest parameters, about half of it.
const MAX_SEALED_BYTES: usize = 32 << 10;

/// What the seal is over besides the request, so that the secret is good for nothing else.
const DOMAIN: &[u8] = b"tidemark authorization request";

/// The parameters of an authorization request as they came; absent = not given.
#[derive(Clone, Debug, Default)]
pub struct Asked<'a> {
    /// `client_id`.
    pub client_id: Option<&'a str>,
    /// `redirect_uri`.
    pub redirect_uri: Option<&'a str>,
    /// `response_type`.
    pub response_type: Option<&'a str>,
    /// `response_mode`.
    pub response_mode: Option<&'a str>,
    /// `scope`.
    pub scope: Option<&'a str>,
    /// `state`.
    pub state: Option<&'a str>,
    /// `code_challenge`.
    pub code_challenge: Option<&'a str>,
    /// `code_challenge_method`.
    pub code_challenge_method: Option<&'a str>,
    /// `resource`.
    pub resource: Option<&'a str>,
    /// Whether one of these was given twice; but for the first two, which are then absent.
    pub repeated: bool,
}

/// A request that may be shown to a person.
#[derive(Clone, Debug)]
pub struct Request {
    pub(super) id: [u8; 16],
    pub(super) until: UnixMillis,
    pub(super) client: ClientId,
    /// What the client says that it is called.
    pub client_name: String,
    /// Where its answer goes.
    pub redirect: RedirectUri,
    /// What the client wants.
    pub scopes: Scopes,
    state: Option<String>,
    pub(super) challenge: Digest,
    /// The user whom the page was made for.
    pub(super) user: Option<Owner>,
}

/// Why a request is not shown to anybody.
#[derive(Clone, Debug)]
pub enum BadRequest {
    /// It must not lead anywhere: who asks, or where the answer goes, is not certain.
    Page(Refusal),
    /// The client is told, at this address.
    Back(String),
}

impl From<Refusal> for BadRequest {
    fn from(refusal: Refusal) -> Self {
        Self::Page(refusal)
    }
}

impl From<Error> for BadRequest {
    fn from(error: Error) -> Self {
        Self::Page(error.into())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    id: String,
    until: u64,
    client: String,
    redirect: String,
    scope: String,
    state: Option<String>,
    challenge: String,
    user: Option<String>,
}

impl Grants {
    /// What a request asks for. `user` is who sees the page, if a trusted proxy says so.
    ///
    /// # Errors
    /// All of [`BadRequest`].
    pub async fn request(&self, asked: &Asked<'_>, user: Option<Owner>) -> Result<Request, BadRequest> {
        let (client, known) = self.client_named(asked.client_id).await?;
        let redirect = self.redirect_of(&known, asked.redirect_uri)?;
        let state = asked.state.map(str::to_owned);
        if state.as_ref().is_some_and(|state| state.len() > MAX_STATE_BYTES) {
            let text = format!("state has at most {MAX_STATE_BYTES} bytes");
            return Err(Refusal::request(text).into());
        }
        let checked = self.checked(asked, &known);
        let (scopes, challenge) = checked
            .map_err(|refusal| BadRequest::Back(self.answer(&redirect, state.as_deref(), &no(&refusal))))?;
        Ok(Request {
            id: self.directory.0.clock.new_id(),
            until: UnixMillis(self.directory.0.clock.now().0.saturating_add(millis(self.rules.code_ttl))),
            client,
            client_name: known.name,
            redirect,
            scopes,
            state,
            challenge,
            user,
        })
    }

    pub(super) async fn client_named(&self, id: Option<&str>) -> Result<(ClientId, ClientRecord), Refusal> {
        let unknown = || Refusal::new(Code::InvalidClient, "client_id names no client of this server");
        let id: ClientId = id.and_then(|id| id.parse().ok()).ok_or_else(unknown)?;
        let known = self.directory.client(id).await?;
        Ok((id, known.ok_or_else(unknown)?))
    }

    /// The redirect URI, if it is allowed now and registered by the client.
    fn redirect_of(&self, client: &ClientRecord, text: Option<&str>) -> Result<RedirectUri, Refusal> {
        let refused = |text: String| Refusal::new(Code::InvalidRedirectUri, text);
        let text = text.ok_or_else(|| refused("redirect_uri is missing, or given twice".to_owned()))?;
        let uri = RedirectUri::parse(text, &self.rules.redirects).map_err(refused)?;
        let digest = uri.digest();
        if client.redirects.contains(&digest) {
            return Ok(uri);
        }
        Err(refused("redirect_uri is not one that this client has registered".to_owned()))
    }

    /// What the client is told about at its redirect URI.
    fn checked(&self, asked: &Asked<'_>, client: &ClientRecord) -> Result<(Scopes, Digest), Refusal> {
        if asked.repeated {
            return Err(Refusal::request("a parameter is given twice"));
        }
        let scopes = self.scopes_for(client, asked.scope)?;
        if asked.response_type != Some("code") {
            return Err(Refusal::new(Code::UnsupportedResponseType, "response_type is `code`"));
        }
        if asked.response_mode.is_some_and(|mode| mode != "query") {
            return Err(Refusal::request("response_mode is `query`, or left out"));
        }
        let challenge = asked.code_challenge.and_then(Digest::decode);
        let challenge = challenge.filter(|_| asked.code_challenge_method == Some("S256"));
        let text = "code_challenge and code_challenge_method=S256 are needed (RFC 7636)";
        let challenge = challenge.ok_or_else(|| Refusal::request(text))?;
        self.check_resource(asked.resource)?;
        Ok((scopes, challenge))
    }

    /// The scopes that a client asks for: a part of those it has registered; nothing = all of these.
    pub(super) fn scopes_for(&self, client: &ClientRecord, asked: Option<&str>) -> Result<Scopes, Refusal> {
        let Some(text) = asked.filter(|text| !text.is_empty()) else { return Ok(client.scopes) };
        let scopes = scopes_of(text)?;
        let more = || Refusal::new(Code::InvalidScope, "the client has not registered all of these scopes");
        Some(scopes).filter(|scopes| client.scopes.covers(*scopes)).ok_or_else(more)
    }

    /// Refuses a token for something else (RFC 8707).
    pub(super) fn check_resource(&self, asked: Option<&str>) -> Result<(), Refusal> {
        let ours = self.rules.resource();
        if asked.is_none_or(|asked| asked == ours) {
            return Ok(());
        }
        Err(Refusal::new(Code::InvalidTarget, format!("resource is {ours}, or left out")))
    }

    /// The address that tells a client how its request has ended (RFC 9207: and who says so).
    fn answer(&self, redirect: &RedirectUri, state: Option<&str>, says: &[(&str, &str)]) -> String {
        let state = state.map(|state| ("state", state));
        let issuer = ("iss", self.rules.issuer.as_str());
        redirect.with(&says.iter().copied().chain(state).chain([issuer]).collect::<Vec<_>>())
    }

    /// The same for a request that was shown.
    pub(super) fn answer_to(&self, request: &Request, says: &[(&str, &str)]) -> String {
        self.answer(&request.redirect, request.state.as_deref(), says)
    }

    /// The request as the page carries it.
    ///
    /// # Errors
    /// A fault of ours.
    pub async fn seal(&self, request: &Request) -> Result<String, Error> {
        let form = Form {
            id: hex(&request.id),
            until: request.until.0,
            client: request.client.to_string(),
            redirect: request.redirect.as_str().to_owned(),
            scope: super::scope_text(request.scopes),
            state: request.state.clone(),
            challenge: request.challenge.encode(),
            user: request.user.as_ref().map(|user| user.as_str().to_owned()),
        };
        seal(&self.directory, DOMAIN, &form).await
    }

    /// The request of a page, looked at again (B-8): the client must still be there, and the redirect URI still be allowed.
    ///
    /// # Errors
    /// `invalid_request` for what is no sealed request of ours, or one whose time is over; the client or its redirect URI are no
    /// longer good; a fault of ours.
    pub async fn unseal(&self, text: &str) -> Result<Request, Refusal> {
        let bad = || Refusal::request("the page is too old, or not ours: begin again at the app");
        let form: Form = unseal(&self.directory, DOMAIN, text).await?.ok_or_else(bad)?;
        let until = UnixMillis(form.until);
        if until <= self.directory.0.clock.now() {
            return Err(bad());
        }
        let (client, known) = self.client_named(Some(&form.client)).await?;
        let redirect = self.redirect_of(&known, Some(&form.redirect))?;
        let scopes = self.scopes_for(&known, Some(&form.scope))?;
        let user = form.user.map(|user| Owner::new(&user).ok_or_else(bad)).transpose()?;
        Ok(Request {
            id: unhex(&form.id).ok_or_else(bad)?,
            until,
            client,
            client_name: known.name,
            redirect,
            scopes,
            state: form.state,
            challenge: Digest::decode(&form.challenge).ok_or_else(bad)?,
            user,
        })
    }
}

impl Request {
    pub(super) fn bound(&self) -> BoundRecord {
        BoundRecord { challenge: self.challenge, redirect: self.redirect.digest() }
    }
}

/// What a client is told of a refusal.
pub(super) fn no(refusal: &Refusal) -> [(&'static str, &str); 2] {
    [("error", refusal.code().name()), ("error_description", refusal.text())]
}

/// Anything as a text that only we can make.
pub(super) async fn seal<T: Serialize>(
    directory: &Directory,
    domain: &[u8],
    form: &T,
) -> Result<String, Error> {
    let secret = directory.ticket_secret().await?;
    let says = URL_SAFE_NO_PAD.encode(serde_json::to_vec(form).map_err(Error::internal)?);
    let seal = mac(&secret.bytes, domain, &says).finalize().into_bytes();
    Ok(format!("{}.{says}.{}", secret.number, URL_SAFE_NO_PAD.encode(seal)))
}

/// What [`seal`] was given; `None` if nobody gave it that.
pub(super) async fn unseal<T: for<'d> Deserialize<'d>>(
    directory: &Directory,
    domain: &[u8],
    text: &str,
) -> Result<Option<T>, Error> {
    if text.len() > MAX_SEALED_BYTES {
        return Ok(None);
    }
    let mut parts = text.split('.');
    let (Some(number), Some(says), Some(seal), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Ok(None);
    };
    let (Ok(number), Ok(seal)) = (number.parse(), URL_SAFE_NO_PAD.decode(seal)) else { return Ok(None) };
    let ring = directory.ring().await?;
    let Some(secret) = ring.as_ref().and_then(|ring| ring.find(number)) else { return Ok(None) };
    if mac(&secret.bytes, domain, says).verify_slice(&seal).is_err() {
        return Ok(None);
    }
    let says = URL_SAFE_NO_PAD.decode(says).map_err(Error::internal)?;
    serde_json::from_slice(&says).map(Some).map_err(Error::internal)
}

fn mac(secret: &[u8; crate::auth::ticket::SECRET_BYTES], domain: &[u8], says: &str) -> Hmac<Sha256> {
    Hmac::<Sha256>::new(secret.into()).chain_update(domain).chain_update([0]).chain_update(says)
}
