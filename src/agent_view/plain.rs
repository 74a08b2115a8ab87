//! What `env` can carry: names and values that a shell, a dotenv parser and `docker --env-file` read alike, without quotes.

use std::collections::HashSet;

use thiserror::Error;

use super::document::{Credential, Document};

/// Why a document cannot be used. It names a field and never its value, which may be a token.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum Unusable {
    /// It is no such document.
    #[error("what this version cannot read")]
    Unreadable,
    /// One of its fields cannot become a line.
    #[error("what no file can carry: `{field}` {reason}")]
    Field {
        /// Where it is.
        field: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

const NO_NAME: &str = "is no name of a variable";
const TAKEN_NAME: &str = "is the name of another variable as well";
const NO_TOKEN: &str = "holds characters that RFC 6750 does not allow";
const NOT_PLAIN: &str = "holds characters that a shell or a dotenv parser would change";

/// The lines that are not a credential's.
pub(super) const STATE: &str = "TOKEN_BROKER_STATE";
pub(super) const ACTION_URL: &str = "TOKEN_BROKER_ACTION_URL";

impl Document<'static> {
    /// Reads a document that another machine wrote.
    ///
    /// # Errors
    /// When it is none, or when one of its fields cannot become a line of `env`.
    pub(crate) fn read(json: &[u8]) -> Result<Self, Unusable> {
        let document: Self = serde_json::from_slice(json).map_err(|_| Unusable::Unreadable)?;
        document.check()?;
        Ok(document)
    }
}

impl Document<'_> {
    /// Says whether each name and value that becomes a line is one that every reader takes literally. The address for people
    /// is left out by itself where it is not.
    ///
    /// # Errors
    /// When one is not.
    pub(crate) fn check(&self) -> Result<(), Unusable> {
        require(
            is_plain_value(&self.status.state),
            || "status.state".to_owned(),
            NOT_PLAIN,
        )?;
        let mut names = HashSet::from([STATE, ACTION_URL]);
        for (index, credential) in self.credentials.iter().enumerate() {
            credential.check(&mut names, |field| format!("credentials[{index}].{field}"))?;
        }
        Ok(())
    }
}

impl<'a> Credential<'a> {
    fn check(&'a self, names: &mut HashSet<&'a str>, path: impl Fn(&str) -> String) -> Result<(), Unusable> {
        let env = &self.env;
        let own = [
            ("env.access_token", Some(env.access_token.as_str())),
            ("env.expires_at", Some(env.expires_at.as_str())),
            ("env.capabilities", env.capabilities.name()),
            ("env.account", env.account.as_deref()),
        ];
        for (field, name) in own {
            let Some(name) = name else { continue };
            require(is_variable_name(name), || path(field), NO_NAME)?;
            require(names.insert(name), || path(field), TAKEN_NAME)?;
        }
        if let Some(token) = &self.token {
            let is_token = is_bearer_token(token.access_token.expose());
            require(is_token, || path("token.access_token"), NO_TOKEN)?;
        }
        // An address that has no line may be any.
        let account = self.account.as_deref().filter(|_| env.account.is_some());
        let is_plain = account.is_none_or(is_plain_value);
        require(is_plain, || path("account"), NOT_PLAIN)
    }
}

fn require(is_so: bool, field: impl FnOnce() -> String, reason: &'static str) -> Result<(), Unusable> {
    if is_so {
        return Ok(());
    }
    Err(Unusable::Field {
        field: field(),
        reason,
    })
}

/// A name that a shell assigns to.
fn is_variable_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// True for a value that every reader of env files takes literally. `~` after `:` is left out with the rest
/// of what a shell expands in an assignment.
pub(super) fn is_plain_value(value: &str) -> bool {
    value.bytes().all(|b| {
        b.is_ascii_alphanumeric()
            || matches!(
                b,
                b'-' | b'.' | b'_' | b'+' | b'/' | b'=' | b':' | b'%' | b'?' | b',' | b'@'
            )
    })
}

