//! Every failure has a topic, and every topic is written as the pages need it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use super::{
    chapters, find, of_state,
    topic::{Meanwhile, Topic},
};
use crate::{
    broker::{AgentState, ProblemCode, failure_state},
    cause::UnusableAnswer,
    http_client::TransportError,
    provider::{
        ProviderError,
        failure::Call,
        google::{
            self,
            failure_table::{FAILURES, TESTING_MODE},
        },
        oidc,
    },
};

fn topic(slug: &str) -> &'static Topic {
    find(slug).unwrap_or_else(|| panic!("no page explains {slug}"))
}

fn all() -> impl Iterator<Item = &'static Topic> {
    chapters::all().into_iter().flat_map(|chapter| &chapter.topics)
}

#[test]
fn every_row_of_googles_answers_has_a_page_that_says_what_agents_see() {
    for failure in FAILURES.rows() {
        let page = topic(failure.help);
        let connecting = !failure.calls.is_empty()
            && failure
                .calls
                .iter()
                .all(|c| matches!(c, Call::Authorize | Call::Exchange));
        let expected = if connecting {
            Meanwhile::Unchanged
        } else {
            Meanwhile::Renewal(failure_state(failure.kind))
        };
        assert_eq!(page.meanwhile, expected, "{}", failure.help);
    }
}

#[test]
fn getting_no_answer_has_pages_too() {
    let errors = [
        TransportError::NoRoots(String::new()),
        TransportError::Certificate(String::new()),
        TransportError::NoConnection,
        TransportError::Timeout(std::time::Duration::from_secs(1)),
        TransportError::TooLarge(1),
        TransportError::Network(String::new()),
    ];
    let errors = errors
        .into_iter()
        .map(|error| ProviderError::transport("h", error));
    let host = "h".to_owned();
    for error in errors.chain([ProviderError::unusable(UnusableAnswer::NoKeys { host })]) {
        let seen = Meanwhile::Renewal(failure_state(error.kind));
        let help = error.help(google::account().topics);
        assert_eq!(topic(help).meanwhile, seen, "{error}");
    }
    topic("identity-unproven");
}

#[test]
fn what_goes_wrong_at_another_provider_is_explained_without_google() {
    let topics = &oidc::failure_table::TOPICS;
    let rows = oidc::failure_table::FAILURES.rows().iter();
    let slugs: BTreeSet<_> = rows
        .map(|failure| failure.help)
        .chain([
            topics.declined,
            topics.nothing_granted,
            topics.no_refresh_token,
            topics.identity_unproven,
            topics.unusable_answer,
            topics.no_connection,
            topics.certificate,
            topics.proxy_credentials,
        ])
        .collect();
    for slug in slugs {
        let page = topic(slug);
        for text in texts(page).chain([page.heading(), page.next_step()]) {
            assert!(!text.to_lowercase().contains("google"), "{slug}: {text}");
        }
    }
}

#[test]
fn what_can_go_wrong_at_every_provider_is_explained_for_all_of_them() {
    let states = AgentState::ALL.into_iter().filter_map(of_state);
    let of_none = [
        "rate-limited",
        "invalid-request",
        "unknown-capability",
        "not-declared",
        "link-used",
        "ended-already",
        "other-session",
        "incomplete-address",
        "consent-timed-out",
        "too-many-connections",
        "return-address",
        "several-accounts",
        "several-providers",
        "other-account",
        "other-server",
        "connected-already",
        "revoked-meanwhile",
        "narrower-grant",
        "no-such-account",
        "account-not-kept",
    ];
    for slug in states.chain(of_none) {
        let page = topic(slug);
        assert!(!page.heading().contains("Google"), "{slug}");
        for text in texts(page) {
            // What Google alone has is said to be Google's.
            let example = text.contains("at which provider: Google, or") || text.contains("(Google, or");
            let sentences = text
                .split_inclusive(". ")
                .filter(|sentence| sentence.contains("Google"));
            for sentence in sentences {
                let is_marked =
                    sentence.starts_with("At Google") || sentence.contains("to Google, or to one of");
                assert!(example || is_marked, "{slug}: {sentence}");
            }
        }
    }
}

#[test]
fn every_state_and_code_has_a_page_of_its_name() {
    for state in AgentState::ALL {
        let Some(slug) = of_state(state) else {
            assert_eq!(state, AgentState::Active);
            continue;
        };
        assert_eq!(slug, state.as_str().replace('_', "-"));
    }
    for code in [
        ProblemCode::UnknownCapability,
        ProblemCode::NotDeclared,
        ProblemCode::RateLimited,
        ProblemCode::InvalidRequest,
    ] {
        let page = topic(&code.as_str().replace('_', "-"));
        assert_eq!(page.meanwhile, Meanwhile::Answer(code));
    }
}

#[test]
fn no_two_pages_share_an_address_and_each_says_who_can_do_what() {
    let mut seen = BTreeSet::new();
    let word = |b: u8| b.is_ascii_lowercase() || b == b'-';
    for topic in all() {
        let slug = topic.slug;
        assert!(seen.insert(slug), "two pages are {slug}");
        assert!(slug.bytes().all(word), "{slug}");
        assert!(!topic.what.is_empty() && !topic.acts.is_empty(), "{slug}");
        for act in &topic.acts {
            assert!(!act.steps.is_empty(), "{slug}: {:?}", act.who);
            let times = topic.acts.iter().filter(|other| other.who == act.who).count();
            assert_eq!(times, 1, "{slug}: {:?}", act.who);
        }
        for text in texts(topic) {
            assert!(text.ends_with(['.', ':', '?']), "{slug}: {text}");
            assert!(!text.contains("  "), "{slug}: {text}");
        }
    }
    assert!(seen.len() > 50, "{}", seen.len());
}

/// What a page says in sentences.
fn texts(topic: &Topic) -> impl Iterator<Item = String> {
    let steps = topic.acts.iter().flat_map(|act| &act.steps);
    let texts = topic.what.iter().chain(steps.map(|step| &step.text));
    texts.map(super::text::Text::plain)
}

/// The files as they lie there, by their slugs.
fn files() -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/src/troubleshooting");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let read = |file: std::path::PathBuf| {
        let slug = file.file_stem().unwrap().to_str().unwrap().to_owned();
        (slug, fs::read_to_string(file).unwrap())
    };
    files.map(read).collect()
}

#[test]
fn every_file_is_a_topic_of_one_chapter() {
    let slugs: BTreeSet<_> = all().map(|topic| topic.slug.to_owned()).collect();
    assert_eq!(slugs, files().into_keys().collect());
}

#[test]
fn no_file_holds_html() {
    for (slug, source) in files() {
        for event in pulldown_cmark::Parser::new(&source) {
            let is_html = matches!(
                event,
                pulldown_cmark::Event::Html(_) | pulldown_cmark::Event::InlineHtml(_)
            );
            assert!(!is_html, "{slug}: {event:?}");
        }
    }
}

#[test]
fn googles_rule_of_seven_days_is_told_in_the_words_that_agents_read() {
    let words = &topic("ends-after-a-week").words;
    assert!(words.iter().any(|words| words == TESTING_MODE), "{words:?}");
}
