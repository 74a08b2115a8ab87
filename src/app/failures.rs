//! `FAILURES.md`, made from what the code does, so that it cannot say anything else.
//!
//! The test fails when the file is out of date; with `UPDATE_FAILURES=1` it writes it anew.

use std::{collections::BTreeSet, fmt::Write, fs, sync::Arc};

use tonic_types::StatusExt;

use crate::{
    admin_api::status,
    agent_api::refusal::refusal_form,
    broker::{
        AgentState, ConnectError, NotKept, ProblemCode, SeveralAccounts, UnknownAccount, failure_state,
    },
    capability::Catalog,
    cli::Exit,
    help::{
        self,
        chapters::{CONNECTING, SYMPTOMS},
        text::{Span, Target, Text},
        topic::{Act, Actor, Step, Topic},
    },
    provider::{
        self, Retried,
        failure::{Call, Sign},
        google::failure_table::FAILURES,
        oauth::redirect::InvalidRedirect,
        sentences,
    },
    store::{DatabaseFault, StoreError},
};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/FAILURES.md");

const HEAD: &str = "\
# What can go wrong, who can act, and what everybody sees

Made from the code by `UPDATE_FAILURES=1 cargo test --lib failures`; a test fails when it is out of date.

Find the words that you have in the first table, or what Google answered in the second. Each failure leads to one of the
states of the last table, and that is what all surfaces show, with the same sentence.

The daemon serves a page about each at `<public_url>/help`, for people who never heard of OAuth: what happened, who can
act, and the steps to take. The links here lead to a daemon on your own machine.

";

/// Where a daemon on this machine serves its help pages.
const PAGES: &str = "http://127.0.0.1:8420/help";

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
        Sign::Reason(names) => format!("{}, in `error` or as a `reason`", codes(names)),
        Sign::Subtype(code, subtypes) => format!("`{code}` with {}", codes(subtypes)),
        Sign::Redirected => "a redirect".to_owned(),
        Sign::Silent => "no `error` at all".to_owned(),
        Sign::Other => "any other `error`".to_owned(),
    }
}

/// Where a daemon on this machine serves the page.
fn link(topic: &Topic) -> String {
    format!("[{}]({PAGES}/{})", topic.slug, topic.slug)
}

fn topic(slug: &str) -> &'static Topic {
    help::find(slug).unwrap_or_else(|| panic!("no page explains {slug}"))
}

fn who(actor: Actor) -> &'static str {
    match actor {
        Actor::Owner => "the owner",
        Actor::Operator => "the operator",
        Actor::Administrator => "the organisation's administrator",
        Actor::Author => "the agent's author",
        Actor::Nobody => "nobody: it passes",
    }
}

/// Who can act, first who can do most.
fn actors(topic: &Topic) -> String {
    let names: Vec<_> = topic.acts.iter().map(|act| who(act.who)).collect();
    names.join("; ")
}

/// A text of the pages, whose links lead to a page of this daemon's or elsewhere.
fn marked(text: &Text) -> String {
    let span = |span: &Span| match span {
        Span::Plain(words) => words.clone(),
        Span::Code(words) => format!("`{words}`"),
        Span::Strong(words) => format!("**{words}**"),
        Span::Link(words, Target::Topic(slug)) => format!("[{words}]({PAGES}/{slug})"),
        Span::Link(words, Target::Page(url)) => format!("[{words}]({url})"),
    };
    cell(&text.spans().iter().map(span).collect::<String>())
}

/// What everybody can do, in one cell.
fn cure(topic: &Topic) -> String {
    let step = |step: &Step| match &step.command {
        Some(command) => format!("{} `{command}`", marked(&step.text)),
        None => marked(&step.text),
    };
    let act = |act: &Act| {
        let steps: Vec<_> = act.steps.iter().map(step).collect();
        format!("*{}*: {}", capital(who(act.who)), steps.join(" "))
    };
    topic.acts.iter().map(act).collect::<Vec<_>>().join("<br>")
}

