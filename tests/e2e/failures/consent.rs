//! A consent that comes to nothing: at Google's page, at the exchange of the code, and at the keys that say whose it is.

use serde_json::{Value, json};
use token_broker::{
    proto::v1::{BeginConnectRequest, CompleteConnectRequest},
    provider::{Remedy, failure::Call},
};
use url::Url;

use super::{
    Case, SEND, cases,
    surfaces::{Form, NOT_CONNECTED, agent_shows, form, nothing_came_of, refused},
};
use crate::support::{Connecting, Daemon, Emulator, block_on, browse, get};

/// A person who declines.
const DECLINED: Form = Form {
    state: "consent_denied",
    grpc: tonic::Code::PermissionDenied,
    exit: 5,
    ..NOT_CONNECTED
};

#[test]
fn every_refusal_of_googles_page_is_said_to_the_person_and_to_whoever_waits() {
    refusals_of(Call::Authorize, "authorize", &Value::Null);
}

#[test]
fn every_refusal_of_a_code_is_said_to_the_person_and_to_whoever_waits() {
    let of_code = json!({ "grant_type": "authorization_code" });
    refusals_of(Call::Exchange, "token", &of_code);
}

#[test]
fn signing_keys_that_cannot_be_had_are_said_to_the_person_and_to_whoever_waits() {
    refusals_of(Call::Keys, "certs", &Value::Null);
}

fn refusals_of(call: Call, endpoint: &str, more: &Value) {
    let google = Emulator::start(&[]);
    let daemon = Daemon::new(&google);
    daemon.write_manifest("waiting", "alice", &[SEND]);
    daemon.start();
    for (number, case) in cases(call).into_iter().enumerate() {
        // An owner has so many consents and no more; a daemon that starts counts anew.
        if number % 10 == 9 {
            daemon.restart();
        }
        let fault = case.at(endpoint, more);
        let id = google.fault(&fault);
        let declined = call == Call::Authorize && fault["error"] == "access_denied";
        let form = if declined {
            DECLINED
        } else {
            form(case.failure.kind)
        };
        by_command(&daemon, &case, &form, &fault);
        over_grpc(&daemon, &case, &form, &fault);
        agent_shows(&daemon, "waiting", &NOT_CONNECTED, "alice", &fault);
        google.clear_fault(&id);
    }
    daemon.scan_for_secrets(&[&google.client_secret]);
}

/// `connect`, and the page that the browser ends on.
fn by_command(daemon: &Daemon, case: &Case, form: &Form, fault: &Value) {
    let sentence = case.once();
    let connecting = Connecting::start(daemon, "alice", &[SEND], &[]).unwrap();
    let page = browse(&back(daemon, &connecting.url, fault));
    let said = daemon.remember(connecting.finish());
    nothing_came_of(daemon, "alice", &said, form, &sentence);
    let help = format!("/help/{}", case.failure.help);
    assert!(
        page.text().contains(&format!("href=\"{help}\"")),
        "{}",
        page.text()
    );
    let explained = get(&format!("{}{help}", daemon.http()));
    assert_eq!(explained.status, 200, "{help}");
    // What is marked as code there is not text.
    let begins = case.failure.sentence.split('`').next().unwrap();
    assert!(unescaped(explained.text()).contains(begins), "{help}");
    if form.state == DECLINED.state {
        // To the person themselves it is said in plainer words.
        assert!(page.text().contains("Nothing was connected"), "{}", page.text());
        return;
    }
    let expected = match case.failure.kind {
        Remedy::Retry => 502,
        Remedy::Operator => 500,
        Remedy::Reconnect | Remedy::Permission => 400,
    };
    assert_eq!(page.status, expected, "{fault}");
    let text = unescaped(page.text());
    assert!(text.contains(&sentence), "{fault}: {text}");
    assert!(text.contains("Nothing was changed"), "{fault}: {text}");
}

/// What a browser shows of the text of a page.
fn unescaped(html: &str) -> String {
    let escapes = [
        ("&#39;", "'"),
        ("&#60;", "<"),
        ("&#62;", ">"),
        ("&#34;", "\""),
        ("&#38;", "&"),
    ];
    escapes
        .iter()
        .fold(html.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// A platform that drives the consent by itself.
fn over_grpc(daemon: &Daemon, case: &Case, form: &Form, fault: &Value) {
    let mut admin = daemon.admin();
    let request = BeginConnectRequest {
        owner: "alice".to_owned(),
        capabilities: vec![SEND.to_owned()],
        ..BeginConnectRequest::default()
    };
    let begun = block_on(admin.begin_connect(request)).unwrap().into_inner();
    let url = Url::parse(&begun.authorization_url).unwrap();
    let request = CompleteConnectRequest {
        redirect_url: back(daemon, &url, fault),
    };
    let status = block_on(admin.complete_connect(request)).unwrap_err();
    refused(&status, form, &case.once(), fault);
}

/// Where Google sends the browser. Some errors are shown on Google's own page and never come back from there, although
/// other servers send them: for those the way back is made here.
fn back(daemon: &Daemon, google: &Url, fault: &Value) -> String {
    let answer = get(google.as_str());
    if answer.status.is_redirection() {
        return answer.header("location").to_owned();
    }
    let error = fault["error"].as_str().unwrap();
    assert!(answer.text().contains(error), "{fault}: {}", answer.text());
    let state = google.query_pairs().find(|(name, _)| name == "state").unwrap().1;
    let mut url = Url::parse(&daemon.http())
        .unwrap()
        .join("/oauth/callback")
        .unwrap();
    url.query_pairs_mut()
        .append_pair("error", error)
        .append_pair("state", &state);
    url.into()
}
