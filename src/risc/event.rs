//! What a security event token announces: the events of Google's Cross-Account Protection.

use aws_lc_rs::digest::{SHA512, digest};
use base64::{Engine, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use serde_json::{Map, Value};
use subtle::ConstantTimeEq;

use crate::{jws::same_issuer, secret::RefreshToken, text};

const RISC: &str = "https://schemas.openid.net/secevent/risc/event-type/";
const OAUTH: &str = "https://schemas.openid.net/secevent/oauth/event-type/";

/// `jti` at most; Google's are shorter than 100.
const MAX_ID: usize = 255;
/// Events of one token at most; Google sends one.
const MAX_EVENTS: usize = 16;
/// How much of a text that Google chose is repeated.
const MAX_WORDS: usize = 100;

/// What happened, as far as Google tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventType {
    /// The account's open sessions were ended.
    SessionsRevoked,
    /// All of the account's grants to this project were revoked.
    TokensRevoked,
    /// One refresh token was revoked.
    TokenRevoked,
    /// The account was disabled.
    AccountDisabled,
    /// The account was enabled again.
    AccountEnabled,
    /// The account has to change its password.
    CredentialChangeRequired,
    /// Somebody tries whether events arrive.
    Verification,
    /// Something that is not acted on.
    Other,
}

impl EventType {
    /// The name at the end of its address.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SessionsRevoked => "sessions-revoked",
            Self::TokensRevoked => "tokens-revoked",
            Self::TokenRevoked => "token-revoked",
            Self::AccountDisabled => "account-disabled",
            Self::AccountEnabled => "account-enabled",
            Self::CredentialChangeRequired => "account-credential-change-required",
            Self::Verification => "verification",
            Self::Other => "unknown",
        }
    }

    fn parse(address: &str) -> Self {
        let known = |all: &[Self], name: &str| all.iter().copied().find(|kind| kind.as_str() == name);
        let found = match (address.strip_prefix(RISC), address.strip_prefix(OAUTH)) {
            (Some(name), _) => known(
                &[
                    Self::SessionsRevoked,
                    Self::AccountDisabled,
                    Self::AccountEnabled,
                    Self::CredentialChangeRequired,
                    Self::Verification,
                ],
                name,
            ),
            (_, Some(name)) => known(&[Self::TokensRevoked, Self::TokenRevoked], name),
            (None, None) => None,
        };
        found.unwrap_or(Self::Other)
    }
}

/// A token as an event names it, without telling it. No `Debug`: a prefix is part of a secret.
#[derive(Clone, PartialEq, Eq)]
pub enum TokenIdentifier {
    /// Its first 16 characters.
    Prefix(String),
    /// The SHA-512 of its SHA-512, in base64.
    DoubleHash(String),
}

/// How much of a token a prefix is.
const PREFIX: usize = 16;

impl TokenIdentifier {
    /// Whether this is the token.
    pub fn names(&self, token: &RefreshToken) -> bool {
        let token = token.expose().as_bytes();
        match self {
            Self::Prefix(prefix) => {
                // A shorter one would name many.
                prefix.len() == PREFIX
                    && token
                        .get(..PREFIX)
                        .is_some_and(|start| start.ct_eq(prefix.as_bytes()).into())
            }
            Self::DoubleHash(hash) => {
                let twice = digest(&SHA512, digest(&SHA512, token).as_ref());
                let twice = BASE64_STANDARD.encode(twice);
                // With the padding or without it.
                let bare = |text: &str| text.trim_end_matches('=').as_bytes().to_vec();
                bare(&twice).ct_eq(&bare(hash)).into()
            }
        }
    }

    fn read(subject: &Map<String, Value>) -> Option<Self> {
        let text = |name: &str| subject.get(name)?.as_str();
        if text("token_type").is_some_and(|kind| kind != "refresh_token") {
            return None;
        }
        let token = text("token")?.to_owned();
        match text("token_identifier_alg")? {
            "prefix" => Some(Self::Prefix(token)),
            "hash_base64_sha512_sha512" => Some(Self::DoubleHash(token)),
            _ => None,
        }
    }
}

/// Whom an event is about.
#[derive(Clone, PartialEq, Eq)]
pub enum Subject {
    /// A Google account, by its `sub`.
    Account(String),
    /// A refresh token.
    Token(TokenIdentifier),
    /// Nobody, or somebody that cannot be told.
    Unknown,
}

