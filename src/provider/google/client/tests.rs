//! The client against a server that plays given answers.

mod proofs;

use std::{sync::Arc, time::Duration};

use ::http::Method;
use serde_json::{Value, json};

use super::*;
use crate::{
    clock::ManualClock,
    entropy::SystemEntropy,
    http_client::{
        Repeat,
        testing::{Answer, Play, Seen, deserted},
    },
    provider::{
        failure::{Call, Remedy},
        oauth::testing::{Signer, code, key_file},
    },
};

const NOW: &str = "2024-01-15T10:30:00Z";
const CODE: &str = "4/0canary-authorization-code";
const VERIFIER: &str = "canary-verifier-canary-verifier-canary-verifier";
const REFRESH: &str = "1//0canary-refresh-token";
const SECRET: &str = "GOCSPX-canary-client-secret";
const CANARIES: [&str; 4] = [CODE, VERIFIER, REFRESH, SECRET];
const SEND: &str = "https://www.googleapis.com/auth/gmail.send";

fn options(origin: &str) -> ClientOptions {
    ClientOptions {
        client_id: "client".into(),
        client_secret: Some(SECRET.into()),
        client_type: ClientType::Web,
        dpop: false,
        redirect_uri: "http://127.0.0.1:8420/oauth/callback".parse().unwrap(),
        endpoints: Endpoints::with_base(origin).unwrap(),
        limits: Limits {
            request: Duration::from_secs(60),
            ..Limits::default()
        },
        egress: Egress::default(),
    }
}

fn client(options: ClientOptions) -> Client {
    let clock = ManualClock::new(NOW.parse().unwrap());
    Client::new(options, Arc::new(clock), Arc::new(SystemEntropy))
}

async fn play(answers: Vec<Answer>) -> (Play, Client) {
    let play = Play::start(answers).await;
    let client = client(options(play.origin()));
    (play, client)
}

async fn refresh(client: &Client) -> Result<TokenAnswer, ProviderError> {
    let scopes = ScopeSet::parse(SEND).unwrap();
    let answer = client.refresh(&REFRESH.into(), &scopes, None).await;
    answer.map_err(|failure| *failure.error)
}

/// Fails when what is shown to people and logs holds a secret.
fn shows_no_secret(error: &ProviderError) {
    let shown = format!("{error} {error:?}");
    for canary in CANARIES {
        assert!(!shown.contains(canary), "{shown}");
    }
    assert!(!shown.contains("canary"), "{shown}");
}

async fn refused(answer: Answer) -> ProviderError {
    let (play, client) = play(vec![answer]).await;
    let error = refresh(&client).await.err().expect("a refusal");
    shows_no_secret(&error);
    assert_eq!(play.requests().len(), 1, "one request and no more");
    error
}

fn granted() -> Answer {
    Answer::json(
        200,
        &json!({"access_token": "ya29.fresh", "expires_in": 3599, "token_type": "Bearer", "scope": SEND}),
    )
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let own = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
    pairs.iter().map(own).collect()
}

fn form_of(request: &Seen, path: &str) -> Vec<(String, String)> {
    assert_eq!(
        (request.method.clone(), request.path.as_str()),
        (Method::POST, path)
    );
    assert_eq!(
        request.headers["content-type"],
        "application/x-www-form-urlencoded"
    );
    assert!(!request.headers.contains_key("authorization"));
    request.form()
}

#[tokio::test]
async fn a_code_is_exchanged_with_its_verifier() {
    let answer = Answer::json(
        200,
        &json!({"access_token": "ya29.a", "expires_in": 3599, "token_type": "Bearer", "scope": SEND,
                "refresh_token": "1//0g", "id_token": "a.b.c"}),
    );
    let (play, client) = play(vec![answer.header("date", "Mon, 15 Jan 2024 10:29:58 GMT")]).await;
    let answer = client
        .exchange(&CODE.into(), &VERIFIER.into(), None)
        .await
        .ok()
        .unwrap();
    assert_eq!(answer.access_token.expose(), "ya29.a");
    assert_eq!(answer.refresh_token.unwrap().expose(), "1//0g");
    assert_eq!(
        answer.server_time.unwrap().wall,
        "2024-01-15T10:29:58Z".parse().unwrap()
    );
    assert_eq!(
        form_of(&play.requests()[0], "/token"),
        pairs(&[
            ("grant_type", "authorization_code"),
            ("code", CODE),
            ("code_verifier", VERIFIER),
            ("redirect_uri", "http://127.0.0.1:8420/oauth/callback"),
            ("client_id", "client"),
            ("client_secret", SECRET),
        ])
    );
}

