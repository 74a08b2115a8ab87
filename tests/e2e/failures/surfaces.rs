//! What an agent, its author, the owner and the operator can look at.

use http::StatusCode;
use serde_json::{Value, json};
use token_broker::{
    proto::v1::{AgentState, GetStatusRequest, IntegrationRef, IntegrationState},
    provider::Remedy,
};
use tonic::Code;

use crate::support::{Agent, Daemon, Output, block_on, reason, wait_until};

/// How a state looks. Written down here once more: programs rely on it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Form {
    /// Its name, which is the stable code on every surface.
    pub(super) state: &'static str,
    pub(super) http: StatusCode,
    pub(super) grpc: Code,
    pub(super) exit: i32,
    /// A person can act, so there is an address where.
    pub(super) person: bool,
}

/// An agent whose owner has connected nothing.
pub(super) const NOT_CONNECTED: Form = Form {
    state: "not_connected",
    http: StatusCode::FORBIDDEN,
    grpc: Code::FailedPrecondition,
    exit: 5,
    person: true,
};

pub(super) fn form(kind: Remedy) -> Form {
    let (state, http, grpc, exit, person) = match kind {
        Remedy::Retry => (
            "provider_unavailable",
            StatusCode::SERVICE_UNAVAILABLE,
            Code::Unavailable,
            6,
            false,
        ),
        Remedy::Reconnect => (
            "reconnect_required",
            StatusCode::FORBIDDEN,
            Code::FailedPrecondition,
            5,
            true,
        ),
        Remedy::Operator => (
            "misconfigured",
            StatusCode::INTERNAL_SERVER_ERROR,
            Code::FailedPrecondition,
            7,
            false,
        ),
        Remedy::Permission => (
            "permission_missing",
            StatusCode::FORBIDDEN,
            Code::PermissionDenied,
            5,
            true,
        ),
    };
    Form {
        state,
        http,
        grpc,
        exit,
        person,
    }
}

/// Every surface of an agent that has no token: its state in this form, with these words. `because` says in which
/// scene, should it not be so.
pub(super) fn agent_shows(daemon: &Daemon, name: &str, form: &Form, words: &str, because: &Value) {
    let agent = daemon.wait_for_state(name, form.state);
    // The same state may be there before, while the token is being obtained.
    wait_until(&format!("{name} to be told of {because}"), || {
        agent.env().contains(form.state) && {
            let status = agent.status();
            status["message"]
                .as_str()
                .is_some_and(|said| said.contains(words))
        }
    });
    let url = format!("{}/agents/{name}", daemon.http());
    let url = form.person.then_some(url.as_str());
    let shown = Shown {
        agent: &agent,
        form,
        words,
        because,
        url,
    };
    shown.in_files();
    shown.over_http();
    shown.over_grpc();
    shown.by_commands(daemon);
}

struct Shown<'a> {
    agent: &'a Agent,
    form: &'a Form,
    words: &'a str,
    because: &'a Value,
    url: Option<&'a str>,
}

