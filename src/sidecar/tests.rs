//! A sidecar whose broker's clock shows something else than its own.

use std::{convert::Infallible, fs, path::Path, time::Duration};

use bytes::{BufMut, Bytes};
use http::{HeaderValue, Request, Response, header};
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
    clock::{Clock, SystemClock, rfc3339},
    entropy::SystemEntropy,
    proto::{
        timestamp,
        v1::{AccessToken, GetAccessTokenResponse},
    },
    testing::in_memory,
};

const LIFE: Duration = Duration::from_secs(3600);
const BEHIND: Duration = Duration::from_secs(90 * 60);

type Told = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// What a broker says whose clock is 90 minutes behind.
async fn answer(request: Request<Incoming>) -> Result<Told, Infallible> {
    let now = SystemClock.moment().wall - BEHIND;
    let end = now + LIFE;
    let written = rfc3339(end);
    let token = format!(
        r#"{{"access_token":"ya29.a","token_type":"Bearer","expires_at":"{written}","expires_in":3600,"scope":"s","capabilities":[]}}"#
    );
    let whole = |text: String| Full::new(Bytes::from(text)).boxed_unsync();
    let body = match request.uri().path() {
        "/v1/env" => whole(format!(
            "GOOGLE_OAUTH_ACCESS_TOKEN=ya29.a\nGOOGLE_OAUTH_TOKEN_EXPIRES_AT={written}\nTOKEN_BROKER_STATE=active\n"
        )),
        "/v1/status" => whole(r#"{"agent":"bot","state":"active","message":""}"#.to_owned()),
        "/v1/token" => whole(token),
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
                ..AccessToken::default()
            };
            let message = GetAccessTokenResponse { token: Some(token) }.encode_to_vec();
            let mut framed = vec![0];
            framed.put_u32(u32::try_from(message.len()).unwrap());
            framed.extend_from_slice(&message);
            Full::new(Bytes::from(framed)).boxed_unsync()
        }
        _ => whole(String::new()),
    };
    let mut response = Response::new(body);
    let date = HeaderValue::try_from(httpdate::fmt_http_date(now.try_into().unwrap())).unwrap();
    response.headers_mut().insert(header::DATE, date);
    Ok(response)
}

async fn broker(listener: UnixListener) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            let http = auto::Builder::new(TokioExecutor::new());
            let _ = http
                .serve_connection(TokioIo::new(stream), service_fn(answer))
                .await;
        });
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
    let folder = in_memory();
    let socket = folder.path().join("node.sock");
    tokio::spawn(broker(UnixListener::bind(&socket).unwrap()));
    let directory = folder.path().join("shared");
    fs::create_dir(&directory).unwrap();
    let options = SidecarOptions {
        source: Source::Socket(socket),
        agent: None,
        token_file: PathBuf::new(),
        ca_file: None,
        directory: directory.clone(),
        metadata: None,
    };
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
    let told = [
        ("the file", time_in(&fs::read(directory.join("env")).unwrap())),
        ("/v1/env", time_in(&ask(&own, "/v1/env", None).await)),
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
