//! A node: it serves agents what a broker elsewhere tells it, and holds no database, key or grant.
//!
//! One stream says which agents are the node's and what each of them may see ([`follow`]). Each agent has its directory,
//! with files and a socket, as it has on a broker's own machine ([`agent`]); what it asks there is sent on. While the broker
//! is away, tokens are served to their ends, and what was told is kept sealed until the machine ends ([`cache`]).

mod agent;
mod agents;
mod cache;
mod follow;

use std::{path::PathBuf, sync::Arc};

use tokio_util::sync::CancellationToken;

use self::{
    agents::NodeAgents,
    cache::Cache,
    follow::{Follower, UPSTREAM},
};
use crate::{
    agent_files::{error::DeliveryError, runtime::Runtime},
    clock::SharedClock,
    config::UpstreamSection,
    entropy::SharedEntropy,
    health::Readiness,
    http_client::own_certificate::OwnCertificate,
    relay::{Source, forward::Places, skew::BrokerClock, upstream::Upstream},
};

/// What a node is told once.
pub struct NodeOptions {
    /// The broker.
    pub upstream: UpstreamSection,
    /// Where `agents/` is to be; best on a tmpfs.
    pub runtime_dir: PathBuf,
    /// Where it is said what the node cannot do.
    pub readiness: Arc<Readiness>,
}

/// A node, with its folders open.
pub struct Node {
    agents: NodeAgents,
    follower: Follower,
    readiness: Arc<Readiness>,
}

impl Node {
    /// Opens the runtime directory, and serves what an earlier process of this boot was told and still holds. To be called
    /// within a tokio runtime.
    ///
    /// # Errors
    /// When the runtime directory cannot be used.
    pub fn start(
        options: NodeOptions,
        clock: SharedClock,
        entropy: SharedEntropy,
        shutdown: &CancellationToken,
    ) -> Result<Self, DeliveryError> {
        let runtime = Arc::new(Runtime::open(&options.runtime_dir)?);
        let section = options.upstream;
        let own = OwnCertificate {
            certificate: ("upstream.certificate_file", section.certificate_file),
            key: ("upstream.key_file", section.key_file),
        };
        let upstream = Arc::new(Upstream::of_node(&section.url, section.ca_file, own));
        let source = Source::Tls(section.url);
        let broker_clock = Arc::new(BrokerClock::new(source, Arc::clone(&clock)));
        let cache = Cache::open(&options.runtime_dir, clock.boot(), Arc::clone(&entropy));
        let mut agents = NodeAgents::new(
            runtime,
            Arc::clone(&upstream),
            Arc::clone(&broker_clock),
            (Arc::clone(&clock), Places::of_node()),
            shutdown.clone(),
        );
        let kept = cache.as_ref().map(Cache::load).unwrap_or_default();
        tracing::info!(agents = kept.len(), "tokens come from {}", upstream.source());
        agents.begin(kept);
        Ok(Self {
            agents,
            follower: Follower {
                upstream,
                broker_clock,
                cache,
                clock,
                entropy,
                readiness: Arc::clone(&options.readiness),
            },
            readiness: options.readiness,
        })
    }

    /// Follows the broker until `shutdown`. Files and tokens stay for agents to go on with until the node is back.
    pub async fn run(self, shutdown: CancellationToken) {
        self.readiness.fails(UPSTREAM, "the broker has not answered yet");
        self.readiness.started();
        self.follower.run(self.agents, shutdown).await;
    }
}
