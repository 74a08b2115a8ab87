//! `/help`: a page for everything that can go wrong, made from the topics of [`crate::help`]. They hold no data, so anybody
//! may read them.

use askama::Template;
use axum::{Router, routing::get};
use hyper::{StatusCode, Uri};

use super::answer::{Answer, html};
use crate::{
    broker::AgentState,
    help::{
        chapters::{self, Chapter, find_with_chapter},
        inline,
        text::{Span, Target, Text},
        topic::{Act, Actor, Meanwhile, Step, Topic},
    },
    provider::{Retried, failure::Sign, google::failure_table::FAILURES, sentences},
};

/// Where the pages are.
const PATH: &str = "/help";

/// The address of the page with this slug.
pub(super) fn path(slug: &str) -> String {
    format!("{PATH}/{slug}")
}

/// True when `path` is [`PATH`] or below it.
pub(super) fn serves(path: &str) -> bool {
    path.strip_prefix(PATH)
        .is_some_and(|below| below.is_empty() || below.starts_with('/'))
}

pub(super) fn routes() -> Router {
    let page = get(|address: Uri| async move { answer(address.path()) });
    Router::new()
        .route(PATH, page.clone())
        .route("/help/", page.clone())
        .route("/help/{*slug}", page)
}

/// The page at `path`.
fn answer(path: &str) -> Answer {
    let slug = path.strip_prefix(PATH).unwrap_or_default();
    // The links are relative, so that they hold behind a proxy that adds a path.
    let root = "../".repeat(slug.matches('/').count());
    // The stable codes are spelled with underscores: they lead to their page as well.
    let slug = slug.trim_start_matches('/').replace('_', "-");
    match find_with_chapter(&slug) {
        Some((chapter, topic)) => html(StatusCode::OK, page(chapter, topic)),
        None if slug.is_empty() => html(StatusCode::OK, index(&root, false)),
        None => html(StatusCode::NOT_FOUND, index(&root, true)),
    }
}

/// A marked text as HTML.
#[derive(Template)]
#[template(path = "web/help/marked.html")]
struct Marked {
    text: Text,
    /// How the daemon's own address is reached from the page.
    root: &'static str,
}

/// The template above escapes what it writes.
impl askama::filters::HtmlSafe for Marked {}

impl Marked {
    fn of(text: &Text) -> Self {
        let text = text.clone();
        Self { text, root: "../" }
    }

    /// A sentence of the program's own, which is marked in the same way.
    fn sentence(sentence: &str) -> Self {
        Self::of(&inline(sentence).unwrap_or_else(|_| Text::verbatim(sentence)))
    }

    fn href(&self, target: &Target) -> String {
        match target {
            Target::Topic(slug) => format!("{}help/{slug}", self.root),
            Target::Page(url) => url.clone(),
        }
    }
}

#[derive(Template)]
#[template(path = "web/help/index.html")]
struct Index<'a> {
    root: &'a str,
    title: &'static str,
    missed: bool,
    chapters: Vec<IndexChapter>,
}

struct IndexChapter {
    title: &'static str,
    lead: &'static str,
    entries: Vec<Entry>,
}

/// A line that leads to a page.
struct Entry {
    slug: &'static str,
    title: Marked,
    /// Who can do most.
    who: &'static str,
}

impl Entry {
    fn of(topic: &Topic) -> Self {
        Self {
            slug: topic.slug,
            title: Marked::of(&topic.title),
            who: topic.acts.first().map_or("", |act| act.who.name()),
        }
    }
}

fn index(root: &str, missed: bool) -> Result<String, askama::Error> {
    let chapters = chapters::all().into_iter().map(|chapter| IndexChapter {
        title: chapter.title,
        lead: chapter.lead,
        entries: chapter.topics.iter().map(Entry::of).collect(),
    });
    Index {
        root,
        title: "What went wrong, and what to do",
        missed,
        chapters: chapters.collect(),
    }
    .render()
}

#[derive(Template)]
#[template(path = "web/help/topic.html")]
struct TopicPage<'a> {
    root: &'static str,
    title: String,
    chapter: &'static str,
    heading: Marked,
    who: Vec<&'static str>,
    what: Vec<Marked>,
    acts: Vec<Acts<'a>>,
    turn_to: Option<&'static str>,
    /// Some step has a command with words to fill in.
    fill_in: bool,
    meanwhile: Marked,
    said: Vec<Marked>,
    words: Vec<String>,
    causes: Vec<Entry>,
}

