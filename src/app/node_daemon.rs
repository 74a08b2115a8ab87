//! `token-broker serve` on a node: a daemon that a broker tells what its agents may see.

use std::sync::Arc;

use anyhow::Context;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

use crate::{
    clock::SystemClock,
    config::{Config, UpstreamSection},
    entropy::SystemEntropy,
    health::Readiness,
    lifecycle::{self, Signals, Wish},
    net::tcp::TcpServer,
    node::{Node, NodeOptions},
};

/// Serves the node's agents until a signal ends it.
pub(super) async fn run(
    config: &Config,
    upstream: UpstreamSection,
    mut signals: Signals,
) -> anyhow::Result<()> {
    let http = TcpServer::bind(config.http_listen)
        .with_context(|| format!("http_listen {} cannot be bound", config.http_listen))?;
    let address = http.address();
    let (shutdown, readiness) = (CancellationToken::new(), Arc::new(Readiness::default()));
    let options = NodeOptions {
        upstream,
        runtime_dir: config.runtime_dir.clone(),
        readiness: Arc::clone(&readiness),
    };
    let node = Node::start(options, Arc::new(SystemClock), Arc::new(SystemEntropy), &shutdown)?;
    let probes = Arc::clone(&readiness);
    let answer = move |request| {
        let answer = probe(&request, &probes);
        async move { answer }
    };
    tokio::spawn(http.serve("the pages", answer, shutdown.clone()));
    let mut running = tokio::spawn(node.run(shutdown.clone()));
    tracing::info!(http = %address, "ready as a node");
    lifecycle::notify(NotifyState::Ready).await;
    let fault = loop {
        tokio::select! {
            wish = signals.next() => match wish {
                Wish::Stop => break None,
                Wish::Reload => tracing::info!(
                    "a node's certificate is read again for each connection; all else takes a restart"
                ),
            },
            ended = &mut running => break Some(ended),
        }
    };
    lifecycle::notify(NotifyState::Stopping).await;
    readiness.ends();
    shutdown.cancel();
    match fault {
        None => {
            let _ = running.await;
            tracing::info!("stopped");
            Ok(())
        }
        Some(_) => anyhow::bail!("a part of the node ended by itself, to be started again"),
    }
}

/// `/healthz` and `/readyz`.
fn probe(request: &Request<Incoming>, readiness: &Readiness) -> Response<Full<Bytes>> {
    let (status, text) = match request.uri().path() {
        "/healthz" => (StatusCode::OK, "ok\n".to_owned()),
        "/readyz" if readiness.is_ready() => (StatusCode::OK, "ready\n".to_owned()),
        "/readyz" => {
            let unmet = readiness.unmet();
            let lines = unmet
                .iter()
                .map(|unmet| format!("not ready: {}\n", unmet.sentence));
            (StatusCode::SERVICE_UNAVAILABLE, lines.collect())
        }
        _ => (
            StatusCode::NOT_FOUND,
            "This is a node: it has /healthz and /readyz, and the broker has the pages.\n".to_owned(),
        ),
    };
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
