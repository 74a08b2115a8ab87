//! What an agent's author can look at: the agent's directory as this process sees it, and what the libraries are told.

use std::{
    io,
    net::{TcpStream, ToSocketAddrs},
    os::unix::fs::MetadataExt,
    path::Path,
    time::Duration,
};

use jiff::Timestamp;

use super::{
    finding::Finding,
    foreign::{self, Unseen},
    mounts,
};
use crate::{
    client::{
        agent::AgentSocket,
        agent_status::AgentStatus,
        environment::{CREDENTIALS, Environment},
    },
    clock::SharedClock,
    file,
    text::{ShowPath, time_format},
};

const DIRECTORY: &str = "directory";
const ENV: &str = "env";
const SOCKET: &str = "socket";
/// How long a metadata server may take to be reached: it is on this machine.
const REACH: Duration = Duration::from_secs(2);

/// Looks at what an agent's author can look at.
pub(crate) async fn examine(socket: &Path, clock: &SharedClock) -> Vec<Finding> {
    let mut findings = check(socket, clock, |name| std::env::var(name).ok()).await;
    findings.extend(mounts::check());
    findings
}

/// Looks at the directory and at what the environment says.
async fn check(
    socket: &Path,
    clock: &SharedClock,
    variable: impl Fn(&str) -> Option<String>,
) -> Vec<Finding> {
    let Some(folder) = socket.parent().filter(|folder| folder.is_dir()) else {
        let message = format!("there is no directory for {}", socket.shown());
        let advice = "mount the agent's directory there, read-only";
        return vec![Finding::fail(DIRECTORY, message, advice)];
    };
    let mut findings = Vec::new();
    let file = folder.join("env");
    findings.extend(match foreign::read(&file) {
        Ok(text) => check_env(&file, &Environment::parse(&text), clock.now(), &variable),
        Err(Unseen::Os(error)) => vec![unreadable(&file, &error)],
        Err(Unseen::Other) => vec![Finding::fail(ENV, format!("{} is not a file", file.shown()), "")],
        Err(Unseen::Held(why)) => {
            let message = format!("{} cannot be read: {why}", file.shown());
            vec![Finding::fail(ENV, message, "")]
        }
    });
    findings.push(check_socket(&AgentSocket::new(socket.to_owned())).await);
    findings.extend(check_credentials(variable(CREDENTIALS)));
    findings.extend(check_metadata(variable("GCE_METADATA_HOST")));
    findings
}

fn unreadable(file: &Path, error: &io::Error) -> Finding {
    let shown = file.shown();
    let me = rustix::process::geteuid().as_raw();
    match (error.kind(), file.symlink_metadata()) {
        (io::ErrorKind::PermissionDenied, Ok(metadata)) => Finding::fail(
            ENV,
            format!("{shown} is for uid {}, and this is uid {me}", metadata.uid()),
            format!("run the container as that user, or write `uid: {me}` into the agent's manifest"),
        ),
        (io::ErrorKind::NotFound, _) => Finding::fail(
            ENV,
            format!("there is no {shown}"),
            "an empty directory was left by an agent that is gone, or was never the agent's: mount it again",
        ),
        _ => Finding::fail(ENV, format!("{shown} cannot be read: {error}"), ""),
    }
}

fn check_env(
    file: &Path,
    env: &Environment,
    now: Timestamp,
    variable: impl Fn(&str) -> Option<String>,
) -> Vec<Finding> {
    let shown = file.shown();
    if !env.has_token() {
        let message = format!("{shown} holds no token; the socket says why");
        return vec![Finding::warn(ENV, message, "")];
    }
    let expiries = env.iter().filter(|(name, _)| name.ends_with("_EXPIRES_AT"));
    let first = expiries
        .filter_map(|(_, value)| value.parse::<Timestamp>().ok())
        .min();
    let mut findings = vec![match first {
        Some(expiry) if expiry <= now => Finding::fail(
            ENV,
            format!("the token in {shown} expired {}", time_format::both(now, expiry)),
            "the daemon does not run, or this file is mounted by itself and cannot change",
        ),
        Some(expiry) => Finding::ok(
            ENV,
            format!("the token in {shown} expires {}", time_format::both(now, expiry)),
        ),
        None => Finding::ok(ENV, format!("{shown} holds a token")),
    }];
    let stale = |name: &str, value: &str| {
        name.ends_with("_ACCESS_TOKEN") && variable(name).is_some_and(|own| own != value)
    };
    if let Some((name, _)) = env.iter().find(|(name, value)| stale(name, value)) {
        findings.push(Finding::warn(
            "environment",
            format!("{name} of this process is not the token in force: an environment cannot be renewed"),
            "read `env` or ask the socket for each use, or start it with `exec --on-renewal restart`",
        ));
    }
    findings
}

async fn check_socket(socket: &AgentSocket) -> Finding {
    match AgentStatus::fetch(socket).await {
        Ok(status) => {
            let (state, trouble) = (status.state(), status.failure());
            let advice = trouble.action_url.unwrap_or_default();
            match state {
                "active" => Finding::ok(SOCKET, format!("{} is active", status.agent())),
                "provider_unavailable" => Finding::warn(SOCKET, trouble.message, advice),
                _ => Finding::fail(SOCKET, format!("{state}: {}", trouble.message), advice),
            }
        }
        Err(failure) => Finding::fail(SOCKET, failure.message, ""),
    }
}

