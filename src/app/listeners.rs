//! The TCP listeners. They are bound before anything else, so that a failure to bind changes nothing.

use std::sync::Arc;

use anyhow::Context;

use super::ports::LibraryPorts;
use crate::{
    clock::SharedClock, config::Config, net::tls::ServedCertificate, pod_api::RemoteListener, web::HttpServer,
};

/// What was bound.
pub(super) struct Listeners {
    pub(super) http: HttpServer,
    pub(super) ports: LibraryPorts,
    /// The listener for sidecars, and what it serves with.
    pub(super) sidecars: Option<(RemoteListener, Arc<ServedCertificate>)>,
}

impl Listeners {
    /// Binds what `config` names, and takes over into it where that was.
    pub(super) fn bind(config: &mut Config, clock: &SharedClock) -> anyhow::Result<Self> {
        let http = HttpServer::bind(config.http_listen)
            .with_context(|| format!("http_listen {} cannot be bound", config.http_listen))?;
        config.bound(http.address())?;
        Ok(Self {
            http,
            ports: LibraryPorts::bind(config)?,
            sidecars: sidecars(config, clock)?,
        })
    }
}

/// Binds the listener for sidecars, where there is to be one, and takes over into `config` where that was. With it comes what
/// it serves with.
fn sidecars(
    config: &mut Config,
    clock: &SharedClock,
) -> anyhow::Result<Option<(RemoteListener, Arc<ServedCertificate>)>> {
    let Some(section) = &config.remote else {
        return Ok(None);
    };
    let listener = RemoteListener::bind(section, Arc::clone(clock))?;
    config.bound_for_sidecars(Some(listener.address()));
    tracing::info!(listen = %listener.address(), "sidecars over TLS");
    let certificate = listener.certificate();
    Ok(Some((listener, certificate)))
}