/// The `b64token` of RFC 6750, section 2.1, without a leading `~`, which a shell would expand.
pub(super) fn is_bearer_token(token: &str) -> bool {
    !token.is_empty()
        && !token.starts_with('~')
        && token
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'='))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const GOOGLE: &str = "GOOGLE_OAUTH_ACCESS_TOKEN";

    /// A document with a person's account and a service account's.
    fn document() -> Value {
        let token = |text: &str| json!({ "access_token": text, "expires_at": "2030-01-01T01:00:00Z", "expires_in": 60 });
        json!({
            "status": { "state": "active", "owner": "o'brien", "message": "It's well;\nall of it." },
            "credentials": [
                {
                    "provider": "google", "serves_google_libraries": true, "account": "o'brien@example.com",
                    "env": { "access_token": GOOGLE, "expires_at": "GOOGLE_OAUTH_TOKEN_EXPIRES_AT",
                             "capabilities": { "in": "GOOGLE_OAUTH_CAPABILITIES" } },
                    "capabilities": ["google.gmail.send"], "token": token("ya29.a"),
                },
                {
                    "provider": "google-sa", "serves_google_libraries": true, "account": "robot@example.com",
                    "env": { "access_token": "GOOGLE_SA_ACCESS_TOKEN", "expires_at": "GOOGLE_SA_TOKEN_EXPIRES_AT",
                             "capabilities": { "with": "google" }, "account": "GOOGLE_SA_EMAIL" },
                    "capabilities": [], "token": token("ya29.b"),
                },
            ],
        })
    }

    fn read(document: &Value) -> Result<String, String> {
        let read = Document::read(document.to_string().as_bytes());
        read.map(|document| document.env().to_string())
            .map_err(|unusable| unusable.to_string())
    }

    #[test]
    fn what_cannot_become_a_line_is_refused_by_its_field_and_the_value_is_not_told() {
        read(&document()).unwrap();
        let evil = "a\nEVIL=1";
        for (field, value, reason) in [
            ("/status/state", evil, NOT_PLAIN),
            ("/status/state", "$(evil)", NOT_PLAIN),
            ("/credentials/0/env/access_token", evil, NO_NAME),
            ("/credentials/0/env/access_token", "", NO_NAME),
            ("/credentials/0/env/access_token", "1_TOKEN", NO_NAME),
            ("/credentials/0/env/expires_at", "A=EVIL", NO_NAME),
            ("/credentials/0/env/capabilities/in", "export EVIL", NO_NAME),
            ("/credentials/1/env/account", evil, NO_NAME),
            ("/credentials/1/env/access_token", GOOGLE, TAKEN_NAME),
            ("/credentials/1/env/account", STATE, TAKEN_NAME),
            ("/credentials/1/env/expires_at", ACTION_URL, TAKEN_NAME),
            ("/credentials/0/token/access_token", evil, NO_TOKEN),
            ("/credentials/1/token/access_token", "`evil`", NO_TOKEN),
            ("/credentials/1/token/access_token", "", NO_TOKEN),
            ("/credentials/1/account", evil, NOT_PLAIN),
            ("/credentials/1/account", "'evil'@example.com", NOT_PLAIN),
        ] {
            let mut document = document();
            *document.pointer_mut(field).unwrap() = value.into();
            let refused = read(&document).unwrap_err();
            let name = field
                .trim_start_matches('/')
                .trim_end_matches("/in")
                .replace('/', ".");
            let name = name
                .replace("credentials.0", "credentials[0]")
                .replace("credentials.1", "credentials[1]");
            assert_eq!(
                refused,
                format!("what no file can carry: `{name}` {reason}"),
                "{value:?}"
            );
        }
        assert_eq!(
            read(&json!({ "status": 1 })).unwrap_err(),
            "what this version cannot read"
        );
    }

    #[test]
    fn what_a_newer_broker_says_beside_it_is_left_out() {
        let whole = read(&document()).unwrap();
        for elsewhere in [json!("nowhere"), json!({ "in_file": { "path": "x" } })] {
            let mut newer = document();
            newer["news"] = json!([1]);
            newer["status"]["state"] = "paused".into();
            newer["credentials"][0]["env"]["capabilities"] = elsewhere;
            let expected: String = whole
                .replace("=active", "=paused")
                .split_inclusive('\n')
                .filter(|line| !line.starts_with("GOOGLE_OAUTH_CAPABILITIES="))
                .collect();
            assert_eq!(read(&newer).unwrap(), expected);
        }
    }
}
