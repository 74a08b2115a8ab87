//! Adding a service account's key.

use askama::Template;
use http::StatusCode;

use super::{
    Answer, Asked, Console, Form, Frame, Message, Refusal, Session, Tab, html, integrations::asker, redirect,
    sentence,
};
use crate::broker::{Asker, NewServiceAccount, ServiceAccountError};

#[derive(Template)]
#[template(path = "web/console/service_account.html")]
struct KeyPage<'a> {
    frame: Frame<'a>,
    owner: String,
    problem: String,
    subject: String,
}

impl Console {
    /// The form.
    pub(super) fn choose_key(&self, asked: &Asked<'_>) -> Result<Answer, Refusal> {
        let owner = Self::owner_of(asked.session, asked.query.get("owner"))?;
        let owner = owner.map(|owner| owner.to_string()).unwrap_or_default();
        Ok(html(
            StatusCode::OK,
            self.key_page(asked.session, owner, "", String::new()).render(),
        ))
    }

    fn key_page<'a>(
        &'a self,
        session: &'a Session,
        owner: String,
        subject: &str,
        problem: String,
    ) -> KeyPage<'a> {
        KeyPage {
            frame: self.frame(Some(session), Tab::Integrations, "Add a service account"),
            owner,
            problem,
            subject: subject.to_owned(),
        }
    }

    /// Tries the key, and keeps it when it works.
    pub(super) async fn add_key(&self, session: &Session, mut form: Form) -> Result<Answer, Refusal> {
        let file = form.take("key").unwrap_or_default();
        let subject = form.get("subject").to_owned();
        let owner = Self::owner_of(session, form.get("owner"))?.ok_or_else(|| {
            Message::new("Whose service account is it?")
                .says("Name the owner. Nothing was stored.")
                .leads_to("service-account", "Back to the form")
        })?;
        if file.trim().is_empty() {
            let problem = "Choose the key file.".to_owned();
            let page = self.key_page(session, owner.to_string(), &subject, problem);
            return Ok(html(StatusCode::BAD_REQUEST, page.render()));
        }
        if asker(session) == Asker::Owner
            && let Err(wait) = self.broker.account_checks.count_request(&owner)
        {
            let problem = format!(
                "Google was asked several times just now: try again in {} s. Nothing was stored.",
                wait.as_secs() + 1
            );
            let page = self.key_page(session, owner.to_string(), &subject, problem);
            return Ok(html(StatusCode::TOO_MANY_REQUESTS, page.render()));
        }
        let new = NewServiceAccount {
            owner: owner.clone(),
            file: file.into(),
            subject: Some(subject.clone()).filter(|subject| !subject.is_empty()),
        };
        match self
            .broker
            .service_accounts
            .add_service_account(new, session.admission.actor.clone())
            .await
        {
            Ok(added) => {
                let id = &added.account.record.id;
                Ok(redirect(
                    &self.address(&format!("integrations?done=key&account={id}")),
                ))
            }
            Err(error) => {
                let status = match &error {
                    ServiceAccountError::File(_) | ServiceAccountError::Subject(_) => StatusCode::BAD_REQUEST,
                    ServiceAccountError::Provider(_) => StatusCode::BAD_GATEWAY,
                    ServiceAccountError::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
                };
                let page = self.key_page(session, owner.to_string(), &subject, sentence(&error.to_string()));
                Ok(html(status, page.render()))
            }
        }
    }
}
