//! Which address shows what.

use std::sync::Arc;

use axum::{Router, body::Body, routing::get};
use hyper::{Method, Request, StatusCode, body::Incoming, header::HeaderMap};
use ipnet::IpNet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use url::Url;

use super::{
    agent_page::{self, AgentPages},
    answer::{Answer, protect, redirect, text, typed, wrong_method},
    auth::Auth,
    callback::{self, Callback},
    console::{ConsoleParts, HealthFacts, console},
    help,
    page::{STYLE, STYLE_PATH, no_such_page},
    paths::{Paths, is_of_console},
    probes::{Probes, is_probe},
    risc::SecurityEvents,
};
use crate::{
    broker::Broker,
    config::ProxySection,
    net::{public_address::PublicAddress, tls::ServedCertificates},
    risc::Receiver,
    session::Sessions,
    telemetry::figures::Figures,
};

/// What the pages are made of.
pub struct WebParts {
    /// The broker.
    pub broker: Arc<Broker>,
    /// Who is signed in.
    pub sessions: Arc<Sessions>,
    /// What the daemon says about itself.
    pub facts: HealthFacts,
    /// How a browser reaches the daemon.
    pub public_url: Url,
    /// Where the provider sends browsers.
    pub redirect_uri: Url,
    /// Who says who people are, where that is a proxy.
    pub proxy: Option<ProxySection>,
    /// Takes security events at `/risc`, where that is configured.
    pub risc: Option<Receiver>,
    /// What sidecars are served with over TLS, where they are.
    pub certificates: ServedCertificates,
    /// Ends what listens.
    pub shutdown: CancellationToken,
}

/// Everything that is served over HTTP to browsers, probes and the provider.
pub struct Web {
    address: PublicAddress,
    proxy_addresses: Vec<IpNet>,
    pages: Router,
}

impl Web {
    /// Puts the pages together.
    pub fn new(parts: WebParts) -> Self {
        let auth = Arc::new(Auth::new(
            parts.sessions.clone(),
            parts.proxy.clone(),
            &parts.public_url,
        ));
        Self {
            address: PublicAddress::new(&parts.public_url, &parts.redirect_uri),
            proxy_addresses: auth.proxy_addresses().to_vec(),
            pages: pages(parts, &auth),
        }
    }

    /// The addresses of the proxy that says who people are.
    pub(super) fn proxy_addresses(&self) -> &[IpNet] {
        &self.proxy_addresses
    }

    /// Answers one request.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Answer {
        let (mut head, body) = request.into_parts();
        // Before the request's first line is changed, which may name a host.
        let refusal = self.address.refuse(&head);
        let refusal = refusal.map(|(status, sentence)| text(status, &sentence));
        if let Some(path) = self
            .address
            .strip(&head.uri)
            .filter(|_| !is_page(head.uri.path()))
        {
            head.uri = path;
        }
        let request = Request::from_parts(head, Body::new(body));
        let refusal = match refusal {
            _ if is_probe(&request) => None,
            None if is_ahead(request.headers()) => Some(not_ahead()),
            refusal => refusal,
        };
        let mut answer = match refusal {
            Some(refusal) => refusal,
            None => match self.pages.clone().oneshot(request).await {
                Ok(answer) => answer,
                Err(never) => match never {},
            },
        };
        protect(&mut answer);
        answer
    }
}

/// The pages by their addresses.
fn pages(parts: WebParts, auth: &Arc<Auth>) -> Router {
    let paths = Arc::new(Paths::new(&parts.public_url));
    let (broker, facts) = (parts.broker, parts.facts);
    let probes = Probes {
        broker: broker.clone(),
        metrics: facts.metrics.clone(),
        readiness: facts.readiness.clone(),
        certificates: parts.certificates,
        figures: Figures::default(),
    };
    let callback = Callback {
        broker: broker.clone(),
        auth: auth.clone(),
        paths: paths.clone(),
    };
    let agent_pages = AgentPages {
        broker: broker.clone(),
        auth: auth.clone(),
        paths: paths.clone(),
    };
    let events = parts.risc.map(|receiver| SecurityEvents {
        broker: broker.clone(),
        metrics: facts.metrics.clone(),
        receiver,
    });
    let first = paths.console("integrations");
    let console = console(ConsoleParts {
        broker,
        auth: auth.clone(),
        paths: paths.clone(),
        sessions: parts.sessions,
        origin: parts.public_url.origin().ascii_serialization(),
        facts,
        shutdown: parts.shutdown,
    });
    let nowhere = move |method: Method| async move {
        match method {
            Method::GET | Method::HEAD => no_such_page(paths.prefix()),
            _ => only_shown().await,
        }
    };
    Router::new()
        .route("/", get(move || async move { redirect(&first) }))
        .route(
            STYLE_PATH,
            get(|| async { typed(StatusCode::OK, "text/css; charset=utf-8", STYLE) }),
        )
        .merge(probes.routes())
        .merge(callback.routes())
        .merge(agent_pages.routes())
        .merge(help::routes())
        .merge(events.map(SecurityEvents::routes).unwrap_or_default())
        .merge(console)
        .method_not_allowed_fallback(only_shown)
        .fallback(nowhere)
}

async fn only_shown() -> Answer {
    wrong_method("GET, HEAD")
}

/// True for the first part of an address that leads to a page of ours.
fn is_page(path: &str) -> bool {
    is_of_console(path) || help::serves(path) || agent_page::serves(path) || path == callback::PATH
}

/// True where nobody looks at the answer yet, or ever: the browser fetches what a person may want next.
fn is_ahead(headers: &HeaderMap) -> bool {
    // The first is the Fetch standard's; the others came before it, from WebKit and from Gecko.
    ["sec-purpose", "purpose", "x-purpose", "x-moz"]
        .iter()
        .any(|name| {
            let values = headers.get_all(*name).iter();
            values
                .filter_map(|value| value.to_str().ok())
                .map(str::to_ascii_lowercase)
                .any(|value| {
                    ["prefetch", "prerender", "preview"]
                        .iter()
                        .any(|word| value.contains(word))
                })
        })
}

/// A failure is not kept by the browser: it asks again when the person comes.
fn not_ahead() -> Answer {
    text(
        StatusCode::SERVICE_UNAVAILABLE,
        "pages are shown to people, and not fetched ahead of them\n",
    )
}