struct Acts<'a> {
    heading: &'static str,
    /// The steps follow each other, and are more than one.
    numbered: bool,
    /// The owner is told to get a link.
    needs_link: bool,
    steps: Vec<(Marked, Option<&'a str>)>,
}

fn page(chapter: &Chapter, topic: &Topic) -> Result<String, askama::Error> {
    let rows = || {
        FAILURES
            .rows()
            .iter()
            .filter(|failure| failure.help == topic.slug)
    };
    let mut said: Vec<String> = rows()
        .map(|failure| sentences::row(failure, "Google", Retried::ByItself))
        .collect();
    said.dedup();
    let mut words: Vec<String> = rows().flat_map(|failure| codes(failure.sign)).collect();
    words.extend(topic.words.iter().cloned());
    words.dedup();
    TopicPage {
        root: "../",
        title: topic.heading(),
        chapter: chapter.title,
        heading: Marked::of(&topic.title),
        who: topic.acts.iter().map(|act| act.who.name()).collect(),
        what: topic.what.iter().map(Marked::of).collect(),
        acts: topic.acts.iter().map(acts).collect(),
        turn_to: topic.turn_to(),
        fill_in: topic
            .commands()
            .any(|command| command.split(' ').any(is_placeholder)),
        meanwhile: Marked::sentence(&meanwhile(topic.meanwhile)),
        said: said.iter().map(|said| Marked::sentence(said)).collect(),
        words,
        causes: causes(topic),
    }
    .render()
}

fn acts(act: &Act) -> Acts<'_> {
    let leads_to_link = |step: &Step| step.text.plain().contains(" link");
    Acts {
        heading: act.who.heading(),
        numbered: act.ordered && act.steps.len() > 1,
        needs_link: act.who == Actor::Owner && act.steps.iter().any(leads_to_link),
        steps: act
            .steps
            .iter()
            .map(|step| (Marked::of(&step.text), step.command.as_deref()))
            .collect(),
    }
}

/// A word of a command that stands for the reader's own.
fn is_placeholder(word: &str) -> bool {
    word.len() > 1 && word.bytes().all(|b| b.is_ascii_uppercase())
}

/// How Google's answer can be recognized, in its own words.
fn codes(sign: Sign) -> Vec<String> {
    match sign {
        Sign::Busy => ["HTTP 408", "HTTP 429", "HTTP 5xx"].map(str::to_owned).to_vec(),
        Sign::Status(statuses) => statuses.iter().map(|status| format!("HTTP {status}")).collect(),
        Sign::Error(codes) | Sign::Reason(codes) => codes.iter().map(|code| (*code).to_owned()).collect(),
        Sign::Subtype(code, subtypes) => {
            let both = |subtype: &&str| format!("{code}, {subtype}");
            subtypes.iter().map(both).collect()
        }
        Sign::Redirected | Sign::Silent | Sign::Other => Vec::new(),
    }
}

/// What agents see meanwhile, marked as topics are.
fn meanwhile(meanwhile: Meanwhile) -> String {
    match meanwhile {
        Meanwhile::State(state) => {
            let token = if state == AgentState::ProviderUnavailable {
                "Agents may still have a token that lives."
            } else {
                "Agents that need it have no token."
            };
            let state = state.as_str();
            format!("{token} Their state is `{state}`, in the file `env`, on their socket and over gRPC.")
        }
        Meanwhile::Renewal(state) => format!(
            "Agents keep the token that they have for as long as it lives. After that they have none, and their state is \
             `{}`. If it happened while an account was being connected, nothing was changed.",
            state.as_str()
        ),
        Meanwhile::Answer(code) => format!(
            "The request is answered with `{}`. What the agent has already stays good.",
            code.as_str()
        ),
        Meanwhile::Unchanged => {
            "Nothing of it: nothing was changed, and they go on with what they had.".to_owned()
        }
        Meanwhile::Ended => {
            "What came of it the first time. That it was asked for again changes nothing for them.".to_owned()
        }
        Meanwhile::HasToken => format!(
            "The agent has a token, and its state is `{}`: it is an interface (an API) that refuses what the agent \
             does with it.",
            AgentState::Active.as_str()
        ),
    }
}

/// What a state can be due to.
fn causes(topic: &Topic) -> Vec<Entry> {
    let Meanwhile::State(state) = topic.meanwhile else {
        return Vec::new();
    };
    let topics = chapters::all().into_iter().flat_map(|chapter| &chapter.topics);
    topics
        .filter(|topic| topic.meanwhile == Meanwhile::Renewal(state))
        .map(Entry::of)
        .collect()
}

#[cfg(test)]
mod tests;
