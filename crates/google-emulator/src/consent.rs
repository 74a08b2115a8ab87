//! The pages that a person sees: the consent page, and the one that says why there is none.

use askama::Template;
use http::StatusCode;

use crate::{
    auth_request::{AuthRequest, Blocked},
    core::Core,
    ids::AccountId,
    message::{Reply, html, problem},
    scope,
    state::State,
};

/// How many accounts the page offers; ten thousand synthetic ones would help nobody.
const SHOWN_ACCOUNTS: usize = 20;

#[derive(Template)]
#[template(path = "consent.html")]
struct ConsentPage<'a> {
    app: &'a str,
    client_id: &'a str,
    message: Option<&'a str>,
    /// The first one is selected.
    accounts: Vec<&'a str>,
    sign_in: Vec<ScopeLine<'a>>,
    choices: Vec<ScopeLine<'a>>,
}

struct ScopeLine<'a> {
    name: &'a str,
    wording: &'a str,
}

#[derive(Template)]
#[template(path = "blocked.html")]
struct BlockedPage<'a> {
    headline: &'a str,
    explanation: &'a str,
    detail: &'a str,
    status: u16,
    error: &'a str,
}

/// Asks a person which account it is, and what the app may do.
pub(crate) fn page(core: &Core, state: &State, request: &AuthRequest<'_>, message: Option<&str>) -> Reply {
    let hinted = request.login_hint.and_then(|name| state.find(name));
    let people = state
        .accounts()
        .filter(|(_, account)| account.service.is_none())
        .take(SHOWN_ACCOUNTS);
    let mut shown: Vec<AccountId> = people.map(|(id, _)| id).collect();
    if let Some(hinted) = hinted {
        shown.retain(|id| *id != hinted);
        shown.insert(0, hinted);
    }
    let accounts = shown
        .iter()
        .map(|id| state.account(*id).identity.email.as_str())
        .collect();
    let line = |name| ScopeLine {
        name,
        wording: scope::wording(name),
    };
    let (sign_in, choices): (Vec<&str>, Vec<&str>) = request
        .scopes
        .iter()
        .map(String::as_str)
        .partition(|name| scope::is_sign_in(name));
    let page = ConsentPage {
        app: &core.app_name,
        client_id: &core.clients[request.client.0].id,
        message,
        accounts,
        sign_in: sign_in.into_iter().map(line).collect(),
        choices: choices.into_iter().map(line).collect(),
    };
    let status = if message.is_some() {
        StatusCode::BAD_REQUEST
    } else {
        StatusCode::OK
    };
    render(status, &page)
}

/// Says why the app cannot be let in. The browser is not sent back.
pub(crate) fn blocked_page(blocked: &Blocked) -> Reply {
    let (headline, explanation) = match blocked.error.as_str() {
        "admin_policy_enforced" => (
            "Access blocked by your administrator",
            "The administrator of this account does not let this app use what it asks for.",
        ),
        "org_internal" => (
            "Access blocked: this app is for one organization only",
            "The app may be used only with accounts of the organization that owns it.",
        ),
        "disallowed_useragent" => (
            "Access blocked: this browser is not allowed",
            "Signing in inside an embedded browser is not allowed. Open the link in a full browser.",
        ),
        "deleted_client" => (
            "Access blocked: the OAuth client was deleted",
            "The developer has to create a new OAuth client and configure the app with it.",
        ),
        "invalid_client" => (
            "Access blocked: authorization error",
            "The app's client ID is not known here. The developer has to configure the right one.",
        ),
        _ => (
            "Access blocked: this app\u{2019}s request is invalid",
            "You can\u{2019}t sign in because this app sent an invalid request. The developer has to fix it.",
        ),
    };
    let page = BlockedPage {
        headline,
        explanation,
        detail: &blocked.detail,
        status: blocked.status.as_u16(),
        error: &blocked.error,
    };
    render(blocked.status, &page)
}

fn render(status: StatusCode, page: &impl Template) -> Reply {
    match page.render() {
        Ok(text) => html(status, text),
        // Rendering writes to a string and does not fail; an answer is due all the same.
        Err(_) => problem(
            StatusCode::INTERNAL_SERVER_ERROR,
            "The page could not be written.",
        ),
    }
}
