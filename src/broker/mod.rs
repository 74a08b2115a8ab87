//! Keeps every agent's token fresh.
//!
//! [`Broker`] knows agents, accounts and tokens; it renews ahead of time, once per account and scope set,
//! and publishes each agent's situation to its handle. `ARCHITECTURE.md` tells the rules it follows.

mod accounts;
mod agent_secrets;
mod agent_views;
mod agents;
mod announced;
mod ask;
mod asks;
pub(crate) mod backoff;
mod choice;
pub mod connect;
mod consents;
mod disconnect;
mod ending;
pub mod events;
mod failure;
mod files;
mod first_use;
mod flight;
pub mod handle;
mod holders;
mod import;
mod jump;
mod keep;
mod kept;
mod leaving;
mod limits;
pub mod names;
mod once_more;
mod part;
mod pods;
pub mod problem;
mod provider_accounts;
mod publish;
pub mod query;
mod queue;
mod recorder;
mod recovery;
mod refresh;
mod renewal;
mod repeats;
mod revocations;
mod rotation;
mod service_account;
mod sessions;
mod situation;
mod slots;
pub mod snapshot;
mod start;
mod stored_time;
mod succession;
#[cfg(test)]
pub(crate) mod testing;
mod time;
mod turn;
mod unchecked;
mod unkept;
mod unusable;
mod world;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Semaphore, broadcast};
use tokio_util::sync::CancellationToken;

use crate::{
    budget::Budget,
    catalog::Catalog,
    clock::{Moment, Uptime},
    entropy::SharedEntropy,
    google::SharedProvider,
    health::{Probe, Pulse, pulse},
    id::{AgentName, IntegrationId},
    store::SharedStore,
    telemetry::Metrics,
    vault::Vault,
};

pub use accounts::{AccountError, AccountView, CapabilityStanding};
pub use agent_views::AgentView;
pub use agents::AgentError;
pub use announced::Announced;
pub use asks::Asker;
pub use choice::{AccountRef, SeveralAccounts};
pub use connect::{ConnectError, ConnectStarted, ConnectTarget, Connected};
pub use disconnect::{Disconnected, Revocation};
pub use events::{Event, EventKind};
pub use handle::{AgentHandle, ChangeReceiver, ChangeSender};
pub use import::{ImportError, Imported};
pub use problem::{Problem, ProblemCode};
pub use query::{TokenGrant, TokenQuery};
pub use revocations::PendingRevocation;
pub use service_account::{NewServiceAccount, ServiceAccountAdded, ServiceAccountError};
pub use sessions::{Invitation, SignIn};
pub use snapshot::{AgentSnapshot, AgentState, CapabilityState, CapabilityStatus, Feed, IssuedToken};
pub use world::AgentSource;

use consents::Consents;
use flight::Flights;
use holders::Holders;
use provider_accounts::ProviderAccounts;
use queue::Queue;
use recorder::Recorder;
use recovery::Recovery;
use renewal::Renewed;
use revocations::Revocations;
use rotation::Rotation;
use situation::Surroundings;
#[cfg(test)]
pub(crate) use situation::state_of as failure_state;
use time::BrokerClock;
use unkept::Unkept;
use unusable::Unusable;
use world::{TokenKey, World};

/// What a broker is told once.
pub struct BrokerOptions {
    /// Where people reach the daemon, without a slash at the end.
    pub public_url: String,
    /// How many requests for access tokens run at once.
    pub concurrency: usize,
    /// How long a consent may take.
    pub consent_timeout: Duration,
    /// Origins that a browser may be sent to after a consent.
    pub return_origins: Vec<url::Origin>,
    /// Whether each agent has a secret of its own, for a credential file.
    pub agent_secrets: bool,
}

/// What a broker is made of.
pub struct BrokerParts {
    /// Time.
    pub clock: crate::clock::SharedClock,
    /// Randomness.
    pub entropy: SharedEntropy,
    /// Durable records.
    pub store: SharedStore,
    /// Google.
    pub provider: SharedProvider,
    /// Seals and opens.
    pub vault: Arc<Vault>,
    /// Capabilities.
    pub catalog: Arc<Catalog>,
    /// Figures.
    pub metrics: Arc<Metrics>,
}

/// By what the broker's two queues are known to go on.
pub struct Pulses {
    renewals: Pulse,
    expiries: Pulse,
}

