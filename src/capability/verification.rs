//! How Google classifies what a scope gives away.

use std::str::FromStr;

use serde::{Serialize, Serializer};

/// Google's classes of scopes, by what an app has to go through before anybody may grant them
/// (<https://support.google.com/cloud/answer/13463073>).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verification {
    /// "Non-sensitive": only the app's name and logo are looked at.
    Basic,
    /// "Sensitive": Google reviews the app and what it does with the data.
    Sensitive,
    /// "Restricted": reviewed more strictly, with a security assessment each year.
    Restricted,
}

impl Verification {
    /// All of them, the mildest first.
    pub const ALL: [Self; 3] = [Self::Basic, Self::Sensitive, Self::Restricted];

    /// The name that users see.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Basic => "basic",
            Self::Sensitive => "sensitive",
            Self::Restricted => "restricted",
        }
    }
}

impl FromStr for Verification {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|class| class.as_str() == text)
            .ok_or_else(|| {
                format!(
                    "verification is `{}`: expected `basic`, `sensitive` or `restricted`, as Google classifies the \
                     scope; leave it out where that is unknown",
                    crate::text::quoted(text, 80)
                )
            })
    }
}

impl Serialize for Verification {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
