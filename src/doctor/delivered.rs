//! What agents see: whether each has its files and its socket, as the daemon says that it does.

use std::{
    io::{self, ErrorKind},
    path::Path,
};

use jiff::Timestamp;

use super::{
    daemon::KnownAgent,
    finding::{Finding, SHOWN},
    foreign::{self, Unseen},
};
use crate::{client::environment::Environment, clock::SharedClock, text::ShowPath};

const CHECK: &str = "what agents see";

/// Looks at the directories of the agents that the daemon knows.
pub(super) fn check(runtime_dir: &Path, agents: &[KnownAgent], clock: &SharedClock) -> Vec<Finding> {
    let root = runtime_dir.join("agents");
    let wrong: Vec<String> = agents
        .iter()
        .filter_map(|agent| trouble(&root.join(&agent.spec.agent), agent, clock))
        .collect();
    if wrong.is_empty() {
        return vec![Finding::ok(
            CHECK,
            format!("{} with files and a socket that answers", agents.len()),
        )];
    }
    let advice = "the daemon makes what is missing again; if it does not within 15 s, its log says why";
    let more = wrong.len().saturating_sub(SHOWN);
    let mut findings: Vec<Finding> = wrong
        .into_iter()
        .take(SHOWN)
        .map(|message| Finding::fail(CHECK, message, advice))
        .collect();
    if more > 0 {
        findings.push(Finding::fail(CHECK, format!("and {more} more"), ""));
    }
    findings
}

/// What is wrong with one agent's directory, as far as this user may look.
fn trouble(directory: &Path, agent: &KnownAgent, clock: &SharedClock) -> Option<String> {
    if !agent.delivery_problem.is_empty() {
        return Some(format!("{}: {}", agent.spec.agent, agent.delivery_problem));
    }
    files(directory, agent, clock).or_else(|| socket(&directory.join("broker.sock")))
}

/// Nothing is there, or what is above it is no folder.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

fn files(directory: &Path, agent: &KnownAgent, clock: &SharedClock) -> Option<String> {
    let mut env = None;
    for name in ["env", "status.json"] {
        let path = directory.join(name);
        let shown = path.shown();
        match foreign::read(&path) {
            Ok(text) if name == "env" => env = Some(text),
            Err(Unseen::Other) => return Some(format!("{shown} is not a file")),
            Err(Unseen::Held(why)) => return Some(format!("{shown} cannot be read: {why}")),
            Err(Unseen::Os(error)) if is_absent(&error) => return Some(format!("{shown} is not there")),
            // This user may not look.
            Ok(_) | Err(Unseen::Os(_)) => {}
        }
    }
    let (path, text, now) = (directory.join("env"), env?, clock.now());
    let environment = Environment::parse(&text);
    if agent.is_active && !environment.has_token() {
        return Some(format!(
            "{} holds no token, and the daemon has one for it",
            path.shown()
        ));
    }
    let expired = text
        .lines()
        .filter_map(|line| {
            line.split_once("_TOKEN_EXPIRES_AT=")?
                .1
                .trim()
                .parse::<Timestamp>()
                .ok()
        })
        .find(|end| *end <= now)?;
    Some(format!("{} holds a token that ended at {expired}", path.shown()))
}

fn socket(path: &Path) -> Option<String> {
    let shown = path.shown();
    match foreign::connect(path) {
        Err(Unseen::Other) => Some(format!("{shown} is not a socket")),
        Err(Unseen::Held(why)) => Some(format!("nobody answers on {shown}: {why}")),
        Err(Unseen::Os(error)) if is_absent(&error) => Some(format!("{shown} is not there")),
        Err(Unseen::Os(error)) if error.kind() == ErrorKind::ConnectionRefused => {
            Some(format!("nobody answers on {shown}"))
        }
        Ok(()) | Err(Unseen::Os(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::net::UnixListener, sync::Arc};

    use super::{super::finding::Verdict, *};
    use crate::{client::testing::agent_of_alice, clock::ManualClock};

    #[test]
    fn what_an_agent_lacks_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let directory = dir.path().join("agents/bot");
        fs::create_dir_all(&directory).unwrap();
        let agent = [KnownAgent::from(agent_of_alice("bot"))];
        let clock: SharedClock = Arc::new(ManualClock::new("2024-01-15T12:00:00Z".parse().unwrap()));
        let said = || check(dir.path(), &agent, &clock)[0].clone();
        let put = |name: &str, text: &str| fs::write(directory.join(name), text).unwrap();
        assert!(said().message.ends_with("bot/env is not there"));
        put("env", "TOKEN_BROKER_STATE=active\n");
        assert!(said().message.ends_with("bot/status.json is not there"));
        put("status.json", "{}");
        assert!(said().message.contains("holds no token, and the daemon has one"));
        let env = |end: &str| format!("GOOGLE_OAUTH_ACCESS_TOKEN=x\nGOOGLE_OAUTH_TOKEN_EXPIRES_AT={end}\n");
        put("env", &env("2024-01-15T11:59:59Z"));
        assert!(
            said()
                .message
                .ends_with("holds a token that ended at 2024-01-15T11:59:59Z")
        );
        put("env", &env("2024-01-15T12:30:00Z"));
        assert!(said().message.ends_with("bot/broker.sock is not there"));
        let listener = UnixListener::bind(directory.join("broker.sock")).unwrap();
        assert_eq!(said().verdict, Verdict::Ok);
        drop(listener);
        assert!(said().message.starts_with("nobody answers on "));
    }
}
