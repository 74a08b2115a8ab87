//! The TCP listeners. They are bound before anything else, so that a failure to bind changes nothing.

use std::sync::Arc;

use anyhow::Context;

use super::ports::LibraryPorts;
use crate::{
    admin_api::AdminListener, clock::SharedClock, config::Config, net::tls::ServedCertificates,
    pod_api::RemoteListener, web::HttpServer,
};

/// What was bound.
pub(super) struct Listeners {
    pub(super) http: HttpServer,
    pub(super) ports: LibraryPorts,
    /// The listener for sidecars.
    pub(super) sidecars: Option<RemoteListener>,
    /// The listener for platforms on other machines.
    pub(super) admin: Option<AdminListener>,
    /// What those with TLS serve with.
    pub(super) certificates: ServedCertificates,
}

impl Listeners {
    /// Binds what `config` names, and takes over into it where that was.
    pub(super) fn bind(config: &mut Config, clock: &SharedClock) -> anyhow::Result<Self> {
        let http = HttpServer::bind(config.http_listen)
            .with_context(|| format!("http_listen {} cannot be bound", config.http_listen))?;
        config.bound(http.address())?;
        let ports = LibraryPorts::bind(config)?;
        let (sidecars, admin) = (sidecars(config, clock)?, admin(config, clock)?);
        let certificates = ServedCertificates {
            remote: sidecars.as_ref().map(RemoteListener::certificate),
            admin: admin.as_ref().map(AdminListener::certificate),
        };
        Ok(Self {
            http,
            ports,
            sidecars,
            admin,
            certificates,
        })
    }
}

/// Binds the listener for sidecars, where there is to be one, and takes over into `config` where that was.
fn sidecars(config: &mut Config, clock: &SharedClock) -> anyhow::Result<Option<RemoteListener>> {
    let Some(section) = &config.remote else {
        return Ok(None);
    };
    let listener = RemoteListener::bind(section, Arc::clone(clock))?;
    config.bound_for_sidecars(Some(listener.address()));
    tracing::info!(listen = %listener.address(), "sidecars over TLS");
    Ok(Some(listener))
}

/// The same for platforms on other machines.
fn admin(config: &mut Config, clock: &SharedClock) -> anyhow::Result<Option<AdminListener>> {
    let Some(section) = &config.admin else {
        return Ok(None);
    };
    let (listener, clients) = (
        AdminListener::bind(section, Arc::clone(clock))?,
        section.clients.len(),
    );
    config.bound_for_admin(Some(listener.address()));
    tracing::info!(listen = %listener.address(), clients, "AdminService over TLS");
    Ok(Some(listener))
}
