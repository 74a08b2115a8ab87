use std::time::Duration;

use ::http::Request;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;

use super::{Scene, code, in_time};
use crate::{
    agent_view::document::Document,
    broker::AgentState,
    testing::{snapshot, token},
};

#[tokio::test]
async fn a_token_in_json() {
    let scene = Scene::new();
    scene.add(snapshot("a").with_token(token("sesame"))).await;
    let (response, body) = scene.get("a", "/v1/token").await;
    assert_eq!(code(&response), 200);
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(response.headers()["cache-control"], "no-store");
    insta::assert_snapshot!(body, @r#"{"access_token":"sesame","token_type":"Bearer","expires_at":"2024-01-15T10:30:00Z","expires_in":3540,"scope":"https://www.googleapis.com/auth/calendar https://www.googleapis.com/auth/gmail.send","capabilities":["google.gmail.send","google.calendar.readonly"]}"#);
}

#[tokio::test]
async fn both_protocols_on_one_socket() {
    let scene = Scene::new();
    scene.add(snapshot("a").with_token(token("sesame"))).await;
    for http2 in [false, true] {
        let (response, body) = scene.send("a", Request::get("/v1/token"), http2).await;
        assert_eq!(code(&response), 200);
        assert!(body.contains("sesame"));
    }
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let scene = Scene::new();
    scene.add(snapshot("a").with_token(token("sesame"))).await;
    scene.add(snapshot("b").in_state(AgentState::NotConnected)).await;
    let metadata = "/computeMetadata/v1/instance/service-accounts/default";
    for (agent, path, status) in [
        ("a", "/v1/token".to_owned(), 200),
        ("b", "/v1/token".to_owned(), 403),
        ("a", "/v1/token?min_ttl=soon".to_owned(), 400),
        ("a", "/v1/env".to_owned(), 200),
        ("a", "/v1/status".to_owned(), 200),
        ("a", "/v1/view".to_owned(), 200),
        ("a", "/v1/nothing".to_owned(), 404),
        ("a", format!("{metadata}/token"), 200),
        ("a", format!("{metadata}/email"), 200),
    ] {
        for http2 in [false, true] {
            let ask = |request: ::http::request::Builder| {
                let request = request.uri(&path).header("metadata-flavor", "Google");
                scene.send(agent, request, http2)
            };
            let (get, body) = ask(Request::builder().method("GET")).await;
            let (head, nothing) = ask(Request::builder().method("HEAD")).await;
            assert_eq!((code(&head), &*nothing), (status, ""), "{path}");
            assert_eq!(code(&get), status, "{path}");
            assert_eq!(
                head.headers()["content-type"],
                get.headers()["content-type"],
                "{path}"
            );
            assert_eq!(head.headers()["content-length"], body.len().to_string(), "{path}");
        }
    }
    let (watch, nothing) = scene.send("a", Request::head("/v1/watch"), false).await;
    assert_eq!((code(&watch), &*nothing), (200, ""));
    assert_eq!(watch.headers()["content-type"], "text/event-stream");
}

#[tokio::test]
async fn env_and_status_are_the_files_contents() {
    let scene = Scene::new();
    scene.add(snapshot("a").with_token(token("sesame"))).await;
    assert_eq!(scene.get("a", "/v1/env").await.1, scene.read("a", "env"));
    assert_eq!(
        scene.get("a", "/v1/status").await.1,
        scene.read("a", "status.json")
    );
}

#[tokio::test]
async fn the_view_is_what_the_files_are_written_from() {
    let scene = Scene::new();
    let both = snapshot("a")
        .with_token(token("person"))
        .with_service(Some(token("robot")));
    scene.add(both).await;
    let (response, body) = scene.get("a", "/v1/view").await;
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(response.headers()["cache-control"], "no-store");
    insta::assert_snapshot!(body, @r#"{"status":{"agent":"a","owner":"alice","state":"active","message":"","action_url":null,"account":"alice@example.com","service_account":"robot@project.iam.gserviceaccount.com","capabilities":[{"key":"google.gmail.send","state":"granted","granted":true,"optional":false,"description":"Send order confirmations"},{"key":"google.calendar.readonly","state":"satisfied","granted":true,"optional":true,"satisfied_by":"google.calendar"},{"key":"google.drive.readonly","state":"declined","granted":false,"optional":true,"description":"Attach invoices"},{"key":"google.sa","state":"granted","granted":true,"optional":true}]},"credentials":[{"provider":"google","env":{"access_token":"GOOGLE_OAUTH_ACCESS_TOKEN","expires_at":"GOOGLE_OAUTH_TOKEN_EXPIRES_AT","capabilities":{"in":"GOOGLE_OAUTH_CAPABILITIES"},"account":null},"serves_google_libraries":true,"account":"alice@example.com","capabilities":["google.gmail.send","google.calendar.readonly"],"token":{"access_token":"person","expires_at":"2024-01-15T10:30:00Z","expires_in":3540,"scope":"https://www.googleapis.com/auth/calendar https://www.googleapis.com/auth/gmail.send"}},{"provider":"google-sa","env":{"access_token":"GOOGLE_SA_ACCESS_TOKEN","expires_at":"GOOGLE_SA_TOKEN_EXPIRES_AT","capabilities":{"with":"google"},"account":"GOOGLE_SA_EMAIL"},"serves_google_libraries":true,"account":"robot@project.iam.gserviceaccount.com","capabilities":["google.sa"],"token":{"access_token":"robot","expires_at":"2024-01-15T10:30:00Z","expires_in":3540,"scope":"https://www.googleapis.com/auth/calendar https://www.googleapis.com/auth/gmail.send"}}],"project_id":"token-broker"}"#);
    let view: Document<'static> = serde_json::from_str(&body).unwrap();
    assert_eq!(*view.env(), scene.read("a", "env"));
    assert_eq!(view.access_token().unwrap(), scene.read("a", "access_token"));
    assert_eq!(view.status.to_file(), scene.read("a", "status.json"));
}

#[tokio::test]
async fn a_sidecar_of_the_release_before_finds_what_it_asks_for() {
    let scene = Scene::new();
    scene.add(snapshot("a").with_token(token("sesame"))).await;
    let ask = async |path: &str| scene.get("a", path).await.1;
    let (env, status) = (ask("/v1/env").await, ask("/v1/status").await);
    assert!(env.starts_with(
        "GOOGLE_OAUTH_ACCESS_TOKEN=sesame\nGOOGLE_OAUTH_TOKEN_EXPIRES_AT=2024-01-15T10:30:00Z\n"
    ));
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(
        (&status["agent"], &status["state"]),
        (&"a".into(), &"active".into())
    );
    let token: serde_json::Value = serde_json::from_str(&ask("/v1/token").await).unwrap();
    assert_eq!(
        (&token["access_token"], &token["expires_in"]),
        (&"sesame".into(), &3540.into())
    );
    for field in ["expires_at", "scope", "capabilities"] {
        assert!(!token[field].is_null(), "{field}");
    }
}

#[tokio::test]
async fn no_token_is_a_problem_with_a_way_out() {
    let scene = Scene::new();
    scene
        .add(snapshot("a").in_state(AgentState::PermissionMissing))
        .await;
    let (response, body) = scene.get("a", "/v1/token").await;
    assert_eq!(code(&response), 403);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    insta::assert_snapshot!(body, @r#"{"type":"urn:token-broker:problem:permission_missing","title":"A permission is missing","status":403,"detail":"This is permission_missing.","code":"permission_missing","action_url":"http://127.0.0.1:8420/fix/a"}"#);
    // The files' contents are there all the same.
    assert_eq!(code(&scene.get("a", "/v1/status").await.0), 200);
    assert_eq!(code(&scene.get("a", "/v1/env").await.0), 200);
}

#[tokio::test]
async fn an_expired_token_is_not_handed_out() {
    let scene = Scene::new();
    scene.add(snapshot("a").with_token(token("sesame"))).await;
    scene.clock.advance(Duration::from_secs(3600));
    let (response, body) = scene.get("a", "/v1/token").await;
    assert_eq!(code(&response), 503);
    assert!(!body.contains("sesame"));
    let (_, env) = scene.get("a", "/v1/env").await;
    assert_eq!(env, "TOKEN_BROKER_STATE=provider_unavailable\n");
}

#[tokio::test]
async fn wrong_requests_are_told_what_is_wrong() {
    let scene = Scene::new();
    scene.add(snapshot("a").with_token(token("sesame"))).await;
    let cases = [
        ("/v1/token?min_ttl=soon", 400, "min_ttl is a number of seconds"),
        ("/v1/token?min_ttl=-1", 400, "min_ttl is a number of seconds"),
        ("/v1/token?min_ttl=1&min_ttl=2", 400, "min_ttl is given twice"),
        (
            "/v1/token?refresh=yes",
            400,
            "refresh is true or false, not \\\"yes\\\"",
        ),
        (
            "/v1/token?refresh=true&refresh=false",
            400,
            "refresh is given twice",
        ),
        ("/v1/token?ttl=1", 400, "no query parameter \\\"ttl\\\""),
        ("/v1/token?integration=aws", 400, "there are google and google-sa"),
        ("/v1/view?x", 400, "no query parameter \\\"x\\\""),
        ("/v1/env?x", 400, "no query parameter \\\"x\\\""),
        ("/v1/watch?x=1", 400, "no query parameter \\\"x\\\""),
        (
            "/v1/watch?integration=google&x=1",
            400,
            "no query parameter \\\"x\\\"",
        ),
        (
            "/v1/watch?view=true&integration=google",
            400,
            "there is integration or view, once",
        ),
        ("/v1/watch?view=x", 400, "view is true or false, not \\\"x\\\""),
        (
            "/v1/watch?integration=google-sa",
            403,
            "declares no capability of a service account",
        ),
        ("/v1/nothing", 404, "There is nothing at \\\"/v1/nothing\\\""),
        ("/", 404, "\"code\":\"not_found\""),
    ];
    for (path, status, words) in cases {
        let (response, body) = scene.get("a", path).await;
        assert_eq!(code(&response), status, "{path}");
        assert_eq!(
            response.headers()["content-type"],
            "application/problem+json",
            "{path}"
        );
        assert!(body.contains(words), "{path}: {body}");
    }
    let (response, body) = scene.send("a", Request::post("/v1/token"), false).await;
    assert_eq!(code(&response), 405);
    assert_eq!(response.headers()["allow"], "GET, HEAD");
    assert!(body.contains("\"code\":\"method_not_allowed\""), "{body}");
}

#[tokio::test]
async fn a_query_that_asks_for_nothing_special_is_answered() {
    let scene = Scene::new();
    scene.add(snapshot("a").with_token(token("sesame"))).await;
    for query in ["?", "?min_ttl=0", "?integration=google", "?refresh=false"] {
        let (response, _) = scene.get("a", &format!("/v1/token{query}")).await;
        assert_eq!(code(&response), 200, "{query}");
    }
}

/// The events of `/v1/watch`.
struct Events {
    body: hyper::body::Incoming,
    text: String,
}

impl Events {
    async fn open(scene: &Scene, agent: &str) -> Self {
        Self::open_at(scene, agent, "/v1/watch").await
    }

    async fn open_at(scene: &Scene, agent: &str, path: &str) -> Self {
        let io = TokioIo::new(scene.connect(agent).await);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        let request = Request::get(path).header("host", "broker");
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let response = in_time(sender.send_request(request)).await.unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["x-accel-buffering"], "no");
        Self {
            body: response.into_body(),
            text: String::new(),
        }
    }

    /// The next event; `None` at the end.
    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let event = event.to_owned();
                self.text = rest.to_owned();
                return Some(event);
            }
            let frame = in_time(self.body.frame()).await?.ok()?;
            self.text += std::str::from_utf8(frame.data_ref().unwrap()).unwrap();
        }
    }
}

