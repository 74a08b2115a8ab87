//! An emulator in the same process with a clock that stands still, a client, and the steps of a connect.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use google_emulator::{ClientType, Emulator, Handle, ManualClock, Options};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;
use tokio::task::JoinHandle;
use url::{Url, form_urlencoded};

pub(crate) const CALLBACK: &str = "http://127.0.0.1:8420/oauth/callback";
pub(crate) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub(crate) const DESKTOP: &str = "desktop.apps.googleusercontent.com";
pub(crate) const SEND: &str = "https://www.googleapis.com/auth/gmail.send";
pub(crate) const MAIL_READONLY: &str = "https://www.googleapis.com/auth/gmail.readonly";
pub(crate) const CALENDAR: &str = "https://www.googleapis.com/auth/calendar";
pub(crate) const CALENDAR_READONLY: &str = "https://www.googleapis.com/auth/calendar.readonly";
pub(crate) const DRIVE_READONLY: &str = "https://www.googleapis.com/auth/drive.readonly";
pub(crate) const EMAIL: &str = "https://www.googleapis.com/auth/userinfo.email";

/// Parameters that differ from the usual ones.
pub(crate) type Changes<'a> = &'a [(&'a str, &'a str)];

pub(crate) struct Google {
    pub(crate) handle: Handle,
    pub(crate) clock: ManualClock,
    http: Client<HttpConnector, Full<Bytes>>,
    task: JoinHandle<()>,
}

impl Drop for Google {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.text()))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The parameters that the browser carries back to the app.
    pub(crate) fn sent_back(&self) -> Vec<(String, String)> {
        assert_eq!(self.status, StatusCode::FOUND, "{}", self.text());
        let location = Url::parse(self.header("location")).unwrap();
        assert!(location.as_str().starts_with(CALLBACK), "{location}");
        location.query_pairs().into_owned().collect()
    }

    pub(crate) fn sent_back_value(&self, name: &str) -> String {
        let pairs = self.sent_back();
        let found = pairs.iter().find(|(key, _)| key == name);
        found
            .unwrap_or_else(|| panic!("no {name} in {pairs:?}"))
            .1
            .clone()
    }

    /// Status and `error`, of an OAuth error.
    pub(crate) fn refused(&self) -> (u16, String) {
        (
            self.status.as_u16(),
            self.json()["error"].as_str().unwrap().to_owned(),
        )
    }

    /// The granted scopes, sorted.
    pub(crate) fn scopes(&self) -> Vec<String> {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text());
        let mut scopes: Vec<String> = self.json()["scope"]
            .as_str()
            .unwrap()
            .split(' ')
            .map(str::to_owned)
            .collect();
        scopes.sort();
        scopes
    }

    pub(crate) fn token(&self, name: &str) -> Option<String> {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text());
        self.json()[name].as_str().map(str::to_owned)
    }

    pub(crate) fn access_token(&self) -> String {
        self.token("access_token").unwrap()
    }

    pub(crate) fn refresh_token(&self) -> Option<String> {
        self.token("refresh_token")
    }
}

/// Two clients of one project, on free ports.
pub(crate) fn options() -> Options {
    Options {
        listen: "127.0.0.1:0".parse().unwrap(),
        other_clients: vec![google_emulator::Client {
            id: DESKTOP.into(),
            secret: "GOCSPX-desktop".into(),
            kind: ClientType::Desktop,
            redirect_uris: Vec::new(),
        }],
        ..Options::default()
    }
}

pub(crate) async fn google() -> Google {
    google_with(options()).await
}

pub(crate) async fn google_with(options: Options) -> Google {
    let clock = ManualClock::new("2024-01-15T10:30:00Z".parse().unwrap());
    let clocked = Options {
        clock: clock.clock(),
        ..options
    };
    let emulator = Emulator::bind(clocked).await.unwrap();
    let handle = emulator.handle();
    let task = tokio::spawn(emulator.serve(std::future::pending()));
    Google {
        handle,
        clock,
        http: Client::builder(TokioExecutor::new()).build_http(),
        task,
    }
}

pub(crate) fn form(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .finish()
}

pub(crate) fn challenge(verifier: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, verifier.as_bytes());
    BASE64_URL_SAFE_NO_PAD.encode(digest)
}

/// Parameters, of which later ones replace earlier ones; an empty value takes one out.
fn merged<'a>(base: &[(&'a str, &'a str)], changes: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut all: Vec<_> = base
        .iter()
        .filter(|(name, _)| !changes.iter().any(|(changed, _)| changed == name))
        .copied()
        .collect();
    all.extend(changes.iter().filter(|(_, value)| !value.is_empty()));
    all
}

impl Google {
    pub(crate) fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    pub(crate) fn now(&self) -> i64 {
        self.clock.now().as_second()
    }