impl Shown<'_> {
    fn says(&self, place: &str, text: &str) {
        let (words, because) = (self.words, self.because);
        assert!(text.contains(words), "{because}: {place} says {text:?}");
    }

    fn in_files(&self) {
        let Self { agent, because, .. } = self;
        let action = self.url.map(|url| format!("TOKEN_BROKER_ACTION_URL={url}\n"));
        let env = format!(
            "TOKEN_BROKER_STATE={}\n{}",
            self.form.state,
            action.unwrap_or_default()
        );
        assert_eq!(agent.env(), env, "{because}");
        assert_eq!(agent.try_read("access_token"), None, "{because}");
        let status = agent.status();
        assert_eq!(status["state"], self.form.state, "{because}");
        assert_eq!(status["action_url"].as_str(), self.url, "{because}");
        self.says("status.json", status["message"].as_str().unwrap());
    }

    fn over_http(&self) {
        let Self {
            agent, form, because, ..
        } = self;
        let problem = agent.get("/v1/token");
        assert_eq!(problem.status, form.http, "{because}");
        assert_eq!(problem.header("content-type"), "application/problem+json");
        let problem = problem.json();
        assert_eq!(problem["code"], form.state, "{because}");
        assert_eq!(problem["status"], form.http.as_u16(), "{because}");
        assert_eq!(problem["action_url"].as_str(), self.url, "{because}");
        self.says("the socket", problem["detail"].as_str().unwrap());
        assert_eq!(agent.get("/v1/env").expect_ok().text(), agent.env());
        assert_eq!(agent.get("/v1/status").expect_ok().json(), agent.status());
    }

    fn over_grpc(&self) {
        let Self { form, because, .. } = self;
        let mut client = self.agent.grpc();
        let refused = client.token().unwrap_err();
        assert_eq!(refused.code(), form.grpc, "{because}");
        let expected = (form.state.to_owned(), self.url.map(str::to_owned));
        assert_eq!(reason(&refused), expected, "{because}");
        self.says("gRPC", refused.message());
        let answer = block_on(client.0.get_status(GetStatusRequest {})).unwrap();
        let status = answer.into_inner().status.unwrap();
        let name = format!("AGENT_STATE_{}", form.state.to_ascii_uppercase());
        assert_eq!(
            Some(status.state()),
            AgentState::from_str_name(&name),
            "{because}"
        );
        assert_eq!(status.action_url, self.url.unwrap_or_default(), "{because}");
        self.says("GetStatus", &status.message);
    }

    fn by_commands(&self, daemon: &Daemon) {
        let Self { form, because, .. } = self;
        let name = self.agent.name.as_str();
        for command in ["token", "env", "status"] {
            let said = daemon.cli(&[command, "--agent", name]);
            assert_eq!(said.code, form.exit, "{because}: {command}: {said:?}");
            self.says(command, &format!("{}{}", said.stdout, said.stderr));
            assert!(!said.stdout.contains("ACCESS_TOKEN"), "{because}: {said:?}");
        }
        let shown = daemon.cli(&["agents", "show", name, "--output", "json"]);
        let shown = shown.expect_ok().json();
        assert_eq!(shown["state"], form.state, "{because}");
        self.says("agents show", shown["message"].as_str().unwrap());
    }
}

/// The account itself, as its owner and the operator see it: it is asked for now, and then listed.
pub(super) fn account_shows(daemon: &Daemon, owner: &str, kind: Remedy, words: &str, because: &Value) {
    let form = form(kind);
    // A scope that is missing is no fault of the account's: that works.
    let (state, exit) = match kind {
        Remedy::Permission => ("active", 0),
        _ => (form.state, form.exit),
    };
    let said = daemon.cli(&["integrations", "check", "--owner", owner, "--output", "json"]);
    assert_eq!(said.code, exit, "{because}: {said:?}");
    let checked = said.json();
    assert_eq!(checked["state"], state, "{because}");
    assert!(
        checked["message"].as_str().unwrap().contains(words),
        "{because}: {checked}"
    );
    let listed = listed(daemon, owner);
    assert_eq!(listed["integrations"][0]["state"], state, "{because}");
    assert_eq!(
        listed["integrations"][0]["message"], checked["message"],
        "{because}"
    );

    let integration = Some(IntegrationRef {
        owner: owner.to_owned(),
        ..IntegrationRef::default()
    });
    let request = token_broker::proto::v1::GetIntegrationRequest { integration };
    let answer = block_on(daemon.admin().get_integration(request)).unwrap();
    let answer = answer.into_inner().integration.unwrap();
    let name = format!("INTEGRATION_STATE_{}", state.to_ascii_uppercase());
    assert_eq!(
        Some(answer.state()),
        IntegrationState::from_str_name(&name),
        "{because}"
    );
    assert!(answer.message.contains(words), "{because}: {}", answer.message);
}

/// `integrations list` of an owner.
pub(super) fn listed(daemon: &Daemon, owner: &str) -> Value {
    let listed = daemon.cli(&["integrations", "list", "--owner", owner, "--output", "json"]);
    listed.expect_ok().json()
}

/// A command that asked for an account that does not come about: it says why, and nothing is there.
pub(super) fn nothing_came_of(daemon: &Daemon, owner: &str, said: &Output, form: &Form, words: &str) {
    assert_eq!(said.code, form.exit, "{said:?}");
    assert!(said.stderr.contains(words), "{words}: {said:?}");
    assert!(
        said.stdout.is_empty() || said.stdout.starts_with("http"),
        "{said:?}"
    );
    assert_eq!(listed(daemon, owner)["integrations"], json!([]), "{said:?}");
}

/// The same over gRPC.
pub(super) fn refused(status: &tonic::Status, form: &Form, words: &str, because: &Value) {
    assert_eq!(status.code(), form.grpc, "{because}: {status:?}");
    assert_eq!(reason(status), (form.state.to_owned(), None), "{because}");
    assert!(status.message().contains(words), "{because}: {status:?}");
}