impl Pulses {
    /// The pulses for [`Broker::run`], and the probes that feel them.
    pub fn new() -> (Self, [Probe; 2]) {
        let (renewing, renewals) = pulse();
        let (expiring, expiries) = pulse();
        (Self { renewals, expiries }, [renewing, expiring])
    }
}

/// The broker.
pub struct Broker {
    options: BrokerOptions,
    clock: BrokerClock,
    /// The last moment that the daemon before this one left, in the same run of the machine.
    last_moment: Option<Moment>,
    entropy: SharedEntropy,
    store: SharedStore,
    provider: SharedProvider,
    vault: Arc<Vault>,
    metrics: Arc<Metrics>,
    around: Surroundings,
    world: Mutex<World>,
    renewals: Queue,
    expiries: Queue,
    /// Accounts of a database that was put back, until each is checked.
    checks: Queue,
    /// Whose grant ends soon.
    endings: Queue<IntegrationId>,
    flights: Flights<TokenKey, Renewed>,
    /// Requests to the provider for access tokens that run at once.
    requests: Semaphore,
    /// One agent is put or deleted over the API at a time, so that memory and database agree.
    agent_changes: tokio::sync::Mutex<()>,
    holders: Holders,
    /// One announcement of the provider's is acted on at a time.
    announcing: tokio::sync::Mutex<()>,
    consents: Consents,
    asks: asks::Asks,
    /// Places for narrowed tokens.
    narrowed: Budget<AgentName>,
    recorder: Recorder,
    recovery: Recovery,
    revocations: Revocations,
    provider_accounts: ProviderAccounts,
    rotation: Rotation,
    unkept: Unkept,
    unusable: Unusable,
    changes: ChangeSender,
    events: broadcast::Sender<Event>,
}

impl Broker {
    /// The node's wall clock.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// What lives and pauses are measured by.
    pub fn uptime(&self) -> Uptime {
        self.clock.uptime()
    }

    /// The present moment, for showing when another one is.
    pub fn moment(&self) -> Moment {
        self.clock.moment()
    }

    /// How far the provider's clock is ahead of the daemon's.
    pub fn clock_skew(&self) -> SignedDuration {
        self.clock.skew()
    }

    /// The capabilities there are.
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.around.catalog
    }

    /// Where people reach the daemon, without a slash at the end.
    pub fn public_url(&self) -> &str {
        &self.options.public_url
    }

    /// Durable records, for whoever lists the audit trail.
    pub fn store(&self) -> &SharedStore {
        &self.store
    }

    /// Every event from now on.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// When the next renewal is due.
    pub fn next_renewal(&self) -> Option<Uptime> {
        self.renewals.earliest()
    }

    /// How many renewals wait for their moment.
    pub fn renewals_waiting(&self) -> usize {
        self.renewals.len()
    }

    /// Renews what is due and lets go of what has expired, until `shutdown`.
    pub async fn run(self: Arc<Self>, pulses: Pulses, shutdown: CancellationToken) {
        let renewing = turn::run(self.clone(), pulses.renewals, shutdown.clone());
        let expiring = publish::run_expiries(self.clone(), pulses.expiries, shutdown.clone());
        let revoking = revocations::run(self.clone(), shutdown.clone());
        let setting = jump::run(self.clone(), shutdown.clone());
        let checking = unchecked::run(self.clone(), shutdown.clone());
        let holding = self.run_holders(shutdown.clone());
        tokio::join!(renewing, expiring, revoking, setting, checking, holding);
    }

    /// No further renewal asks the provider; those that have asked already come to their end.
    pub fn ask_no_more(&self) {
        self.requests.close();
    }

    /// Waits until no renewal, consent or disconnect is under way, so that none is cut off halfway.
    pub async fn landed(&self) {
        for agent in self.handles() {
            self.recorder.last_uses(self.now(), &agent);
        }
        self.recorder.last_repeats();
        self.flights.landed().await;
    }

    /// Waits until the audit trail holds everything so far.
    pub async fn flush_audit(&self) {
        self.recorder.flush().await;
    }

    fn world(&self) -> MutexGuard<'_, World> {
        // A panic while the world was held leaves plain data, each field whole.
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn emit(&self, event: Event) {
        // Nobody watching is fine.
        let _ = self.events.send(event);
    }
}
