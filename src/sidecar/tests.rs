//! A sidecar whose broker's clock shows something else than its own: one of this release, and one of the release before.

use std::{convert::Infallible, fs, path::Path, time::Duration};

use bytes::{BufMut, Bytes};
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use jiff::Timestamp;
use prost::Message;
use tokio::net::{UnixListener, UnixStream};

use super::*;
use crate::{
    agent_view::document::Document,
    clock::{Clock, SystemClock, rfc3339},
    entropy::SystemEntropy,
    proto::{
        timestamp,
        v1::{AccessToken, GetAccessTokenResponse},
    },
    testing::in_memory,
};

const LIFE: Duration = Duration::from_secs(3600);
const END: &str = "2100-01-01T00:00:00Z";
const BEHIND: Duration = Duration::from_secs(90 * 60);

type Told = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// Which release a broker is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Release {
    This,
    Before,
}

/// What a broker says whose clock is 90 minutes behind.
fn answer(release: Release, request: &Request<Incoming>) -> Told {
    let now = SystemClock.moment().wall - BEHIND;
    let end = now + LIFE;
    let written = rfc3339(end);
    let token = format!(
        r#"{{"access_token":"ya29.a","token_type":"Bearer","expires_at":"{written}","expires_in":3600,"scope":"s","capabilities":["a.b"]}}"#
    );
    let whole = |text: String| Full::new(Bytes::from(text)).boxed_unsync();
    let mut status = StatusCode::OK;
    let body = match request.uri().path() {
        "/v1/view" if release == Release::This => whole(view(&written)),
        "/v1/env" if release == Release::Before => whole(env(&written)),
        "/v1/status" if release == Release::Before => whole(STATUS.to_owned()),
        "/computeMetadata/v1/project/project-id" => whole("project".to_owned()),
        "/v1/token" => whole(token),
        "/v1/watch" if release == Release::Before && request.uri().query().is_some() => {
            status = StatusCode::BAD_REQUEST;
            whole(r#"{"status":400,"code":"invalid_request","detail":"There is no such query."}"#.to_owned())
        }
        "/v1/watch" => {
            let event = format!("event: token\ndata: {token}\n\n");
            let first = futures_util::stream::iter([Ok(Frame::data(Bytes::from(event)))]);
            StreamBody::new(futures_util::StreamExt::chain(
                first,
                futures_util::stream::pending(),
            ))
            .boxed_unsync()
        }
        path if path.ends_with("/GetAccessToken") => {
            let token = AccessToken {
                access_token: "ya29.a".to_owned(),
                expires_at: Some(timestamp(end)),
                expires_in: 3600,
                token_type: String::new(),
                scope: String::new(),
                capabilities: Vec::new(),
            };
            let message = GetAccessTokenResponse { token: Some(token) }.encode_to_vec();
            let mut framed = vec![0];
            framed.put_u32(u32::try_from(message.len()).unwrap());
            framed.extend_from_slice(&message);
            Full::new(Bytes::from(framed)).boxed_unsync()
        }
        _ => {
            status = StatusCode::NOT_FOUND;
            whole(r#"{"status":404,"code":"not_found","detail":"There is nothing."}"#.to_owned())
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let date = HeaderValue::try_from(httpdate::fmt_http_date(now.try_into().unwrap())).unwrap();
    response.headers_mut().insert(header::DATE, date);
    response
}

const STATUS: &str = r#"{"agent":"bot","owner":"alice","state":"active","message":"","action_url":null,"account":"a@b.example","capabilities":[{"key":"a.b","state":"granted","granted":true,"optional":false}]}"#;

fn view(end: &str) -> String {
    format!(
        r#"{{"status":{STATUS},"credentials":[{{"provider":"google","env":{{"access_token":"GOOGLE_OAUTH_ACCESS_TOKEN","expires_at":"GOOGLE_OAUTH_TOKEN_EXPIRES_AT","capabilities":{{"in":"GOOGLE_OAUTH_CAPABILITIES"}},"account":null}},"serves_google_libraries":true,"account":"a@b.example","capabilities":["a.b"],"token":{{"access_token":"ya29.a","expires_at":"{end}","expires_in":3600,"scope":"s"}},"new":{{}}}}],"project_id":"project"}}"#
    )
}

fn env(end: &str) -> String {
    format!(
        "GOOGLE_OAUTH_ACCESS_TOKEN=ya29.a\nGOOGLE_OAUTH_TOKEN_EXPIRES_AT={end}\nGOOGLE_OAUTH_CAPABILITIES=a.b\n\
         TOKEN_BROKER_STATE=active\n"
    )
}

async fn broker(
    listener: UnixListener,
    answer: impl Fn(&Request<Incoming>) -> Told + Clone + Send + 'static,
) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let answer = answer.clone();
        tokio::spawn(async move {
            let http = auto::Builder::new(TokioExecutor::new());
            let _ = http
                .serve_connection(
                    TokioIo::new(stream),
                    service_fn(move |request| std::future::ready(Ok::<_, Infallible>(answer(&request)))),
                )
                .await;
        });
    }
}

fn options(socket: PathBuf, directory: PathBuf) -> SidecarOptions {
    SidecarOptions {
        source: Source::Socket(socket),
        agent: None,
        token_file: PathBuf::new(),
        ca_file: None,
        directory,
        metadata: None,
    }
}

/// The first part of an answer, which is all of it where it is short.
async fn ask(socket: &Path, path: &str, kind: Option<&'static str>) -> Vec<u8> {
    let stream = TokioIo::new(UnixStream::connect(socket).await.unwrap());
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream)
        .await
        .unwrap();
    tokio::spawn(connection);
    let mut request = Request::get(format!("http://broker{path}"))
        .body(Empty::<Bytes>::new())
        .unwrap();
    if let Some(kind) = kind {
        *request.method_mut() = http::Method::POST;
        request
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    let mut body = sender.send_request(request).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap().into_data().unwrap().to_vec()
}

/// The one time in a text.
fn time_in(text: &[u8]) -> Timestamp {
    let text = String::from_utf8_lossy(text).into_owned();
    let at = text.find("20").filter(|_| !text.is_empty()).unwrap();
    text[at..at + 20].parse().unwrap_or_else(|_| panic!("{text}"))
}

#[tokio::test]
async fn wherever_it_answers_tokens_end_by_the_sidecars_own_clock() {
    tokens_end_by_the_sidecars_own_clock(Release::This).await;
}

#[tokio::test]
async fn a_broker_of_the_release_before_is_followed_as_well() {
    tokens_end_by_the_sidecars_own_clock(Release::Before).await;
}

async fn tokens_end_by_the_sidecars_own_clock(release: Release) {
    let folder = in_memory();
    let socket = folder.path().join("node.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    tokio::spawn(broker(listener, move |request: &Request<Incoming>| {
        answer(release, request)
    }));
    let directory = folder.path().join("shared");
    fs::create_dir(&directory).unwrap();
    let options = options(socket, directory.clone());
    let shutdown = CancellationToken::new();
    let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
    let begun = SystemClock.moment().wall;
    let sidecar = tokio::spawn(run(options, clock, entropy, shutdown.clone()));
    let own = directory.join("broker.sock");
    let ready = async {
        while !own.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), ready)
        .await
        .expect("the token lives");
    let message = ask(
        &own,
        "/tokenbroker.v1.TokenService/GetAccessToken",
        Some("application/grpc"),
    )
    .await;
    let message = GetAccessTokenResponse::decode(&message[5..])
        .unwrap()
        .token
        .unwrap();
    let end = message.expires_at.unwrap();
    let (file, answer) = (
        fs::read(directory.join("env")).unwrap(),
        ask(&own, "/v1/env", None).await,
    );
    let view = Document::read(&ask(&own, "/v1/view", None).await).unwrap();
    for text in [&file, &answer, view.env().as_bytes()] {
        let text = std::str::from_utf8(text).unwrap();
        assert_eq!(text, env(&rfc3339(time_in(text.as_bytes()))));
    }
    assert_eq!(fs::read(directory.join("access_token")).unwrap(), b"ya29.a");
    let status: serde_json::Value =
        serde_json::from_slice(&fs::read(directory.join("status.json")).unwrap()).unwrap();
    assert_eq!(status, serde_json::from_str::<serde_json::Value>(STATUS).unwrap());
    let main = &view.credentials[0];
    assert_eq!(main.token.as_ref().unwrap().scope.as_deref(), Some("s"));
    assert_eq!(main.capabilities.len(), 1);
    assert_eq!(view.project_id.as_deref(), Some("project"));
    let told = [
        ("the file", time_in(&file)),
        ("/v1/env", time_in(&answer)),
        ("/v1/view", view.tokens().next().unwrap().expires_at),
        ("/v1/token", time_in(&ask(&own, "/v1/token", None).await)),
        ("/v1/watch", time_in(&ask(&own, "/v1/watch", None).await)),
        ("gRPC", Timestamp::new(end.seconds, 0).unwrap()),
    ];
    let (earliest, latest) = (begun + LIFE, SystemClock.moment().wall + LIFE);
    let slack = Duration::from_secs(3);
    for (place, told) in told {
        assert!(
            (earliest - slack..=latest + slack).contains(&told),
            "{place}: {told}"
        );
    }
    shutdown.cancel();
    sidecar.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_document_that_no_file_can_carry_is_refused_and_what_was_there_stays() {
    for release in [Release::This, Release::Before] {
        let folder = in_memory();
        let socket = folder.path().join("node.sock");
        let (asked, asks) = tokio::sync::watch::channel(0);
        let listener = UnixListener::bind(&socket).unwrap();
        tokio::spawn(broker(listener, move |request: &Request<Incoming>| {
            let what = match request.uri().path() {
                "/v1/view" if release == Release::This => view(END).replace("ya29.a", r"ya29.a\nEVIL=1"),
                "/v1/env" if release == Release::Before => {
                    format!("{}GOOGLE_SA_EMAIL=$(EVIL)\n", env(END))
                        .replace("GOOGLE_OAUTH_ACC", "GOOGLE_SA_ACCESS_TOKEN=b\nGOOGLE_SA_TOKEN_EXPIRES_AT=2100-01-01T00:00:00Z\nGOOGLE_OAUTH_ACC")
                }
                _ => return answer(release, request),
            };
            asked.send_modify(|asked| *asked += 1);
            Response::new(Full::new(Bytes::from(what)).boxed_unsync())
        }));
        let directory = folder.path().join("shared");
        fs::create_dir(&directory).unwrap();
        let left = env(END).replace("ya29.a", "ya29.left");
        fs::write(directory.join("env"), &left).unwrap();
        fs::write(directory.join("status.json"), STATUS).unwrap();
        let shutdown = CancellationToken::new();
        let options = options(socket, directory.clone());
        let sidecar = tokio::spawn(run(
            options,
            Arc::new(SystemClock),
            Arc::new(SystemEntropy),
            shutdown.clone(),
        ));
        // The second answer is asked for after the first was refused.
        let (mut asks, own) = (asks, directory.join("broker.sock"));
        let twice = async { asks.wait_for(|asked| *asked >= 2).await.map(|_| ()) };
        tokio::time::timeout(Duration::from_secs(30), twice)
            .await
            .expect("the broker is asked again")
            .unwrap();
        assert_eq!(fs::read_to_string(directory.join("env")).unwrap(), left);
        // Nor does its own socket tell it on.
        let told = ask(&own, "/v1/env", None).await;
        assert_eq!(String::from_utf8(told).unwrap(), left);
        shutdown.cancel();
        sidecar.await.unwrap().unwrap();
    }
}
