//! What the tests of this module share.

use std::{os::fd::AsRawFd, path::Path, process::Command, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    time::Instant,
};

use crate::{
    broker::{AgentSnapshot, AgentState, CapabilityStatus, CredentialView, IssuedToken},
    capability::ScopeSet,
    clock::{Clock, ManualClock, Moment},
    id::AgentName,
    manifest::{Manifest, Requirement},
    provider::google,
};

/// This time of the day on which the scenes play, by a wall clock that nobody sets.
pub(crate) fn at(text: &str) -> Moment {
    let start: Timestamp = "2024-01-15T09:31:00Z".parse().unwrap();
    let (start, wall) = (ManualClock::new(start).moment(), text.parse().unwrap());
    Moment {
        uptime: start.uptime_at(wall),
        wall,
    }
}

pub(crate) fn name(text: &str) -> AgentName {
    text.parse().unwrap()
}

/// What an HTTP/1.1 client sends that reads no answer.
pub(crate) const PIPELINED: &[u8] = b"GET /v1/status HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// Begins HTTP/2: the preface, and settings that change nothing.
pub(crate) const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// A ping of HTTP/2, which wants an answer.
pub(crate) const H2_PING: &[u8] = b"\0\0\x08\x06\0\0\0\0\0_no_read";

/// Sends this again and again and reads nothing, until the other end gives the connection up; how long that took. From
/// here on time passes as soon as everybody waits for it.
pub(crate) async fn never_reads(
    mut stream: impl AsyncWrite + Unpin,
    preface: &[u8],
    again: &[u8],
) -> Duration {
    tokio::time::pause();
    let begun = Instant::now();
    let sending = async {
        let again = again.repeat(256);
        let _ = stream.write_all(preface).await;
        while stream.write_all(&again).await.is_ok() {}
    };
    tokio::time::timeout(Duration::from_secs(3600), sending)
        .await
        .expect("it is given up");
    begun.elapsed()
}

/// Runs the unit test `test` again in a process of its own, with `case` in the variable [`CASE`]: what it does to its process
/// is there to stay.
pub(crate) fn in_a_child(test: &str, case: &str) {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", test, "--nocapture"]).env(CASE, case);
    let output = child.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{log}");
    assert!(said.contains("1 passed"), "{said}");
}

/// What the child of a test is to find out.
pub(crate) const CASE: &str = "TOKEN_BROKER_TEST_CASE";

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A folder in memory, where there is one: what the runtime directory is meant to be.
pub(crate) fn in_memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

/// A small file system of its own, for as long as it is held. `None` where nothing may be mounted.
pub(crate) fn small_tmpfs(path: &Path, size: &str) -> Option<Mounted> {
    let options = format!("size={size},mode=0755");
    let mut command = Command::new("mount");
    command.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(path);
    let mounted = is_root() && command.output().is_ok_and(|output| output.status.success());
    mounted.then(|| Mounted(std::fs::File::open(path).unwrap()))
}

/// Holds the mounted folder open: its path changes when a folder above is renamed.
pub(crate) struct Mounted(std::fs::File);

impl Mounted {
    fn path(&self) -> std::path::PathBuf {
        std::fs::read_link(format!("/proc/self/fd/{}", self.0.as_raw_fd())).unwrap()
    }