fn check_credentials(file: Option<String>) -> Option<Finding> {
    let path = file.filter(|file| !file.is_empty())?;
    Some(match file::open(Path::new(&path)) {
        Ok(_) => Finding::ok(CREDENTIALS, format!("{path} can be read")),
        Err(error) => Finding::fail(
            CREDENTIALS,
            format!("{path} cannot be read: {error}"),
            "unset it for the metadata server, or set [adc] in the daemon's configuration, which writes adc.json",
        ),
    })
}

fn check_metadata(host: Option<String>) -> Option<Finding> {
    const CHECK: &str = "GCE_METADATA_HOST";
    let host = host.filter(|host| !host.is_empty())?;
    let address = host.to_socket_addrs().ok().and_then(|mut all| all.next());
    let reached = address.map(|address| TcpStream::connect_timeout(&address, REACH));
    Some(match reached {
        Some(Ok(_)) => Finding::ok(CHECK, format!("{host} can be reached")),
        Some(Err(error)) => Finding::fail(
            CHECK,
            format!("{host} cannot be reached: {error}"),
            "nothing serves the metadata protocol there, in this network namespace",
        ),
        None => Finding::fail(
            CHECK,
            format!("{host} is no address and port"),
            "write it as 127.0.0.1:8422, without http://",
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::{super::finding::Verdict, *};
    use crate::{client::testing::FakeBroker, clock::ManualClock};

    const NOW: &str = "2026-01-15T10:00:00Z";

    fn env(lines: &str) -> Environment {
        Environment::parse(lines)
    }

    fn verdicts(findings: &[Finding]) -> Vec<(&'static str, Verdict)> {
        let both = findings.iter().map(|finding| (finding.check, finding.verdict));
        both.collect()
    }

    #[test]
    fn an_expired_token_and_an_environment_that_stayed_behind_are_found() {
        let now = NOW.parse().unwrap();
        let look = |expiry: &str, own: Option<&str>| {
            let lines = format!(
                "GOOGLE_OAUTH_ACCESS_TOKEN=ya29.new\nGOOGLE_OAUTH_TOKEN_EXPIRES_AT={expiry}\nTOKEN_BROKER_STATE=active\n"
            );
            let own = own.map(str::to_owned);
            verdicts(&check_env(Path::new("/x/env"), &env(&lines), now, |name| {
                own.clone().filter(|_| name == "GOOGLE_OAUTH_ACCESS_TOKEN")
            }))
        };
        assert_eq!(look("2026-01-15T10:30:00Z", None), [(ENV, Verdict::Ok)]);
        assert_eq!(
            look("2026-01-15T10:30:00Z", Some("ya29.new")),
            [(ENV, Verdict::Ok)]
        );
        assert_eq!(
            look("2026-01-15T10:30:00Z", Some("ya29.old")),
            [(ENV, Verdict::Ok), ("environment", Verdict::Warn)]
        );
        assert_eq!(look("2026-01-15T09:59:59Z", None), [(ENV, Verdict::Fail)]);
    }

    #[tokio::test]
    async fn what_the_socket_says_is_the_finding() {
        let broker = FakeBroker::start().await;
        broker.set_active("ya29.one");
        assert_eq!(check_socket(&broker.client()).await.verdict, Verdict::Ok);
        broker.set_state("permission_missing", "alice has not granted google.drive");
        let found = check_socket(&broker.client()).await;
        assert_eq!(
            (found.verdict, found.message.as_str()),
            (
                Verdict::Fail,
                "permission_missing: alice has not granted google.drive"
            )
        );
        let absent = FakeBroker::absent();
        assert_eq!(check_socket(&absent.client()).await.verdict, Verdict::Fail);
    }

    #[tokio::test]
    async fn a_directory_that_is_not_there_is_the_only_finding() {
        let nothing = |_: &str| None;
        let clock: SharedClock = std::sync::Arc::new(ManualClock::new(NOW.parse().unwrap()));
        let found = check(Path::new("/nowhere/broker.sock"), &clock, nothing).await;
        assert_eq!(verdicts(&found), [(DIRECTORY, Verdict::Fail)]);
        let dir = tempfile::tempdir().unwrap();
        let found = check(&dir.path().join("broker.sock"), &clock, nothing).await;
        assert_eq!(verdicts(&found), [(ENV, Verdict::Fail), (SOCKET, Verdict::Fail)]);
    }

    #[test]
    fn what_the_libraries_are_told_is_tried() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let verdict = |host: &str| check_metadata(Some(host.to_owned())).unwrap().verdict;
        assert_eq!(verdict(&address), Verdict::Ok);
        assert_eq!(verdict(&format!("http://{address}")), Verdict::Fail);
        drop(listener);
        assert_eq!(verdict(&address), Verdict::Fail);
        assert_eq!(check_metadata(Some(String::new())), None);
        let credentials = |file: &str| check_credentials(Some(file.to_owned())).unwrap().verdict;
        assert_eq!(credentials("/nowhere/adc.json"), Verdict::Fail);
        assert_eq!(credentials("/etc/passwd"), Verdict::Ok);
    }
}
