//! What the operator and a platform's orchestrator may do: on the admin socket, and over TLS where it is configured.

mod backup;
mod client_names;
mod confined;
pub mod convert;
mod daemon_status;
mod keys;
mod own_trail;
mod principal;
mod remote;
mod request;
mod roles;
mod service;
pub mod status;

use std::{io, path::Path, sync::Arc};

use backup::Backups;
use roles::ADMIN_SERVICE;
use service::Service;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{
    agent_api::common::describe,
    broker::Broker,
    budget::{Budget, table::EVENT_STREAMS},
    health::Readiness,
    keyring::KeyringCases,
    net::local::LocalSocket,
    proto::v1::admin_service_server::AdminServiceServer,
    session::Sessions,
    sqlite_store::SqliteStore,
};

pub use client_names::ClientList;
pub use daemon_status::Facts;
pub use remote::AdminListener;

/// The admin socket, bound.
pub struct AdminSocket(LocalSocket);

impl AdminSocket {
    /// Binds `path` so that only this user may open it; a socket that a dead daemon left is replaced.
    pub fn bind(path: &Path) -> io::Result<Self> {
        LocalSocket::bind(path).map(Self)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Serves until `shutdown`, and at `listener` where there is one, then lets what is under way end, and removes the
    /// socket.
    pub async fn serve(
        self,
        listener: Option<AdminListener>,
        parts: AdminParts,
        shutdown: CancellationToken,
    ) {
        let AdminParts {
            broker,
            database,
            keyring,
            sessions,
            facts,
        } = parts;
        let service = Service {
            broker,
            backups: Backups::of(database),
            keyring,
            sessions,
            facts,
            streams: Budget::new(EVENT_STREAMS),
            shutdown: shutdown.clone(),
        };
        let condition = ("admin_socket", service.facts.readiness.clone());
        match routes(service).await {
            Ok(routes) => {
                let remote = async {
                    if let Some(listener) = listener {
                        listener.serve(routes.clone(), shutdown.clone()).await;
                    }
                };
                let local = self
                    .0
                    .serve("the admin socket", condition, routes.clone(), shutdown.clone());
                tokio::join!(local, remote);
            }
            Err(error) => tracing::error!(%error, "the admin socket's services could not be built"),
        }
    }
}

/// What the service is made of.
pub struct AdminParts {
    /// What it drives.
    pub broker: Arc<Broker>,
    /// What it copies; nothing where a server has the records.
    pub database: Option<Arc<SqliteStore>>,
    /// The keyring.
    pub keyring: Arc<KeyringCases>,
    /// Who is signed in to the console.
    pub sessions: Arc<Sessions>,
    /// What it says about the daemon.
    pub facts: Facts,
}

/// Keeps the health of the server as a whole at what the daemon's readiness is. The service itself answers all the same.
async fn follow(reporter: HealthReporter, readiness: Arc<Readiness>, shutdown: CancellationToken) {
    let mut changes = readiness.changes();
    loop {
        let health = if readiness.is_ready() {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        reporter.set_service_status("", health).await;
        tokio::select! {
            biased;
            changed = changes.changed() => if changed.is_err() { return },
            () = shutdown.cancelled() => return,
        }
    }
}

async fn routes(service: Service) -> Result<Routes, String> {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<AdminServiceServer<Service>>().await;
    tokio::spawn(follow(
        reporter,
        service.facts.readiness.clone(),
        service.shutdown.clone(),
    ));
    let reflection = describe(ADMIN_SERVICE)
        .build_v1()
        .map_err(|error| error.to_string())?;
    // Many clients still ask in the older form.
    let older = describe(ADMIN_SERVICE)
        .build_v1alpha()
        .map_err(|error| error.to_string())?;
    let routes = Routes::new(AdminServiceServer::new(service)).add_service(health);
    Ok(routes.add_service(reflection).add_service(older).prepare())
}
