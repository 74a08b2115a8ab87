//! OAuth scopes and sets of them (RFC 6749, section 3.3).

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One scope, literally as the provider spells it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope(Arc<str>);

/// A text that no scope can be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a scope: visible ASCII without spaces, quotes or backslashes (RFC 6749, section 3.3)")]
pub struct InvalidScope(String);

impl Scope {
    /// The scope as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True when it only tells who somebody is (`OpenID` Connect Core 1.0, section 5.4, and Google's own names
    /// for the same).
    pub fn is_sign_in(&self) -> bool {
        matches!(
            self.as_str(),
            "openid"
                | "email"
                | "profile"
                | "https://www.googleapis.com/auth/userinfo.email"
                | "https://www.googleapis.com/auth/userinfo.profile"
        )
    }
}

impl FromStr for Scope {
    type Err = InvalidScope;

    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        let valid = |b: u8| b.is_ascii_graphic() && b != b'"' && b != b'\\';
        if (1..=512).contains(&text.len()) && text.bytes().all(valid) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidScope(crate::text::quoted(text, 80)))
        }
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl Serialize for Scope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A set of scopes, sorted, cheap to clone. Two sets with the same members are equal whatever the order
/// they were written in, so a set can key a cache.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ScopeSet(Arc<[Scope]>);

impl ScopeSet {
    /// Reads a space-separated list; what cannot be a scope is an error.
    pub fn parse(text: &str) -> Result<Self, InvalidScope> {
        text.split_ascii_whitespace().map(str::parse).collect()
    }

    /// The members, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &Scope> {
        self.0.iter()
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True without any member.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True when `scope` is literally a member.
    pub fn contains(&self, scope: &Scope) -> bool {
        self.0.binary_search(scope).is_ok()
    }

    /// True when every member of `self` is in `other`.
    pub fn is_subset(&self, other: &Self) -> bool {
        self.iter().all(|scope| other.contains(scope))
    }

    /// The members that are not in `other`.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        self.iter()
            .filter(|scope| !other.contains(scope))
            .cloned()
            .collect()
    }

    /// The members of both.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        self.iter().chain(other.iter()).cloned().collect()
    }
}

impl FromIterator<Scope> for ScopeSet {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        let mut scopes: Vec<Scope> = scopes.into_iter().collect();
        scopes.sort_unstable();
        scopes.dedup();
        Self(scopes.into())
    }
}

/// Space-separated, as the protocol carries it.
impl fmt::Display for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, scope) in self.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            f.write_str(scope.as_str())?;
        }
        Ok(())
    }
}

impl fmt::Debug for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_repetition_do_not_matter() {
        let a = ScopeSet::parse("b a  a").unwrap();
        assert_eq!(a, ScopeSet::parse("a b").unwrap());
        assert_eq!(a.to_string(), "a b");
    }

    #[test]
    fn sets_compare_literally() {
        let narrow = ScopeSet::parse("calendar.readonly").unwrap();
        let wide = ScopeSet::parse("calendar gmail.send").unwrap();
        assert!(!narrow.is_subset(&wide));
        assert!(narrow.is_subset(&narrow.union(&wide)));
    }

    #[test]
    fn what_is_new_is_what_the_other_lacks() {
        let asked = ScopeSet::parse("calendar gmail.send").unwrap();
        let granted = ScopeSet::parse("calendar drive").unwrap();
        assert_eq!(asked.without(&granted), ScopeSet::parse("gmail.send").unwrap());
        assert!(asked.without(&asked).is_empty());
    }

    #[test]
    fn what_cannot_be_a_scope_is_refused() {
        assert!(ScopeSet::parse("a \"b\"").is_err());
        assert!("a b".parse::<Scope>().is_err());
        assert!("".parse::<Scope>().is_err());
    }
}