fn capital(text: &str) -> String {
    text[..1].to_uppercase() + &text[1..]
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn google(text: &mut String) -> std::fmt::Result {
    text.push_str(
        "## What Google answers\n\nThe first row that fits counts. `error` and `error_subtype` decide, never the \
         description.\n\n| answer | during | state | who can act | sentence | page |\n|---|---|---|---|---|---|\n",
    );
    for failure in FAILURES.rows() {
        let during: Vec<_> = failure.calls.iter().map(|call| call_name(*call)).collect();
        let during = if during.is_empty() {
            "any call".to_owned()
        } else {
            during.join(", ")
        };
        let page = topic(failure.help);
        writeln!(
            text,
            "| {} | {during} | `{}` | {} | {} | {} |",
            sign(failure.sign),
            failure_state(failure.kind).as_str(),
            actors(page),
            cell(&sentences::row(failure, "Google", Retried::ByItself)),
            link(page),
        )?;
    }
    text.push_str(
        "\nA renewal that fails while the token still lives changes nothing for agents: the state stays `active`, with a \
         message. The sentence is followed by Google's own words, shortened and free of secrets.\n\n\
         Where no agent has a token to lose, whoever asked is told the code and the sentence (nothing is tried again by \
         itself there, and it says so), and agents stay as they were: a consent (`access_denied` has a code of its own \
         there, `consent_denied`), an import, a service account that is added. A revocation that Google refuses takes nothing back: the account is disconnected here all the \
         same, `disconnect` says what was not done and ends with 1, and what passes, or an operator can mend, is tried again until it is done \
         (`integrations list` shows it).\n\n",
    );
    Ok(())
}

/// Each way in which a consent ends badly, but for what Google answers, which is in the table above.
fn connect_errors() -> impl Iterator<Item = ConnectError> {
    account_errors().into_iter().chain(provider_errors())
}

/// What is wrong with a consent, or with the account that was chosen.
fn account_errors() -> Vec<ConnectError> {
    let google = || Arc::new(provider::google::account());
    let owner = || "alice".parse().expect("an owner");
    let account = || "alice@work.example".to_owned();
    let other = || "alice@home.example".to_owned();
    let unknown = Catalog::builtin().unknown(&"google.gmal.send".parse().expect("a key"));
    vec![
        ConnectError::Denied(owner(), google()),
        ConnectError::NothingGranted(google()),
        ConnectError::NoRefreshToken(google()),
        ConnectError::OtherAccount {
            at: "Google".to_owned(),
            owner: owner(),
            expected: account(),
            got: other(),
        },
        ConnectError::NotThatAccount {
            at: "Google".to_owned(),
            owner: owner(),
            expected: account(),
            got: other(),
        },
        ConnectError::ConnectedAlready {
            at: "Google".to_owned(),
            owner: owner(),
            account: account(),
        },
        ConnectError::RevokedMeanwhile {
            at: "Google".to_owned(),
            account: account(),
        },
        ConnectError::Narrower {
            account: account(),
            lost: vec!["google.drive".parse().expect("a key")],
        },
        ConnectError::UnknownState,
        ConnectError::UnknownConnect("con_5f0c9a1b2c3d4e5f6071".to_owned()),
        ConnectError::BadRedirect(InvalidRedirect::NoState),
        ConnectError::OtherBrowser,
        ConnectError::OtherSession,
        ConnectError::TimedOut(google()),
        ConnectError::TooMany,
        ConnectError::ReturnUrl("https://elsewhere.example/".to_owned()),
        ConnectError::Capability(unknown.into()),
        ConnectError::UnknownAccount(UnknownAccount::AnyOf(owner())),
        ConnectError::ServiceAccount("robot@project.iam.gserviceaccount.com".to_owned()),
        ConnectError::Ambiguous(SeveralAccounts {
            owner: owner(),
            accounts: vec![account(), other()],
        }),
        ConnectError::Store(NotKept::Store(StoreError::Storage {
            path: "/var/lib/token-broker/broker.db".to_owned(),
            fault: DatabaseFault::KeptForOthers.into(),
        })),
    ]
}

/// What is wrong with a consent of which it is not clear whose it is.
fn provider_errors() -> Vec<ConnectError> {
    let owner = || "alice".parse().expect("an owner");
    let account = || "alice@work.example".to_owned();
    let acme = || "acme".parse().expect("a provider");
    vec![
        ConnectError::NoCapability,
        ConnectError::SeveralProviders(vec![
            (
                provider::google::account().id,
                vec!["google.drive".parse().expect("a key")],
            ),
            (acme(), vec!["acme.read".parse().expect("a key")]),
        ]),
        ConnectError::ProviderUnsaid(vec!["google".to_owned(), "acme".to_owned()]),
        ConnectError::UnknownProvider {
            named: "amce".to_owned(),
            known: vec!["google".to_owned(), "acme".to_owned()],
        },
        ConnectError::OtherProvider {
            account: account(),
            provider: acme(),
            asked: provider::google::account().id,
        },
        ConnectError::OtherIssuer {
            id: "int_5f0c9a1b2c3d4e5f6071".parse().expect("an id"),
            owner: owner(),
            account: account(),
            provider: acme(),
            found: "https://old.example/".to_owned(),
            configured: "https://login.acme.example/".to_owned(),
        },
    ]
}

fn connecting(text: &mut String) -> std::fmt::Result {
    text.push_str(
        "## While connecting\n\nNothing is changed by any of these. They are shown on the page that the browser ends \
         on, by `connect`, and over gRPC.\n\n| code | gRPC | exit code | who can act | sentence | page |\n\
         |---|---|---|---|---|---|\n",
    );
    for error in connect_errors() {
        let status = status::connect(&error);
        let reason = status.get_details_error_info().expect("an ErrorInfo").reason;
        let exit = Exit::for_reason(&reason).unwrap_or(Exit::TimedOut);
        let page = topic(help::of_connect(&error));
        writeln!(
            text,
            "| `{reason}` | `{:?}` | {} | {} | {} | {} |",
            status.code(),
            exit.code(),
            actors(page),
            cell(&error.to_string()),
            link(page),
        )?;
    }
    text.push('\n');
    Ok(())
}

fn states(text: &mut String) -> std::fmt::Result {
    text.push_str(
        "## What each surface shows\n\n`env` and `status.json` carry the state, `TOKEN_BROKER_ACTION_URL` where a person \
         can act, and no token; the socket and gRPC carry the code.\n\n\
         | code | HTTP | gRPC | exit code of `token`, `env`, `status` | who can act | page |\n|---|---|---|---|---|---|\n",
    );
    let states = AgentState::ALL
        .into_iter()
        .filter(|state| *state != AgentState::Active);
    let rows = states.map(ProblemCode::State).chain([
        ProblemCode::UnknownCapability,
        ProblemCode::NotDeclared,
        ProblemCode::RateLimited,
        ProblemCode::InvalidRequest,
    ]);
    for code in rows {
        let (http, grpc) = refusal_form(code);
        let exit = Exit::for_reason(code.as_str()).expect("every code has an exit");
        let page = topic(&code.as_str().replace('_', "-"));
        writeln!(
            text,
            "| `{}` | {http} | `{grpc:?}` | {} | {} | {} |",
            code.as_str(),
            exit.code(),
            actors(page),
            link(page),
        )?;
    }
    Ok(())
}

fn document() -> Result<String, std::fmt::Error> {
    let mut text = HEAD.to_owned();
    text.push_str("## What people see\n\n| what you see | why | what to do | page |\n|---|---|---|---|\n");
    for symptom in &SYMPTOMS.topics {
        let why: Vec<_> = symptom.what.iter().map(marked).collect();
        writeln!(
            text,
            "| {} | {} | {} | {} |",
            marked(&symptom.title),
            why.join(" "),
            cure(symptom),
            link(symptom)
        )?;
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

#[test]
fn every_page_about_connecting_is_about_an_ending_that_there_is() {
    let endings: BTreeSet<_> = connect_errors().map(|error| help::of_connect(&error)).collect();
    let rows = FAILURES.rows().iter().map(|failure| failure.help);
    let known: BTreeSet<_> = endings.into_iter().chain(rows).collect();
    for topic in &CONNECTING.topics {
        assert!(known.contains(topic.slug), "{} is about nothing", topic.slug);
    }
}
