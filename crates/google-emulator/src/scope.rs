//! Scopes: their canonical names, what they mean to a person, and sets of them.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

/// The prefix of most of Google's scopes.
pub(crate) const PREFIX: &str = "https://www.googleapis.com/auth/";

/// What the consent page says about a scope, by its name without the prefix.
const WORDING: &[(&str, &str)] = &[
    ("openid", "Associate you with your personal info on Google"),
    ("userinfo.email", "See your primary Google Account email address"),
    (
        "userinfo.profile",
        "See your personal info, including any you have made publicly available",
    ),
    ("gmail.readonly", "View your email messages and settings"),
    ("gmail.send", "Send email on your behalf"),
    ("gmail.compose", "Manage drafts and send emails"),
    (
        "gmail.modify",
        "Read, compose and send emails from your Gmail account",
    ),
    (
        "gmail.metadata",
        "View your email message metadata such as labels and headers, but not the email body",
    ),
    (
        "https://mail.google.com/",
        "Read, compose, send and permanently delete all your email from Gmail",
    ),
    (
        "calendar",
        "See, edit, share and permanently delete all the calendars you can access",
    ),
    (
        "calendar.readonly",
        "See and download any calendar you can access",
    ),
    ("calendar.events", "View and edit events on all your calendars"),
    ("calendar.events.readonly", "View events on all your calendars"),
    (
        "drive",
        "See, edit, create and delete all of your Google Drive files",
    ),
    ("drive.readonly", "See and download all your Google Drive files"),
    (
        "drive.file",
        "See, edit, create and delete only the files you use with this app",
    ),
    (
        "drive.metadata.readonly",
        "See information about your Google Drive files",
    ),
    (
        "spreadsheets",
        "See, edit, create and delete all your Google Sheets spreadsheets",
    ),
    ("spreadsheets.readonly", "See all your Google Sheets spreadsheets"),
    (
        "documents",
        "See, edit, create and delete all your Google Docs documents",
    ),
    ("documents.readonly", "See all your Google Docs documents"),
];

/// The name under which Google records and reports a scope: `email` becomes `…/auth/userinfo.email`.
pub(crate) fn canonical(scope: &str) -> String {
    match scope {
        "email" | "profile" => format!("{PREFIX}userinfo.{scope}"),
        other => other.to_owned(),
    }
}

/// Whether Google could know this scope: a sign-in scope or a URL.
pub(crate) fn is_known(scope: &str) -> bool {
    matches!(scope, "openid" | "email" | "profile") || scope.starts_with("https://")
}

/// Whether a scope only signs a person in: those are not offered for unticking, and grants that hold
/// nothing else are spared by Testing mode.
pub(crate) fn is_sign_in(scope: &str) -> bool {
    scope == "openid"
        || scope
            .strip_prefix(PREFIX)
            .is_some_and(|name| name.starts_with("userinfo."))
}

/// Whether a scope reaches into Gmail: those grants end when the password changes.
pub(crate) fn is_gmail(scope: &str) -> bool {
    scope == "https://mail.google.com/"
        || scope
            .strip_prefix(PREFIX)
            .is_some_and(|name| name.starts_with("gmail."))
}

/// What the consent page says about a scope; a scope nobody described speaks for itself.
pub(crate) fn wording(scope: &str) -> &str {
    let name = scope.strip_prefix(PREFIX).unwrap_or(scope);
    WORDING
        .iter()
        .find(|(known, _)| *known == name)
        .map_or(scope, |(_, text)| text)
}

/// A set of scopes that many grants share.
pub(crate) struct ScopeSet {
    /// Its number in the table.
    pub(crate) id: u32,
    /// The scopes, joined by spaces, as answers carry them.
    pub(crate) text: String,
    items: Vec<String>,
}

impl ScopeSet {
    pub(crate) fn contains(&self, scope: &str) -> bool {
        self.items
            .binary_search_by(|item| item.as_str().cmp(scope))
            .is_ok()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.items.iter().map(String::as_str)
    }

    pub(crate) fn is_sign_in_only(&self) -> bool {
        self.iter().all(is_sign_in)
    }
}

/// Every scope set in use, each held once: ten thousand equal grants share one.
#[derive(Default)]
pub(crate) struct ScopeTable {
    by_text: HashMap<String, Arc<ScopeSet>>,
    by_id: Vec<Arc<ScopeSet>>,
}

impl ScopeTable {
    pub(crate) fn intern<S: Into<String>>(&mut self, scopes: impl IntoIterator<Item = S>) -> Arc<ScopeSet> {
        let items: BTreeSet<String> = scopes.into_iter().map(Into::into).collect();
        let items: Vec<String> = items.into_iter().collect();
        let text = items.join(" ");
        if let Some(known) = self.by_text.get(&text) {
            return known.clone();
        }
        let id = u32::try_from(self.by_id.len()).unwrap_or(u32::MAX);
        let set = Arc::new(ScopeSet {
            id,
            text: text.clone(),
            items,
        });
        self.by_text.insert(text, set.clone());
        self.by_id.push(set.clone());
        set
    }

    pub(crate) fn get(&self, id: u32) -> Option<&Arc<ScopeSet>> {
        self.by_id.get(usize::try_from(id).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn email_comes_back_under_its_long_name() {
        assert_eq!(
            canonical("email"),
            "https://www.googleapis.com/auth/userinfo.email"
        );
        assert_eq!(canonical("openid"), "openid");
    }

    #[test]
    fn equal_sets_are_one() {
        let mut table = ScopeTable::default();
        let first = table.intern(["b", "a", "a"]);
        let second = table.intern(["a", "b"]);
        assert_eq!(first.text, "a b");
        assert!(Arc::ptr_eq(&first, &second));
        assert!(
            table
                .get(first.id)
                .is_some_and(|set| set.contains("b") && !set.contains("c"))
        );
    }

    #[test]
    fn wording_is_for_people() {
        assert_eq!(
            wording("https://www.googleapis.com/auth/gmail.send"),
            "Send email on your behalf"
        );
        assert_eq!(wording("https://example.com/own"), "https://example.com/own");
    }
}
