//! `/help`: a page for everything that can go wrong, for people who never heard of OAuth.
//!
//! The topics here are the one place where it is told: these pages and `FAILURES.md` are both made from them. They
//! hold no data, so anybody may read them.

mod answers;
mod clients;
mod connecting;
mod outages;
mod service_accounts;
mod states;
mod symptoms;
pub(crate) mod text;
mod view;

use crate::broker::{AgentState, ConnectError, ProblemCode};
pub(super) use view::{answer, serves};

/// Where the pages are.
pub(crate) const PATH: &str = "/help";

/// Who can do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Actor {
    /// Whose account it is: the reader.
    Owner,
    /// Whoever runs the machine and the Google Cloud project.
    Operator,
    /// The administrator of the owner's organisation.
    Administrator,
    /// Whoever wrote the agent.
    Author,
    /// It passes.
    Nobody,
}

impl Actor {
    /// As the pages call them.
    fn name(self) -> &'static str {
        match self {
            Self::Owner => "you",
            Self::Operator => "whoever runs this machine",
            Self::Administrator => "your organisation's administrator",
            Self::Author => "whoever wrote the agent",
            Self::Nobody => "nobody has to, it passes",
        }
    }

    /// The heading above their steps.
    fn heading(self) -> &'static str {
        match self {
            Self::Owner => "What you can do",
            Self::Operator => "For whoever runs this machine",
            Self::Administrator => "For your organisation's administrator",
            Self::Author => "For whoever wrote the agent",
            Self::Nobody => "What happens next",
        }
    }
}

/// One thing to do.
#[derive(Debug)]
pub(crate) struct Step {
    /// What; may be marked as [`text`] says.
    pub(crate) text: &'static str,
    /// The command that does it. Words in capitals stand for the reader's own.
    pub(crate) command: Option<&'static str>,
}

const fn step(text: &'static str) -> Step {
    Step { text, command: None }
}

const fn run(text: &'static str, command: &'static str) -> Step {
    Step {
        text,
        command: Some(command),
    }
}

/// What somebody can do.
#[derive(Debug)]
pub(crate) struct Act {
    /// Who.
    pub(crate) who: Actor,
    /// One after the other, or whichever fits.
    pub(crate) steps: &'static [Step],
    /// They follow each other.
    ordered: bool,
}

/// Steps that follow each other.
const fn act(who: Actor, steps: &'static [Step]) -> Act {
    Act {
        who,
        steps,
        ordered: true,
    }
}

/// Steps of which one fits.
const fn either(who: Actor, steps: &'static [Step]) -> Act {
    Act {
        who,
        steps,
        ordered: false,
    }
}

/// What agents see while it lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meanwhile {
    /// They are in this state.
    State(AgentState),
    /// A renewal fails: they keep the token at hand, and are in this state when it has ended.
    Renewal(AgentState),
    /// The request is answered with this.
    Answer(ProblemCode),
    /// A connection failed, which changes nothing.
    Unchanged,
    /// A connection had ended before, and that counts.
    Ended,
    /// They have a token, and it is an API of Google's that refuses it.
    HasToken,
}

/// Something that can go wrong.
#[derive(Debug)]
pub(crate) struct Topic {
    /// The page's address, below [`PATH`].
    pub(crate) slug: &'static str,
    /// What it looks like, as a headline.
    pub(crate) title: &'static str,
    /// What happened; may be marked as [`text`] says.
    pub(crate) what: &'static [&'static str],
    /// What can be done, by whom: first who can do most.
    pub(crate) acts: &'static [Act],
    /// What agents see.
    pub(crate) meanwhile: Meanwhile,
    /// How Google, or its libraries, put it. The codes of Google's answers are added from their own table.
    pub(crate) words: &'static [&'static str],
}

impl Topic {
    /// The headline without marks.
    pub(crate) fn heading(&self) -> String {
        text::plain(self.title)
    }

    /// What happened, in a few sentences without marks.
    pub(crate) fn summary(&self) -> String {
        self.what.first().copied().map(text::plain).unwrap_or_default()
    }

    /// The commands that the steps name.
    pub(crate) fn commands(&self) -> impl Iterator<Item = &'static str> {
        let steps = self.acts.iter().flat_map(|act| act.steps);
        steps.filter_map(|step| step.command)
    }

    /// Whom the owner has to turn to, where they can do nothing themselves.
    fn turn_to(&self) -> Option<&'static str> {
        let can_wait = |act: &Act| matches!(act.who, Actor::Owner | Actor::Nobody);
        match self.acts {
            [first, ..] if !self.acts.iter().any(can_wait) => Some(first.who.name()),
            _ => None,
        }
    }

    /// What somebody who tried to connect can do next, in a sentence.
    pub(crate) fn next_step(&self) -> String {
        match self.acts {
            [
                Act {
                    who: Actor::Owner | Actor::Nobody,
                    steps: [first, ..],
                    ..
                },
                ..,
            ] => text::plain(first.text),
            [Act { who, .. }, ..] => format!("Show this page to {}.", who.name()),
            [] => String::new(),
        }
    }
}

