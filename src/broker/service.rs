//! The broker as the surfaces hold it: its parts, and what goes on by itself.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use super::{
    agents::{
        authenticator::AgentAuthenticator, changes::Agents, holder_keeper::HolderKeeper, list::AgentList,
    },
    issue::issuer::Issuer,
};
use crate::{
    accounts::{
        checks::AccountChecks, connect::Connect, disconnect::Disconnect, import::Import, list::AccountList,
        restored::RestoredAccounts, security_events::SecurityEventHandler, service_accounts::ServiceAccounts,
        unusable::UnusableAccounts,
    },
    audit::journal::Journal,
    capability::Catalog,
    clock::{Moment, Uptime},
    health::{Probe, Pulse, pulse},
    id::ProviderId,
    provider::Providers,
    registry::events::Event,
    renewal::{publisher::Publisher, recovery::Recovery, scheduler::Renewals, services::Services},
    revocation::revocations::Revocations,
    store::SharedStore,
};

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

/// The broker: its parts, each of which is a use case, and what goes on by itself.
pub struct Broker {
    /// Connected accounts, for showing.
    pub accounts: Arc<AccountList>,
    /// Asks the provider whether a grant works.
    pub account_checks: Arc<AccountChecks>,
    /// Agents, for showing and serving.
    pub agent_list: Arc<AgentList>,
    /// Adds, changes and removes agents.
    pub agents: Arc<Agents>,
    /// Knows agents by their secrets.
    pub authenticator: Arc<AgentAuthenticator>,
    /// Connects accounts.
    pub connect: Arc<Connect>,
    /// Disconnects accounts.
    pub disconnect: Arc<Disconnect>,
    /// Keeps who holds which agent.
    pub holders: Arc<HolderKeeper>,
    /// Takes over grants.
    pub import: Arc<Import>,
    /// Hands out tokens.
    pub issuer: Arc<Issuer>,
    /// Writes down what surfaces saw.
    pub journal: Arc<Journal>,
    /// Accounts of a restored database.
    pub restored: Arc<RestoredAccounts>,
    /// Grants that are still to be revoked.
    pub revocations: Arc<Revocations>,
    /// Acts on the provider's security events.
    pub security_events: Arc<SecurityEventHandler>,
    /// Adds service accounts.
    pub service_accounts: Arc<ServiceAccounts>,
    /// Records that are left alone.
    pub unusable: Arc<UnusableAccounts>,
    pub(super) publisher: Arc<Publisher>,
    pub(super) recovery: Arc<Recovery>,
    pub(super) renewals: Arc<Renewals>,
    /// The last moment that the daemon before this one left, in the same run of the machine.
    pub(super) last_moment: Option<Moment>,
    pub(super) services: Services,
}

impl Broker {
    /// The node's wall clock.
    pub fn now(&self) -> Timestamp {
        self.services.clock.now()
    }

    /// What lives and pauses are measured by.
    pub fn uptime(&self) -> Uptime {
        self.services.clock.uptime()
    }

    /// The present moment, for showing when another one is.
    pub fn moment(&self) -> Moment {
        self.services.clock.moment()
    }

    /// How far the provider's clock is ahead of the daemon's; that of the one that agrees best, where there are several.
    pub fn clock_skew(&self) -> SignedDuration {
        self.services.clock.skew()
    }

    /// The capabilities there are.
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.services.context.catalog
    }

    /// Who gives tokens.
    pub fn providers(&self) -> &Arc<Providers> {
        &self.services.context.providers
    }

    /// True when a person consents to what this provider's accounts are used for.
    pub fn is_consented(&self, provider: &ProviderId) -> bool {
        self.services.context.is_consented(provider)
    }

    /// Where people reach the daemon, without a slash at the end.
    pub fn public_url(&self) -> &str {
        &self.services.options.public_url
    }

    /// Durable records, for those who list the audit trail.
    pub fn store(&self) -> &SharedStore {
        &self.services.store
    }

    /// Every event from now on.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.services.events.subscribe()
    }

    /// When the next renewal is due.
    pub fn next_renewal(&self) -> Option<Uptime> {
        self.services.schedule.earliest()
    }

    /// How many renewals wait for their moment.
    pub fn renewals_waiting(&self) -> usize {
        self.services.schedule.len()
    }

    /// The addresses of the accounts whose grants are lost if the daemon ends now: the provider has replaced them, and the
    /// database has not taken the new ones.
    pub fn unkept_grants(&self) -> Vec<String> {
        self.services.unkept.addresses()
    }

    /// Renews what is due and withdraws what has expired, until `shutdown`.
    pub async fn run(self: Arc<Self>, pulses: Pulses, shutdown: CancellationToken) {
        let renewing = self.renewals.clone().run(pulses.renewals, shutdown.clone());
        let expiring = self.publisher.run_expiries(pulses.expiries, shutdown.clone());
        let revoking = self.revocations.clone().run(shutdown.clone());
        let setting = self.recovery.watch_clock(self.last_moment, shutdown.clone());
        let checking = self.restored.clone().run(shutdown.clone());
        let holding = self.holders.run_holders(shutdown.clone());
        tokio::join!(renewing, expiring, revoking, setting, checking, holding);
    }

    /// No further renewal asks the provider; those that have asked already come to their end.
    pub fn ask_no_more(&self) {
        self.services.requests.close();
    }

    /// Waits until no renewal, consent or disconnect is under way, so that none is cut off halfway.
    pub async fn wait_idle(&self) {
        let audit = &self.services.audit;
        for agent in self.agent_list.handles() {
            audit.last_uses(self.now(), &agent);
        }
        audit.last_repeats();
        self.services.single_flight.wait_idle().await;
    }

    /// Waits until the audit trail holds everything so far.
    pub async fn flush_audit(&self) {
        self.services.audit.flush().await;
    }
}
