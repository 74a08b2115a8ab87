//! What people's browsers reach: the console and the other pages.

use std::sync::Arc;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::parts::{AppParts, endpoints};
use crate::{
    broker::Broker,
    config::{Config, InForce},
    google::{Limits, risc::Receiver},
    health::Readiness,
    net::tls::ServedCertificate,
    session::{SessionLimits, Sessions},
    telemetry::Metrics,
    web::{Console, ConsoleOptions, Figures, HealthFacts, PublicAddress, Web},
};

/// What the pages are about, besides the broker.
pub(super) struct Surroundings {
    pub(super) metrics: Arc<Metrics>,
    pub(super) readiness: Arc<Readiness>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) started_at: Timestamp,
    pub(super) in_force: Arc<InForce>,
    pub(super) certificate: Option<Arc<ServedCertificate>>,
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
    around: Surroundings,
) -> anyhow::Result<Web> {
    let health = HealthFacts {
        metrics: around.metrics.clone(),
        readiness: around.readiness.clone(),
        started_at: around.started_at,
        warnings: config.warnings().to_vec(),
        in_force: around.in_force,
    };
    let options = ConsoleOptions {
        public_url: config.public_url.clone(),
        proxy: config.console.proxy.clone(),
    };
    Ok(Web {
        address: PublicAddress::new(&config.public_url, &config.google.redirect_uri),
        console: Console::new(broker.clone(), around.sessions, options, health, around.shutdown),
        broker: broker.clone(),
        metrics: around.metrics,
        readiness: around.readiness,
        risc: receiver(config, parts)?,
        figures: Figures::default(),
        certificate: around.certificate,
    })
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
