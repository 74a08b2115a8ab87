//! Which address of the console shows what.

use std::sync::Arc;

use axum::{Router, middleware::from_fn_with_state, routing::get};
use http::{HeaderValue, StatusCode, header};
use tokio_util::sync::CancellationToken;
use tower::Layer;

use super::{
    activity::Activity,
    agents::Agents,
    asked::Asked,
    connect::Connect,
    disconnect::Disconnect,
    gate::Gate,
    health::{Health, HealthFacts},
    integrations::Integrations,
    live::Live,
    refusal::Refusal,
    service_account::ServiceAccount,
    shares::Shares,
    sign_in::SignIn,
    site::Site,
    trail::Trail,
};
use crate::{
    broker::Broker,
    session::Sessions,
    web::{
        answer::{Answer, redirect, typed},
        auth::Auth,
        paths::{CONSOLE, Paths},
    },
};

const STYLE: &str = include_str!("../../../templates/web/console/style.css");
const SCRIPT: &str = include_str!("../../../templates/web/console/script.js");

/// What the console is made of.
pub(in crate::web) struct ConsoleParts {
    pub(in crate::web) broker: Arc<Broker>,
    pub(in crate::web) auth: Arc<Auth>,
    pub(in crate::web) sessions: Arc<Sessions>,
    pub(in crate::web) paths: Arc<Paths>,
    /// Where its forms come from.
    pub(in crate::web) origin: String,
    pub(in crate::web) facts: HealthFacts,
    pub(in crate::web) shutdown: CancellationToken,
}

/// The console, with the gate before its pages.
pub(in crate::web) fn console(parts: ConsoleParts) -> Router {
    let site = Site {
        broker: parts.broker.clone(),
        paths: parts.paths,
    };
    let shares = Arc::new(Shares::default());
    let trail = Trail::new(parts.broker.clone());
    let live = Live {
        broker: parts.broker,
        sessions: parts.sessions.clone(),
        shares: shares.clone(),
        shutdown: parts.shutdown,
    };
    let agents = Agents {
        site: site.clone(),
        sessions: parts.sessions.clone(),
    };
    let health = Health {
        site: site.clone(),
        trail: trail.clone(),
        facts: parts.facts,
    };
    let sign_in = SignIn {
        site: site.clone(),
        sessions: parts.sessions,
        auth: parts.auth.clone(),
    };
    let activity = Activity {
        site: site.clone(),
        trail,
    };
    let first = site.paths.console("integrations");
    let pages = Router::new()
        .route("/", get(move |_: Asked| async move { redirect(&first) }))
        .route("/style.css", asset("text/css; charset=utf-8", STYLE))
        .route("/script.js", asset("text/javascript; charset=utf-8", SCRIPT))
        .merge(sign_in.routes())
        .merge(Integrations::new(site.clone()).routes())
        .merge(Connect::new(site.clone()).routes())
        .merge(Disconnect::new(site.clone()).routes())
        .merge(ServiceAccount::new(site.clone()).routes())
        .merge(agents.routes())
        .merge(activity.routes())
        .merge(health.routes())
        .merge(live.routes())
        .method_not_allowed_fallback(nowhere)
        .fallback(nowhere);
    let gate = Arc::new(Gate {
        site,
        auth: parts.auth,
        shares,
        origin: parts.origin,
    });
    // Before the routes, so that it knows every request, whether there is such a page or not.
    let console = from_fn_with_state(gate, Gate::pass).layer(pages);
    Router::new().nest_service(CONSOLE, console)
}

async fn nowhere() -> Refusal {
    Refusal::NotFound
}

fn asset(content_type: &'static str, text: &'static str) -> axum::routing::MethodRouter {
    get(move || async move {
        let mut answer: Answer = typed(StatusCode::OK, content_type, text);
        // Their addresses name the version.
        let kept = HeaderValue::from_static("max-age=86400");
        answer.headers_mut().insert(header::CACHE_CONTROL, kept);
        answer
    })
}
