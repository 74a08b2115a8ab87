//! From a request to its answer: the route, the counters, the fault that strikes, the work, the `Date`.

use std::{sync::Arc, time::Duration};

use http::{HeaderValue, Method, Request, Response, StatusCode, header::DATE};
use http_body_util::Full;
use hyper::body::Incoming;
use jiff::{SignedDuration, Timestamp, fmt::rfc2822::DateTimePrinter};

use crate::{
    alter::{Sent, altered, unaltered},
    apis, assertion, authorize,
    core::Core,
    fault::{Cut, Endpoint, Fault, FaultId, Target},
    identity,
    ids::AccountId,
    message::{Call, Dropped, Reply, Unread, api_error, json, problem},
    oauth::{self, JWT_BEARER},
    revoke, risc, token,
};

/// Answers one request.
pub(crate) async fn answer(core: Arc<Core>, request: Request<Incoming>) -> Result<Sent, Dropped> {
    let Some(endpoint) = route(request.uri().path()) else {
        let message = format!("The emulator does not serve {}.", request.uri().path());
        return Ok(unaltered(dated(
            &core,
            problem(StatusCode::NOT_FOUND, &message),
            0,
        )));
    };
    let call = match Call::read(request).await {
        Ok(call) => call,
        Err(Unread::TooLarge) => {
            let reply = problem(StatusCode::PAYLOAD_TOO_LARGE, "The request is too large.");
            return Ok(unaltered(dated(&core, reply, 0)));
        }
        Err(Unread::Gone) => return Err(Dropped),
    };
    let struck = strike(&core, &call, endpoint);
    // After the fault has been chosen: whoever has seen the count may clear the fault.
    count(&core, &call, endpoint);
    match struck {
        Some((id, fault)) => suffer(&core, &call, endpoint, id, &fault).await,
        None => Ok(unaltered(dated(&core, work(&core, &call, endpoint), 0))),
    }
}

/// What a path belongs to.
fn route(path: &str) -> Option<Endpoint> {
    match path {
        "/o/oauth2/v2/auth" => Some(Endpoint::Authorize),
        "/token" => Some(Endpoint::Token),
        "/revoke" => Some(Endpoint::Revoke),
        "/oauth2/v3/certs" => Some(Endpoint::Certs),
        "/v1/userinfo" => Some(Endpoint::Userinfo),
        "/.well-known/openid-configuration" => Some(Endpoint::Discovery),
        "/.well-known/risc-configuration" => Some(Endpoint::Risc),
        _ if path.starts_with("/gmail/") => Some(Endpoint::Gmail),
        _ if path.starts_with("/calendar/") => Some(Endpoint::Calendar),
        _ if path.starts_with("/drive/") => Some(Endpoint::Drive),
        _ => None,
    }
}

fn count(core: &Core, call: &Call, endpoint: Endpoint) {
    core.stats
        .count(|stats| match (endpoint, call.form.get("grant_type")) {
            (Endpoint::Authorize, _) => &stats.authorize,
            (Endpoint::Token, Some("refresh_token")) => &stats.refresh,
            (Endpoint::Token, Some(JWT_BEARER)) => &stats.assertion,
            (Endpoint::Token, _) => &stats.exchange,
            (Endpoint::Revoke, _) => &stats.revoke,
            (Endpoint::Certs, _) => &stats.certs,
            (Endpoint::Userinfo, _) => &stats.userinfo,
            (Endpoint::Discovery | Endpoint::Risc, _) => &stats.discovery,
            _ => &stats.api_calls,
        });
}

fn work(core: &Core, call: &Call, endpoint: Endpoint) -> Reply {
    match endpoint {
        Endpoint::Authorize => authorize::answer(core, call),
        Endpoint::Token => token::answer(core, call),
        Endpoint::Revoke => revoke::answer(core, call),
        Endpoint::Certs => identity::certs(core, call),
        Endpoint::Userinfo => match identity::userinfo_answer(core, call) {
            Ok(person) => json(StatusCode::OK, &person),
            Err(error) => error.reply(),
        },
        Endpoint::Discovery => identity::discovery(core, call),
        Endpoint::Risc => risc::configuration(core, call),
        api => apis::answer(core, call, api),
    }
}

