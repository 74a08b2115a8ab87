//! A line of the audit trail in words that people use.

use crate::{
    broker::{AccountRef, Broker},
    session::Viewer,
    telemetry::audit::AuditLine,
    text::sentence::capitalized,
};

use super::labels::{Moment, Mood, Offer, moment};

/// What somebody did, as a row of a table.
pub(super) struct AuditRow {
    pub(super) sequence: u64,
    pub(super) when: Moment,
    pub(super) who: String,
    /// Goes on from `who` in one sentence.
    pub(super) what: String,
    pub(super) detail: String,
    pub(super) mood: Mood,
    pub(super) decision: &'static str,
}

impl AuditRow {
    /// The line as this viewer reads it.
    pub(super) fn new(broker: &Broker, viewer: &Viewer, line: &AuditLine) -> Self {
        let (mood, decision) = match line.decision.as_str() {
            "allowed" => (Mood::Good, "done"),
            "denied" => (Mood::Waiting, "refused"),
            _ => (Mood::Bad, "failed"),
        };
        let titles: Vec<String> = line
            .capabilities
            .iter()
            .map(|key| {
                key.parse()
                    .map_or_else(|_| key.clone(), |key| Offer::of(broker, &key).title)
            })
            .collect();
        let provider = broker.providers().common_name();
        Self {
            sequence: line.sequence,
            when: moment(line.time),
            who: who(viewer, &line.actor, provider),
            what: what(
                line,
                provider,
                address(broker, &line.integration).as_deref(),
                &purpose(&titles),
            ),
            detail: line.detail.clone(),
            mood,
            decision,
        }
    }
}

fn who(viewer: &Viewer, actor: &str, provider: &str) -> String {
    match actor.split_once(':') {
        Some(("agent", name)) => name.to_owned(),
        Some(("person", owner)) if viewer.owner().is_some_and(|own| own.as_str() == owner) => {
            "You".to_owned()
        }
        Some(("person", owner)) => owner.to_owned(),
        Some(("admin", uid)) if *viewer == Viewer::Operator => {
            format!("The operator ({})", uid.replace('=', " "))
        }
        Some(("admin", _)) => "The operator".to_owned(),
        Some(("client", name)) if *viewer == Viewer::Operator => name.to_owned(),
        Some(("client", _)) => "The platform".to_owned(),
        _ if actor == "provider" => capitalized(provider),
        _ if actor == "daemon" => "token-broker".to_owned(),
        _ => actor.to_owned(),
    }
}

/// The address of the account that a line is about, while it is connected.
fn address(broker: &Broker, integration: &str) -> Option<String> {
    let account = broker
        .accounts
        .account(&AccountRef::Id(integration.parse().ok()?))
        .ok()?;
    Some(account.record.account)
}

/// What capabilities are for: ` to send emails and read events`.
fn purpose(titles: &[String]) -> String {
    let uses: Vec<String> = titles
        .iter()
        .map(
            |title| match title.strip_prefix("Read").map(|rest| ("read", rest)) {
                Some((verb, rest)) => format!("{verb}{rest}"),
                None => match title.strip_prefix("Send") {
                    Some(rest) => format!("send{rest}"),
                    // What it begins with may be a name.
                    None => format!("use “{title}”"),
                },
            },
        )
        .collect();
    match uses.as_slice() {
        [] => String::new(),
        [one] => format!(" to {one}"),
        [most @ .., last] => format!(" to {} and {last}", most.join(", ")),
    }
}

