//! `FAILURES.md`, made from what the code does, so that it cannot say anything else.
//!
//! The test fails when the file is out of date; with `UPDATE_FAILURES=1` it writes it anew.

use std::{fmt::Write, fs};

use tonic_types::StatusExt;

use crate::{
    broker::{AgentState, ConnectError, ProblemCode, failure_state},
    cli::Exit,
    delivery::{admin::status, refusal_form},
    google::{
        FailureKind,
        classify::{Call, FAILURES, Sign, TESTING_MODE},
    },
};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/FAILURES.md");

const HEAD: &str = "\
# What can go wrong, who can act, and what everybody sees

Made from the code by `UPDATE_FAILURES=1 cargo test --lib failures`; a test fails when it is out of date.

Find the words that you have in the first table, or what Google answered in the second. Each failure leads to one of the
states of the last table, and that is what all surfaces show, with the same sentence.

";

/// What people say, and where to look: symptom, usual reason, what to do.
const SYMPTOMS: &[(&str, &str, &str)] = &[
    (
        "“Expired or invalid credentials”, HTTP 401 `UNAUTHENTICATED` from an API",
        "The program goes on with a token that it read long ago, or the grant has ended (`invalid_grant` below).",
        "Read `env` again, or ask the socket; a dead grant shows as `reconnect_required` with the address where its \
         owner connects again. `token-broker integrations check` asks Google now.",
    ),
    (
        "“Insufficient permission”, HTTP 403 `ACCESS_TOKEN_SCOPE_INSUFFICIENT` from an API",
        "The agent did not declare the capability, so its token does not carry it; or its owner did not grant it.",
        "Compare `GOOGLE_OAUTH_CAPABILITIES` with what the call needs; declare the capability in the manifest, \
         then its owner grants it (`permission_missing` names it).",
    ),
    (
        "“Access blocked: this app's request is invalid”, on Google's own page",
        "The OAuth client does not fit: mostly `redirect_uri_mismatch` or `invalid_request`. Google shows it to the \
         person and sends nobody back, so the connection times out.",
        "Add `<public_url>/oauth/callback` to the client's authorized redirect URIs, and check `google.client_type`.",
    ),
    (
        "Gmail does not work while Calendar and Drive do",
        "The box of Gmail was unticked on the consent page; or the Gmail API is not enabled in the Google Cloud project \
         (HTTP 403 `accessNotConfigured` from the API); or an administrator switched Gmail off for the account.",
        "`token-broker integrations show` says which capabilities were granted: add the missing one. Enable the API on \
         the project's APIs page. A change of the account's password ends grants that carry Gmail's scopes: \
         `reconnect_required`.",
    ),
    (
        "It works for a week, then every account has to be connected again",
        "The OAuth consent screen is in Testing mode.",
        TESTING_MODE,
    ),
    (
        "The consent page was closed, or showed an error of Google's own",
        "Nobody came back to the callback.",
        "`connect` ends after its time with the sentence `consent_timed_out` below; nothing was changed.",
    ),
];

fn call_name(call: Call) -> &'static str {
    match call {
        Call::Authorize => "the consent",
        Call::Exchange => "the exchange of the code",
        Call::Refresh => "a renewal",
        Call::Revoke => "a revocation",
        Call::Keys => "fetching the keys",
        Call::Userinfo => "asking whose a grant is",
        Call::Assertion { delegated: false } => "a service account's renewal",
        Call::Assertion { delegated: true } => "a renewal of a service account that acts for a person",
    }
}

