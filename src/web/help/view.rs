//! The pages themselves.

use askama::Template;
use hyper::StatusCode;

use super::{
    Act, Actor, CHAPTERS, Chapter, Meanwhile, PATH, Step, Topic, all,
    text::{Span, spans},
};
use crate::{
    broker::AgentState,
    google::classify::{FAILURES, Sign},
    web::answer::{Answer, html},
};

/// True when `path` is [`PATH`] or below it.
pub(in crate::web) fn serves(path: &str) -> bool {
    path.strip_prefix(PATH)
        .is_some_and(|below| below.is_empty() || below.starts_with('/'))
}

/// The page at `path`.
pub(in crate::web) fn answer(path: &str) -> Answer {
    let slug = path.strip_prefix(PATH).unwrap_or_default();
    // The links are relative, so that they hold behind a proxy that adds a path.
    let root = "../".repeat(slug.matches('/').count());
    // The stable codes are spelled with underscores: they lead to their page as well.
    let slug = slug.trim_start_matches('/').replace('_', "-");
    match find_with_chapter(&slug) {
        Some((chapter, topic)) => html(StatusCode::OK, page(&chapter, topic)),
        None if slug.is_empty() => html(StatusCode::OK, index(&root, false)),
        None => html(StatusCode::NOT_FOUND, index(&root, true)),
    }
}

fn find_with_chapter(slug: &str) -> Option<(Chapter, &'static Topic)> {
    all().find(|(_, topic)| topic.slug == slug)
}

/// A marked text as HTML.
#[derive(Template)]
#[template(path = "web/help/marked.html")]
struct Marked {
    spans: Vec<Span>,
    /// How the daemon's own address is reached from the page.
    root: &'static str,
}

/// The template above escapes what it writes.
impl askama::filters::HtmlSafe for Marked {}

impl Marked {
    fn of(text: &'static str) -> Self {
        Self::from(spans(text))
    }

    fn href(&self, target: &str) -> String {
        match target.strip_prefix('/') {
            Some(own) => format!("{}{own}", self.root),
            None => target.to_owned(),
        }
    }
}

impl From<Vec<Span>> for Marked {
    fn from(spans: Vec<Span>) -> Self {
        Self { spans, root: "../" }
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
    fn of(topic: &'static Topic) -> Self {
        Self {
            slug: topic.slug,
            title: Marked::of(topic.title),
            who: topic.acts.first().map_or("", |act| act.who.name()),
        }
    }
}

fn index(root: &str, missed: bool) -> Result<String, askama::Error> {
    let chapters = CHAPTERS.iter().map(|chapter| IndexChapter {
        title: chapter.title,
        lead: chapter.lead,
        entries: chapter.topics().map(Entry::of).collect(),
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
struct TopicPage {
    root: &'static str,
    title: String,
    chapter: &'static str,
    heading: Marked,
    who: Vec<&'static str>,
    what: Vec<Marked>,
    acts: Vec<Acts>,
    turn_to: Option<&'static str>,
    /// Some step has a command with words to fill in.
    fill_in: bool,
    meanwhile: Marked,
    said: Vec<Marked>,
    words: Vec<String>,
    causes: Vec<Entry>,
}

struct Acts {
    heading: &'static str,
    /// The steps follow each other, and are more than one.
    numbered: bool,
    /// The owner is told to get a link.
    needs_link: bool,
    steps: Vec<(Marked, Option<&'static str>)>,
}

fn page(chapter: &Chapter, topic: &'static Topic) -> Result<String, askama::Error> {
    let rows = || FAILURES.iter().filter(|failure| failure.help == topic.slug);
    let mut said: Vec<&'static str> = rows().map(|failure| failure.sentence).collect();
    said.dedup();
    let mut words: Vec<String> = rows().flat_map(|failure| codes(failure.sign)).collect();
    words.extend(topic.words.iter().map(|words| (*words).to_owned()));
    words.dedup();
    TopicPage {
        root: "../",
        title: topic.heading(),
        chapter: chapter.title,
        heading: Marked::of(topic.title),
        who: topic.acts.iter().map(|act| act.who.name()).collect(),
        what: topic.what.iter().copied().map(Marked::of).collect(),
        acts: topic.acts.iter().map(acts).collect(),
        turn_to: topic.turn_to(),
        fill_in: topic
            .commands()
            .any(|command| command.split(' ').any(is_placeholder)),
        meanwhile: meanwhile(topic.meanwhile).into(),
        said: said.into_iter().map(Marked::of).collect(),
        words,
        causes: causes(topic),
    }
    .render()
}

fn acts(act: &'static Act) -> Acts {
    let one = |step: &'static Step| (Marked::of(step.text), step.command);
    Acts {
        heading: act.who.heading(),
        numbered: act.ordered && act.steps.len() > 1,
        needs_link: act.who == Actor::Owner && act.steps.iter().any(|step| step.text.contains(" link")),
        steps: act.steps.iter().map(one).collect(),
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

fn meanwhile(meanwhile: Meanwhile) -> Vec<Span> {
    use Span::{Code, Plain};
    match meanwhile {
        Meanwhile::State(state) if state == AgentState::ProviderUnavailable => vec![
            Plain("Agents may still have a token that lives. Their state is "),
            Code(state.as_str()),
            Plain(", in the file "),
            Code("env"),
            Plain(", on their socket and over gRPC."),
        ],
        Meanwhile::State(state) => vec![
            Plain("Agents that need it have no token. Their state is "),
            Code(state.as_str()),
            Plain(", in the file "),
            Code("env"),
            Plain(", on their socket and over gRPC."),
        ],
        Meanwhile::Renewal(state) => vec![
            Plain(
                "Agents keep the token that they have for as long as it lives. After that they have none, and their \
                   state is ",
            ),
            Code(state.as_str()),
            Plain(". If it happened while an account was being connected, nothing was changed."),
        ],
        Meanwhile::Answer(code) => vec![
            Plain("The request is answered with "),
            Code(code.as_str()),
            Plain(". What the agent has already stays good."),
        ],
        Meanwhile::Unchanged => vec![Plain(
            "Nothing of it: nothing was changed, and they go on with what they had.",
        )],
        Meanwhile::Ended => vec![Plain(
            "What came of it the first time. That it was asked for again changes nothing for them.",
        )],
        Meanwhile::HasToken => vec![
            Plain("The agent has a token, and its state is "),
            Code(AgentState::Active.as_str()),
            Plain(": it is an interface of Google's that refuses what the agent does with it."),
        ],
    }
}

/// What a state can be due to.
fn causes(topic: &Topic) -> Vec<Entry> {
    let Meanwhile::State(state) = topic.meanwhile else {
        return Vec::new();
    };
    all()
        .map(|(_, topic)| topic)
        .filter(|topic| topic.meanwhile == Meanwhile::Renewal(state))
        .map(Entry::of)
        .collect()
}