    pub(crate) fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        let status = Command::new("mount")
            .args(["-o", &options])
            .arg(self.path())
            .status()
            .unwrap();
        assert!(status.success());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

pub(crate) fn token(text: &str) -> Arc<IssuedToken> {
    Arc::new(IssuedToken {
        access_token: text.into(),
        integration: "int_00000000000000000000".parse().unwrap(),
        scopes: ScopeSet::parse(
            "https://www.googleapis.com/auth/calendar https://www.googleapis.com/auth/gmail.send",
        )
        .unwrap(),
        issued_at: at("2024-01-15T09:30:00Z").uptime,
        expires_at: at("2024-01-15T10:30:00Z").uptime,
    })
}

/// An agent of `alice`, active, without a token as yet.
pub(crate) fn snapshot(agent: &str) -> AgentSnapshot {
    let requirement = |key: &str, description: &str, optional| Requirement {
        key: key.parse().unwrap(),
        description: description.to_owned(),
        optional,
    };
    let status = |key: &str, granted, optional, satisfied_by: Option<&str>| CapabilityStatus {
        key: key.parse().unwrap(),
        granted,
        optional,
        satisfied_by: satisfied_by.map(|key| key.parse().unwrap()),
        declined: !granted,
    };
    AgentSnapshot {
        manifest: Arc::new(Manifest {
            agent: name(agent),
            owner: "alice".parse().unwrap(),
            account: None,
            service_account: None,
            accounts: std::collections::BTreeMap::new(),
            uid: None,
            gid: None,
            kubernetes: None,
            nodes: Vec::new(),
            integrations: vec![
                requirement("google.gmail.send", "Send order confirmations", false),
                requirement("google.calendar.readonly", "", true),
                requirement("google.drive.readonly", "Attach invoices", true),
            ],
        }),
        state: AgentState::Active,
        message: String::new(),
        action_url: None,
        awaited: Box::default(),
        capabilities: Arc::new([
            status("google.gmail.send", true, false, None),
            status("google.calendar.readonly", true, true, Some("google.calendar")),
            status("google.drive.readonly", false, true, None),
        ]),
        credentials: Box::new([CredentialView {
            profile: Arc::new(google::account()),
            account: Some("alice@example.com".into()),
            granted: Arc::new([
                "google.gmail.send".parse().unwrap(),
                "google.calendar.readonly".parse().unwrap(),
            ]),
            token: None,
            is_expected: true,
        }]),
    }
}

/// A service account with this token.
pub(crate) fn service_view(token: Option<Arc<IssuedToken>>) -> CredentialView {
    CredentialView {
        profile: Arc::new(google::service_accounts()),
        account: Some("robot@project.iam.gserviceaccount.com".into()),
        granted: token.iter().map(|_| "google.sa".parse().unwrap()).collect(),
        token,
        is_expected: true,
    }
}

impl AgentSnapshot {
    pub(crate) fn with_token(mut self, token: Arc<IssuedToken>) -> Self {
        self.credentials[0].token = Some(token);
        self
    }

    /// The agent declares a service account as well.
    pub(crate) fn with_service(mut self, token: Option<Arc<IssuedToken>>) -> Self {
        let mut manifest = Manifest::clone(&self.manifest);
        manifest.integrations.push(Requirement {
            key: "google.sa".parse().unwrap(),
            description: String::new(),
            optional: true,
        });
        self.manifest = Arc::new(manifest);
        let status = CapabilityStatus {
            key: "google.sa".parse().unwrap(),
            granted: token.is_some(),
            optional: true,
            satisfied_by: None,
            declined: false,
        };
        self.capabilities = self.capabilities.iter().cloned().chain([status]).collect();
        let all = std::mem::take(&mut self.credentials).into_vec().into_iter();
        self.credentials = all.chain([service_view(token)]).collect();
        self
    }

    pub(crate) fn in_state(mut self, state: AgentState) -> Self {
        self.state = state;
        self.message = format!("This is {}.", state.as_str());
        let agent = &self.manifest.agent;
        let person_can_act = state != AgentState::ProviderUnavailable;
        self.action_url = person_can_act.then(|| format!("http://127.0.0.1:8420/fix/{agent}"));
        self
    }

    pub(crate) fn owned_by(mut self, uid: Option<u32>, gid: Option<u32>) -> Self {
        let mut manifest = Manifest::clone(&self.manifest);
        (manifest.uid, manifest.gid) = (uid, gid);
        self.manifest = Arc::new(manifest);
        self
    }
}
