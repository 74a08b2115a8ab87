//! `/oauth/callback`: where a consent comes back to, with a page for each way it can end.

use std::sync::Arc;

use hyper::StatusCode;

use super::page::{Item, Page, Tone};
use crate::{
    broker::{Broker, ConnectError, Connected},
    google::FailureKind,
    id::{CapabilityKey, IntegrationId},
    session::Session,
};

/// What the browser gets.
pub(super) enum Ending {
    /// A page.
    Page(StatusCode, Page),
    /// The platform's own page.
    Redirect(String),
    /// The console, where the consent was begun.
    Console(IntegrationId),
}

/// Finishes the consent that `query` belongs to. `session` is what this browser has open in the console.
pub(super) async fn callback(broker: &Arc<Broker>, session: Option<&Session>, query: &str) -> Ending {
    match broker.complete_connect_in(session, query).await {
        Ok(connected) if connected.in_console => Ending::Console(connected.account),
        Ok(connected) => match return_url(&connected) {
            Some(url) => Ending::Redirect(url),
            None => Ending::Page(StatusCode::OK, success(broker, &connected)),
        },
        Err(error) => {
            let (status, page) = failure(&error);
            Ending::Page(status, page)
        }
    }
}

fn return_url(connected: &Connected) -> Option<String> {
    let mut url = url::Url::parse(connected.return_url.as_ref()?).ok()?;
    url.query_pairs_mut()
        .append_pair("connected", connected.account.as_str());
    Some(url.into())
}

fn success(broker: &Broker, connected: &Connected) -> Page {
    let Some(account) = broker.connected_account(connected) else {
        return Page::new(Tone::Calm, "Disconnected again").says("The account was disconnected meanwhile.");
    };
    let item = |key: &CapabilityKey, done: bool| {
        let capability = broker.catalog().get(key);
        Item {
            title: capability.map_or_else(|| key.to_string(), |capability| capability.title.clone()),
            note: if done {
                key.to_string()
            } else {
                format!("{key} — not granted")
            },
            done,
        }
    };
    let granted = account.capabilities.iter().map(|key| item(key, true));
    let missing = connected.missing.iter().map(|key| item(key, false));
    let items = granted.chain(missing).collect();
    let page = Page::new(Tone::Good, "Google is connected")
        .says(format!(
            "{} is connected for {}. Agents may now:",
            account.record.account, connected.owner
        ))
        .lists(items);
    let page = if connected.withdrawn.is_empty() {
        page
    } else {
        page.says(format!(
            "Google's answer does not hold any more: {}.",
            keys(&connected.withdrawn)
        ))
    };
    if connected.missing.is_empty() {
        return page.closes("You can close this window. Nothing more is needed.");
    }
    let keys: Vec<String> = connected
        .missing
        .iter()
        .map(|key| format!("--capability {key}"))
        .collect();
    page.command(format!(
        "token-broker integrations add-permissions {} {}",
        connected.account,
        keys.join(" ")
    ))
    .closes("What was not ticked can be added at any time; what was granted stays.")
}

fn keys(keys: &[CapabilityKey]) -> String {
    keys.iter()
        .map(CapabilityKey::as_str)
        .collect::<Vec<_>>()
        .join(", ")
}

fn failure(error: &ConnectError) -> (StatusCode, Page) {
    let page = |title: &str| Page::new(Tone::Bad, title).says(sentence(&error.to_string()));
    match error {
        ConnectError::Denied(_) => (
            StatusCode::OK,
            Page::new(Tone::Calm, "Nothing was connected")
                .says("The permission was not given, so nothing was changed.")
                .closes("If that was a mistake, ask for a new link and choose Allow."),
        ),
        ConnectError::UnknownState => (
            StatusCode::BAD_REQUEST,
            page("This link is no longer good")
                .closes("Ask for a new link. Each one works once, for a few minutes."),
        ),
        ConnectError::OtherSession => (
            StatusCode::FORBIDDEN,
            page("This was begun somewhere else")
                .closes("Nothing was changed. Open the console in this browser, and begin there."),
        ),
        ConnectError::NothingGranted => (
            StatusCode::OK,
            page("No permission was ticked")
                .closes("Open a new link and tick at least one box on Google's page."),
        ),
        ConnectError::OtherAccount { .. } | ConnectError::NotThatAccount { .. } => (
            StatusCode::CONFLICT,
            page("That is another account").closes("Open a new link and choose the account named above."),
        ),
        ConnectError::ConnectedAlready { .. } => (
            StatusCode::CONFLICT,
            page("That account is connected already").closes("Open a new link and choose another account."),
        ),
        ConnectError::Narrower { .. } => (
            StatusCode::CONFLICT,
            page("Something that was granted was left unticked")
                .closes("Open a new link and tick it again as well. What was granted stays as it is."),
        ),
        ConnectError::NoRefreshToken => (StatusCode::CONFLICT, page("Google gave no lasting permission")),
        ConnectError::BadRedirect(_) => (StatusCode::BAD_REQUEST, page("This address is incomplete")),
        ConnectError::Provider(inner) => match inner.kind {
            FailureKind::Retry => (
                StatusCode::BAD_GATEWAY,
                page("Google did not answer").closes("Nothing was changed. Ask for a new link in a moment."),
            ),
            FailureKind::Operator => (
                StatusCode::INTERNAL_SERVER_ERROR,
                page("The connection is not set up right")
                    .closes("Nothing was changed. Show this page to whoever runs this machine."),
            ),
            FailureKind::Reconnect | FailureKind::Permission => (
                StatusCode::BAD_REQUEST,
                page("Google refused the connection")
                    .closes("Nothing was changed. Ask for a new link to try again."),
            ),
        },
        ConnectError::Store(_) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            page("The account could not be kept")
                .closes("Show this page to whoever runs this machine, then ask for a new link."),
        ),
        _ => (StatusCode::BAD_REQUEST, page("That did not work")),
    }
}

/// An error's text as a sentence of its own.
fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters
        .next()
        .map(|first| first.to_uppercase().to_string())
        .unwrap_or_default();
    let mut sentence = first + characters.as_str();
    if !sentence.ends_with(['.', '!', '?', ')']) {
        sentence.push('.');
    }
    sentence
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_become_sentences() {
        assert_eq!(sentence("begin again"), "Begin again.");
        assert_eq!(sentence("Done."), "Done.");
    }
}
