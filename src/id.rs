//! Names that cannot be mixed up, each checked once, where it enters.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize};

use crate::{entropy::Entropy, text};

/// A name that does not fit its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not {kind}: {rule}")]
pub struct InvalidId {
    kind: &'static str,
    rule: &'static str,
    value: String,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $rule:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(value: &str) -> Result<Self, InvalidId> {
                let valid: fn(&str) -> bool = $valid;
                if valid(value) {
                    Ok(Self(value.into()))
                } else {
                    // Shown to a person, so neither endless nor able to move their cursor.
                    let value = text::quoted(value, 80);
                    Err(InvalidId { kind: $kind, rule: $rule, value })
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

id! {
    /// Who gives tokens: a provider, as people name it in a manifest's `integrations` (`google`, `google-sa`).
    ProviderId, "a provider",
    "1 to 32 lower-case letters, digits and hyphens, starting with a letter",
    |v| (1..=32).contains(&v.len())
        && v.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && v.starts_with(|c: char| c.is_ascii_lowercase())
}

id! {
    /// Whose account it is: a user or a team. Opaque, chosen by the platform.
    OwnerId, "an owner",
    "1 to 128 visible ASCII characters, without spaces, quotes, backslashes or `$`",
    |v| (1..=128).contains(&v.len())
        && v.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\'' | b'\\' | b'$' | b'`'))
}

id! {
    /// An agent's name: a DNS label (RFC 1123), because it names a directory and a pod's volume.
    AgentName, "an agent name",
    "1 to 63 lower-case letters, digits and hyphens, starting and ending with a letter or digit",
    |v| (1..=63).contains(&v.len())
        && v.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !v.starts_with('-') && !v.ends_with('-')
}

id! {
    /// One connected account.
    IntegrationId, "an integration id", "`int_` and 20 hexadecimal digits, as `integrations list` shows it",
    |v| v.strip_prefix("int_").is_some_and(|hex| {
        hex.len() == 20 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    })
}

id! {
    /// A key of the catalogue, such as `google.gmail.send`.
    CapabilityKey, "a capability key",
    "lower-case words of letters, digits and hyphens, joined by dots, such as `google.gmail.send`",
    |v| v.len() <= 128 && v.contains('.') && v.split('.').all(|word| {
        !word.is_empty()
            && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    })
}

id! {
    /// A name of a certificate, as its subject alternative names have it: with a colon one of its URIs, else one of its DNS
    /// names.
    CertificateName, "a certificate's name",
    "a URI or a DNS name, written as the certificate does, without a wildcard",
    |v| (1..=1024).contains(&v.len())
        && !v.contains(|c: char| c == '*' || c.is_whitespace() || c.is_control())
}

impl IntegrationId {
    /// A new id.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let mut text = String::from("int_");
        for byte in entropy.bytes::<10>() {
            use fmt::Write;
            let _ = write!(text, "{byte:02x}");
        }
        Self(text.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SystemEntropy;

    #[test]
    fn agent_names_are_dns_labels() {
        for good in ["a", "invoice-bot", "7", &"x".repeat(63)] {
            assert!(good.parse::<AgentName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a/b", "..", &"x".repeat(64), "ä"] {
            assert!(bad.parse::<AgentName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn owners_hold_nothing_that_a_shell_would_read() {
        assert!("alice@example.com".parse::<OwnerId>().is_ok());
        for bad in ["", "a b", "a\nb", "$(x)", "`x`", "a\"", "ä"] {
            assert!(bad.parse::<OwnerId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_error_names_kind_value_and_rule() {
        let error = "Invoice Bot\n".parse::<AgentName>().unwrap_err().to_string();
        assert_eq!(
            error,
            "`Invoice Bot\\n` is not an agent name: 1 to 63 lower-case letters, digits and hyphens, \
             starting and ending with a letter or digit"
        );
    }

    #[test]
    fn generated_ids_are_valid() {
        let id = IntegrationId::generate(&SystemEntropy);
        assert_eq!(id.as_str().parse::<IntegrationId>(), Ok(id));
    }
}
