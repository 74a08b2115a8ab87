//! Letting go of an account, after saying which agents lose what.

use askama::Template;
use http::StatusCode;

use super::{
    Answer, Asked, Console, Form, Frame, Message, Refusal, Session, Tab, html, redirect, sentence,
    words::Offer,
};
use crate::{
    broker::{AccountRef, AccountView, Disconnected, Revocation},
    catalog::IntegrationKind,
};

#[derive(Template)]
#[template(path = "web/console/disconnect.html")]
struct DisconnectPage<'a> {
    frame: Frame<'a>,
    id: String,
    address: String,
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

impl Console {
    /// The question.
    pub(super) fn ask_to_disconnect(&self, asked: &Asked<'_>, id: &str) -> Result<Answer, Refusal> {
        let view = self.visible(asked.session, id)?;
        let which = AccountRef::Id(view.record.id.clone());
        let preview = self
            .broker
            .disconnect
            .preview_disconnect(&which, Revocation::WhenLast)
            .map_err(|_| Refusal::NotFound)?;
        let page = DisconnectPage {
            frame: self.frame(
                Some(asked.session),
                Tab::Integrations,
                &format!("Disconnect {}", view.record.account),
            ),
            id: id.to_owned(),
            address: view.record.account.clone(),
            is_service_account: view.record.kind == IntegrationKind::GoogleServiceAccount,
            losses: self.losses(&view, &preview),
            revokes: preview.revoked,
        };
        Ok(html(StatusCode::OK, page.render()))
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
                    .map(|standing| Offer::of(&self.broker, &standing.key).title)
                    .collect(),
            })
            .collect()
    }

    /// Does it.
    pub(super) async fn disconnect(
        &self,
        session: &Session,
        id: &str,
        form: &Form,
    ) -> Result<Answer, Refusal> {
        let view = self.visible(session, id)?;
        let revocation = match form.get("revoke") {
            "never" => Revocation::Never,
            _ => Revocation::WhenLast,
        };
        let which = AccountRef::Id(view.record.id.clone());
        let actor = session.admission.actor.clone();
        let done = self.broker.disconnect.disconnect(&which, revocation, actor).await;
        let done = done.map_err(|error| {
            Message::new("Nothing was disconnected")
                .says(sentence(&error.to_string()))
                .leads_to("integrations", "Back to the integrations")
        })?;
        let code = if done.problem.is_some() {
            "problem"
        } else {
            "disconnected"
        };
        Ok(redirect(&self.address(&format!("integrations?done={code}"))))
    }
}
