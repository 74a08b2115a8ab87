//! A broker on a real database, a scripted provider, a clock that stands still, and words for what happens.
//!
//! Scenes run on one thread. [`Scene::idle`] returns when nothing can happen any more until the scene moves
//! the clock or lets something go, so "nothing happens" can be told without sleeping for luck.

mod disk;
mod google;
mod key_file;
mod scene;
mod script;
mod store;

use std::time::Duration;

use token_broker::{
    broker::{AgentHandle, AgentState, TokenRequest},
    capability::{Catalog, ScopeSet},
    id::OwnerId,
    manifest::{Manifest, Requirement},
    telemetry::audit::Actor,
};

pub(crate) use google::{Google, happened};
pub(crate) use key_file::PRIVATE_KEY;
pub(crate) use scene::{Scene, Setting, vault};
pub(crate) use script::{CANARY, Fault, Person};
pub(crate) use store::Part;

pub(crate) const SEND: &str = "google.gmail.send";
pub(crate) const READ: &str = "google.gmail.readonly";
pub(crate) const CALENDAR: &str = "google.calendar";
pub(crate) const CALENDAR_READONLY: &str = "google.calendar.readonly";
pub(crate) const DRIVE: &str = "google.drive";
pub(crate) const DOCS: &str = "google.docs";
pub(crate) const SA: &str = "google.sa";
pub(crate) const SHEETS: &str = "google.sheets";

pub(crate) const ROBOT: &str = "robot@project.iam.gserviceaccount.com";
pub(crate) const ALICE: &str = "alice@example.com";
pub(crate) const MINUTE: u64 = 60;
pub(crate) const HOUR: u64 = 60 * MINUTE;

pub(crate) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn admin() -> Actor {
    Actor::Admin(0)
}

pub(crate) fn owner(name: &str) -> OwnerId {
    name.parse().unwrap()
}

pub(crate) fn email(owner: &str) -> String {
    format!("{owner}@example.com")
}

/// The scopes of capabilities, and what tells whose a grant is.
pub(crate) fn with_openid(capabilities: &[&str]) -> token_broker::capability::ScopeSet {
    let openid = token_broker::capability::ScopeSet::parse("openid").unwrap();
    scopes(capabilities).union(&openid)
}

/// The scopes of capabilities.
pub(crate) fn scopes(capabilities: &[&str]) -> ScopeSet {
    let keys: Vec<_> = capabilities.iter().map(|name| name.parse().unwrap()).collect();
    Catalog::builtin().scopes_for(&keys).unwrap()
}

/// A manifest; capabilities with a `?` behind them are optional.
pub(crate) fn manifest(agent: &str, of: &str, capabilities: &[&str]) -> Manifest {
    let requirement = |name: &&str| Requirement {
        key: name.trim_end_matches('?').parse().unwrap(),
        description: String::new(),
        optional: name.ends_with('?'),
    };
    Manifest {
        agent: agent.parse().unwrap(),
        owner: owner(of),
        account: None,
        service_account: None,
        accounts: std::collections::BTreeMap::new(),
        uid: None,
        gid: None,
        kubernetes: None,
        nodes: Vec::new(),
        integrations: capabilities.iter().map(requirement).collect(),
    }
}

/// Anything an agent might ask for.
pub(crate) fn query(capabilities: &[&str], min_ttl: u64) -> TokenRequest {
    TokenRequest {
        capabilities: capabilities.iter().map(ToString::to_string).collect(),
        min_ttl: secs(min_ttl),
        integration: None,
        refresh: false,
    }
}

/// An agent whose token was refused by an API asks for another one.
pub(crate) fn refused() -> TokenRequest {
    TokenRequest {
        refresh: true,
        ..TokenRequest::default()
    }
}

pub(crate) fn state(agent: &AgentHandle) -> AgentState {
    agent.snapshot().state
}

/// The token that the agent would get without asking anybody.
pub(crate) fn token(agent: &AgentHandle) -> Option<String> {
    agent
        .snapshot()
        .main()
        .token
        .as_ref()
        .map(|token| token.access_token.expose().to_owned())
}

/// The service account's token that the agent would get without asking anybody.
pub(crate) fn service_token(agent: &AgentHandle) -> Option<String> {
    let snapshot = agent.snapshot();
    let view = snapshot.credential(&"google-sa".parse().unwrap())?;
    view.token
        .as_ref()
        .map(|token| token.access_token.expose().to_owned())
}

pub(crate) fn life_left(scene: &Scene, agent: &AgentHandle) -> Duration {
    let snapshot = agent.snapshot();
    snapshot
        .main()
        .token
        .as_ref()
        .and_then(|token| token.remaining(scene.broker.uptime()))
        .unwrap_or_default()
}