fn what(line: &AuditLine, provider: &str, address: Option<&str>, purpose: &str) -> String {
    // The detail of these lines names it.
    let account = address.unwrap_or("an account");
    let token_of = match address {
        Some(address) => address,
        None if line.integration.is_empty() => "an account",
        None => "an account that is gone now",
    };
    match (line.action.as_str(), line.decision.as_str()) {
        ("token.used", _) if line.integration.is_empty() => "used the token that it had".to_owned(),
        ("token.used", _) => format!("was given a token{purpose} with {token_of}"),
        ("token.refresh", _) => format!("asked for another token with {token_of}"),
        ("token.denied", _) => format!("was refused a token{purpose}"),
        ("token.renewed", _) => format!("got a new token for {token_of}{purpose}"),
        ("token.renewal_failed", _) => format!("could not get a new token for {token_of}{purpose}"),
        ("integration.connected", "allowed") => format!("connected {account}{purpose}"),
        ("integration.connected", "denied") => "began to connect an account, which was refused".to_owned(),
        ("integration.connected", _) => "tried to connect an account, which did not work".to_owned(),
        ("integration.disconnected", "allowed") => format!("disconnected {account}"),
        ("integration.disconnected", _) => format!("could not do all of disconnecting {account}"),
        ("integration.security_event", _) => format!("reported a security event about {account}"),
        ("integration.revocation", "allowed") => {
            format!("told {provider} of an account that was disconnected")
        }
        ("integration.revocation", _) => {
            format!("gave up telling {provider} of an account that was disconnected")
        }
        ("agent.put", _) => "added or changed an agent".to_owned(),
        ("agent.removed", "allowed") => "removed an agent".to_owned(),
        ("agent.removed", _) => "tried to remove an agent, which did not work".to_owned(),
        ("agent.refused", _) => "refused somebody who gave a wrong name or secret".to_owned(),
        ("volume.publish", "allowed") => "gave a pod the directory of an agent".to_owned(),
        ("volume.publish", _) => "did not give a pod the directory of an agent".to_owned(),
        ("remote.use", "allowed") => "let a pod use the tokens of an agent".to_owned(),
        ("remote.use", _) => "did not let a pod use the tokens of an agent".to_owned(),
        ("session.invited", _) => "made a link to these pages".to_owned(),
        ("session.opened", _) => "signed in to these pages".to_owned(),
        ("session.ended", _) => "signed people out of these pages".to_owned(),
        ("database.backed_up", _) => "made a backup of everything that is stored".to_owned(),
        ("database.restored", _) => "began again with what was restored from a backup".to_owned(),
        ("audit.head", _) => "noted how far this record goes".to_owned(),
        ("audit.gap", _) => "could not write down everything that happened".to_owned(),
        (other, _) => format!("did “{other}”"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{broker::testing::idle, clock::SystemClock};
    use std::sync::Arc;

    fn line(actor: &str, action: &str, decision: &str) -> AuditLine {
        AuditLine {
            sequence: 1,
            time: jiff::Timestamp::UNIX_EPOCH,
            actor: actor.to_owned(),
            action: action.to_owned(),
            integration: String::new(),
            capabilities: Vec::new(),
            decision: decision.to_owned(),
            detail: String::new(),
            hash: String::new(),
            counted: None,
        }
    }

    fn told(viewer: &Viewer, line: &AuditLine) -> String {
        let row = AuditRow::new(&idle(Arc::new(SystemClock)), viewer, line);
        format!("{} {}", row.who, row.what)
    }

    #[tokio::test]
    async fn a_line_reads_as_a_sentence() {
        let alice = Viewer::Owner("alice".parse().unwrap());
        let used = AuditLine {
            integration: "int_00000000000000000001".to_owned(),
            capabilities: ["google.gmail.send", "google.calendar.readonly", "made.up"]
                .map(str::to_owned)
                .to_vec(),
            ..line("agent:invoice-bot", "token.used", "allowed")
        };
        assert_eq!(
            told(&alice, &used),
            "invoice-bot was given a token to send emails, read events and use “made.up” with an account that is gone \
             now"
        );
        let refused = line("person:alice", "integration.connected", "denied");
        assert_eq!(
            told(&alice, &refused),
            "You began to connect an account, which was refused"
        );
        assert_eq!(
            told(&Viewer::Operator, &refused),
            "alice began to connect an account, which was refused"
        );
        let unknown = line("somebody", "moon.landing", "allowed");
        assert_eq!(told(&alice, &unknown), "somebody did “moon.landing”");
    }

    #[tokio::test]
    async fn an_owner_does_not_learn_who_the_operator_is() {
        let removed = line("admin:uid=1000", "agent.removed", "allowed");
        let alice = Viewer::Owner("alice".parse().unwrap());
        assert_eq!(told(&alice, &removed), "The operator removed an agent");
        assert_eq!(
            told(&Viewer::Operator, &removed),
            "The operator (uid 1000) removed an agent"
        );
        let put = line(
            "client:spiffe://corp.example/orchestrator",
            "agent.removed",
            "allowed",
        );
        assert_eq!(told(&alice, &put), "The platform removed an agent");
        assert_eq!(
            told(&Viewer::Operator, &put),
            "spiffe://corp.example/orchestrator removed an agent"
        );
    }
}
