//! Agents without a provider behind them: what is measured is the way from a snapshot to a reader.

use std::{path::Path, sync::Arc, time::Duration};

use token_broker::{
    broker::{
        AgentHandle, AgentSnapshot, AgentState, CapabilityStatus, ChangeSender, CredentialView, IssuedToken,
        handle::changes,
    },
    capability::ScopeSet,
    clock::{Clock, SharedClock, SystemClock},
    delivery::{Delivery, DeliveryOptions},
    manifest::{Manifest, Requirement},
    provider::google,
};
use tokio_util::sync::CancellationToken;

/// A delivery and the end that feeds it.
pub struct Daemon {
    /// What is measured.
    pub delivery: Delivery,
    /// Announces changes to it.
    pub changes: ChangeSender,
}

impl Daemon {
    /// Starts to deliver below `runtime_dir`. To be called within a tokio runtime.
    pub fn start(runtime_dir: &Path) -> Self {
        let clock: SharedClock = Arc::new(SystemClock);
        let (changes, receiver) = changes();
        let options = DeliveryOptions {
            runtime_dir: runtime_dir.to_owned(),
            token_url: None,
            project_id: "token-broker".to_owned(),
            volumes: None,
            readiness: Arc::default(),
        };
        let broker = super::broker::idle(clock.clone());
        let delivery = Delivery::start(&options, broker, clock, receiver, CancellationToken::new())
            .expect("the runtime directory can be used");
        Self { delivery, changes }
    }

    /// Adds an agent.
    pub fn add(&self, snapshot: AgentSnapshot) -> Arc<AgentHandle> {
        let agent = AgentHandle::new(snapshot.manifest.agent.clone(), snapshot);
        self.changes.changed(&agent);
        agent
    }
}

/// A token as long as Google's are, good for an hour.
pub fn token(number: u64) -> Arc<IssuedToken> {
    let now = SystemClock.uptime();
    Arc::new(IssuedToken {
        access_token: format!("ya29.{number:0>200}").into(),
        integration: "int_00000000000000000000".parse().expect("an id"),
        scopes: ScopeSet::parse("https://www.googleapis.com/auth/gmail.send").expect("a scope"),
        issued_at: now,
        expires_at: now.after(Duration::from_secs(3600)),
    })
}

/// An active agent.
pub fn snapshot(agent: &str, token: Arc<IssuedToken>) -> AgentSnapshot {
    let key = "google.gmail.send";
    AgentSnapshot {
        manifest: Arc::new(Manifest {
            agent: agent.parse().expect("a name"),
            owner: "alice".parse().expect("an owner"),
            account: None,
            service_account: None,
            accounts: std::collections::BTreeMap::new(),
            uid: None,
            gid: None,
            kubernetes: None,
            nodes: Vec::new(),
            integrations: vec![Requirement {
                key: key.parse().expect("a key"),
                description: "Send order confirmations".to_owned(),
                optional: false,
            }],
        }),
        state: AgentState::Active,
        message: String::new(),
        action_url: None,
        awaited: Box::default(),
        capabilities: Arc::new([CapabilityStatus {
            key: key.parse().expect("a key"),
            granted: true,
            optional: false,
            satisfied_by: None,
            declined: false,
        }]),
        credentials: Box::new([CredentialView {
            profile: Arc::new(google::account()),
            account: Some("alice@example.com".into()),
            granted: Arc::new([key.parse().expect("a key")]),
            token: Some(token),
            is_expected: true,
        }]),
    }
}
