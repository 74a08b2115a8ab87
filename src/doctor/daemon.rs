//! The running daemon, if there is one.

use std::{fs, os::unix::fs::MetadataExt, path::Path, time::Duration};

use rustix::process::{Resource, getrlimit};
use tokio::net::unix::UCred;
use tonic::{Code, Response};

use super::finding::Finding;
use crate::{
    client::{
        admin::{self, Admin, refused},
        exit::{Exit, Failure},
    },
    config::{self, Config, writers},
    proto::v1,
    text::count,
};

/// From this many seconds on a clock is worth a look; the daemon corrects for it.
pub(super) const SKEW_LIMIT: i64 = 30;

/// How long the daemon may take to go through its audit trail.
const TRAIL_PATIENCE: Duration = Duration::from_secs(30);

/// An agent as the daemon tells of it.
pub(super) struct KnownAgent {
    /// What it declared, as it came.
    pub(super) spec: v1::AgentSpec,
    /// It has all that it declared and needs.
    pub(super) is_active: bool,
    /// What went wrong writing its directory.
    pub(super) delivery_problem: String,
    /// `file:<path>` or `api`.
    pub(super) source: String,
}

impl From<v1::Agent> for KnownAgent {
    fn from(from: v1::Agent) -> Self {
        let state = from.status.map(|status| status.state());
        Self {
            spec: from.spec.unwrap_or_default(),
            is_active: state == Some(v1::AgentState::Active),
            delivery_problem: from.delivery_problem,
            source: from.source,
        }
    }
}

/// What the other checks want to know.
pub(super) struct Seen {
    /// The agents, where a daemon runs that could be asked.
    pub(super) agents: Option<Vec<KnownAgent>>,
    /// The id of the OAuth client that it has in force, where it could be asked.
    pub(super) client: Option<String>,
    /// The user that the daemon runs as, where one runs.
    pub(super) user: Option<u32>,
    /// The daemon's process, where one runs that this one can see.
    pub(super) process: Option<i32>,
    /// How many files the daemon may open, or would if it were started like this command.
    pub(super) open_files: Option<u64>,
}

impl Seen {
    /// The user that the daemon runs as, or would: whose its folders are, and this user before there are any.
    pub(super) fn daemons_user(&self, config: &Config) -> u32 {
        let owner = |path: &Path| path.metadata().ok().map(|folder| folder.uid());
        self.user
            .or_else(|| owner(&config.state_dir))
            .or_else(|| owner(&config.runtime_dir))
            .unwrap_or_else(writers::own_user)
    }
}

/// Asks the daemon how it is.
pub(super) async fn check(admin_socket: Option<&Path>, config: Option<&Config>) -> (Seen, Vec<Finding>) {
    const CHECK: &str = "daemon";
    let socket = match (admin_socket, config) {
        (Some(socket), _) => socket.to_owned(),
        (None, Some(config)) => config.runtime_dir.join("admin.sock"),
        (None, None) => Path::new(config::DEFAULT_RUNTIME_DIR).join("admin.sock"),
    };
    let listener = listener(&socket).await;
    let mut seen = Seen {
        agents: None,
        client: None,
        user: listener.map(|peer| peer.uid()),
        // None that this process can see, where it is in another container, say.
        process: listener
            .and_then(|peer| peer.pid())
            .filter(|process| *process > 0),
        open_files: getrlimit(Resource::Nofile).current,
    };
    seen.open_files = seen.process.and_then(limit_of).or(seen.open_files);
    match ask(&socket).await {
        Ok((daemon, agents, trail)) => {
            let mut findings = judge(&daemon);
            findings.extend(trail);
            // A daemon of before does not tell.
            seen.client = Some(daemon.google_client_id).filter(|id| !id.is_empty());
            seen.agents = Some(agents);
            (seen, findings)
        }
        // Whether it runs is not known.
        Err(failure) if failure.exit == Exit::Unreachable && is_closed_to_us(&socket).await => {
            (seen, vec![Finding::warn(CHECK, failure.message, "")])
        }
        Err(failure) if failure.exit == Exit::Unreachable => {
            (seen, vec![Finding::fail(CHECK, failure.message, "")])
        }
        Err(failure) => (
            seen,
            vec![Finding::fail(CHECK, failure.message, "look at the daemon's log")],
        ),
    }
}

