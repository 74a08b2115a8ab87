//! The topics in their order, under the headings of the index.

use std::sync::LazyLock;

use super::{
    reading,
    topic::{Meanwhile, Topic},
};
use crate::broker::AgentState;

/// Topics of one kind.
pub(crate) struct Chapter {
    /// Its heading.
    pub(crate) title: &'static str,
    /// When to look there.
    pub(crate) lead: &'static str,
    /// What it holds, in order.
    pub(crate) topics: Vec<Topic>,
}

/// The files of these topics, by their slugs.
macro_rules! files {
    ($($slug:literal)*) => {
        &[$((
            $slug,
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/src/troubleshooting/", $slug, ".md")),
        )),*]
    };
}

impl Chapter {
    /// # Panics
    /// Where a file is not written as topics are; they are compiled in, and a test reads them all.
    fn new(title: &'static str, lead: &'static str, files: &[(&'static str, &'static str)]) -> Self {
        let read = |(slug, source): &(&'static str, &'static str)| {
            reading::topic(slug, source).unwrap_or_else(|fault| panic!("the topic {slug}: {fault}"))
        };
        Self {
            title,
            lead,
            topics: files.iter().map(read).collect(),
        }
    }
}

/// What people see.
pub(crate) static SYMPTOMS: LazyLock<Chapter> = LazyLock::new(|| {
    Chapter::new(
        "What people see",
        "Something does not work, or the provider shows a page that you did not expect.",
        files![
            "expired-credentials"
            "insufficient-permission"
            "access-blocked"
            "google-error-page"
            "unverified-app"
            "gmail-alone-fails"
            "ends-after-a-week"
            "agent-stopped-for-a-moment"
        ],
    )
});

/// How an agent, or an account, can stand, and what an agent is told when its request is at fault.
static STATES: LazyLock<Chapter> = LazyLock::new(|| {
    Chapter::new(
        "How an agent can stand",
        "An agent is a program that works for you. Its page, and its files, say in one word what it lacks.",
        files![
            "not-connected"
            "permission-missing"
            "reconnect-required"
            "revoked"
            "provider-unavailable"
            "misconfigured"
            "unknown-capability"
            "not-declared"
            "rate-limited"
            "invalid-request"
        ],
    )
});

/// How a consent can end, but for what Google answers.
pub(crate) static CONNECTING: LazyLock<Chapter> = LazyLock::new(|| {
    Chapter::new(
        "While connecting",
        "You opened a link to connect an account, and it did not end as it should. Nothing was changed.",
        files![
            "consent-denied"
            "nothing-granted"
            "no-refresh-token"
            "other-account"
            "connected-already"
            "other-server"
            "revoked-meanwhile"
            "narrower-grant"
            "link-used"
            "ended-already"
            "other-session"
            "incomplete-address"
            "consent-timed-out"
            "too-many-connections"
            "return-address"
            "several-accounts"
            "several-providers"
            "no-such-account"
            "nobody-consents"
            "account-not-kept"
        ],
    )
});

/// What Google may answer: about what a person allowed, about the app that asks, not at all, and about service accounts.
static ANSWERS: LazyLock<Chapter> = LazyLock::new(|| {
    Chapter::new(
        "What Google answers",
        "Google was asked for something and refused it, or did not answer.",
        files![
            "grant-ended"
            "session-ended"
            "blocked-by-organisation"
            "scope-not-granted"
            "scope-unknown"
            "code-refused"
            "identity-missing"
            "identity-unproven"
            "client-unknown"
            "client-deleted"
            "client-disabled"
            "service-disabled"
            "client-not-allowed"
            "redirect-address"
            "internal-app"
            "embedded-browser"
            "request-refused"
            "proof-refused"
            "proof-nonce"
            "refused"
            "google-busy"
            "no-connection"
            "proxy-credentials"
            "certificate"
            "answer-redirected"
            "not-google"
            "service-account-key-refused"
            "service-account-not-allowed"
            "service-account-scope-unknown"
            "service-account-gone"
            "delegation-missing"
            "delegated-key-refused"
        ],
    )
});

/// What any other provider may answer.
static OTHERS: LazyLock<Chapter> = LazyLock::new(|| {
    Chapter::new(
        "What another provider answers",
        "Another provider's server was asked for something, and refused it or gave an answer that is of no use.",
        files![
            "server-ended-access"
            "server-lacks-permission"
            "server-refuses-client"
            "server-busy"
            "server-answer-unusable"
            "server-behind-proxy"
            "server-consent-declined"
            "server-gives-no-lasting-permission"
        ],
    )
});

/// All of them, in the order that the index shows.
pub(crate) fn all() -> [&'static Chapter; 5] {
    [&SYMPTOMS, &STATES, &CONNECTING, &ANSWERS, &OTHERS]
}

/// The topic with this slug, and the chapter that it is in.
pub(crate) fn find_with_chapter(slug: &str) -> Option<(&'static Chapter, &'static Topic)> {
    let in_chapter = |chapter: &'static Chapter| chapter.topics.iter().map(move |topic| (chapter, topic));
    let mut topics = all().into_iter().flat_map(in_chapter);
    topics.find(|(_, topic)| topic.slug == slug)
}

/// The topic with this slug.
pub(crate) fn find(slug: &str) -> Option<&'static Topic> {
    find_with_chapter(slug).map(|(_, topic)| topic)
}

/// The slug of the topic about a state; none where all is well.
pub(crate) fn of_state(state: AgentState) -> Option<&'static str> {
    let about = |topic: &&Topic| topic.meanwhile == Meanwhile::State(state);
    STATES.topics.iter().find(about).map(|topic| topic.slug)
}