/// The address of the page with this slug.
pub(crate) fn path(slug: &str) -> String {
    format!("{PATH}/{slug}")
}

/// Topics of one kind.
pub(crate) struct Chapter {
    /// Its heading.
    pub(crate) title: &'static str,
    /// When to look there.
    pub(crate) lead: &'static str,
    /// What it holds.
    pub(crate) topics: &'static [&'static [Topic]],
}

impl Chapter {
    /// What it holds, in order.
    pub(crate) fn topics(&self) -> impl Iterator<Item = &'static Topic> {
        self.topics.iter().copied().flatten()
    }
}

/// What people see.
pub(crate) const SYMPTOMS: Chapter = Chapter {
    title: "What people see",
    lead: "Something does not work, or Google shows a page that you did not expect.",
    topics: &[symptoms::TOPICS],
};

/// How an agent, or an account, can stand.
pub(crate) const STATES: Chapter = Chapter {
    title: "How an agent can stand",
    lead: "An agent is a program that works for you. Its page, and its files, say in one word what it lacks.",
    topics: &[states::TOPICS, states::PROBLEMS],
};

/// How a consent can end.
pub(crate) const CONNECTING: Chapter = Chapter {
    title: "While connecting",
    lead: "You opened a link to connect a Google account, and it did not end as it should. Nothing was changed.",
    topics: &[connecting::TOPICS],
};

/// What Google may answer.
pub(crate) const ANSWERS: Chapter = Chapter {
    title: "What Google answers",
    lead: "Google was asked for something and refused it, or did not answer.",
    topics: &[
        answers::TOPICS,
        clients::TOPICS,
        outages::TOPICS,
        service_accounts::TOPICS,
    ],
};

/// All of it, in the order that the index shows.
pub(crate) const CHAPTERS: [Chapter; 4] = [SYMPTOMS, STATES, CONNECTING, ANSWERS];

/// All topics, each with the chapter that it is in.
fn all() -> impl Iterator<Item = (Chapter, &'static Topic)> {
    CHAPTERS.into_iter().flat_map(|chapter| {
        let topics: Vec<_> = chapter.topics().collect();
        topics.into_iter().map(move |topic| {
            let Chapter { title, lead, topics } = chapter;
            (Chapter { title, lead, topics }, topic)
        })
    })
}

/// The topic with this slug.
pub(crate) fn find(slug: &str) -> Option<&'static Topic> {
    all().map(|(_, topic)| topic).find(|topic| topic.slug == slug)
}

/// The slug of the page about a state; none where all is well.
pub(crate) fn of_state(state: AgentState) -> Option<&'static str> {
    let about = |topic: &&Topic| topic.meanwhile == Meanwhile::State(state);
    states::TOPICS.iter().find(about).map(|topic| topic.slug)
}

/// The slug of the page about a consent that did not end well.
pub(crate) fn of_connect(error: &ConnectError) -> &'static str {
    match error {
        ConnectError::Capability(_) => "unknown-capability",
        ConnectError::ReturnUrl(_) => "return-address",
        ConnectError::TooMany => "too-many-connections",
        ConnectError::BadRedirect(_) => "incomplete-address",
        ConnectError::UnknownState | ConnectError::UnknownConnect(_) => "link-used",
        ConnectError::OtherBrowser => "ended-already",
        ConnectError::OtherSession => "other-session",
        ConnectError::TimedOut => "consent-timed-out",
        ConnectError::Denied(_) => "consent-denied",
        ConnectError::NothingGranted => "nothing-granted",
        ConnectError::Provider(error) => error.help,
        ConnectError::NoRefreshToken => "no-refresh-token",
        ConnectError::UnknownAccount(_) => "no-such-account",
        ConnectError::ServiceAccount(_) => "nobody-consents",
        ConnectError::Ambiguous(_) => "several-accounts",
        ConnectError::OtherAccount { .. } | ConnectError::NotThatAccount { .. } => "other-account",
        ConnectError::ConnectedAlready { .. } => "connected-already",
        ConnectError::Narrower { .. } => "narrower-grant",
        ConnectError::RevokedMeanwhile(_) => "revoked-meanwhile",
        ConnectError::Store(_) => "account-not-kept",
    }
}

#[cfg(test)]
mod tests;
