//! An app that is let in by OAuth 2, and who lets it in (§7).

use reqwest::redirect::Policy;
use serde_json::{Value, json};

/// Lets apps in. Nothing of a request says what the gateway is called, so the issuer need not be where it listens.
pub const SETTINGS: &str = "[oauth]\nmode = \"both\"\nissuer = \"http://127.0.0.1:1\"\nregistration = \"open\"\nrate = \"off\"\n\
                                   registration_rate = \"off\"\n";

const BACK: &str = "http://127.0.0.1:9/cb";
const VERIFIER: &str = "a-verifier-of-enough-letters-0123456789-abcdef";
/// The S256 challenge of it.
const CHALLENGE: &str = "ntdU3X1S2B8tbNlUvTMWCIg6-tiZf49qppXvgL0AwGA";

/// An app, and the browser of whoever lets it in.
#[derive(Clone)]
pub struct App {
    http: reqwest::Client,
    base: String,
    pub client: String,
}

/// What it was given.
#[derive(Clone, Debug)]
pub struct Given {
    pub access: String,
    pub refresh: String,
}

impl App {
    /// A new app at this gateway, which is no bridge: a bridge alone does not let apps in.
    pub async fn register(base: &str) -> Self {
        let http = reqwest::Client::builder().redirect(Policy::none()).build().unwrap();
        let body = json!({"client_name": "App", "redirect_uris": ["http://127.0.0.1/cb"]});
        let made = http.post(format!("{base}/oauth2/register")).json(&body).send().await.unwrap();
        assert_eq!(made.status(), 201);
        let made: Value = made.json().await.unwrap();
        let client = made["client_id"].as_str().unwrap().to_owned();
        Self { http, base: base.to_owned(), client }
    }

    /// The same app, at a gateway that listens elsewhere now.
    pub fn at(&self, base: &str) -> Self {
        Self { base: base.to_owned(), ..self.clone() }
    }

    /// Tokens, by somebody who shows this key.
    pub async fn ask(&self, key: &str) -> Given {
        let query = [
            ("client_id", self.client.as_str()),
            ("redirect_uri", BACK),
            ("response_type", "code"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ];
        let url = reqwest::Url::parse_with_params(&format!("{}/oauth2/authorize", self.base), query).unwrap();
        let page = self.http.get(url).send().await.unwrap().text().await.unwrap();
        let seal = page.split("name=\"request\" value=\"").nth(1).unwrap().split('"').next().unwrap();
        let answer = self.post("authorize", &[("request", seal), ("key", key), ("decision", "key")]).await;
        assert_eq!(answer.status(), 303);
        let location = reqwest::Url::parse(answer.headers()["location"].to_str().unwrap()).unwrap();
        let code = location.query_pairs().find(|(name, _)| name == "code").unwrap().1.into_owned();
        let form = [
            ("grant_type", "authorization_code"),
            ("client_id", &self.client),
            ("code", &code),
            ("redirect_uri", BACK),
            ("code_verifier", VERIFIER),
        ];
        given(self.post("token", &form).await).await.unwrap().unwrap()
    }

    /// The tokens after these; none if they are good for nothing any more.
    pub async fn refresh(&self, token: &str) -> Option<Given> {
        self.try_refresh(token).await.unwrap()
    }

    /// The same; an error if the gateway went away before it had answered.
    pub async fn try_refresh(&self, token: &str) -> reqwest::Result<Option<Given>> {
        let form = [("grant_type", "refresh_token"), ("client_id", &self.client), ("refresh_token", token)];
        given(self.send("token", &form).await?).await
    }

    async fn post(&self, path: &str, form: &[(&str, &str)]) -> reqwest::Response {
        self.send(path, form).await.unwrap()
    }

    async fn send(&self, path: &str, form: &[(&str, &str)]) -> reqwest::Result<reqwest::Response> {
        let body = reqwest::Url::parse_with_params("http://x", form).unwrap().query().unwrap().to_owned();
        let request = self.http.post(format!("{}/oauth2/{path}", self.base));
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        request.body(body).send().await
    }
}

async fn given(reply: reqwest::Response) -> reqwest::Result<Option<Given>> {
    let status = reply.status();
    let said: Value = reply.json().await?;
    if status != 200 {
        assert_eq!((status.as_u16(), &said["error"]), (400, &json!("invalid_grant")));
        return Ok(None);
    }
    let text = |name: &str| said[name].as_str().unwrap().to_owned();
    Ok(Some(Given { access: text("access_token"), refresh: text("refresh_token") }))
}