fn sign(sign: Sign) -> String {
    let codes = |codes: &[&str]| {
        codes
            .iter()
            .map(|code| format!("`{code}`"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    match sign {
        Sign::Busy => "HTTP 408, 429, 5xx".to_owned(),
        Sign::Status(statuses) => format!(
            "HTTP {}",
            statuses
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", ")
        ),
        Sign::Error(names) => codes(names),
        Sign::Subtype(code, subtypes) => format!("`{code}` with {}", codes(subtypes)),
        Sign::Redirected => "a redirect".to_owned(),
        Sign::Silent => "no `error` at all".to_owned(),
        Sign::Other => "any other `error`".to_owned(),
    }
}

fn actor(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Retry => "nobody: it passes",
        FailureKind::Reconnect => "the owner: connect again",
        FailureKind::Operator => "the operator",
        FailureKind::Permission => "the owner: add the permission",
    }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn google(text: &mut String) -> std::fmt::Result {
    text.push_str(
        "## What Google answers\n\nThe first row that fits counts. `error` and `error_subtype` decide, never the \
         description.\n\n| answer | during | state | who can act | sentence |\n|---|---|---|---|---|\n",
    );
    for failure in FAILURES {
        let during: Vec<_> = failure.calls.iter().map(|call| call_name(*call)).collect();
        let during = if during.is_empty() {
            "any call".to_owned()
        } else {
            during.join(", ")
        };
        writeln!(
            text,
            "| {} | {during} | `{}` | {} | {} |",
            sign(failure.sign),
            failure_state(failure.kind).as_str(),
            actor(failure.kind),
            cell(failure.sentence),
        )?;
    }
    text.push_str(
        "\nA renewal that fails while the token still lives changes nothing for agents: the state stays `active`, with a \
         message. The sentence is followed by Google's own words, shortened and free of secrets.\n\n\
         Where no agent has a token to lose, whoever asked is told the code and the sentence (nothing is tried again by \
         itself there, and it says so), and agents stay as they were: a consent (`access_denied` has a code of its own \
         there, `consent_denied`), an import, a service account that is added. A revocation that Google refuses takes nothing back: the account is disconnected here all the \
         same, `disconnect` says what was not done and ends with 1, and what passes is tried again until it is done \
         (`integrations list` shows it).\n\n",
    );
    Ok(())
}

fn connecting(text: &mut String) -> std::fmt::Result {
    text.push_str(
        "## While connecting\n\nNothing is changed by any of these. They are shown on the page that the browser ends \
         on, by `connect`, and over gRPC.\n\n| code | gRPC | exit code | sentence |\n|---|---|---|---|\n",
    );
    let owner = || "alice".parse().expect("an owner");
    let errors = [
        ConnectError::Denied(owner()),
        ConnectError::NothingGranted,
        ConnectError::NoRefreshToken,
        ConnectError::OtherAccount {
            owner: owner(),
            expected: "alice@work.example".to_owned(),
            got: "alice@home.example".to_owned(),
        },
        ConnectError::UnknownState,
        ConnectError::OtherSession,
        ConnectError::TimedOut,
    ];
    for error in errors {
        let status = status::connect(&error);
        let reason = status.get_details_error_info().expect("an ErrorInfo").reason;
        let exit = Exit::for_reason(&reason).unwrap_or(Exit::TimedOut);
        writeln!(
            text,
            "| `{reason}` | `{:?}` | {} | {} |",
            status.code(),
            exit.code(),
            cell(&error.to_string())
        )?;
    }
    text.push('\n');
    Ok(())
}

fn states(text: &mut String) -> std::fmt::Result {
    text.push_str(
        "## What each surface shows\n\n`env` and `status.json` carry the state, `TOKEN_BROKER_ACTION_URL` where a person \
         can act, and no token; the socket and gRPC carry the code.\n\n\
         | code | HTTP | gRPC | exit code of `token`, `env`, `status` | who can act |\n|---|---|---|---|---|\n",
    );
    let who = |state: AgentState| match state {
        AgentState::Active => "nobody has to",
        AgentState::NotConnected | AgentState::ReconnectRequired | AgentState::Revoked => {
            "the owner: connect"
        }
        AgentState::PermissionMissing => "the owner: add the permission",
        AgentState::ProviderUnavailable => "nobody: it passes",
        AgentState::Misconfigured => "the operator",
    };
    let states = AgentState::ALL
        .into_iter()
        .filter(|state| *state != AgentState::Active);
    let rows = states
        .map(|state| (ProblemCode::State(state), who(state)))
        .chain([
            (ProblemCode::UnknownCapability, "the agent's author"),
            (ProblemCode::NotDeclared, "the agent's author: declare it"),
            (ProblemCode::RateLimited, "nobody: ask less often"),
            (ProblemCode::InvalidRequest, "the agent's author"),
        ]);
    for (code, who) in rows {
        let (http, grpc) = refusal_form(code);
        let exit = Exit::for_reason(code.as_str()).expect("every code has an exit");
        writeln!(
            text,
            "| `{}` | {http} | `{grpc:?}` | {} | {who} |",
            code.as_str(),
            exit.code()
        )?;
    }
    Ok(())
}

fn document() -> Result<String, std::fmt::Error> {
    let mut text = HEAD.to_owned();
    text.push_str("## What people say\n\n| what you see | why | what to do |\n|---|---|---|\n");
    for (symptom, reason, cure) in SYMPTOMS {
        writeln!(text, "| {symptom} | {reason} | {cure} |")?;
    }
    text.push('\n');
    google(&mut text)?;
    connecting(&mut text)?;
    states(&mut text)?;
    Ok(text)
}

#[test]
fn failures_md_says_what_the_code_does() {
    let made = document().unwrap();
    if std::env::var_os("UPDATE_FAILURES").is_some() {
        fs::write(FILE, &made).unwrap();
    }
    let written = fs::read_to_string(FILE).unwrap_or_default();
    assert!(
        written == made,
        "FAILURES.md is out of date: run UPDATE_FAILURES=1 cargo test --lib failures"
    );
}