impl Subject {
    fn read(subject: Option<&Value>, issuer: &str) -> Self {
        let Some(Value::Object(subject)) = subject else {
            return Self::Unknown;
        };
        let text = |name: &str| subject.get(name).and_then(Value::as_str);
        match text("subject_type") {
            Some("iss-sub" | "iss_sub" | "id_token_claims") => match (text("iss"), text("sub")) {
                // Another issuer's `sub` may be anybody's.
                (Some(of), Some(sub)) if same_issuer(of, issuer) && !sub.is_empty() => {
                    Self::Account(sub.to_owned())
                }
                _ => Self::Unknown,
            },
            Some("oauth_token") => TokenIdentifier::read(subject).map_or(Self::Unknown, Self::Token),
            _ => Self::Unknown,
        }
    }
}

/// One event.
#[derive(Clone)]
pub struct SecurityEvent {
    /// What happened.
    pub kind: EventType,
    /// To whom.
    pub subject: Subject,
    /// Why, or for a verification what it was sent with: Google's words, made fit to be shown.
    pub words: String,
}

/// What one token announces.
#[derive(Clone)]
pub struct SecurityEvents {
    /// Names the token: another with the same is a repetition.
    pub id: String,
    /// When Google said so.
    pub issued_at: Timestamp,
    /// The events.
    pub events: Vec<SecurityEvent>,
}

/// Reads the claims of a token whose signature is right. `None` where they are not what they have to be.
pub(super) fn read(
    id: String,
    issued_at: i64,
    events: Map<String, Value>,
    issuer: &str,
) -> Option<SecurityEvents> {
    let fits = (1..=MAX_ID).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
    if !fits || events.is_empty() || events.len() > MAX_EVENTS {
        return None;
    }
    let event = |(address, content): (String, Value)| {
        let kind = EventType::parse(&address);
        let words = match kind {
            EventType::Verification => content.get("state"),
            EventType::Other => return other(&address),
            _ => content.get("reason"),
        };
        SecurityEvent {
            kind,
            subject: Subject::read(content.get("subject"), issuer),
            words: shown(words.and_then(Value::as_str).unwrap_or_default()),
        }
    };
    Some(SecurityEvents {
        id,
        issued_at: Timestamp::from_second(issued_at).ok()?,
        events: events.into_iter().map(event).collect(),
    })
}

fn other(address: &str) -> SecurityEvent {
    SecurityEvent {
        kind: EventType::Other,
        subject: Subject::Unknown,
        words: shown(address),
    }
}