#[tokio::test]
async fn a_refresh_is_narrowed_literally() {
    let (play, client) = play(vec![granted(), granted(), granted()]).await;
    let answer = refresh(&client).await.ok().unwrap();
    assert_eq!(answer.scopes, Some(ScopeSet::parse(SEND).unwrap()));
    assert!(answer.refresh_token.is_none(), "Google does not rotate");
    let fields = [
        ("grant_type", "refresh_token"),
        ("refresh_token", REFRESH),
        ("scope", SEND),
        ("client_id", "client"),
        ("client_secret", SECRET),
    ];
    assert_eq!(form_of(&play.requests()[0], "/token"), pairs(&fields));

    let everything = client.refresh(&REFRESH.into(), &ScopeSet::default(), None).await;
    assert!(everything.is_ok());
    let form = form_of(&play.requests()[1], "/token");
    assert!(form.iter().all(|(name, _)| name != "scope"));

    let mut public = options(play.origin());
    public.client_secret = None;
    assert!(refresh(&self::client(public)).await.is_ok());
    assert_eq!(form_of(&play.requests()[2], "/token"), pairs(&fields[..4]));
}

#[tokio::test]
async fn a_refusal_says_who_acts_and_repeats_no_secret() {
    let echo = json!({
        "error": "invalid_grant", "error_subtype": "invalid_rapt",
        "error_description": format!("expiré {REFRESH} {SECRET} <b>\u{1b}[2J"),
    });
    let error = refused(Answer::json(400, &echo)).await;
    assert_eq!(error.kind, Remedy::Reconnect);
    assert_eq!(
        error.help(crate::provider::google::account().topics),
        "session-ended"
    );
    assert!(
        error.to_string().contains("expiré [redacted] [redacted]"),
        "{error}"
    );

    let (_play, client) = play(vec![Answer::json(
        400,
        &json!({"error": "invalid_grant", "error_description": format!("{CODE} {VERIFIER}")}),
    )])
    .await;
    let error = client
        .exchange(&CODE.into(), &VERIFIER.into(), None)
        .await
        .err()
        .unwrap()
        .error;
    assert!(error.to_string().contains("authorization code"));
    shows_no_secret(&error);
}

#[tokio::test]
async fn a_busy_server_says_when_to_come_back() {
    let busy = Answer::text(503, "<html>busy</html>")
        .header("retry-after", "120")
        .header("date", "Mon, 15 Jan 2024 10:35:00 GMT");
    let error = refused(busy).await;
    assert_eq!((error.kind, code(&error).as_str()), (Remedy::Retry, "http_503"));
    assert_eq!(error.retry_after, Some(Duration::from_secs(120)));
    assert_eq!(
        error.server_time.unwrap().wall,
        "2024-01-15T10:35:00Z".parse().unwrap()
    );

    let until = Answer::text(429, "").header("retry-after", "Mon, 15 Jan 2024 10:31:00 GMT");
    let error = refused(until).await;
    assert_eq!(code(&error), "http_429");
    // Without `Date` of its own (the server here adds one) the client's clock would count.
    assert!(error.retry_after.is_some());
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let away = Play::start(vec![granted()]).await;
    let location: &'static str = format!("{}/token", away.origin()).leak();
    for status in [301, 302, 303, 307, 308] {
        let error = refused(Answer::text(status, "").header("location", location)).await;
        assert_eq!(
            (error.kind, code(&error)),
            (Remedy::Retry, format!("http_{status}"))
        );
        assert!(error.to_string().contains("never followed"));
    }
    assert!(away.requests().is_empty());
}

