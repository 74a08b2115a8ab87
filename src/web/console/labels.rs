//! States and moments in words that people use.

use jiff::{Timestamp, tz::TimeZone};

use crate::{
    broker::{AgentState, Broker},
    capability::{Capability, Verification},
    id::CapabilityKey,
};

/// How good a state is, for colour and mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    Good,
    Waiting,
    Bad,
}

impl Mood {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Waiting => "waiting",
            Self::Bad => "bad",
        }
    }
}

/// An account's or agent's state in a few words. `provider` is who gives its tokens.
pub(super) fn state(state: AgentState, provider: &str) -> (Mood, String) {
    let (mood, words) = match state {
        AgentState::Active => (Mood::Good, "Working"),
        AgentState::NotConnected => (Mood::Waiting, "No account connected"),
        AgentState::PermissionMissing => (Mood::Waiting, "Needs a permission"),
        AgentState::ReconnectRequired => (Mood::Bad, "Needs to be connected again"),
        AgentState::Revoked => return (Mood::Bad, format!("Access was taken away at {provider}")),
        AgentState::ProviderUnavailable => return (Mood::Waiting, format!("Waiting for {provider}")),
        AgentState::Misconfigured => (Mood::Bad, "Needs the operator"),
    };
    (mood, words.to_owned())
}

/// A moment, for people and for `datetime`.
pub(super) struct Moment {
    pub(super) machine: String,
    pub(super) words: String,
}

/// A moment. In UTC, since the daemon does not know where its reader is; the page's script says it in local time.
pub(super) fn moment(at: Timestamp) -> Moment {
    let civil = at.to_zoned_datetime(TimeZone::UTC);
    Moment {
        machine: at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        words: civil.strftime("%-d %B %Y, %H:%M UTC").to_string(),
    }
}

/// A capability as people read of it.
pub(super) struct Offer {
    pub(super) key: String,
    pub(super) title: String,
    pub(super) usage: String,
    pub(super) group: String,
    /// How closely Google looks at apps that ask for it, where it does.
    pub(super) class: Option<&'static str>,
}

impl Offer {
    pub(super) fn new(capability: &Capability) -> Self {
        Self {
            key: capability.key.to_string(),
            title: capability.title.clone(),
            usage: capability.usage.clone(),
            group: capability.group.clone(),
            class: match capability.verification {
                None | Some(Verification::Basic) => None,
                Some(class @ (Verification::Sensitive | Verification::Restricted)) => Some(class.as_str()),
            },
        }
    }

    /// By its key; one that the catalogue has lost keeps its key for a name.
    pub(super) fn of(broker: &Broker, key: &CapabilityKey) -> Self {
        broker.catalog().get(key).map_or_else(
            || Self {
                key: key.to_string(),
                title: key.to_string(),
                usage: String::new(),
                group: String::new(),
                class: None,
            },
            Self::new,
        )
    }
}

/// What stands under one heading.
pub(super) struct Group<T> {
    pub(super) name: String,
    pub(super) members: Vec<T>,
}

/// Puts each under its heading. Headings come in the order in which they are met first.
pub(super) fn grouped<T>(items: impl Iterator<Item = (String, T)>) -> Vec<Group<T>> {
    let mut groups: Vec<Group<T>> = Vec::new();
    for (name, item) in items {
        match groups.iter_mut().find(|group| group.name == name) {
            Some(group) => group.members.push(item),
            None => groups.push(Group {
                name,
                members: vec![item],
            }),
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_reads_well_and_parses() {
        let moment = moment("2026-03-05T07:08:09.5Z".parse().unwrap());
        assert_eq!(moment.words, "5 March 2026, 07:08 UTC");
        assert_eq!(moment.machine, "2026-03-05T07:08:09Z");
    }

    #[test]
    fn every_state_has_words_of_its_own() {
        let mut words: Vec<_> = AgentState::ALL
            .into_iter()
            .map(|s| state(s, "Google").1)
            .collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), AgentState::ALL.len());
    }
}