    /// `None` where the connection was closed without an answer.
    pub(crate) async fn try_send(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> Option<Answer> {
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = self.http.request(request.body(Full::from(body)).unwrap());
        // A safety net only: no test waits for it.
        let answer = tokio::time::timeout(Duration::from_secs(60), answer)
            .await
            .expect("an answer in time");
        let (parts, body) = answer.ok()?.into_parts();
        let body = body.collect().await.ok()?.to_bytes();
        Some(Answer {
            status: parts.status,
            headers: parts.headers,
            body,
        })
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> Answer {
        let url = format!("{}{path}", self.handle.base_url());
        self.try_send(method, &url, headers, body)
            .await
            .expect("an answer")
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], String::new()).await
    }

    /// A call of an API with a bearer token.
    pub(crate) async fn call(&self, method: Method, path: &str, token: &str, body: Option<Value>) -> Answer {
        let bearer = format!("Bearer {token}");
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-type", "application/json"),
        ];
        let body = body.map(|value| value.to_string()).unwrap_or_default();
        self.send(method, path, &headers, body).await
    }

    /// A request to the control address.
    pub(crate) async fn control(&self, method: Method, path: &str, body: Value) -> Answer {
        let url = format!("{}{path}", self.handle.control_url());
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        self.try_send(method, &url, &[("content-type", "application/json")], body)
            .await
            .expect("an answer")
    }

    pub(crate) async fn post(&self, path: &str, pairs: &[(&str, &str)]) -> Answer {
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        self.send(Method::POST, path, &headers, form(pairs)).await
    }

    /// The address of a consent of the main client.
    pub(crate) fn consent_path(scope: &str, changes: &[(&str, &str)]) -> String {
        let challenge = challenge(VERIFIER);
        let base = [
            ("client_id", Options::default().client_id),
            ("redirect_uri", CALLBACK.to_owned()),
            ("response_type", "code".to_owned()),
            ("scope", scope.to_owned()),
            ("state", "st4te".to_owned()),
            ("code_challenge", challenge),
            ("code_challenge_method", "S256".to_owned()),
            ("access_type", "offline".to_owned()),
        ];
        let base: Vec<(&str, &str)> = base.iter().map(|(name, value)| (*name, value.as_str())).collect();
        format!("/o/oauth2/v2/auth?{}", form(&merged(&base, changes)))
    }

    /// Alice ticks `ticked` and allows it.
    pub(crate) async fn allow(&self, path: &str, ticked: &str) -> Answer {
        let mut decision = vec![("account", "alice@example.com"), ("decision", "allow")];
        decision.extend(ticked.split_whitespace().map(|scope| ("scope", scope)));
        self.post(path, &decision).await
    }

    /// Exchanges a code as the main client.
    pub(crate) async fn exchange(&self, code: &str, changes: &[(&str, &str)]) -> Answer {
        let client_id = Options::default().client_id;
        let base = [
            ("grant_type", "authorization_code"),
            ("client_id", client_id.as_str()),
            ("client_secret", "GOCSPX-emulator"),
            ("redirect_uri", CALLBACK),
            ("code_verifier", VERIFIER),
            ("code", code),
        ];
        self.post("/token", &merged(&base, changes)).await
    }

    /// Refreshes as the main client.
    pub(crate) async fn refresh(&self, refresh_token: &str, changes: &[(&str, &str)]) -> Answer {
        let client_id = Options::default().client_id;
        let base = [
            ("grant_type", "refresh_token"),
            ("client_id", client_id.as_str()),
            ("client_secret", "GOCSPX-emulator"),
            ("refresh_token", refresh_token),
        ];
        self.post("/token", &merged(&base, changes)).await
    }

    /// Alice connects the main client; every scope is ticked.
    pub(crate) async fn connect(&self, scope: &str, changes: &[(&str, &str)]) -> Answer {
        let back = self.allow(&Self::consent_path(scope, changes), scope).await;
        self.exchange(&back.sent_back_value("code"), &[]).await
    }

    /// Alice connects the desktop client of the same project.
    pub(crate) async fn connect_desktop(&self, scope: &str, changes: &[(&str, &str)]) -> Answer {
        let changes = merged(&[("client_id", DESKTOP)], changes);
        let back = self.allow(&Self::consent_path(scope, &changes), scope).await;
        let client = [("client_id", DESKTOP), ("client_secret", "GOCSPX-desktop")];
        self.exchange(&back.sent_back_value("code"), &client).await
    }

    /// An access token of Alice's for these scopes.
    pub(crate) async fn access_token(&self, scopes: &[&str]) -> String {
        let refresh_token = self.handle.seed_grant("alice@example.com", scopes);
        self.refresh(&refresh_token, &[]).await.access_token()
    }
}
