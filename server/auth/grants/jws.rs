//! Access tokens: ES256 alone, in exactly the form that we write (ADR 13).
//!
//! It owns how a token is signed and read. There is no choice of algorithm to get wrong: the header of a token must be, byte by
//! byte, that of one of our keys. It must never know what a token is good for.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tidemark_store::UnixMillis;

use crate::error::Error;

/// The longest access token, in bytes: with the longest names, about half of it.
pub(super) const MAX_TOKEN_BYTES: usize = 4096;

/// What every JSON object in base64url begins with: so a token is told from a key.
const OBJECT: &str = "eyJ";

/// What a token says (RFC 9068); times are whole seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Claims {
    pub(super) iss: String,
    pub(super) sub: String,
    pub(super) aud: [String; 1],
    pub(super) client_id: String,
    pub(super) scope: String,
    pub(super) iat: u64,
    pub(super) nbf: u64,
    pub(super) exp: u64,
    /// The grant, and which of its tokens this is.
    pub(super) jti: String,
    /// The grant.
    pub(super) sid: String,
    /// How often its key and its user had changed when it was made.
    pub(super) epoch: u64,
}

/// Whether a credential shall be taken for an access token, well-formed or not.
pub(in crate::auth) fn looks_like_token(text: &str) -> bool {
    text.starts_with(OBJECT)
}

/// A pair of keys.
pub(super) struct SigningKey {
    pair: EcdsaKeyPair,
    pub(super) document: Vec<u8>,
    pub(super) made_at: UnixMillis,
    kid: String,
    /// The header of every token of this key, as it stands in one.
    header: String,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("kid", &self.kid).finish_non_exhaustive()
    }
}

/// The public half of a key, for `jwks.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Jwk {
    /// The kind of key.
    pub kty: &'static str,
    /// Its curve.
    pub crv: &'static str,
    /// A coordinate, in base64url.
    pub x: String,
    /// The other one.
    pub y: String,
    /// What it is for.
    #[serde(rename = "use")]
    pub purpose: &'static str,
    /// The only algorithm that it is used with.
    pub alg: &'static str,
    /// Its name: its thumbprint (RFC 7638).
    pub kid: String,
}

impl SigningKey {
    /// A new key, as the document that is kept of it.
    pub(super) fn generate() -> Result<Vec<u8>, Error> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        document.map(|document| document.as_ref().to_vec()).map_err(|_| Error::internal("no key was made"))
    }

    /// The key of this document; `None` if it is none.
    pub(super) fn read(document: Vec<u8>, made_at: UnixMillis) -> Option<Self> {
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &document, &SystemRandom::new())
                .ok()?;
        let (x, y) = coordinates(pair.public_key().as_ref())?;
        // The members in the order of RFC 7638.
        let jwk = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        let kid = URL_SAFE_NO_PAD.encode(Sha256::digest(jwk));
        let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"ES256","kid":"{kid}","typ":"at+jwt"}}"#));
        Some(Self { pair, document, made_at, kid, header })
    }

    /// A token that says this.
    pub(super) fn sign(&self, claims: &Claims) -> Result<String, Error> {
        let payload = URL_SAFE_NO_PAD.encode(serde_json::to_vec(claims).map_err(Error::internal)?);
        let signed = format!("{}.{payload}", self.header);
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes());
        let signature = signature.map_err(|_| Error::internal("the token cannot be signed"))?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// What a token says, if this key signed it.
    fn open(&self, text: &str) -> Option<Claims> {
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        if header != self.header {
            return None;
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.pair.public_key());
        public.verify(signed.as_bytes(), &signature).ok()?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
    }

    pub(super) fn jwk(&self) -> Option<Jwk> {
        let (x, y) = coordinates(self.pair.public_key().as_ref())?;
        Some(Jwk { kty: "EC", crv: "P-256", x, y, purpose: "sig", alg: "ES256", kid: self.kid.clone() })
    }
}

/// What a token says, if one of these keys signed it.
pub(super) fn open(text: &str, keys: &[SigningKey]) -> Option<Claims> {
    if text.len() > MAX_TOKEN_BYTES {
        return None;
    }
    keys.iter().find_map(|key| key.open(text))
}

