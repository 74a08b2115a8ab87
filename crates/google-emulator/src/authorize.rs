//! The authorization endpoint: a page, a person's decision, and the way back to the app.

use std::collections::BTreeSet;

use http::Method;

use crate::{
    auth_request::{AuthRequest, Blocked},
    consent,
    core::{Core, ISSUER},
    fault::Fault,
    ids::AccountId,
    message::{Call, Params, Reply, redirect, wrong_method},
    options::ClientType,
    random, scope,
    state::Decision,
};

/// Errors that Google shows on a page of its own, without sending the browser back.
const SHOWN: &[&str] = &[
    "admin_policy_enforced",
    "deleted_client",
    "disallowed_useragent",
    "invalid_client",
    "invalid_request",
    "invalid_scope",
    "org_internal",
    "redirect_uri_mismatch",
    "unsupported_response_type",
];

/// Answers `/o/oauth2/v2/auth`: a page, or the way back to the app.
pub(crate) fn answer(core: &Core, call: &Call) -> Reply {
    let request = match AuthRequest::parse(core, &call.query) {
        Ok(request) => request,
        Err(blocked) => return consent::blocked_page(&blocked),
    };
    match call.method {
        Method::GET => start(core, &request),
        Method::POST => decided(core, &request, &call.form),
        _ => wrong_method("GET, POST"),
    }
}

/// Answers with a fault's error as Google would: on its own page, or in the redirect.
pub(crate) fn refuse(core: &Core, call: &Call, fault: &Fault) -> Reply {
    let error = fault.error.as_deref().unwrap_or("server_error");
    let detail = fault.error_description.clone().unwrap_or_default();
    match AuthRequest::parse(core, &call.query) {
        Ok(request) if !SHOWN.contains(&error) => request.send_back(error),
        Ok(_) => consent::blocked_page(&Blocked::new(fault.status(), error, detail)),
        Err(blocked) => consent::blocked_page(&blocked),
    }
}

/// The account that a request is about, as far as it says.
pub(crate) fn account_named(call: &Call) -> Option<&str> {
    call.form.get("account").or_else(|| call.query.get("login_hint"))
}

/// A browser arrives: consent without a page, or the page.
fn start(core: &Core, request: &AuthRequest<'_>) -> Reply {
    let mut state = core.state();
    if let Some(policy) = state.behaviour.auto_approve.clone() {
        let chosen = policy
            .account
            .as_deref()
            .or(request.login_hint)
            .and_then(|name| state.find(name));
        let account = chosen.or_else(|| state.accounts().next().map(|(id, _)| id));
        drop(state);
        let Some(account) = account else {
            return request.send_back("access_denied");
        };
        let unticked: BTreeSet<String> = policy.untick.iter().map(|name| scope::canonical(name)).collect();
        let ticked = request
            .scopes
            .iter()
            .filter(|name| !unticked.contains(*name))
            .cloned()
            .collect();
        return approve(core, request, account, ticked);
    }
    if request.prompts.contains("none") {
        let account = request.login_hint.and_then(|name| state.find(name));
        let granted = account.filter(|id| {
            let consent = state.account_mut(*id).consents.get(&request.client);
            consent.is_some_and(|consent| request.scopes.iter().all(|name| consent.scopes.contains(name)))
        });
        drop(state);
        return match granted {
            Some(account) => approve(core, request, account, request.scopes.iter().cloned().collect()),
            None => request.send_back("interaction_required"),
        };
    }
    consent::page(core, &state, request, None)
}

/// A person has decided: the form of the consent page, from a browser or a script.
fn decided(core: &Core, request: &AuthRequest<'_>, form: &Params) -> Reply {
    match form.get("decision") {
        Some("allow") => {}
        Some("deny") => return request.send_back("access_denied"),
        _ => return consent::page(core, &core.state(), request, Some("Choose Allow or Cancel.")),
    }
    let account = form.get("account").and_then(|name| core.state().find(name));
    let Some(account) = account else {
        return consent::page(core, &core.state(), request, Some("Choose an account."));
    };
    let boxes: BTreeSet<String> = form.all("scope").map(scope::canonical).collect();
    let ticked = request
        .scopes
        .iter()
        .filter(|name| scope::is_sign_in(name) || boxes.contains(*name));
    approve(core, request, account, ticked.cloned().collect())
}

/// Records the consent and sends the browser back with a code.
fn approve(core: &Core, request: &AuthRequest<'_>, account: AccountId, ticked: BTreeSet<String>) -> Reply {
    if ticked.is_empty() {
        return request.send_back("access_denied");
    }
    let code = format!("4/emu-{}", random::name());
    let decision = Decision {
        client: request.client,
        account,
        ticked,
        // Google does not support incremental authorization for installed apps.
        include_granted: request.include_granted && request.client_kind == ClientType::Web,
        offline: request.offline(),
        redirect_uri: request.redirect_uri,
        challenge: request.challenge,
        nonce: request.nonce,
    };
    let granted = core.state().approve(decision, &code, core.now());
    let mut location = request.redirect.clone();
    {
        let mut query = location.query_pairs_mut();
        if let Some(state) = request.state {
            query.append_pair("state", state);
        }
        query.append_pair("iss", ISSUER);
        query.append_pair("code", &code);
        query.append_pair("scope", &granted.text);
        query.append_pair("authuser", "0");
        query.append_pair(
            "prompt",
            if request.prompts.contains("none") {
                "none"
            } else {
                "consent"
            },
        );
    }
    redirect(&location)
}
