//! Secrets as their own types.
//!
//! None of them has `Debug`, `Display` or `Serialize`: a secret can only be read by naming it with
//! `expose`, which is easy to find and to review. All are wiped when dropped and compared in constant time.

mod locked;
pub(crate) mod pem;
pub mod shape;

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use locked::Locked;

macro_rules! secret {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(SecretString);

        impl $name {
            /// The secret itself. Whoever calls this answers for where it goes.
            pub fn expose(&self) -> &str {
                self.0.expose_secret()
            }
        }

        impl From<String> for $name {
            fn from(value: String) -> Self {
                Self(SecretString::from(value))
            }
        }

        impl From<&str> for $name {
            fn from(value: &str) -> Self {
                Self(SecretString::from(value))
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.expose().as_bytes().ct_eq(other.expose().as_bytes()).into()
            }
        }

        impl Eq for $name {}
    };
}

secret! {
    /// A short-lived bearer token (RFC 6750).
    AccessToken
}
secret! {
    /// A long-lived grant (RFC 6749, section 1.5). It never leaves the broker.
    RefreshToken
}
secret! {
    /// An authorization code (RFC 6749, section 4.1.2).
    AuthorizationCode
}
secret! {
    /// The OAuth client's own secret.
    ClientSecret
}
secret! {
    /// A PKCE code verifier (RFC 7636).
    PkceVerifier
}
secret! {
    /// The `state` of a consent under way (RFC 6749, section 10.12): whoever knows it may finish it.
    StateToken
}
secret! {
    /// A service account's private key in PEM, or the whole key file that holds it.
    PrivateKey
}

secret! {
    /// What an agent proves itself with at the token endpoint for credential files.
    AgentSecret
}
secret! {
    /// What a one-time link to the console carries: it opens one session.
    LinkToken
}
secret! {
    /// What a browser's cookie carries: it is the session.
    SessionToken
}
secret! {
    /// What a cookie carries by which the browser that ended a consent is known again.
    BrowserToken
}
secret! {
    /// What the forms of a session's pages carry, so that no other page can send them.
    FormToken
}

/// A 256-bit key, on a page that is locked in memory where the limit allows it. Its clones are the same page.
#[derive(Clone)]
pub struct Key(Arc<Locked>);

impl Key {
    /// Takes 32 bytes as a key.
    pub fn new(mut bytes: [u8; 32]) -> Self {
        Self(Arc::new(Locked::take(&mut bytes)))
    }

    /// The key itself.
    pub fn expose(&self) -> &[u8; 32] {
        self.0.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_compare_by_value() {
        assert!(AccessToken::from("a") == AccessToken::from("a"));
        assert!(AccessToken::from("a") != AccessToken::from("b"));
        assert!(AccessToken::from("a") != AccessToken::from("ab"));
    }
}
