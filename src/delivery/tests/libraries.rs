//! The metadata protocol on an agent's socket, and the credential file beside it.

use std::time::Duration;

use ::http::{Request, Response};
use serde_json::Value;

use super::{Scene, code, until};
use crate::{
    broker::AgentState,
    testing::{snapshot, token},
};

const V1: &str = "/computeMetadata/v1";
const EMAIL: &str = "a@token-broker.internal";

impl Scene {
    async fn ask(&self, path: &str) -> (Response<()>, String) {
        let request = Request::get(path).header("metadata-flavor", "Google");
        self.send("a", request, false).await
    }

    async fn with_token() -> Self {
        let scene = Self::new();
        scene.add(snapshot("a").with_token(token("sesame"))).await;
        scene
    }
}

fn kind(response: &Response<()>) -> &str {
    response.headers()["content-type"].to_str().unwrap()
}

#[tokio::test]
async fn every_question_of_the_libraries_has_its_answer() {
    let scene = Scene::with_token().await;
    let accounts = format!("default/\n{EMAIL}/\n");
    let scopes = "https://www.googleapis.com/auth/calendar\nhttps://www.googleapis.com/auth/gmail.send\n";
    let project = format!("{V1}/project");
    let instance = format!("{V1}/instance");
    let default = format!("{instance}/service-accounts/default");
    let rows = [
        ("/".to_owned(), "computeMetadata/\n"),
        ("/computeMetadata/".to_owned(), "v1/\n"),
        (format!("{V1}/"), "instance/\nproject/\nuniverse/\n"),
        (instance.clone(), "service-accounts/\n"),
        (format!("{project}/project-id"), "token-broker"),
        (format!("{project}/numeric-project-id"), "0"),
        (format!("{V1}/universe/universe-domain"), "googleapis.com"),
        (format!("{V1}/universe/universe_domain"), "googleapis.com"),
        (format!("{instance}/service-accounts/"), &accounts),
        (format!("{default}/email"), EMAIL),
        (format!("{default}/aliases"), "default\n"),
        (format!("{default}/scopes"), scopes),
        (format!("{instance}/service-accounts/{EMAIL}/email"), EMAIL),
        (format!("{default}/"), "aliases\nemail\nscopes\ntoken\n"),
    ];
    for (path, expected) in rows {
        let (response, body) = scene.ask(&path).await;
        assert_eq!((code(&response), body.as_str()), (200, expected), "{path}");
        assert_eq!(kind(&response), "text/plain; charset=utf-8", "{path}");
        assert_eq!(response.headers()["metadata-flavor"], "Google", "{path}");
    }
}

#[tokio::test]
async fn an_account_in_json() {
    let scene = Scene::with_token().await;
    for name in ["default", EMAIL, "a%40token-broker.internal"] {
        let path = format!("{V1}/instance/service-accounts/{name}/?recursive=true");
        let (response, body) = scene.ask(&path).await;
        assert_eq!(
            (code(&response), kind(&response)),
            (200, "application/json"),
            "{name}"
        );
        let account: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(account["aliases"][0], "default");
        assert_eq!(account["email"], EMAIL);
        assert_eq!(account["scopes"].as_array().unwrap().len(), 2);
        // With such an address google-auth would send the token elsewhere, in the background.
        assert!(
            !account["email"]
                .as_str()
                .unwrap()
                .ends_with("gserviceaccount.com")
        );
    }
}

