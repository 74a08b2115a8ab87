//! Adding a service account's key.

use std::sync::Arc;

use askama::Template;
use axum::{Router, extract::State, routing::get};
use http::StatusCode;

use super::{
    asked::{Asked, Sent},
    layout::{Layout, Tab},
    notice::Notice,
    refusal::Refusal,
    site::{Site, asker, owner_of},
};
use crate::{
    broker::{Asker, NewServiceAccount, ServiceAccountError},
    session::Session,
    text::sentence::sentence,
    web::answer::{Answer, html, redirect},
};

#[derive(Template)]
#[template(path = "web/console/service_account.html")]
struct KeyPage<'a> {
    layout: Layout<'a>,
    owner: String,
    problem: String,
    subject: String,
}

/// Adds service accounts.
pub(super) struct ServiceAccount {
    site: Site,
}

impl ServiceAccount {
    pub(super) fn new(site: Site) -> Self {
        Self { site }
    }

    pub(super) fn routes(self) -> Router {
        Router::new()
            .route("/service-account", get(choose).post(add))
            .with_state(Arc::new(self))
    }

    fn page<'a>(
        &'a self,
        session: &'a Session,
        owner: String,
        subject: &str,
        problem: String,
    ) -> KeyPage<'a> {
        KeyPage {
            layout: self
                .site
                .layout(Some(session), Tab::Integrations, "Add a service account"),
            owner,
            problem,
            subject: subject.to_owned(),
        }
    }
}

/// The form.
async fn choose(State(pages): State<Arc<ServiceAccount>>, asked: Asked) -> Result<Answer, Refusal> {
    let owner = owner_of(&asked.session, asked.query.get("owner"))?;
    let owner = owner.map(|owner| owner.to_string()).unwrap_or_default();
    let page = pages.page(&asked.session, owner, "", String::new());
    Ok(html(StatusCode::OK, page.render()))
}

/// Tries the key, and keeps it when it works.
async fn add(
    State(pages): State<Arc<ServiceAccount>>,
    Sent { session, mut form }: Sent,
) -> Result<Answer, Refusal> {
    let file = form.take("key").unwrap_or_default();
    let subject = form.get("subject").to_owned();
    let owner = owner_of(&session, form.get("owner"))?.ok_or_else(|| {
        Notice::new("Whose service account is it?")
            .says("Name the owner. Nothing was stored.")
            .leads_to("service-account", "Back to the form")
    })?;
    let broker = &pages.site.broker;
    let again = |status, problem| {
        let page = pages.page(&session, owner.to_string(), &subject, problem);
        Ok(html(status, page.render()))
    };
    if file.trim().is_empty() {
        return again(StatusCode::BAD_REQUEST, "Choose the key file.".to_owned());
    }
    if asker(&session) == Asker::Owner
        && let Err(wait) = broker.account_checks.count_request(&owner)
    {
        let problem = format!(
            "Google was asked several times just now: try again in {} s. Nothing was stored.",
            wait.as_secs() + 1
        );
        return again(StatusCode::TOO_MANY_REQUESTS, problem);
    }
    let new = NewServiceAccount {
        owner: owner.clone(),
        file: file.into(),
        subject: Some(subject.clone()).filter(|subject| !subject.is_empty()),
    };
    let actor = session.admission.actor.clone();
    match broker.service_accounts.add_service_account(new, actor).await {
        Ok(added) => {
            let page = format!("integrations?done=key&account={}", added.account.record.id);
            Ok(redirect(&pages.site.paths.console(&page)))
        }
        Err(error) => again(status(&error), sentence(&error.to_string())),
    }
}

fn status(error: &ServiceAccountError) -> StatusCode {
    match error {
        ServiceAccountError::File(_) | ServiceAccountError::Subject(_) => StatusCode::BAD_REQUEST,
        ServiceAccountError::Provider(_) | ServiceAccountError::NotDelegated { .. } => {
            StatusCode::BAD_GATEWAY
        }
        ServiceAccountError::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
