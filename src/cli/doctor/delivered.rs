//! What agents see: whether each has its files and its socket, as the daemon says that it does.

use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::{fs::FileTypeExt, net::UnixStream},
    path::Path,
};

use jiff::Timestamp;

use super::{
    super::{environment::Environment, view::Agent},
    Finding,
    agents::SHOWN,
};
use crate::text::ShowPath;

const CHECK: &str = "what agents see";

/// Looks at the directories of the agents that the daemon knows.
pub(super) fn check(runtime_dir: &Path, agents: &[Agent], now: Timestamp) -> Vec<Finding> {
    let root = runtime_dir.join("agents");
    let wrong: Vec<String> = agents
        .iter()
        .filter_map(|agent| trouble(&root.join(&agent.agent), agent, now))
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
fn trouble(directory: &Path, agent: &Agent, now: Timestamp) -> Option<String> {
    if !agent.delivery_problem.is_empty() {
        return Some(format!("{}: {}", agent.agent, agent.delivery_problem));
    }
    files(directory, agent, now).or_else(|| socket(&directory.join("broker.sock")))
}

/// Nothing is there, or what is above it is no folder.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

fn files(directory: &Path, agent: &Agent, now: Timestamp) -> Option<String> {
    for name in ["env", "status.json"] {
        let path = directory.join(name);
        match fs::symlink_metadata(&path) {
            Err(error) if is_absent(&error) => {
                return Some(format!("{} is not there", path.shown()));
            }
            Ok(file) if !file.is_file() => return Some(format!("{} is not a file", path.shown())),
            // This user may not look.
            Err(_) | Ok(_) => {}
        }
    }
    let path = directory.join("env");
    let text = zeroize::Zeroizing::new(fs::read_to_string(&path).ok()?);
    let environment = Environment::parse(&text);
    if agent.state == "active" && !environment.has_token() {
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
    match fs::symlink_metadata(path) {
        Err(error) if is_absent(&error) => Some(format!("{} is not there", path.shown())),
        Ok(file) if !file.file_type().is_socket() => Some(format!("{} is not a socket", path.shown())),
        Err(_) => None,
        Ok(_) => match UnixStream::connect(path) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                Some(format!("nobody answers on {}", path.shown()))
            }
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::{
        super::{super::testing::agent_of_alice, Verdict},
        *,
    };

    #[test]
    fn what_an_agent_lacks_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let directory = dir.path().join("agents/bot");
        fs::create_dir_all(&directory).unwrap();
        let agent = [Agent::from(agent_of_alice("bot"))];
        let now = "2024-01-15T12:00:00Z".parse().unwrap();
        let said = || check(dir.path(), &agent, now)[0].clone();
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
