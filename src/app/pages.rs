//! What people's browsers reach: the console and the other pages.

use std::sync::Arc;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::parts::{AppParts, endpoints};
use crate::{
    broker::Broker,
    config::{Config, InForce},
    health::Readiness,
    http_client::Limits,
    net::tls::ServedCertificates,
    risc::Receiver,
    session::{SessionLimits, Sessions},
    telemetry::Metrics,
    web::{HealthFacts, Web, WebParts},
};

/// What the pages are about, besides the broker.
pub(super) struct ProviderContext {
    pub(super) metrics: Arc<Metrics>,
    pub(super) readiness: Arc<Readiness>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) started_at: Timestamp,
    pub(super) in_force: Arc<InForce>,
    pub(super) certificates: ServedCertificates,
    pub(super) shutdown: CancellationToken,
}

/// Who is signed in to the console: nobody yet.
pub(super) fn sessions(config: &Config, parts: &AppParts) -> Sessions {
    let limits = SessionLimits {
        idle: config.console.idle,
        whole: config.console.whole,
    };
    Sessions::new(parts.clock.clone(), parts.entropy.clone(), limits)
}

/// The pages.
///
/// # Errors
/// An endpoint that is not fit for use.
pub(super) fn web(
    config: &Config,
    broker: &Arc<Broker>,
    parts: &AppParts,
    around: ProviderContext,
) -> anyhow::Result<Web> {
    let facts = HealthFacts {
        metrics: around.metrics,
        readiness: around.readiness,
        started_at: around.started_at,
        warnings: config.warnings().to_vec(),
        in_force: around.in_force,
    };
    Ok(Web::new(WebParts {
        broker: broker.clone(),
        sessions: around.sessions,
        facts,
        public_url: config.public_url.clone(),
        redirect_uri: config.google.redirect_uri.clone(),
        proxy: config.console.proxy.clone(),
        risc: receiver(config, parts)?,
        certificates: around.certificates,
        shutdown: around.shutdown,
    }))
}

/// What takes security events, where they are wanted.
fn receiver(config: &Config, parts: &AppParts) -> anyhow::Result<Option<Receiver>> {
    let audiences = config.risc.audiences.clone();
    if audiences.is_empty() {
        return Ok(None);
    }
    let endpoints = endpoints(config)?;
    let (clock, egress) = (parts.clock.clone(), parts.egress.clone());
    Ok(Some(Receiver::new(
        &endpoints,
        audiences,
        Limits::default(),
        egress,
        clock,
    )))
}
