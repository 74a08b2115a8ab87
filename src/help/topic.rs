//! Something that can go wrong: what happened, who can act, and how.

use super::text::Text;
use crate::broker::{AgentState, ProblemCode};

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
    /// All there are.
    const ALL: [Self; 5] = [
        Self::Owner,
        Self::Operator,
        Self::Administrator,
        Self::Author,
        Self::Nobody,
    ];

    /// As the pages call them.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Owner => "you",
            Self::Operator => "whoever runs this machine",
            Self::Administrator => "your organisation's administrator",
            Self::Author => "whoever wrote the agent",
            Self::Nobody => "nobody has to, it passes",
        }
    }

    /// The heading above their steps.
    pub(crate) fn heading(self) -> &'static str {
        match self {
            Self::Owner => "What you can do",
            Self::Operator => "For whoever runs this machine",
            Self::Administrator => "For your organisation's administrator",
            Self::Author => "For whoever wrote the agent",
            Self::Nobody => "What happens next",
        }
    }

    /// Whose steps follow this heading.
    pub(super) fn of_heading(heading: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|actor| actor.heading() == heading)
    }
}

/// One thing to do.
#[derive(Debug)]
pub(crate) struct Step {
    /// What.
    pub(crate) text: Text,
    /// The command that does it. Words in capitals stand for the reader's own.
    pub(crate) command: Option<String>,
}

/// What somebody can do.
#[derive(Debug)]
pub(crate) struct Act {
    /// Who.
    pub(crate) who: Actor,
    /// One after the other, or whichever fits.
    pub(crate) steps: Vec<Step>,
    /// They follow each other.
    pub(crate) ordered: bool,
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
    /// Its file's name, and its page's address below `/help`.
    pub(crate) slug: &'static str,
    /// What it looks like, as a headline.
    pub(crate) title: Text,
    /// What happened.
    pub(crate) what: Vec<Text>,
    /// What can be done, by whom: first who can do most.
    pub(crate) acts: Vec<Act>,
    /// What agents see.
    pub(crate) meanwhile: Meanwhile,
    /// How Google, or its libraries, put it. The codes of Google's answers are added from their own table.
    pub(crate) words: Vec<String>,
}

impl Topic {
    /// The headline without marks.
    pub(crate) fn heading(&self) -> String {
        self.title.plain()
    }

    /// What happened, in a few sentences without marks.
    pub(crate) fn summary(&self) -> String {
        self.what.first().map(Text::plain).unwrap_or_default()
    }

    /// The commands that the steps name.
    pub(crate) fn commands(&self) -> impl Iterator<Item = &str> {
        let steps = self.acts.iter().flat_map(|act| &act.steps);
        steps.filter_map(|step| step.command.as_deref())
    }

    /// Whom the owner has to turn to, where they can do nothing themselves.
    pub(crate) fn turn_to(&self) -> Option<&'static str> {
        let can_wait = |act: &Act| matches!(act.who, Actor::Owner | Actor::Nobody);
        match self.acts.as_slice() {
            [first, ..] if !self.acts.iter().any(can_wait) => Some(first.who.name()),
            _ => None,
        }
    }

    /// What somebody who tried to connect can do next, in a sentence.
    pub(crate) fn next_step(&self) -> String {
        let Some(first) = self.acts.first() else {
            return String::new();
        };
        match (first.who, first.steps.first()) {
            (Actor::Owner | Actor::Nobody, Some(step)) => step.text.plain(),
            (who, _) => format!("Show this page to {}.", who.name()),
        }
    }
}
