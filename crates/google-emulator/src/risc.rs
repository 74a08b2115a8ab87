//! Cross-Account Protection from Google's side: the document that names issuer and keys, signed events, and pushing
//! them to a receiver (RFC 8417, RFC 8935).

use aws_lc_rs::digest::{SHA512, digest};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Map, Value, json};

use crate::{
    core::{Core, Unknown},
    event::{SecurityEvent, TokenForm},
    ids::AccountId,
    keys::{KeyError, RsaKey},
    message::{self, Call, Reply, wrong_method},
    random,
};

/// The issuer of events, as Google writes it there: with a slash at the end.
const EVENT_ISSUER: &str = "https://accounts.google.com/";

/// How much of a receiver's answer is read.
const ANSWER_LIMIT: usize = 64 * 1024;

/// Answers `/.well-known/risc-configuration`.
pub(crate) fn configuration(core: &Core, call: &Call) -> Reply {
    if call.method != Method::GET {
        return wrong_method("GET");
    }
    let document = json!({
        "issuer": EVENT_ISSUER,
        "jwks_uri": core.url("/oauth2/v3/certs"),
        "delivery_methods_supported": ["https://schemas.openid.net/secevent/risc/delivery-method/push"],
    });
    message::json(StatusCode::OK, &document)
}

/// Signs an event. `account` is whom it concerns.
pub(crate) fn sign(
    core: &Core,
    order: &SecurityEvent,
    account: Option<AccountId>,
) -> Result<String, KeyError> {
    let clients = || core.clients.iter().map(|client| client.id.clone()).collect();
    let audience: Vec<String> = order.audience.clone().unwrap_or_else(clients);
    let aud = match audience.as_slice() {
        [one] => json!(one),
        many => json!(many),
    };
    let claims = json!({
        "iss": order.issuer.as_deref().unwrap_or(EVENT_ISSUER),
        "aud": aud,
        "iat": core.now().as_second() - i64::from(order.age),
        "jti": order.id.clone().unwrap_or_else(random::name),
        "events": {address(&order.event): content(core, order, account)},
    });
    if order.foreign_key {
        return RsaKey::generate()?.0.sign_as("secevent+jwt", &claims);
    }
    core.signing_key().sign_as("secevent+jwt", &claims)
}

/// The address of an event's type.
fn address(event: &str) -> String {
    let family = match event {
        "tokens-revoked" | "token-revoked" => "oauth",
        _ => "risc",
    };
    format!("https://schemas.openid.net/secevent/{family}/event-type/{event}")
}

fn content(core: &Core, order: &SecurityEvent, account: Option<AccountId>) -> Value {
    let mut content = Map::new();
    if let Some(account) = account {
        content.insert("subject".into(), subject(core, order, account));
    }
    for (name, value) in [("reason", &order.reason), ("state", &order.state)] {
        if let Some(value) = value {
            content.insert(name.into(), value.clone().into());
        }
    }
    content.into()
}

fn subject(core: &Core, order: &SecurityEvent, account: AccountId) -> Value {
    if order.event != "token-revoked" {
        let sub = core.state().account(account).identity.sub.clone();
        return json!({"subject_type": "iss-sub", "iss": EVENT_ISSUER, "sub": sub});
    }
    let newest = core.state().newest_grant(account);
    let (alg, token) = match newest {
        Some(claims) => identifier(&core.minter.refresh(claims), order.form),
        None => ("prefix", String::new()),
    };
    json!({
        "subject_type": "oauth_token", "token_type": "refresh_token", "token_identifier_alg": alg, "token": token,
    })
}

fn identifier(token: &str, form: TokenForm) -> (&'static str, String) {
    match form {
        TokenForm::Prefix => ("prefix", token.chars().take(16).collect()),
        TokenForm::Hash => {
            let twice = digest(&SHA512, digest(&SHA512, token.as_bytes()).as_ref());
            ("hash_base64_sha512_sha512", BASE64_STANDARD.encode(twice))
        }
    }
}

/// Pushes a signed event; the receiver's status and answer, where one came.
pub(crate) async fn push(receiver: &str, set: &str) -> Option<(u16, String)> {
    let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let request = Request::post(receiver)
        .header(header::CONTENT_TYPE, "application/secevent+jwt")
        .header(header::ACCEPT, "application/json")
        .body(Full::from(set.to_owned()))
        .ok()?;
    let answer = client.request(request).await.ok()?;
    let status = answer.status().as_u16();
    let body = Limited::new(answer.into_body(), ANSWER_LIMIT)
        .collect()
        .await
        .ok()?;
    let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
    Some((status, body))
}

/// An address that events cannot be pushed to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the emulator cannot push events to `{0}`: name an http:// address, which is all that it speaks")]
pub struct InvalidReceiver(String);

/// Checks an address that events are to be pushed to.
pub(crate) fn check_receiver(url: Option<&str>) -> Result<(), InvalidReceiver> {
    let fits = |url: &str| url::Url::parse(url).is_ok_and(|url| url.scheme() == "http");
    match url.filter(|url| !fits(url)) {
        Some(url) => Err(InvalidReceiver(url.to_owned())),
        None => Ok(()),
    }
}

/// Why an event was not even signed.
#[derive(Debug, thiserror::Error)]
pub enum NotAnnounced {
    /// There is no such account.
    #[error(transparent)]
    Account(#[from] Unknown),
    /// No key to sign with.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// What the emulator pushes by itself when a person removes the app.
pub(crate) fn removal(account: &str) -> SecurityEvent {
    SecurityEvent {
        event: "tokens-revoked".to_owned(),
        account: Some(account.to_owned()),
        ..SecurityEvent::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::ISSUER;

    #[test]
    fn events_have_googles_addresses_and_issuer() {
        let base = "https://schemas.openid.net/secevent";
        assert_eq!(
            address("tokens-revoked"),
            format!("{base}/oauth/event-type/tokens-revoked")
        );
        assert_eq!(
            address("account-disabled"),
            format!("{base}/risc/event-type/account-disabled")
        );
        assert_eq!(EVENT_ISSUER.trim_end_matches('/'), ISSUER);
    }

    #[test]
    fn a_token_is_named_as_google_names_it() {
        let token = "1//0canary-refresh-token-of-alice";
        assert_eq!(
            identifier(token, TokenForm::Prefix),
            ("prefix", "1//0canary-refre".to_owned())
        );
        // printf '%s' … | openssl sha512 -binary | openssl sha512 -binary | base64 -w0
        let hash = "JRt4WDIakRGwf/g1PHykx+2zGQxbNgC4txHZR0hzK32HmaHe9MjDT/XM90PP0s6JYooSlGbQxETFAjP2wUN5lA==";
        assert_eq!(identifier(token, TokenForm::Hash).1, hash);
    }

    #[test]
    fn only_plain_http_is_pushed_to() {
        assert!(check_receiver(Some("http://127.0.0.1:8420/risc")).is_ok());
        assert!(check_receiver(None).is_ok());
        for odd in ["https://broker.example/risc", "127.0.0.1:8420", ""] {
            assert!(check_receiver(Some(odd)).is_err(), "{odd}");
        }
    }
}