#[tokio::test]
async fn every_folder_as_a_whole_and_every_value_in_both_forms() {
    let scene = Scene::with_token().await;
    let json = async |path: &str| -> Value {
        let (response, body) = scene.ask(path).await;
        assert_eq!(
            (code(&response), kind(&response)),
            (200, "application/json"),
            "{path}"
        );
        assert!(!body.contains("sesame"), "{path}");
        serde_json::from_str(&body).unwrap()
    };
    let account = serde_json::json!({
        "aliases": ["default"],
        "email": EMAIL,
        "scopes": [
            "https://www.googleapis.com/auth/calendar",
            "https://www.googleapis.com/auth/gmail.send",
        ],
    });
    let accounts = serde_json::json!({"default": account, EMAIL: account});
    let instance = serde_json::json!({"serviceAccounts": accounts});
    let project = serde_json::json!({"numericProjectId": 0, "projectId": "token-broker"});
    let universe = serde_json::json!({"universeDomain": "googleapis.com"});
    let all = serde_json::json!({"instance": instance, "project": project, "universe": universe});
    for (path, expected) in [
        (
            "/?recursive=true",
            &serde_json::json!({"computeMetadata": {"v1": all}}),
        ),
        ("/computeMetadata/v1/?recursive=true", &all),
        ("/computeMetadata/v1/instance/?recursive=true&alt=json", &instance),
        ("/computeMetadata/v1/project/?recursive=TRUE", &project),
        ("/computeMetadata/v1/universe?recursive=true", &universe),
        (
            "/computeMetadata/v1/instance/service-accounts/?recursive=true",
            &accounts,
        ),
        (
            "/computeMetadata/v1/instance/service-accounts/default/?alt=json&recursive=true",
            &account,
        ),
        (
            "/computeMetadata/v1/instance/service-accounts/default/scopes?alt=json",
            &account["scopes"],
        ),
        (
            "/computeMetadata/v1/instance/service-accounts/default/email?alt=json",
            &account["email"],
        ),
        (
            "/computeMetadata/v1/project/numeric-project-id?alt=json",
            &project["numericProjectId"],
        ),
        (
            "/computeMetadata/v1/project/?alt=json",
            &serde_json::json!(["numeric-project-id", "project-id"]),
        ),
    ] {
        assert_eq!(json(path).await, *expected, "{path}");
    }
    for (path, expected) in [
        (
            "project/?recursive=true&alt=text",
            "numeric-project-id 0\nproject-id token-broker\n",
        ),
        ("project/project-id?alt=text", "token-broker"),
        ("project/project-id?recursive=true", "token-broker"),
    ] {
        let (response, body) = scene.ask(&format!("{V1}/{path}")).await;
        assert_eq!((code(&response), body.as_str()), (200, expected), "{path}");
    }
    let (response, body) = scene.ask(&format!("{V1}/project/?alt=xml")).await;
    assert_eq!(code(&response), 400, "{body}");
}

#[tokio::test]
async fn a_token_whatever_scopes_are_asked_for() {
    let scene = Scene::with_token().await;
    for path in [
        "default/token",
        "a@token-broker.internal/token",
        "default/token?scopes=https://mail.google.com/,https://www.googleapis.com/auth/gmail.modify",
        "default/token?scopes=https%3A%2F%2Fwww.googleapis.com%2Fauth%2Fgmail.send",
    ] {
        let (response, body) = scene.ask(&format!("{V1}/instance/service-accounts/{path}")).await;
        assert_eq!(
            (code(&response), kind(&response)),
            (200, "application/json"),
            "{path}"
        );
        assert_eq!(response.headers()["cache-control"], "no-store");
        let answer: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(answer["access_token"], "sesame");
        assert_eq!(answer["token_type"], "Bearer");
        assert_eq!(answer["expires_in"].as_u64(), Some(3540), "{body}");
    }
}

#[tokio::test]
async fn there_are_no_identity_tokens_and_no_other_accounts() {
    let scene = Scene::with_token().await;
    for path in [
        "instance/service-accounts/default/identity?audience=x",
        "instance/service-accounts/b@token-broker.internal/token",
        "instance/service-accounts/b/?recursive=true",
        "instance/id",
        "project/attributes/",
    ] {
        let (response, body) = scene.ask(&format!("{V1}/{path}")).await;
        assert_eq!(code(&response), 404, "{path}");
        assert!(
            body.starts_with("not_found: There is nothing at this path"),
            "{body}"
        );
        assert_eq!(response.headers()["metadata-flavor"], "Google");
    }
}

