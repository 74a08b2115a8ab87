//! Makes a topic of its file.

use pulldown_cmark::HeadingLevel;
use serde::Deserialize;

use super::{
    markdown::{self, Block, Fault, Item},
    topic::{Act, Actor, Meanwhile, Step, Topic},
};
use crate::broker::{AgentState, ProblemCode};

/// What stands before the title.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Front {
    /// What agents see meanwhile.
    agents: Seen,
    /// How Google puts it.
    #[serde(default)]
    words: Vec<String>,
}

/// [`Meanwhile`], with states and codes by their names.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Seen {
    State(String),
    Renewal(String),
    Answer(String),
    Unchanged,
    Ended,
    HasToken,
}

impl TryFrom<Seen> for Meanwhile {
    type Error = Fault;

    fn try_from(seen: Seen) -> Result<Self, Fault> {
        Ok(match seen {
            Seen::State(name) => Self::State(state(&name)?),
            Seen::Renewal(name) => Self::Renewal(state(&name)?),
            Seen::Answer(name) => Self::Answer(code(&name)?),
            Seen::Unchanged => Self::Unchanged,
            Seen::Ended => Self::Ended,
            Seen::HasToken => Self::HasToken,
        })
    }
}

fn state(name: &str) -> Result<AgentState, Fault> {
    let mut states = AgentState::ALL.into_iter();
    let found = states.find(|state| state.as_str() == name);
    found.ok_or_else(|| Fault::Front(format!("there is no state {name}")))
}

fn code(name: &str) -> Result<ProblemCode, Fault> {
    let codes = [
        ProblemCode::UnknownCapability,
        ProblemCode::NotDeclared,
        ProblemCode::RateLimited,
        ProblemCode::InvalidRequest,
    ];
    let found = codes.into_iter().find(|code| code.as_str() == name);
    found.ok_or_else(|| Fault::Front(format!("there is no code {name}")))
}

/// The topic that this file tells of.
///
/// # Errors
/// Where it is not written as topics are.
pub(super) fn topic(slug: &'static str, source: &str) -> Result<Topic, Fault> {
    let document = markdown::read(source)?;
    let front: Front =
        serde_saphyr::from_str(&document.front).map_err(|error| Fault::Front(error.to_string()))?;
    let mut blocks = document.blocks.into_iter();
    let Some(Block::Heading(HeadingLevel::H1, title)) = blocks.next() else {
        return Err(Fault::Title);
    };
    let (mut what, mut acts) = (Vec::new(), Vec::<Act>::new());
    for block in blocks {
        match (block, acts.last_mut()) {
            (Block::Paragraph(text), None) => what.push(text),
            (Block::Heading(HeadingLevel::H2, heading), _) => {
                let heading = heading.plain();
                let who = Actor::of_heading(&heading).ok_or(Fault::Heading(heading))?;
                acts.push(Act {
                    who,
                    steps: Vec::new(),
                    ordered: false,
                });
            }
            (Block::List { ordered, items }, Some(act)) if act.steps.is_empty() => {
                act.ordered = ordered;
                act.steps = items.into_iter().map(step).collect();
            }
            (other, _) => return Err(Fault::Strange(format!("{other:?}"))),
        }
    }
    Ok(Topic {
        slug,
        title,
        what,
        acts,
        meanwhile: front.agents.try_into()?,
        words: front.words,
    })
}

fn step(Item { text, code }: Item) -> Step {
    Step { text, command: code }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "---\nagents: { renewal: misconfigured }\nwords:\n  - \"Error 400: x\"\n---\n\n# It *broke*\n";

    fn read(source: &str) -> Result<Topic, Fault> {
        topic("x", source)
    }

    #[test]
    fn a_file_becomes_a_topic() {
        let source = "---\nagents: { answer: rate_limited }\nwords: [\"Error 400: x\"]\n---\n\n# It `broke`\n\nOnce.\n\nTwice.\n\n\
                      ## What happens next\n\n- It passes.\n\n## For whoever runs this machine\n\n1. Look:\n\n   ```sh\n   \
                      token-broker doctor\n   ```\n\n2. Mend it.\n";
        let topic = read(source).unwrap();
        assert_eq!(topic.heading(), "It broke");
        assert_eq!(topic.summary(), "Once.");
        assert_eq!(topic.what.len(), 2);
        assert_eq!(topic.meanwhile, Meanwhile::Answer(ProblemCode::RateLimited));
        assert_eq!(topic.words, ["Error 400: x"]);
        let acts: Vec<_> = topic
            .acts
            .iter()
            .map(|act| (act.who, act.ordered, act.steps.len()))
            .collect();
        assert_eq!(acts, [(Actor::Nobody, false, 1), (Actor::Operator, true, 2)]);
        assert_eq!(topic.commands().collect::<Vec<_>>(), ["token-broker doctor"]);
        assert_eq!(topic.next_step(), "It passes.");
    }

    #[test]
    fn what_is_no_topic_is_refused() {
        let front = |front: &str| read(&format!("---\n{front}\n---\n\n# It broke\n"));
        assert!(front("agents: ended").is_ok());
        for wrong in [
            "words: []",
            "agents: nothing",
            "agents: { state: lost }",
            "agents: { answer: active }",
            "agents: ended\nmore: 1",
        ] {
            assert!(matches!(front(wrong), Err(Fault::Front(_))), "{wrong}");
        }
        assert!(
            matches!(read(GOOD), Err(Fault::Strange(_))),
            "emphasis is no mark of ours"
        );
        let body = |body: &str| read(&format!("---\nagents: ended\n---\n\n{body}\n"));
        assert_eq!(body("No title.").unwrap_err(), Fault::Title);
        assert_eq!(body("# A\n\n## B").unwrap_err(), Fault::Heading("B".to_owned()));
        for wrong in [
            "# A\n\n- a",
            "# A\n\n## What you can do\n\nSome words.",
            "# A\n\n## What you can do\n\n- a\n\n1. b",
            "# A\n\n# B",
            "# A\n\n### What you can do",
        ] {
            assert!(matches!(body(wrong), Err(Fault::Strange(_))), "{wrong}");
        }
    }
}