/// Asks a daemon on another machine how it is. What is on its disk is looked at there.
pub(super) async fn check_remote(opened: Result<Admin, Failure>) -> Vec<Finding> {
    let answered = match opened {
        Ok(admin) => answers(admin).await,
        Err(failure) => Err(failure),
    };
    match answered {
        Ok((daemon, _, trail)) => judge(&daemon).into_iter().chain(trail).collect(),
        Err(failure) => vec![Finding::fail("daemon", failure.message, "")],
    }
}

/// What the daemon answered.
type Answers = (v1::GetDaemonStatusResponse, Vec<KnownAgent>, Option<Finding>);

async fn ask(socket: &Path) -> Result<Answers, Failure> {
    let opened = admin::open(socket).await;
    answers(opened.map_err(|error| admin::unreachable(socket, &error))?).await
}

async fn answers(mut admin: Admin) -> Result<Answers, Failure> {
    let status = admin
        .get_daemon_status(v1::GetDaemonStatusRequest {})
        .await
        .map_err(refused)?
        .into_inner();
    let agents = admin
        .list_agents(v1::ListAgentsRequest::default())
        .await
        .map_err(refused)?
        .into_inner()
        .agents;
    let agents = agents.into_iter().map(Into::into).collect();
    Ok((status, agents, trail(&mut admin).await))
}

/// What is wrong with the audit trail, if something is.
async fn trail(admin: &mut Admin) -> Option<Finding> {
    const CHECK: &str = "audit trail";
    let verified = admin.verify_audit(v1::VerifyAuditRequest::default());
    let Ok(verified) = tokio::time::timeout(TRAIL_PATIENCE, verified).await else {
        let message = format!(
            "it was not gone through within {} s, so it may or may not be whole",
            TRAIL_PATIENCE.as_secs()
        );
        let advice = "`token-broker audit verify` goes through all of it";
        return Some(Finding::warn(CHECK, message, advice));
    };
    match verified.map(Response::into_inner) {
        Ok(verified) if verified.intact => None,
        Ok(verified) => Some(Finding::fail(
            CHECK,
            format!("it is not whole: {}", verified.problem),
            "somebody else than the daemon changed it, or the disk is damaged: find out which; a backup has the lines of its time",
        )),
        // Which is the operator's to do.
        Err(status) if status.code() == Code::PermissionDenied => None,
        Err(status) => Some(Finding::fail(
            CHECK,
            format!("it cannot be verified: {}", refused(status).message),
            "look at the daemon's log",
        )),
    }
}

fn judge(daemon: &v1::GetDaemonStatusResponse) -> Vec<Finding> {
    const CHECK: &str = "daemon";
    let here = env!("CARGO_PKG_VERSION");
    let mut findings = vec![if daemon.version == here {
        let (all, active) = (daemon.agents, daemon.agents_active);
        Finding::ok(
            CHECK,
            format!("version {here} runs; {active} of {all} agents have a token"),
        )
    } else {
        let message = format!("version {} runs, and this is {here}", daemon.version);
        Finding::warn(CHECK, message, "restart the daemon after an upgrade")
    }];
    let unmet = daemon.unmet_conditions.iter();
    findings.extend(unmet.map(|unmet| {
        let message = format!("it is not ready: {}", unmet.message);
        Finding::fail(CHECK, message, "look at the daemon's log")
    }));
    findings.extend(short_of_token(daemon.agents_short_of_token));
    findings.extend(refused_by_store(daemon.renewals_refused_by_store));
    findings.extend(waiting_for_people(daemon));
    findings.extend(bindable(daemon.bindable_accounts));
    let unusable = daemon.unusable_records.iter();
    findings.extend(unusable.map(|record| {
        let advice = "somebody else than the daemon wrote it, or the disk is damaged: find out which, and do what it says";
        Finding::fail("database", record.as_str(), advice)
    }));
    let changes = daemon.configuration_changes.iter();
    findings.extend(changes.map(|change| {
        let advice = "restart the daemon; until then what it was started with is in force";
        Finding::fail("configuration in force", change.as_str(), advice)
    }));
    let told = [&daemon.unusable_records, &daemon.configuration_changes];
    let problems = daemon.problems.iter();
    let others = problems.filter(|problem| !told.iter().any(|told| told.contains(problem)));
    findings.extend(others.map(|problem| Finding::warn(CHECK, problem.as_str(), "")));
    findings.extend(clock(daemon.clock_skew_seconds, "as the daemon last saw it"));
    findings
}