#[tokio::test]
async fn only_who_means_it_and_comes_directly_gets_anything() {
    let scene = Scene::with_token().await;
    let path = format!("{V1}/instance/service-accounts/default/token");
    let cases = [
        (Request::get(&path), 403, "`Metadata-Flavor: Google` is missing"),
        (
            Request::get(&path).header("metadata-flavor", "Amazon"),
            403,
            "`Metadata-Flavor: Google` is missing",
        ),
        (
            Request::get(&path)
                .header("metadata-flavor", "Google")
                .header("x-forwarded-for", "10.0.0.1"),
            403,
            "X-Forwarded-For",
        ),
        (
            Request::post(&path).header("metadata-flavor", "Google"),
            405,
            "POST is not allowed",
        ),
        (Request::options(&path), 405, "OPTIONS is not allowed"),
    ];
    for (request, status, words) in cases {
        let (response, body) = scene.send("a", request, false).await;
        assert_eq!(code(&response), status, "{words}");
        assert!(body.contains(words) && !body.contains("sesame"), "{body}");
        assert_eq!(response.headers()["metadata-flavor"], "Google");
    }
}

#[tokio::test]
async fn what_only_a_person_can_mend_is_not_asked_for_again() {
    for (state, status) in [
        (AgentState::NotConnected, 403),
        (AgentState::PermissionMissing, 403),
        (AgentState::ReconnectRequired, 403),
        (AgentState::Revoked, 403),
        // Libraries repeat what fails with 5xx.
        (AgentState::Misconfigured, 403),
        (AgentState::ProviderUnavailable, 503),
    ] {
        let scene = Scene::new();
        scene.add(snapshot("a").in_state(state)).await;
        let path = format!("{V1}/instance/service-accounts/default/token");
        let (response, body) = scene.ask(&path).await;
        assert_eq!(code(&response), status, "{body}");
        assert_eq!(kind(&response), "text/plain; charset=utf-8");
        let expected = format!("{0}: This is {0}.", state.as_str());
        assert!(body.starts_with(&expected), "{body}");
        let where_to = " See http://127.0.0.1:8420/fix/a\n";
        assert_eq!(
            body.ends_with(where_to),
            state != AgentState::ProviderUnavailable,
            "{body}"
        );
        // The rest is there, so that libraries recognise the place.
        assert_eq!(code(&scene.ask("/").await.0), 200);
        let account = format!("{V1}/instance/service-accounts/default/?recursive=true");
        assert!(scene.ask(&account).await.1.contains("\"scopes\":[]"));
    }
}

#[tokio::test]
async fn an_expired_token_is_not_in_a_metadata_answer() {
    let scene = Scene::with_token().await;
    scene.clock.advance(Duration::from_secs(3600));
    let path = format!("{V1}/instance/service-accounts/default/token");
    let (response, body) = scene.ask(&path).await;
    assert_eq!(code(&response), 503);
    assert!(!body.contains("sesame"), "{body}");
}

#[tokio::test]
async fn the_credential_file_comes_with_the_secret_and_goes_with_the_agent() {
    let scene = Scene::new();
    let agent = scene.add(snapshot("a")).await;
    assert!(!scene.path("a", "adc.json").exists());
    agent.set_secret("sesame".into());
    scene.changes.changed(&agent);
    scene.settled().await;
    let file: Value = serde_json::from_str(&scene.read("a", "adc.json")).unwrap();
    assert_eq!(
        file,
        serde_json::json!({
            "type": "external_account_authorized_user",
            "audience": "broker",
            "client_id": "a",
            "client_secret": "sesame",
            "refresh_token": "a",
            "token_url": "http://127.0.0.1:8421/sts/v1/token",
        })
    );
    let env = std::fs::metadata(scene.path("a", "env")).unwrap().permissions();
    let adc = std::fs::metadata(scene.path("a", "adc.json"))
        .unwrap()
        .permissions();
    assert_eq!(adc, env);
    scene.remove(&agent).await;
    let directory = scene.delivery.directory(agent.name());
    until(|| !directory.exists()).await;
}
