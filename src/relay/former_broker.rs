//! What a broker of the release before says, which has no `/v1/view`: its `env`, `status.json` and token, read into the same
//! document. Its stream of changes tells of one provider's tokens alone, and nothing tells of the others but their ends. It goes
//! in 0.2.0.

use std::{sync::Arc, time::Duration};

use http::Response;
use hyper::body::Incoming;
use jiff::Timestamp;
use serde::Deserialize;

use super::{
    answer::{Answer, NoAnswer},
    skew::clock_of,
    upstream::Upstream,
    written,
};
use crate::{
    agent_view::document::{Document, TokenView},
    id::CapabilityKey,
};

/// How long each of the questions that may stay open may take: the answer is at hand, or not worth waiting for.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the agent may see, and what the broker's clock showed.
pub(crate) async fn view(upstream: &Upstream) -> Result<(Document<'static>, Option<Timestamp>), NoAnswer> {
    let Answer { body: env, date } = upstream.get("/v1/env").await?;
    let status = upstream.get("/v1/status").await?;
    let env = str::from_utf8(&env).map_err(|_| {
        let source = upstream.source();
        NoAnswer::Away(format!("{source} answers with what is no text"))
    })?;
    let mut view = written::read(env, &status.body);
    view.check().map_err(|unusable| {
        let source = upstream.source();
        NoAnswer::Away(format!("{source} answers with {unusable}"))
    })?;
    let mut showed = None;
    if view.access_token().is_some()
        && let Ok(Ok(answer)) = tokio::time::timeout(PATIENCE, upstream.get("/v1/token")).await
    {
        showed = complete(&mut view, &answer.body);
    }
    if let Ok(project) = tokio::time::timeout(PATIENCE, project(upstream)).await {
        view.project_id = project.map(Into::into);
    }
    Ok((view, showed.or(date)))
}

/// Its stream of changes.
pub(crate) async fn watch(upstream: &Upstream) -> Result<Response<Incoming>, NoAnswer> {
    upstream.accepted(upstream.open("/v1/watch").await).await
}

/// Adds what the main token carries; nothing where it is another by now: the news of that one comes.
fn complete(view: &mut Document<'_>, body: &[u8]) -> Option<Timestamp> {
    #[derive(Deserialize)]
    struct Served {
        capabilities: Arc<[CapabilityKey]>,
    }
    let told: TokenView<'static> = serde_json::from_slice(body).ok()?;
    let showed = clock_of(told.expires_at, told.expires_in);
    let main = view.credentials.first_mut()?;
    let token = main
        .token
        .as_mut()
        .filter(|token| token.access_token == told.access_token);
    if let (Some(token), Ok(Served { capabilities })) = (token, serde_json::from_slice(body)) {
        token.scope = told.scope;
        main.capabilities = capabilities;
    }
    showed
}

/// The project that the metadata protocol tells of; `None` where the broker does not say.
async fn project(upstream: &Upstream) -> Option<String> {
    let response = upstream
        .open_metadata("/computeMetadata/v1/project/project-id")
        .await;
    let response = upstream.accepted(response).await.ok()?;
    let body = upstream.read(response).await.ok()?;
    let project = str::from_utf8(&body).ok()?.trim();
    (!project.is_empty()).then(|| project.to_owned())
}
