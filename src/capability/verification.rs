//! How Google classifies what a scope gives away.

use serde::{Serialize, Serializer};

use super::error::EntryFault;

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

impl Verification {
    /// The class of this name.
    pub(super) fn named(text: &str) -> Result<Self, EntryFault> {
        let found = Self::ALL.into_iter().find(|class| class.as_str() == text);
        found.ok_or_else(|| EntryFault::Verification(crate::text::quoted(text, 80)))
    }
}

impl Serialize for Verification {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