#[tokio::test]
async fn an_answer_that_is_no_token_is_malformed() {
    let rows = [
        Answer::text(200, "<html>Sign in to the café's network</html>"),
        Answer::text(200, ""),
        Answer::text(204, ""),
        Answer::json(200, &Value::Null),
        Answer::json(200, &json!({"access_token": "canary-x", "expires_in": 0})),
        Answer::json(200, &json!({"access_token": ["canary-x"], "expires_in": 60})),
        Answer::text(200, &b"\xff\xfe\x00"[..]),
    ];
    for row in rows {
        let error = refused(row).await;
        assert_eq!(
            (error.kind, code(&error).as_str()),
            (Remedy::Retry, "malformed_answer")
        );
    }
}

/// What is left of an answer that is no token: the error, and the refresh token.
async fn salvaged(answer: Answer) -> (ProviderError, Option<String>) {
    let (_play, client) = play(vec![answer]).await;
    let failure = client
        .refresh(&REFRESH.into(), &ScopeSet::default(), None)
        .await
        .err()
        .unwrap();
    shows_no_secret(&failure.error);
    let token = failure.refresh_token.map(|token| token.expose().to_owned());
    (*failure.error, token)
}

#[tokio::test]
async fn a_rotated_grant_is_saved_from_every_answer_that_holds_it() {
    const NEW: &str = "1//0canary-rotated-token";
    let token = format!(r#""refresh_token":"{NEW}""#);
    let whole = |rest: &str| format!("{{{token}{rest}}}");
    let padded = |length: usize| format!("{{{token},\"x\":\"{}\"}}", "y".repeat(length));
    let rows = [
        (Answer::text(200, whole("")), "malformed_answer"),
        (
            Answer::text(200, whole(r#","access_token":"canary","expires_in":"soon""#)),
            "malformed_answer",
        ),
        (
            Answer::text(200, whole(r#","access_token":"canary","token_type":"mac""#)),
            "malformed_answer",
        ),
        (
            Answer::text(200, whole(r#","error":"internal_failure""#)),
            "internal_failure",
        ),
        (
            Answer::text(400, whole(r#","error":"invalid_grant""#)),
            "invalid_grant",
        ),
        (Answer::text(503, whole("")), "http_503"),
        (
            Answer::text(200, format!("{{{token},\"access_token\":\"can")),
            "malformed_answer",
        ),
        (Answer::text(200, padded(70_000)), "malformed_answer"),
        (Answer::broken(format!("{{{token},\"acc")), "network"),
        (Answer::broken(padded(10)), "malformed_answer"),
        (
            Answer::broken(padded(10)).header("content-length", "9999"),
            "malformed_answer",
        ),
        (
            Answer::text(200, format!("{{{token}")).header("content-encoding", "br"),
            "malformed_answer",
        ),
    ];
    for (row, (answer, expected)) in rows.into_iter().enumerate() {
        let (error, saved) = salvaged(answer).await;
        assert_eq!(
            (code(&error).as_str(), saved.as_deref()),
            (expected, Some(NEW)),
            "row {row}: {error}"
        );
    }
}

#[tokio::test]
async fn a_stalled_answer_gives_the_grant_that_it_began_with() {
    let play = Play::start(vec![Answer::stalled(
        "{\"refresh_token\":\"1//0canary-rotated\",",
    )])
    .await;
    let mut options = options(play.origin());
    options.limits.request = Duration::from_millis(100);
    let scopes = ScopeSet::default();
    let failure = client(options)
        .refresh(&REFRESH.into(), &scopes, None)
        .await
        .err()
        .unwrap();
    assert_eq!(code(&failure.error), "timeout");
    assert!(failure.refresh_token.is_some());
}

#[tokio::test]
async fn an_answer_is_read_in_whatever_form_it_comes() {
    use std::io::Write;
    let body = json!({"access_token": "ya29.fresh", "expires_in": 3599.0, "scope": [SEND], "token_type": "",
                      "id_token": {}, "refresh_token": ""})
    .to_string();
    let gzip = |text: &str| {
        let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        to.write_all(text.as_bytes()).unwrap();
        to.finish().unwrap()
    };
    let rows = [
        Answer::text(200, body.clone()),
        Answer::text(200, format!("\u{feff}{body}")),
        Answer::text(200, format!("{body}\0\0{body}")),
        Answer::text(200, gzip(&body)).header("content-encoding", "gzip"),
        Answer::text(200, gzip(&format!("\u{feff}{body}"))),
        Answer::broken(body.clone()),
    ];
    for row in rows {
        let (play, client) = play(vec![row]).await;
        let answer = refresh(&client).await.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(answer.access_token.expose(), "ya29.fresh");
        assert_eq!(answer.scopes, Some(ScopeSet::parse(SEND).unwrap()));
        assert!(answer.refresh_token.is_none() && answer.id_token.is_none());
        assert_eq!(play.requests()[0].headers["accept-encoding"], "identity");
    }
}

#[tokio::test]
async fn a_good_status_with_an_error_in_it_is_that_error() {
    let body = |error: Value| json!({"error": error, "access_token": "canary-x", "expires_in": 3599});
    let ended = refused(Answer::json(200, &body(json!("invalid_grant")))).await;
    assert_eq!(
        (ended.kind, code(&ended).as_str()),
        (Remedy::Reconnect, "invalid_grant")
    );
    let limited = json!({"code": 403, "errors": [{"reason": "rateLimitExceeded"}], "message": "Slow down."});
    let limited = refused(Answer::json(200, &body(limited))).await;
    assert_eq!(limited.kind, Remedy::Retry);
    assert!(
        limited
            .to_string()
            .ends_with("(HTTP 200, rateLimitExceeded: Slow down.)"),
        "{limited}"
    );
    for nothing in [json!(null), json!(""), json!({})] {
        let (_play, client) = play(vec![Answer::json(200, &body(nothing))]).await;
        assert!(refresh(&client).await.is_ok());
    }
    let (_play, client) = play(vec![
        Answer::json(200, &json!({"error": "invalid_token"})),
        Answer::json(200, &json!({"error": "unsupported_token_type"})),
        Answer::json(
            200,
            &json!({"error": {"status": "RESOURCE_EXHAUSTED"}, "sub": "1098"}),
        ),
    ])
    .await;
    assert!(client.revoke(&REFRESH.into()).await.is_ok(), "gone already");
    assert!(client.revoke(&REFRESH.into()).await.is_err());
    let error = client.userinfo(&"ya29.canary".into()).await.unwrap_err();
    assert_eq!(error.kind, Remedy::Retry, "{error}");
}

#[tokio::test]
async fn an_answer_that_says_no_field_right_blames_the_field_and_no_proxy() {
    let error = refused(Answer::json(
        200,
        &json!({"access_token": "canary", "expires_in": "soon"}),
    ))
    .await;
    assert!(
        error.to_string().contains("its `expires_in` is `soon`") && !error.to_string().contains("proxy"),
        "{error}"
    );
    let error = refused(Answer::text(200, "<html>")).await;
    assert!(error.to_string().contains("proxy"), "{error}");
}

#[tokio::test]
async fn the_body_counts_and_not_its_label() {
    let body = json!({"access_token": "ya29.a", "expires_in": 60}).to_string();
    let (_play, client) = play(vec![Answer::text(200, body)]).await;
    assert!(refresh(&client).await.is_ok());
}

#[tokio::test]
async fn a_grant_that_the_provider_replaced_is_read_from_whatever_form_the_answer_has() {
    let body =
        json!({"access_token": "ya29.a", "expires_in": 60, "scope": "a,b, c", "refresh_token": "1//0new"});
    let text = body.to_string();
    let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let padded = format!("{}{text}", " ".repeat(70 * 1024));
    let filled = format!("{{\"filler\": \"{}\", {}", "x".repeat(70 * 1024), &text[1..]);
    for body in [padded.into_bytes(), filled.into_bytes(), wide] {
        let (_play, client) = play(vec![Answer::text(200, body)]).await;
        let answer = refresh(&client).await.ok().unwrap();
        assert_eq!(answer.refresh_token.unwrap().expose(), "1//0new");
        assert_eq!(answer.scopes, ScopeSet::parse("a b c").ok());
    }
}

/// The longest answer that is read.
const LIMIT: usize = 256 * 1024;

#[tokio::test]
async fn a_huge_answer_is_not_read() {
    let announced = refused(Answer::text(200, vec![b'x'; LIMIT + 1])).await;
    assert_eq!(
        (announced.kind, code(&announced).as_str()),
        (Remedy::Retry, "malformed_answer")
    );
    let promised = Answer::stalled(vec![b'x'; LIMIT]).header("content-length", "99999999999");
    assert_eq!(code(&refused(promised).await), "malformed_answer");
    let streamed = refused(Answer::stalled(vec![b'x'; LIMIT + 1])).await;
    assert_eq!(code(&streamed), "malformed_answer");
    assert!(streamed.to_string().contains("262144 bytes"), "{streamed}");
}

#[tokio::test]
async fn a_server_that_stalls_is_left() {
    let play = Play::start(vec![Answer::stalled("{\"access_token\":")]).await;
    let mut options = options(play.origin());
    options.limits.request = Duration::from_millis(100);
    let error = refresh(&client(options)).await.err().unwrap();
    assert_eq!((error.kind, code(&error).as_str()), (Remedy::Retry, "timeout"));
    assert!(
        error
            .to_string()
            .contains("127.0.0.1 did not answer within 100ms"),
        "{error}"
    );
}

#[tokio::test]
async fn a_dead_connection_is_a_network_failure() {
    let error = refused(Answer::dropped()).await;
    assert_eq!((error.kind, code(&error).as_str()), (Remedy::Retry, "network"));

    let error = refresh(&client(options(&deserted().await))).await.err().unwrap();
    assert_eq!((error.kind, code(&error).as_str()), (Remedy::Retry, "network"));
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn only_what_spends_nothing_is_sent_once_more() {
    let twice = |answer: Answer| async { play(vec![Answer::dropped(), answer]).await };
    let (play, client) = twice(Answer::json(200, &json!({}))).await;
    assert!(client.revoke(&REFRESH.into()).await.is_ok());
    assert_eq!(play.requests().len(), 2);

    let person = json!({"sub": "1098", "email": "alice@example.com"});
    let (play, client) = twice(Answer::json(200, &person)).await;
    assert!(client.userinfo(&"ya29.canary".into()).await.is_ok());
    assert_eq!(play.requests().len(), 2);

    let (play, client) = twice(granted()).await;
    assert!(assert(&client, &key(&play), None).await.is_ok());
    assert_eq!(play.requests().len(), 2);

    let (play, client) = twice(granted()).await;
    let exchanged = client.exchange(&CODE.into(), &VERIFIER.into(), None).await;
    assert_eq!(code(&exchanged.err().unwrap().error), "network");
    assert_eq!(play.requests().len(), 1, "the code may be spent");

    // This provider may rotate grants; of Google it is known that it does not.
    let (play, client) = twice(granted()).await;
    assert_eq!(code(&refresh(&client).await.err().unwrap()), "network");
    assert_eq!(play.requests().len(), 1);
    let mut googles = options("http://127.0.0.1:9005");
    googles.endpoints = Endpoints::google();
    let googles = self::client(googles);
    assert_eq!(googles.oauth.repeat(Call::Refresh), Repeat::Harmless);
    assert_eq!(googles.oauth.repeat(Call::Exchange), Repeat::Never);
}

#[tokio::test]
async fn a_token_that_is_gone_counts_as_revoked() {
    let (play, client) = play(vec![
        Answer::json(200, &json!({})),
        Answer::json(
            400,
            &json!({"error": "invalid_token", "error_description": "Token expired or revoked"}),
        ),
        Answer::json(
            400,
            &json!({"error": "unsupported_token_type", "error_description": REFRESH}),
        ),
        Answer::text(503, ""),
    ])
    .await;
    assert!(client.revoke(&REFRESH.into()).await.is_ok());
    assert!(client.revoke(&REFRESH.into()).await.is_ok());
    let error = client.revoke(&REFRESH.into()).await.unwrap_err();
    assert_eq!(error.kind, Remedy::Operator);
    shows_no_secret(&error);
    assert_eq!(
        client.revoke(&REFRESH.into()).await.unwrap_err().kind,
        Remedy::Retry
    );
    let form = form_of(&play.requests()[0], "/revoke");
    assert_eq!(form, pairs(&[("token", REFRESH)]), "no client authentication");
    assert_eq!(play.requests().len(), 4, "each is asked once");
}

#[tokio::test]
async fn a_server_that_wants_to_know_who_revokes_is_told() {
    let refusal = || {
        Answer::json(
            400,
            &json!({"error": "invalid_request", "error_description": REFRESH}),
        )
    };
    let denial = || Answer::json(401, &json!({"error": "invalid_client"}));
    let (play, client) = play(vec![
        refusal(),
        Answer::text(200, ""),
        denial(),
        Answer::json(400, &json!({"error": "invalid_token"})),
        denial(),
        refusal(),
    ])
    .await;
    assert!(client.revoke(&REFRESH.into()).await.is_ok());
    assert!(client.revoke(&REFRESH.into()).await.is_ok(), "gone already");
    let error = client.revoke(&REFRESH.into()).await.unwrap_err();
    assert_eq!(error.kind, Remedy::Operator);
    shows_no_secret(&error);
    let requests = play.requests();
    assert_eq!(requests.len(), 6, "twice and no more");
    for pair in requests.chunks(2) {
        assert_eq!(form_of(&pair[0], "/revoke"), pairs(&[("token", REFRESH)]));
        let fields = [
            ("token", REFRESH),
            ("client_id", "client"),
            ("client_secret", SECRET),
        ];
        assert_eq!(form_of(&pair[1], "/revoke"), pairs(&fields));
    }
}

#[tokio::test]
async fn an_id_token_is_checked_by_the_published_keys() {
    let keys = json!({"keys": [Signer::one().published()]});
    let (play, client) = play(vec![Answer::json(200, &keys), Answer::json(200, &keys)]).await;
    let now = NOW.parse::<Timestamp>().unwrap();
    let claims = |issuer: &str| {
        json!({"iss": issuer, "aud": "client", "sub": "1098", "email": "alice@example.com",
               "nonce": "n", "iat": now.as_second(), "exp": now.as_second() + 3600})
    };
    let good = Signer::one().sign(&claims(play.origin()));
    let identity = client.identify(&good, Some("n"), now).await.unwrap();
    assert_eq!(identity.email, "alice@example.com");
    let googles = Signer::one().sign(&claims("https://accounts.google.com"));
    assert!(client.identify(&googles, Some("n"), now).await.is_ok());
    assert!(client.identify(&good, Some("m"), now).await.is_err());
    assert!(
        client
            .identify(&Signer::other().sign(&claims(play.origin())), Some("n"), now)
            .await
            .is_err()
    );
    // One that came with a refresh belongs to no consent.
    assert!(client.identify(&good, None, now).await.is_ok());
    assert!(client.identify("not.a.jwt", Some("n"), now).await.is_err());
    // The second time for the key that was not among them.
    assert_eq!(play.requests().len(), 2);
    assert_eq!(play.requests()[0].path, "/oauth2/v3/certs");
}

#[tokio::test]
async fn a_code_that_another_server_gave_is_not_accepted() {
    let client = client(options("http://127.0.0.1:9005"));
    for own in [
        "http://127.0.0.1:9005",
        "https://accounts.google.com",
        "accounts.google.com",
    ] {
        assert!(client.accepts_issuer(Some(own)).await.is_ok(), "{own}");
    }
    // Google names itself, and its standard does not say that it always will.
    assert!(client.accepts_issuer(None).await.is_ok());
    let error = client
        .accepts_issuer(Some("https://evil.example"))
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind, code(&error).as_str()),
        (Remedy::Reconnect, "invalid_id_token")
    );
    assert!(error.to_string().contains("`https://evil.example`"), "{error}");
}

#[tokio::test]
async fn grants_belong_to_a_client_at_an_endpoint() {
    let mut options = options("http://127.0.0.1:9005");
    let bindings = |options: ClientOptions| {
        let clock = ManualClock::new(NOW.parse().unwrap());
        let providers = super::super::providers(options, Arc::new(clock), Arc::new(SystemEntropy));
        let bindings = providers
            .iter()
            .map(|provider| provider.issuer_binding.to_string());
        bindings.collect::<Vec<_>>()
    };
    assert_eq!(
        bindings(options.clone()),
        [
            "http://127.0.0.1:9005/token#client",
            "http://127.0.0.1:9005/token"
        ]
    );
    options.endpoints = Endpoints::google();
    assert_eq!(
        bindings(options),
        [
            "https://oauth2.googleapis.com/token#client",
            "https://oauth2.googleapis.com/token"
        ]
    );
}

fn key(play: &Play) -> AccountKey {
    let endpoint = format!("{}/token", play.origin());
    let client = client(options(play.origin()));
    client.read_key(&key_file(&endpoint).to_string()).ok().unwrap()
}

async fn assert(
    client: &Client,
    key: &AccountKey,
    subject: Option<&str>,
) -> Result<TokenAnswer, ProviderError> {
    let scopes = ScopeSet::parse(SEND).unwrap();
    let now = NOW.parse().unwrap();
    let request = AssertionRequest {
        key,
        subject,
        scopes: &scopes,
        now,
    };
    client.assert(&request).await
}

#[tokio::test]
async fn an_assertion_goes_without_the_oauth_client() {
    let (play, client) = play(vec![granted()]).await;
    let answer = assert(&client, &key(&play), None).await.ok().unwrap();
    assert_eq!(answer.access_token.expose(), "ya29.fresh");
    let form = play.requests()[0].form();
    let names: Vec<_> = form.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["grant_type", "assertion"]);
    assert_eq!(form[0].1, "urn:ietf:params:oauth:grant-type:jwt-bearer");
}

#[tokio::test]
async fn a_refused_assertion_is_not_repeated() {
    let (play, client) = play(vec![Answer::json(
        400,
        &json!({"error": "invalid_grant", "error_description": "Invalid JWT Signature."}),
    )])
    .await;
    let error = assert(&client, &key(&play), None).await.err().unwrap();
    assert_eq!(error.kind, Remedy::Operator);
    assert!(
        error
            .to_string()
            .ends_with("(HTTP 400, invalid_grant: Invalid JWT Signature.)"),
        "{error}"
    );
    let assertion = play.requests()[0].form()[1].1.clone();
    let signature = assertion.rsplit('.').next().unwrap();
    let echo = Answer::json(
        400,
        &json!({"error": "invalid_grant", "error_description": signature}),
    );
    let (play, client) = self::play(vec![echo]).await;
    let error = assert(&client, &key(&play), None).await.err().unwrap();
    assert!(!error.to_string().contains(&signature[..16]), "{error}");
}

#[tokio::test]
async fn userinfo_says_whose_a_grant_is_or_what_it_lacks() {
    let (play, client) = play(vec![
        Answer::json(
            200,
            &json!({"sub": "1098", "email": "alice@example.com", "email_verified": true}),
        ),
        Answer::json(
            401,
            &json!({"error": "invalid_request", "error_description": "Invalid Credentials"}),
        ),
        Answer::json(200, &json!({"email": "alice@example.com"})),
    ])
    .await;
    let token = AccessToken::from("ya29.canary-access-token");
    let identity = client.userinfo(&token).await.unwrap();
    assert_eq!(
        (&*identity.subject, &*identity.email),
        ("1098", "alice@example.com")
    );
    let seen = play.requests()[0].clone();
    assert_eq!((seen.method, &*seen.path), (Method::GET, "/v1/userinfo"));
    assert_eq!(seen.headers["authorization"], "Bearer ya29.canary-access-token");
    let refused = client.userinfo(&token).await.unwrap_err();
    assert_eq!(refused.kind, Remedy::Reconnect);
    assert!(refused.to_string().contains("`openid`"), "{refused}");
    assert_eq!(
        code(&client.userinfo(&token).await.unwrap_err()),
        "malformed_answer"
    );
}
