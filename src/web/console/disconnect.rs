//! Letting go of an account, after saying which agents lose what.

use std::sync::Arc;

use askama::Template;
use axum::{Router, extract::State, routing::get};
use http::StatusCode;

use super::{
    asked::{Asked, Named, Sent},
    labels::Offer,
    layout::{Layout, Tab},
    notice::Notice,
    refusal::Refusal,
    site::Site,
};
use crate::{
    broker::{AccountRef, AccountView, Disconnected, Revocation},
    text::sentence::sentence,
    web::answer::{Answer, html, redirect},
};

#[derive(Template)]
#[template(path = "web/console/disconnect.html")]
struct DisconnectPage<'a> {
    layout: Layout<'a>,
    id: String,
    address: String,
    /// Who gives its tokens.
    at: String,
    /// What such an account is called.
    kind: String,
    is_service_account: bool,
    losses: Vec<Loss>,
    /// Google would be asked to end the grant unless told otherwise.
    revokes: bool,
}

/// An agent, and what it cannot do any more.
struct Loss {
    agent: String,
    titles: Vec<String>,
}

/// Disconnects accounts.
pub(super) struct Disconnect {
    site: Site,
}

impl Disconnect {
    pub(super) fn new(site: Site) -> Self {
        Self { site }
    }

    pub(super) fn routes(self) -> Router {
        Router::new()
            .route("/integrations/{id}/disconnect", get(ask).post(disconnect))
            .with_state(Arc::new(self))
    }

    fn losses(&self, view: &AccountView, preview: &Disconnected) -> Vec<Loss> {
        let agents = preview.agents.iter();
        agents
            .map(|agent| Loss {
                agent: agent.to_string(),
                titles: view
                    .standings
                    .iter()
                    .filter(|standing| standing.agents.contains(agent))
                    .filter(|standing| {
                        view.capabilities.contains(&standing.key) || standing.satisfied_by.is_some()
                    })
                    .map(|standing| Offer::of(&self.site.broker, &standing.key).title)
                    .collect(),
            })
            .collect()
    }
}

/// The question.
async fn ask(
    State(pages): State<Arc<Disconnect>>,
    Named(id): Named,
    asked: Asked,
) -> Result<Answer, Refusal> {
    let site = &pages.site;
    let view = site.account(&asked.session, &id)?;
    let which = AccountRef::Id(view.record.id.clone());
    let preview = site
        .broker
        .disconnect
        .preview_disconnect(&which, Revocation::WhenLast)
        .map_err(|_| Refusal::NotFound)?;
    let title = format!("Disconnect {}", view.record.account);
    let page = DisconnectPage {
        layout: site.layout(Some(&asked.session), Tab::Integrations, &title),
        id,
        address: view.record.account.clone(),
        at: site.broker.providers().name_of(&view.record.provider),
        kind: site.broker.providers().account_at(&view.record.provider),
        is_service_account: view.keyed,
        losses: pages.losses(&view, &preview),
        revokes: preview.revoked,
    };
    Ok(html(StatusCode::OK, page.render()))
}

/// Does it.
async fn disconnect(
    State(pages): State<Arc<Disconnect>>,
    Named(id): Named,
    Sent { session, form }: Sent,
) -> Result<Answer, Refusal> {
    let site = &pages.site;
    let view = site.account(&session, &id)?;
    let revocation = match form.get("revoke") {
        "never" => Revocation::Never,
        _ => Revocation::WhenLast,
    };
    let which = AccountRef::Id(view.record.id.clone());
    let actor = session.admission.actor.clone();
    let done = site.broker.disconnect.disconnect(&which, revocation, actor).await;
    let done = done.map_err(|error| {
        Notice::new("Nothing was disconnected")
            .says(sentence(&error.to_string()))
            .leads_to("integrations", "Back to the integrations")
    })?;
    let code = if done.problems.is_empty() {
        "disconnected"
    } else {
        "problem"
    };
    Ok(redirect(
        &site.paths.console(&format!("integrations?done={code}")),
    ))
}
