//! Gmail: send, list, get, profile.

use std::collections::BTreeSet;

use base64::{
    Engine,
    alphabet::URL_SAFE,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
    prelude::BASE64_URL_SAFE,
};
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    access::{ApiError, admit, with_workspace},
    request::{limit, no_method, page, read_json},
};
use crate::{core::Core, ids::AccountId, mail::Message, message::Call, scope::PREFIX};

const SERVICE: &str = "gmail.googleapis.com";
const ALL: &str = "https://mail.google.com/";
const SEND: &[&str] = &["gmail.send", "gmail.compose", "gmail.modify", ALL];
const READ: &[&str] = &["gmail.readonly", "gmail.modify", "gmail.metadata", ALL];
const PROFILE: &[&str] = &[
    "gmail.readonly",
    "gmail.modify",
    "gmail.compose",
    "gmail.metadata",
    ALL,
];

/// Base64url with or without padding, as Gmail takes it.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SendBody {
    raw: Option<String>,
    thread_id: Option<String>,
}

pub(crate) fn answer(core: &Core, call: &Call, segments: &[&str]) -> Result<Value, ApiError> {
    let ["gmail", "v1", "users", user, rest @ ..] = segments else {
        return Err(no_method(call));
    };
    match (&call.method, rest) {
        (&Method::POST, ["messages", "send"]) => {
            let (account, _) = admit(core, call, SERVICE, SEND)?;
            own_mailbox(core, account, user)?;
            send(core, account, read_json(call)?)
        }
        (&Method::GET, ["messages"]) => {
            let (account, _) = admit(core, call, SERVICE, READ)?;
            own_mailbox(core, account, user)?;
            list(core, account, call)
        }
        (&Method::GET, ["messages", id]) => {
            let (account, scopes) = admit(core, call, SERVICE, READ)?;
            own_mailbox(core, account, user)?;
            let bodies = ["gmail.readonly", "gmail.modify"];
            let bodies = scopes.contains(ALL)
                || bodies
                    .iter()
                    .any(|name| scopes.contains(&format!("{PREFIX}{name}")));
            get(
                core,
                account,
                id,
                call.query.get("format").unwrap_or("full"),
                bodies,
            )
        }
        (&Method::GET, ["profile"]) => {
            let (account, _) = admit(core, call, SERVICE, PROFILE)?;
            own_mailbox(core, account, user)?;
            Ok(with_workspace(core, account, |workspace, email| {
                let count = workspace.messages.len();
                json!({
                    "emailAddress": email,
                    "messagesTotal": count,
                    "threadsTotal": count,
                    "historyId": workspace.serial.to_string(),
                })
            }))
        }
        _ => Err(no_method(call)),
    }
}

/// `me` and the account's own address; nobody else's mailbox.
fn own_mailbox(core: &Core, account: AccountId, user: &str) -> Result<(), ApiError> {
    let email = core.state().account(account).identity.email.clone();
    if user == "me" || user.eq_ignore_ascii_case(&email) {
        return Ok(());
    }
    let message = format!("Delegation denied for {email}");
    Err(ApiError::Request(StatusCode::FORBIDDEN, message, "forbidden"))
}

/// Files the message with the sender, and with every recipient who has an account here.
fn send(core: &Core, account: AccountId, body: SendBody) -> Result<Value, ApiError> {
    let raw = body.raw.ok_or_else(|| {
        ApiError::bad(
            "'raw' RFC822 payload message string is required.",
            "invalidArgument",
        )
    })?;
    let raw = LENIENT.decode(raw).map_err(|_| {
        ApiError::bad(
            "Invalid value for ByteString: raw is not base64url.",
            "invalidArgument",
        )
    })?;
    let now = core.now();
    let mut sent = Message::parse(&raw, now);
    let recipients = sent.recipients();
    if recipients.is_empty() {
        return Err(ApiError::bad("Recipient address required", "invalidArgument"));
    }
    let (id, thread) = with_workspace(core, account, |workspace, email| {
        sent.fill_sender(email);
        workspace.file(sent.clone(), body.thread_id, &["SENT"])
    });
    // Once to each mailbox, however often the address is named.
    let locals: BTreeSet<u32> = recipients
        .iter()
        .filter_map(|address| core.state().find(address))
        .map(|local| local.0)
        .collect();
    for local in locals {
        with_workspace(core, AccountId(local), |workspace, _| {
            workspace.file(sent.clone(), None, &["UNREAD", "INBOX"]);
        });
    }
    core.stats.count(|stats| &stats.sent_mails);
    Ok(json!({ "id": id, "threadId": thread, "labelIds": ["SENT"] }))
}

fn list(core: &Core, account: AccountId, call: &Call) -> Result<Value, ApiError> {
    let size = limit(call, "maxResults", 100, 500)?;
    if call.query.get("q").is_some() {
        return Err(ApiError::bad(
            "The emulator does not search: leave `q` out.",
            "invalidArgument",
        ));
    }
    let labels: Vec<&str> = call.query.all("labelIds").collect();
    let found: Vec<Value> = with_workspace(core, account, |workspace, _| {
        let newest_first = workspace.messages.iter().rev();
        newest_first
            .filter(|filed| {
                labels
                    .iter()
                    .all(|label| filed.labels.iter().any(|own| own == label))
            })
            .map(|filed| json!({ "id": filed.id, "threadId": filed.thread }))
            .collect()
    });
    let (messages, next) = page(call, &found, size)?;
    let mut answer = json!({ "resultSizeEstimate": found.len() });
    if !messages.is_empty() {
        answer["messages"] = messages.into();
    }
    if let Some(next) = next {
        answer["nextPageToken"] = next;
    }
    Ok(answer)
}

fn get(core: &Core, account: AccountId, id: &str, format: &str, bodies: bool) -> Result<Value, ApiError> {
    if !bodies && matches!(format, "full" | "raw") {
        let message = "Metadata scope doesn't allow format FULL";
        return Err(ApiError::Request(
            StatusCode::FORBIDDEN,
            message.into(),
            "forbidden",
        ));
    }
    with_workspace(core, account, |workspace, _| {
        let filed = workspace.messages.iter().find(|filed| filed.id == id);
        let filed = filed.ok_or_else(|| {
            let message = "Requested entity was not found.".to_owned();
            ApiError::Request(StatusCode::NOT_FOUND, message, "notFound")
        })?;
        let message = &filed.message;
        let mut answer = json!({
            "id": filed.id,
            "threadId": filed.thread,
            "labelIds": filed.labels,
            "snippet": message.snippet(),
            "sizeEstimate": message.raw.len(),
            "historyId": filed.history.to_string(),
            "internalDate": message.received.as_millisecond().to_string(),
        });
        match format {
            "minimal" => {}
            "raw" => answer["raw"] = BASE64_URL_SAFE.encode(&message.raw).into(),
            _ => {
                let headers = message
                    .headers
                    .iter()
                    .map(|(name, value)| json!({ "name": name, "value": value }));
                answer["payload"] = json!({
                    "partId": "",
                    "mimeType": message.mime_type(),
                    "filename": "",
                    "headers": headers.collect::<Vec<_>>(),
                });
                if format == "full" {
                    let body = message.body();
                    answer["payload"]["body"] =
                        json!({ "size": body.len(), "data": BASE64_URL_SAFE.encode(&body) });
                }
            }
        }
        Ok(answer)
    })
}