fn shown(text: &str) -> String {
    text::quoted(text, MAX_WORDS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const ISSUER: &str = "https://accounts.google.com/";
    const TOKEN: &str = "1//0canary-refresh-token-of-alice";

    fn one(address: &str, content: Value) -> SecurityEvent {
        let events = Map::from_iter([(address.to_owned(), content)]);
        let mut read = read("id-1".into(), 1_705_314_600, events, ISSUER).unwrap();
        read.events.remove(0)
    }

    fn of_token(subject: &Value) -> Subject {
        one(&format!("{OAUTH}token-revoked"), json!({ "subject": subject })).subject
    }

    #[test]
    fn every_event_of_googles_page_is_known_by_its_address() {
        for (address, kind) in [
            (format!("{RISC}sessions-revoked"), EventType::SessionsRevoked),
            (format!("{OAUTH}tokens-revoked"), EventType::TokensRevoked),
            (format!("{OAUTH}token-revoked"), EventType::TokenRevoked),
            (format!("{RISC}account-disabled"), EventType::AccountDisabled),
            (format!("{RISC}account-enabled"), EventType::AccountEnabled),
            (
                format!("{RISC}account-credential-change-required"),
                EventType::CredentialChangeRequired,
            ),
            (format!("{RISC}verification"), EventType::Verification),
            (format!("{RISC}tokens-revoked"), EventType::Other),
            (format!("{OAUTH}unknown"), EventType::Other),
            ("tokens-revoked".to_owned(), EventType::Other),
        ] {
            assert_eq!(one(&address, json!({})).kind, kind, "{address}");
        }
    }

    #[test]
    fn a_subject_is_an_account_of_the_issuer() {
        let subject =
            |subject: Value| one(&format!("{RISC}account-disabled"), json!({ "subject": subject })).subject;
        for of in [ISSUER, "https://accounts.google.com", "accounts.google.com"] {
            let found = subject(json!({"subject_type": "iss-sub", "iss": of, "sub": "1098"}));
            assert!(found == Subject::Account("1098".into()), "{of}");
        }
        let claims = json!({"subject_type": "id_token_claims", "iss": ISSUER, "sub": "7", "email": "a@b"});
        assert!(subject(claims) == Subject::Account("7".into()));
        for odd in [
            json!({"subject_type": "iss-sub", "iss": "https://elsewhere.example/", "sub": "1098"}),
            json!({"subject_type": "iss-sub", "sub": "1098"}),
            json!({"subject_type": "iss-sub", "iss": ISSUER, "sub": ""}),
            json!({"subject_type": "email", "email": "alice@example.com"}),
            json!("1098"),
            json!(null),
        ] {
            assert!(subject(odd.clone()) == Subject::Unknown, "{odd}");
        }
    }

    #[test]
    fn a_token_is_known_by_its_beginning_and_by_its_double_hash() {
        let identifier = |alg: &str, token: &str| json!({"subject_type": "oauth_token", "token_type": "refresh_token", "token_identifier_alg": alg, "token": token});
        let names = |subject: &Value, token: &str| match of_token(subject) {
            Subject::Token(identifier) => identifier.names(&token.into()),
            _ => false,
        };
        assert!(names(&identifier("prefix", &TOKEN[..16]), TOKEN));
        assert!(
            !names(&identifier("prefix", &TOKEN[..15]), TOKEN),
            "too short to name one"
        );
        assert!(!names(&identifier("prefix", ""), ""));
        assert!(!names(
            &identifier("prefix", &TOKEN[..16]),
            "1//0canary-other-token"
        ));
        assert!(!names(&identifier("prefix", &TOKEN[..16]), "1//0can"));
        // printf '%s' … | openssl sha512 -binary | openssl sha512 -binary | base64 -w0
        let hash_of_token =
            "JRt4WDIakRGwf/g1PHykx+2zGQxbNgC4txHZR0hzK32HmaHe9MjDT/XM90PP0s6JYooSlGbQxETFAjP2wUN5lA==";
        let hash_of_other =
            "pFSDaVnIHy9JaUxCfvdF24XhlU9WEKIlzYatLhPElt3c8grLZ8RsXhJIlGFf9uWP6ALPNkqYMq+fwIW9nmQAuw==";
        let double = "hash_base64_sha512_sha512";
        assert!(names(&identifier(double, hash_of_token), TOKEN));
        assert!(names(
            &identifier(double, hash_of_token.trim_end_matches('=')),
            TOKEN
        ));
        assert!(!names(&identifier(double, hash_of_other), TOKEN));
        assert!(!names(&identifier("hash_base64_sha256", hash_of_token), TOKEN));
        let mut of_access = identifier("prefix", &TOKEN[..16]);
        of_access["token_type"] = json!("access_token");
        assert!(of_token(&of_access) == Subject::Unknown);
    }

    #[test]
    fn words_are_cut_and_cleaned() {
        let event = one(
            &format!("{RISC}account-disabled"),
            json!({"reason": "hijacking\u{1b}[2J"}),
        );
        assert_eq!(event.words, "hijacking\\u{1b}[2J");
        let event = one(&format!("{RISC}verification"), json!({"state": "x".repeat(500)}));
        assert_eq!(event.words.len(), MAX_WORDS);
    }

    #[test]
    fn what_is_not_of_the_form_is_refused() {
        let event = Map::from_iter([(format!("{RISC}verification"), json!({}))]);
        let fits = |id: &str, at, events: &Map<String, Value>| {
            read(id.to_owned(), at, events.clone(), ISSUER).is_some()
        };
        assert!(fits("id", 0, &event));
        assert!(!fits("", 0, &event));
        assert!(!fits("two words", 0, &event));
        assert!(!fits(&"x".repeat(256), 0, &event));
        assert!(!fits("id", i64::MAX, &event));
        assert!(!fits("id", 0, &Map::new()));
        let many = (0..17).map(|n| (format!("{RISC}{n}"), json!({}))).collect();
        assert!(!fits("id", 0, &many));
    }

    proptest! {
        #[test]
        fn no_subject_panics(kind in ".{0,20}", value in ".{0,60}") {
            for name in ["iss", "sub", "token", "token_identifier_alg"] {
                of_token(&json!({"subject_type": kind, name: value}));
                of_token(&json!({"subject_type": "oauth_token", "token_identifier_alg": "prefix", name: value}));
            }
        }
    }
}
