//! The control address: orders faults and shows what happened, as JSON.

use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    core::Unknown,
    event::SecurityEvent,
    fault::{Fault, InvalidFault},
    handle::Handle,
    message::{Call, Dropped, Reply, Unread, json as reply_json},
    options::{AutoApprove, Rotation},
    proofs::InvalidNonce,
    risc::{InvalidReceiver, NotAnnounced},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountBody {
    account: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RenameBody {
    account: String,
    email: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LifetimeBody {
    seconds: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RotationBody {
    mode: Rotation,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReceiverBody {
    url: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NonceBody {
    nonce: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GrantBody {
    account: String,
    scopes: Vec<String>,
    client_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ServiceAccountBody {
    name: String,
    #[serde(default)]
    delegated_scopes: Vec<String>,
}

/// What is wrong with an order, as a sentence.
struct Refused(StatusCode, String);

impl From<Unknown> for Refused {
    fn from(error: Unknown) -> Self {
        Self::not_found(error.to_string())
    }
}

impl From<InvalidReceiver> for Refused {
    fn from(error: InvalidReceiver) -> Self {
        Self::bad(error.to_string())
    }
}

impl From<InvalidNonce> for Refused {
    fn from(error: InvalidNonce) -> Self {
        Self::bad(error.to_string())
    }
}

impl From<NotAnnounced> for Refused {
    fn from(error: NotAnnounced) -> Self {
        match error {
            NotAnnounced::Account(unknown) => unknown.into(),
            NotAnnounced::Key(error) => Self(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        }
    }
}

impl From<InvalidFault> for Refused {
    fn from(error: InvalidFault) -> Self {
        Self::bad(error.to_string())
    }
}

impl Refused {
    fn bad(error: impl Into<String>) -> Self {
        Self(StatusCode::BAD_REQUEST, error.into())
    }

    fn not_found(error: impl Into<String>) -> Self {
        Self(StatusCode::NOT_FOUND, error.into())
    }
}

/// Answers one request to the control address.
pub(crate) async fn answer(handle: Handle, request: Request<Incoming>) -> Result<Reply, Dropped> {
    let call = match Call::read(request).await {
        Ok(call) => call,
        Err(Unread::TooLarge) => {
            return Ok(reply_json(
                StatusCode::PAYLOAD_TOO_LARGE,
                &json!({ "error": "The request is too large." }),
            ));
        }
        Err(Unread::Gone) => return Err(Dropped),
    };
    let done = match (&call.method, call.path.as_str()) {
        (&Method::POST, "/security-events") => announce(&handle, &call).await,
        _ => carry_out(&handle, &call),
    };
    Ok(match done {
        Ok(value) => reply_json(StatusCode::OK, &value),
        Err(Refused(status, sentence)) => reply_json(status, &json!({ "error": sentence })),
    })
}

async fn announce(handle: &Handle, call: &Call) -> Result<Value, Refused> {
    value(&handle.announce(&body::<SecurityEvent>(call)?).await?)
}

fn carry_out(handle: &Handle, call: &Call) -> Result<Value, Refused> {
    let segments = call.segments();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    match (&call.method, segments.as_slice()) {
        (&Method::GET, ["stats"]) => value(&handle.stats()),
        (&Method::GET, ["state"]) => value(&handle.accounts()),
        (&Method::GET, ["mails"]) => value(&handle.sent_mails()),
        (&Method::GET, ["faults"]) => value(&handle.faults()),
        (&Method::POST, ["faults"]) => {
            let id = handle.inject_fault(body::<Fault>(call)?)?;
            Ok(json!({ "id": id }))
        }
        (&Method::DELETE, ["faults"]) => {
            handle.clear_faults();
            Ok(json!({}))
        }
        (&Method::DELETE, ["faults", id]) => {
            let known = id.parse().is_ok_and(|id| handle.clear_fault(id));
            if known {
                Ok(json!({}))
            } else {
                Err(Refused::not_found(format!("there is no fault `{id}`")))
            }
        }
        (&Method::POST, [order]) => order_given(handle, call, order),
        _ => Err(Refused::not_found(format!(
            "the control address has no {} {}",
            call.method, call.path
        ))),
    }
}

/// The orders that change how the emulator behaves.
fn order_given(handle: &Handle, call: &Call, order: &str) -> Result<Value, Refused> {
    match order {
        "revoke" => {
            handle.revoke_account(&body::<AccountBody>(call)?.account)?;
        }
        "password-change" => {
            handle.change_password(&body::<AccountBody>(call)?.account)?;
        }
        "rename" => {
            let order: RenameBody = body(call)?;
            handle.rename_account(&order.account, &order.email)?;
        }
        "lifetime" => {
            handle.set_token_lifetime(std::time::Duration::from_secs(
                body::<LifetimeBody>(call)?.seconds,
            ));
        }
        "rotation" => handle.set_rotation(body::<RotationBody>(call)?.mode),
        "auto-approve" => handle.set_auto_approve(body::<Option<AutoApprove>>(call)?),
        "signing-key" => handle
            .rotate_signing_key()
            .map_err(|error| Refused(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?,
        "risc-receiver" => {
            let url = body::<Option<ReceiverBody>>(call)?.map(|order| order.url);
            handle.set_risc_receiver(url.as_deref())?;
        }
        "dpop-nonce" => {
            let nonce = body::<Option<NonceBody>>(call)?.map(|order| order.nonce);
            handle.demand_dpop_nonce(nonce.as_deref())?;
        }
        "refresh-token" => {
            let token = handle.refresh_token_of(&body::<AccountBody>(call)?.account)?;
            return Ok(json!({ "refresh_token": token }));
        }
        "grants" => return seed(handle, &body(call)?),
        "service-accounts" => return service_account(handle, &body(call)?),
        _ => {
            return Err(Refused::not_found(format!(
                "the control address has no POST /{order}"
            )));
        }
    }
    Ok(json!({}))
}

fn seed(handle: &Handle, order: &GrantBody) -> Result<Value, Refused> {
    let scopes: Vec<&str> = order.scopes.iter().map(String::as_str).collect();
    let token = match &order.client_id {
        Some(client) => handle.seed_grant_for(client, &order.account, &scopes)?,
        None => handle.seed_grant(&order.account, &scopes),
    };
    Ok(json!({ "refresh_token": token }))
}

fn service_account(handle: &Handle, order: &ServiceAccountBody) -> Result<Value, Refused> {
    let file = handle
        .create_service_account(&order.name)
        .map_err(|error| Refused(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let scopes: Vec<&str> = order.delegated_scopes.iter().map(String::as_str).collect();
    let email = file["client_email"].as_str().unwrap_or_default();
    handle.delegate(email, &scopes)?;
    Ok(file)
}

fn body<T: DeserializeOwned>(call: &Call) -> Result<T, Refused> {
    serde_json::from_slice(&call.body).map_err(|error| {
        Refused::bad(format!(
            "the body is not the JSON that {} takes: {error}",
            call.path
        ))
    })
}

fn value(content: &impl serde::Serialize) -> Result<Value, Refused> {
    serde_json::to_value(content)
        .map_err(|error| Refused(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}