/// The fault that strikes this request. Without one in force, nothing is looked up.
fn strike(core: &Core, call: &Call, endpoint: Endpoint) -> Option<(FaultId, Fault)> {
    if !core.faults.any() {
        return None;
    }
    let account = account_of(core, call, endpoint);
    let identity = account.map(|id| core.state().account(id).identity.clone());
    let struck = core.faults.strike(&Target {
        endpoint,
        grant_type: call.form.get("grant_type"),
        account: identity
            .as_ref()
            .map(|identity| (identity.email.as_str(), identity.sub.as_str())),
        reused: call.reused,
    })?;
    core.stats.count(|stats| &stats.faults_struck);
    Some(struck)
}

/// The account that a request is about, as far as it says.
fn account_of(core: &Core, call: &Call, endpoint: Endpoint) -> Option<AccountId> {
    let by_token = |token: Option<&str>| core.account_of_token(token?);
    match endpoint {
        Endpoint::Authorize => core.state().find(authorize::account_named(call)?),
        Endpoint::Token => by_token(call.form.get("refresh_token"))
            .or_else(|| core.state().account_of_code(call.form.get("code")?))
            .or_else(|| assertion::account_named(core, call.form.get("assertion")?)),
        Endpoint::Revoke => by_token(revoke::token(call)),
        _ => by_token(call.bearer()),
    }
}

/// Carries out a fault: waits, does the work or answers in its place, and perhaps says nothing.
async fn suffer(
    core: &Core,
    call: &Call,
    endpoint: Endpoint,
    id: FaultId,
    fault: &Fault,
) -> Result<Sent, Dropped> {
    if fault.delay_ms > 0 {
        tokio::time::sleep(Duration::from_millis(fault.delay_ms)).await;
    }
    if fault.hold {
        core.faults.released(id).await;
    }
    if fault.cut == Cut::Before {
        return Err(Dropped);
    }
    let mut reply = if fault.replaces_answer() {
        replaced(core, call, endpoint, fault)
    } else {
        work(core, call, endpoint)
    };
    if fault.hold_answer {
        core.faults.released(id).await;
    }
    if fault.cut == Cut::After {
        return Err(Dropped);
    }
    reply.headers_mut().extend(fault.header_pairs());
    Ok(altered(dated(core, reply, fault.skew_seconds), fault).await)
}

/// A fault's answer, in the shape that the endpoint's own errors have.
fn replaced(core: &Core, call: &Call, endpoint: Endpoint, fault: &Fault) -> Reply {
    let status = fault.status();
    if let Some(body) = &fault.body {
        let mut reply = Response::new(Full::from(body.clone()));
        *reply.status_mut() = status;
        return reply;
    }
    let Some(error) = fault.error.as_deref() else {
        return problem(status, status.canonical_reason().unwrap_or("Error"));
    };
    let description = fault.error_description.as_deref();
    if endpoint == Endpoint::Authorize && matches!(call.method, Method::GET | Method::POST) {
        return authorize::refuse(core, call, fault);
    }
    if endpoint.is_api() {
        return json(
            status,
            &api_error(status, description.unwrap_or(error), Some(error)),
        );
    }
    let usual = match (error, fault.error_subtype.as_deref()) {
        ("invalid_grant", None) => Some("Token has been expired or revoked."),
        ("invalid_grant", Some("invalid_rapt" | "rapt_required")) => {
            Some("reauth related error (invalid_rapt)")
        }
        _ => None,
    };
    oauth::error_reply(
        status,
        error,
        description.or(usual),
        fault.error_subtype.as_deref(),
    )
}

/// Sets `Date` from the emulator's clock, which a fault may put ahead.
fn dated(core: &Core, mut reply: Reply, skew_seconds: i64) -> Reply {
    let now = core.now();
    let shown = now
        .checked_add(SignedDuration::from_secs(skew_seconds))
        .unwrap_or(now);
    if let Some(date) = http_date(shown) {
        reply.headers_mut().insert(DATE, date);
    }
    reply
}

/// An IMF-fixdate (RFC 9110, section 5.6.7).
fn http_date(time: Timestamp) -> Option<HeaderValue> {
    let text = DateTimePrinter::new().timestamp_to_rfc9110_string(&time).ok()?;
    HeaderValue::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_imf_fixdates() {
        let time = "2024-01-15T10:30:00.9Z".parse().unwrap();
        assert_eq!(http_date(time).unwrap(), "Mon, 15 Jan 2024 10:30:00 GMT");
    }

    #[test]
    fn googles_own_paths_are_routed() {
        assert_eq!(route("/token"), Some(Endpoint::Token));
        assert_eq!(route("/gmail/v1/users/me/profile"), Some(Endpoint::Gmail));
        assert_eq!(route("/token/"), None);
    }
}