#[tokio::test]
async fn watching_tells_tokens_and_states_once() {
    let scene = Scene::new();
    let agent = scene.add(snapshot("a").with_token(token("first"))).await;
    let mut events = Events::open(&scene, "a").await;
    let first = events.next().await.unwrap();
    assert!(
        first.starts_with("event: token\ndata: {\"access_token\":\"first\""),
        "{first}"
    );
    // The same again is no news, and neither is it in another object.
    scene
        .publish(&agent, snapshot("a").with_token(token("first")))
        .await;
    scene
        .publish(&agent, snapshot("a").with_token(token("second")))
        .await;
    assert!(events.next().await.unwrap().contains("\"second\""));
    scene
        .publish(&agent, snapshot("a").in_state(AgentState::Revoked))
        .await;
    let state = events.next().await.unwrap();
    assert!(state.starts_with("event: state\n"), "{state}");
    assert!(state.contains("\"state\":\"revoked\""), "{state}");
    scene
        .publish(&agent, snapshot("a").with_token(token("second")))
        .await;
    assert!(events.next().await.unwrap().contains("\"second\""));
    assert!(events.next().await.unwrap().contains("\"state\":\"active\""));
    scene.remove(&agent).await;
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn a_slow_watcher_skips_what_was_replaced() {
    let scene = Scene::new();
    let agent = scene.add(snapshot("a").in_state(AgentState::NotConnected)).await;
    let mut events = Events::open(&scene, "a").await;
    assert!(events.next().await.unwrap().contains("\"not_connected\""));
    // Longer than what the connection buffers, so that the stream has to wait for its reader.
    let long = |number: u32| format!("{number:06}").repeat(20_000);
    let last = 200;
    for number in 0..=last {
        scene
            .publish(&agent, snapshot("a").with_token(token(&long(number))))
            .await;
    }
    let mut tokens = 0;
    loop {
        let event = events.next().await.unwrap();
        tokens += u32::from(event.starts_with("event: token"));
        if event.contains(&long(last)) {
            break;
        }
    }
    assert!(tokens < last, "{tokens}");
}

#[tokio::test]
async fn watching_ends_with_the_daemon() {
    let scene = Scene::new();
    scene.add(snapshot("a").with_token(token("sesame"))).await;
    let mut events = Events::open(&scene, "a").await;
    events.next().await.unwrap();
    scene.shutdown.cancel();
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn a_service_accounts_token_is_asked_for_and_watched_by_name() {
    let scene = Scene::new();
    let both = snapshot("a")
        .with_token(token("person"))
        .with_service(Some(token("robot")));
    let agent = scene.add(both).await;
    let (_, body) = scene.get("a", "/v1/env").await;
    assert!(
        body.contains("GOOGLE_OAUTH_ACCESS_TOKEN=person\n")
            && body.contains("GOOGLE_SA_ACCESS_TOKEN=robot\n")
    );
    assert_eq!(scene.read("a", "access_token"), "person");
    let (_, plain) = scene.get("a", "/v1/token").await;
    assert!(plain.contains("\"access_token\":\"person\""), "{plain}");
    let (_, robot) = scene.get("a", "/v1/token?integration=google-sa").await;
    assert!(
        robot.contains("\"access_token\":\"robot\",\"token_type\":\"Bearer\""),
        "{robot}"
    );
    assert!(robot.contains("\"capabilities\":[\"google.sa\"]"), "{robot}");

    let mut watch = Events::open_at(&scene, "a", "/v1/watch?integration=google-sa").await;
    assert!(
        watch
            .next()
            .await
            .unwrap()
            .starts_with("event: token\ndata: {\"access_token\":\"robot\"")
    );
    // The person's next token is not its business, its own is.
    let next = snapshot("a")
        .with_token(token("person-2"))
        .with_service(Some(token("robot-2")));
    scene.publish(&agent, next).await;
    assert!(
        watch
            .next()
            .await
            .unwrap()
            .starts_with("event: token\ndata: {\"access_token\":\"robot-2\"")
    );
    let gone = snapshot("a").with_token(token("person-2")).with_service(None);
    scene.publish(&agent, gone).await;
    let event = watch.next().await.unwrap();
    assert!(
        event.starts_with("event: state\n") && event.contains("\"state\":\"active\""),
        "{event}"
    );
    let (_, env) = scene.get("a", "/v1/env").await;
    assert!(!env.contains("robot-2"), "{env}");
}

#[tokio::test]
async fn watching_the_view_tells_that_any_of_it_is_another_and_of_the_agents_end() {
    let scene = Scene::new();
    let both = |person: &str, robot: &str| {
        snapshot("a")
            .with_token(token(person))
            .with_service(Some(token(robot)))
    };
    let agent = scene.add(both("person", "robot")).await;
    let mut watch = Events::open_at(&scene, "a", "/v1/watch?view=true").await;
    let mut plain = Events::open_at(&scene, "a", "/v1/watch?view=false").await;
    assert!(plain.next().await.unwrap().contains("\"person\""));
    let another_account = || {
        let mut view = both("person-2", "robot-2");
        view.credentials[1].account = Some("robot-2@project.iam.gserviceaccount.com".into());
        view
    };
    let less = || {
        let mut view = another_account();
        view.credentials[0].granted = std::sync::Arc::default();
        view
    };
    let views: [&dyn Fn() -> crate::broker::AgentSnapshot; 7] = [
        &|| both("person", "robot"),
        &|| both("person", "robot-2"),
        &|| both("person-2", "robot-2"),
        &another_account,
        &less,
        &|| snapshot("a").with_token(token("person-2")).with_service(None),
        &|| snapshot("a").in_state(AgentState::Revoked),
    ];
    for (number, view) in views.into_iter().enumerate() {
        // The same in another object is no news: what comes next is the next one's.
        scene.publish(&agent, view()).await;
        scene.publish(&agent, view()).await;
        let event = watch.next().await.unwrap();
        assert_eq!(event, "event: view\ndata: {}", "view {number}");
    }
    scene.remove(&agent).await;
    let event = watch.next().await.unwrap();
    assert!(event.starts_with("event: removed\ndata: {"), "{event}");
    assert!(event.contains("\"code\":\"agent_removed\""), "{event}");
    assert_eq!(watch.next().await, None);
    while let Some(event) = plain.next().await {
        assert!(!event.starts_with("event: removed"), "{event}");
    }
}

#[tokio::test]
async fn watching_the_view_ends_with_the_daemon_and_the_agent_is_not_gone() {
    let scene = Scene::new();
    scene.add(snapshot("a").with_token(token("sesame"))).await;
    let mut watch = Events::open_at(&scene, "a", "/v1/watch?view=true").await;
    watch.next().await.unwrap();
    scene.shutdown.cancel();
    assert_eq!(watch.next().await, None);
}