/// Agents without a token for whom a person has something to do.
fn waiting_for_people(daemon: &v1::GetDaemonStatusResponse) -> Option<Finding> {
    let waiting = daemon.agents_waiting_for_people;
    (waiting > 0).then(|| {
        let agents = count(waiting, "agent waits", "agents wait");
        Finding::warn(
            "tokens",
            format!("{agents} for an owner or the operator to do something"),
            "`token-broker agents list` shows them, and `token-broker agents show` says what",
        )
    })
}

/// Accounts whose grants are not bound to a key although new ones are.
fn bindable(accounts: u64) -> Option<Finding> {
    (accounts > 0).then(|| {
        let accounts = count(accounts, "account is", "accounts are");
        Finding::warn(
            "dpop",
            format!("{accounts} not bound to a key, as new ones are"),
            "connect each again to bind it: `token-broker integrations list --output json` has `dpop: unbound` for them",
        )
    })
}

/// Tokens whose renewal fails for the database.
fn refused_by_store(renewals: u64) -> Option<Finding> {
    (renewals > 0).then(|| {
        let tokens = count(renewals, "token", "tokens");
        Finding::fail(
            "database",
            format!("{tokens} cannot be renewed, because the database does not take what a renewal writes"),
            "the daemon's log says why",
        )
    })
}

/// Agents without a token for whom no person has anything to do.
fn short_of_token(agents: u64) -> Option<Finding> {
    (agents > 0).then(|| {
        let agents = count(agents, "agent has", "agents have");
        Finding::fail(
            "tokens",
            format!("{agents} no token, and nobody has to connect or allow anything for it"),
            "`token-broker agents list` shows them, `token-broker agents show` says why",
        )
    })
}

/// What there is to say about a clock that the provider's is `ahead` seconds before.
pub(super) fn clock(ahead: i64, how: &str) -> Option<Finding> {
    let (seconds, direction) = (
        ahead.unsigned_abs(),
        if ahead > 0 { "behind" } else { "ahead of" },
    );
    (ahead.abs() >= SKEW_LIMIT).then(|| {
        let message = format!("this machine's clock is {seconds}s {direction} the provider's, {how}");
        Finding::fail(
            "clock",
            message,
            "let NTP set it: the daemon corrects for it, agents do not",
        )
    })
}

/// True where this user may not open the socket.
async fn is_closed_to_us(socket: &Path) -> bool {
    let opened = tokio::net::UnixStream::connect(socket).await;
    opened.is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
}

/// Who listens on the socket.
async fn listener(socket: &Path) -> Option<UCred> {
    let stream = tokio::net::UnixStream::connect(socket).await.ok()?;
    stream.peer_cred().ok()
}

/// How many files the process may open.
fn limit_of(process: i32) -> Option<u64> {
    open_files(&fs::read_to_string(format!("/proc/{process}/limits")).ok()?)
}