/// The coordinates of an uncompressed point.
fn coordinates(point: &[u8]) -> Option<(String, String)> {
    let (x, y) = point.strip_prefix(&[4])?.split_at_checked(32)?;
    (y.len() == 32).then(|| (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y)))
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::{Value, json};

    use super::*;

    pub(in crate::auth::grants) fn key() -> SigningKey {
        SigningKey::read(SigningKey::generate().unwrap(), UnixMillis(0)).unwrap()
    }

    fn claims() -> Claims {
        Claims {
            iss: "https://id.example".to_owned(),
            sub: "acme".to_owned(),
            aud: ["https://id.example/v1".to_owned()],
            client_id: "client_1".to_owned(),
            scope: "models.read".to_owned(),
            iat: 1,
            nbf: 1,
            exp: 601,
            jti: "grant_1.1".to_owned(),
            sid: "grant_1".to_owned(),
            epoch: 0,
        }
    }

    fn b64(text: impl AsRef<[u8]>) -> String {
        URL_SAFE_NO_PAD.encode(text)
    }

    /// Any text, signed by a key as it stands.
    fn signed(key: &SigningKey, header: &str, payload: &str) -> String {
        let signed = format!("{}.{}", b64(header), b64(payload));
        let signature = key.pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", b64(signature))
    }

    fn header(key: &SigningKey) -> String {
        format!(r#"{{"alg":"ES256","kid":"{}","typ":"at+jwt"}}"#, key.kid)
    }

    #[test]
    fn b_21_a_token_reads_back_and_is_of_a_key_of_the_ring() {
        let keys = [key(), key()];
        for key in &keys {
            let token = key.sign(&claims()).unwrap();
            assert!(looks_like_token(&token));
            assert_eq!(open(&token, &keys), Some(claims()));
        }
        assert_eq!(open(&key().sign(&claims()).unwrap(), &keys), None, "another key");
        let back = SigningKey::read(keys[0].document.clone(), UnixMillis(0)).unwrap();
        assert_eq!((back.jwk(), format!("{back:?}").contains("pair")), (keys[0].jwk(), false));
    }

    #[test]
    fn check_30_whatever_is_not_exactly_our_form_is_refused() {
        let (ours, foreign) = (key(), key());
        let payload = serde_json::to_string(&claims()).unwrap();
        let good = signed(&ours, &header(&ours), &payload);
        let keys = [ours];
        let [ours] = &keys;
        assert_eq!(open(&good, &keys), Some(claims()));
        let (x, y) = coordinates(ours.pair.public_key().as_ref()).unwrap();
        let hs256 = |secret: &[u8]| {
            use hmac::{Hmac, KeyInit as _, Mac as _};
            let signed = format!(
                "{}.{}",
                b64(format!(r#"{{"alg":"HS256","kid":"{}","typ":"at+jwt"}}"#, ours.kid)),
                b64(&payload)
            );
            let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
            mac.update(signed.as_bytes());
            format!("{signed}.{}", b64(mac.finalize().into_bytes()))
        };
        let other_header = |change: fn(&mut Value)| {
            let mut value: Value = serde_json::from_str(&header(ours)).unwrap();
            change(&mut value);
            signed(ours, &value.to_string(), &payload)
        };
        let none = |alg: &str| format!("{}.{}.", b64(format!(r#"{{"alg":"{alg}"}}"#)), b64(&payload));
        let mut attacks = vec![
            ("none", none("none")),
            ("None", none("None")),
            (
                "none with our kid",
                format!("{}.{}.", b64(header(ours).replace("ES256", "none")), b64(&payload)),
            ),
            ("HS256 with the public point", hs256(ours.pair.public_key().as_ref())),
            ("HS256 with the text of the JWK", hs256(format!("{x}{y}").as_bytes())),
            ("HS256 with nothing", hs256(b"")),
            ("another alg", other_header(|header| header["alg"] = json!("RS384"))),
            ("another kid", other_header(|header| header["kid"] = json!("x"))),
            ("no kid", other_header(|header| drop(header.as_object_mut().unwrap().remove("kid")))),
            ("another typ", other_header(|header| header["typ"] = json!("JWT"))),
            ("a key of its own", other_header(|header| header["jwk"] = json!({"kty": "EC"}))),
            ("a key elsewhere", other_header(|header| header["jku"] = json!("https://evil.example"))),
            ("crit", other_header(|header| header["crit"] = json!(["exp"]))),
            ("alg twice", signed(ours, &header(ours).replacen('{', r#"{"alg":"none","#, 1), &payload)),
            ("blanks in the header", signed(ours, &format!(" {}", header(ours)), &payload)),
            ("our header, another key", signed(&foreign, &header(ours), &payload)),
            ("another key", signed(&foreign, &header(&foreign), &payload)),
            ("a signature of nothing", format!("{}.", good.rsplit_once('.').unwrap().0)),
            ("a signature of zeros", format!("{}.{}", good.rsplit_once('.').unwrap().0, b64([0; 64]))),
            ("two parts", good.rsplit_once('.').unwrap().0.to_owned()),
            ("four parts", format!("{good}.x")),
            ("padding", format!("{good}=")),
            ("a blank behind", format!("{good} ")),
            ("oversize", signed(ours, &header(ours), &format!("{payload}{}", " ".repeat(MAX_TOKEN_BYTES)))),
            ("garbage", "eyJ".to_owned()),
            ("nothing", String::new()),
            ("exp twice", signed(ours, &header(ours), &payload.replacen('{', r#"{"exp":9999999999,"#, 1))),
            ("an unknown claim", signed(ours, &header(ours), &payload.replacen('{', r#"{"admin":true,"#, 1))),
            ("two audiences", signed(ours, &header(ours), &payload.replace(r#"/v1"]"#, r#"/v1","x"]"#))),
        ];
        for claim in ["iss", "sub", "aud", "client_id", "scope", "iat", "nbf", "exp", "jti", "sid", "epoch"] {
            let mut value = serde_json::to_value(claims()).unwrap();
            value.as_object_mut().unwrap().remove(claim);
            attacks.push((claim, signed(ours, &header(ours), &value.to_string())));
            value[claim] = json!({"not": "this"});
            attacks.push((claim, signed(ours, &header(ours), &value.to_string())));
        }
        for (what, token) in attacks {
            assert_eq!(open(&token, &keys), None, "{what}");
        }
        for place in 0..good.len() {
            let mut changed = good.clone().into_bytes();
            changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(open(&changed, &keys).is_none(), "byte {place}");
        }
    }
}