/// The soft limit of open files in `/proc/PID/limits`.
fn open_files(limits: &str) -> Option<u64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::finding::Verdict, *};
    use crate::client::testing::{FakeAdmin, agent_of_alice};

    #[tokio::test]
    async fn a_running_daemon_is_asked_for_its_problems_and_agents() {
        let server = FakeAdmin {
            agents: vec![agent_of_alice("bot")],
            ..FakeAdmin::default()
        }
        .serve()
        .await;
        let (seen, findings) = check(Some(&server.socket()), None).await;
        assert_eq!(seen.agents.map(|agents| agents.len()), Some(1));
        assert_eq!(seen.client.as_deref(), Some("client-in-force"));
        assert_eq!(findings[0].verdict, Verdict::Ok);
        assert_eq!(
            (findings[1].verdict, findings[1].message.as_str()),
            (Verdict::Warn, "the disk is nearly full")
        );
        assert_eq!(findings.len(), 2);
    }

    #[tokio::test]
    async fn altered_records_and_a_configuration_that_is_not_in_force_fail_the_check() {
        let (record, change) = (
            "the row of int_1 was altered",
            "google.client_id was changed on disk",
        );
        let server = FakeAdmin {
            unusable_records: vec![record.to_owned()],
            configuration_changes: vec![change.to_owned()],
            ..FakeAdmin::default()
        }
        .serve()
        .await;
        let (_, findings) = check(Some(&server.socket()), None).await;
        for said in [record, change] {
            let found = findings.iter().find(|finding| finding.message == said).unwrap();
            assert_eq!(found.verdict, Verdict::Fail);
            assert!(!found.advice.is_empty());
        }
    }

    #[tokio::test]
    async fn a_trail_that_is_not_whole_fails_the_check() {
        let server = FakeAdmin {
            audit_problem: "line 8 does not follow line 7".to_owned(),
            ..FakeAdmin::default()
        }
        .serve()
        .await;
        let (_, findings) = check(Some(&server.socket()), None).await;
        let found = findings
            .iter()
            .find(|finding| finding.check == "audit trail")
            .unwrap();
        assert_eq!(found.verdict, Verdict::Fail);
        assert!(
            found.message.ends_with("line 8 does not follow line 7"),
            "{found:?}"
        );
        assert!(!found.advice.is_empty());
    }

    #[tokio::test]
    async fn accounts_that_could_be_bound_are_counted() {
        let server = FakeAdmin {
            bindable_accounts: 2,
            ..FakeAdmin::default()
        }
        .serve()
        .await;
        let (_, findings) = check(Some(&server.socket()), None).await;
        let found = findings.iter().find(|finding| finding.check == "dpop").unwrap();
        assert_eq!(found.verdict, Verdict::Warn);
        assert!(found.message.starts_with("2 accounts are not bound"), "{found:?}");
    }

    #[tokio::test]
    async fn renewals_that_the_database_refuses_fail_the_check() {
        let server = FakeAdmin {
            renewals_refused_by_store: 2,
            ..FakeAdmin::default()
        }
        .serve()
        .await;
        let (_, findings) = check(Some(&server.socket()), None).await;
        let found = findings
            .iter()
            .find(|finding| finding.check == "database")
            .unwrap();
        assert_eq!(found.verdict, Verdict::Fail);
        assert!(
            found.message.starts_with("2 tokens cannot be renewed"),
            "{found:?}"
        );
    }

    #[tokio::test]
    async fn a_daemon_that_cannot_do_its_work_fails_the_check() {
        let server = FakeAdmin {
            unmet_conditions: vec![v1::UnmetCondition {
                condition: "store".to_owned(),
                message: "the disk is full".to_owned(),
            }],
            agents_short_of_token: 1,
            ..FakeAdmin::default()
        }
        .serve()
        .await;
        let (_, findings) = check(Some(&server.socket()), None).await;
        let failed: Vec<&str> = findings
            .iter()
            .filter(|finding| finding.verdict == Verdict::Fail)
            .map(|finding| finding.message.as_str())
            .collect();
        assert_eq!(
            failed,
            [
                "it is not ready: the disk is full",
                "1 agent has no token, and nobody has to connect or allow anything for it"
            ]
        );
    }

    #[test]
    fn the_open_file_limit_of_a_process_is_read() {
        let own = fs::read_to_string("/proc/self/limits").unwrap();
        assert_eq!(
            open_files(&own).filter(|limit| *limit != u64::MAX),
            getrlimit(Resource::Nofile).current
        );
        assert_eq!(open_files("Max open files   1024   4096   files"), Some(1024));
        assert_eq!(
            open_files("Max open files   unlimited   unlimited   files"),
            Some(u64::MAX)
        );
    }

    #[test]
    fn only_a_clock_that_is_far_off_is_named() {
        assert_eq!(clock(29, ""), None);
        assert!(clock(-31, "").unwrap().message.contains("31s ahead of"));
        assert!(clock(31, "").unwrap().message.contains("31s behind"));
    }
}
