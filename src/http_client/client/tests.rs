//! The transport against servers on loopback, plain and over TLS.

use std::{io, time::Duration};

use jiff::Timestamp;
use rcgen::{BasicConstraints, IsCa};
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::{
    clock::{BootId, Clock, ManualClock, Sleep, Uptime},
    http_client::{
        authorities::Authorities,
        message::http_date,
        testing::{Answer, Play, TestProxy, localhost, pem, server},
    },
};

fn limits() -> Limits {
    Limits {
        request: Duration::from_secs(60),
        ..Limits::default()
    }
}

fn trusting(certificate: CertificateDer<'static>) -> Http {
    let authorities = Authorities::fixed(vec![certificate]);
    Http::new(limits(), Egress::trusting(authorities))
}

/// One that speaks plain HTTP.
fn plain() -> Http {
    Http::new(limits(), Egress::default())
}

#[tokio::test]
async fn https_speaks_http2_with_a_server_it_trusts() {
    let (config, certificate) = localhost();
    let play = Play::start_tls(config, vec![Answer::text(200, "keys")]).await;
    let http = trusting(certificate);
    let reply = http.get(&play.url("/keys")).await.ok().unwrap();
    assert_eq!(reply.body.as_slice(), b"keys");
    assert_eq!(play.requests()[0].version, http::Version::HTTP_2);
}

#[tokio::test]
async fn through_a_proxy_tls_still_ends_at_the_server() {
    let (config, certificate) = server("google.example", IsCa::NoCa);
    let play = Play::start_tls(config, vec![Answer::text(200, "keys")]).await;
    let port = play.url("/").port().unwrap();
    let proxy = TestProxy::start("HTTP/1.1 200 OK\r\n\r\n", ([127, 0, 0, 1], port).into()).await;
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle.pem");
    std::fs::write(&bundle, pem("CERTIFICATE", &certificate)).unwrap();
    let variable = |name: &str| match name {
        "https_proxy" => Some(format!("127.0.0.1:{}", proxy.port)),
        "SSL_CERT_FILE" => Some(bundle.display().to_string()),
        _ => None,
    };
    let http = Http::new(limits(), Egress::from_environment(variable).unwrap());
    let reply = http.get(&"https://google.example/keys".parse().unwrap()).await;
    assert_eq!(reply.ok().unwrap().body.as_slice(), b"keys");
    assert_eq!(play.requests()[0].version, http::Version::HTTP_2);
    assert_eq!(proxy.heads()[0][0], "CONNECT google.example:443 HTTP/1.1");
}

#[tokio::test]
async fn a_server_it_does_not_trust_gets_no_request_and_the_certificate_is_named() {
    let ((config, _), (_, other)) = (localhost(), localhost());
    let play = Play::start_tls(config, vec![Answer::text(200, "keys")]).await;
    let http = trusting(other);
    let form = Form::new(&[("refresh_token", "canary")]);
    let sent = http.post(&play.url("/token"), form, Repeat::Never).await;
    let error = sent.err().unwrap();
    assert!(matches!(error, TransportError::Certificate(_)), "{error:?}");
    assert!(play.requests().is_empty());
}

fn on_connections(play: &Play) -> Vec<usize> {
    play.requests().iter().map(|seen| seen.connection).collect()
}

#[tokio::test]
async fn what_may_be_sent_twice_survives_a_connection_that_ends_unanswered() {
    let play = Play::start(vec![
        Answer::text(200, "one"),
        Answer::dropped(),
        Answer::text(200, "two"),
        Answer::dropped(),
        Answer::dropped(),
    ])
    .await;
    let http = plain();
    let url = play.url("/keys");
    assert_eq!(http.get(&url).await.ok().unwrap().body.as_slice(), b"one");
    assert_eq!(http.get(&url).await.ok().unwrap().body.as_slice(), b"two");
    assert_eq!(on_connections(&play), [1, 1, 2]);
    // Once more, not endlessly.
    let error = http.get(&url).await.err().unwrap();
    assert!(matches!(error, TransportError::Network(_)), "{error:?}");
    assert_eq!(play.requests().len(), 5);
}

#[tokio::test]
async fn what_must_not_be_sent_twice_goes_on_a_connection_of_its_own() {
    let play = Play::start(vec![
        Answer::text(200, "keys"),
        Answer::text(200, "token"),
        Answer::dropped(),
        Answer::text(200, "keys"),
    ])
    .await;
    let http = plain();
    let send = async || {
        let form = Form::new(&[("code", "canary")]);
        http.post(&play.url("/token"), form, Repeat::Never).await
    };
    assert!(http.get(&play.url("/keys")).await.is_ok());
    assert!(send().await.is_ok());
    let error = send().await.err().unwrap();
    assert!(matches!(error, TransportError::Network(_)), "{error:?}");
    assert!(http.get(&play.url("/keys")).await.is_ok());
    assert_eq!(on_connections(&play), [1, 2, 3, 1]);
}

#[tokio::test]
async fn an_authoritys_own_certificate_is_called_that() {
    let authority = IsCa::Ca(BasicConstraints::Unconstrained);
    let (config, certificate) = server("localhost", authority);
    let play = Play::start_tls(config, vec![]).await;
    let error = trusting(certificate).get(&play.url("/keys")).await.err().unwrap();
    assert!(
        matches!(&error, TransportError::Certificate(reason) if reason.contains("CA:FALSE")),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_bundle_that_changes_counts_at_the_next_connection_and_a_broken_one_changes_nothing() {
    let ((first, old), (second, new)) = (localhost(), localhost());
    let first = Play::start_tls(first, vec![Answer::text(200, "1"), Answer::text(200, "1")]).await;
    let second = Play::start_tls(second, vec![Answer::text(200, "2"); 4]).await;
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle.pem");
    let put = |text: &str| {
        let fresh = folder.path().join("fresh");
        std::fs::write(&fresh, text).unwrap();
        std::fs::rename(fresh, &bundle).unwrap();
    };
    let variable = |name: &str| (name == "SSL_CERT_FILE").then(|| bundle.display().to_string());
    let http = Http::new(limits(), Egress::from_environment(variable).unwrap());
    // Each on a connection of its own.
    let ask = async |play: &Play| {
        let form = Form::new(&[("code", "canary")]);
        http.post(&play.url("/token"), form, Repeat::Never)
            .await
            .map(drop)
    };
    let said = ask(&first).await.unwrap_err();
    assert!(
        matches!(&said, TransportError::NoRoots(reason) if reason.contains("bundle.pem cannot be read")),
        "{said:?}"
    );
    put(&pem("CERTIFICATE", &old));
    assert!(ask(&first).await.is_ok(), "it looks again");
    assert!(matches!(
        ask(&second).await.unwrap_err(),
        TransportError::Certificate(_)
    ));
    put(&pem("CERTIFICATE", &new));
    assert!(ask(&second).await.is_ok());
    assert!(matches!(
        ask(&first).await.unwrap_err(),
        TransportError::Certificate(_)
    ));
    for broken in ["", "-----BEGIN CERTIFICATE-----\nAA"] {
        put(broken);
        assert!(ask(&second).await.is_ok());
    }
    std::fs::remove_file(&bundle).unwrap();
    assert!(ask(&second).await.is_ok());
    put(&pem("CERTIFICATE", &old));
    assert!(ask(&first).await.is_ok());
}

#[test]
fn the_bottom_of_a_chain_is_what_counts() {
    let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
    let wrapped = io::Error::other(io::Error::other(refused));
    assert_eq!(
        transport_error(&wrapped),
        TransportError::Network("connection refused".into())
    );
    let slow = io::Error::new(io::ErrorKind::TimedOut, "deadline has elapsed");
    assert_eq!(
        transport_error(&io::Error::other(slow)),
        TransportError::NoConnection
    );
}

#[test]
fn a_form_is_encoded_in_one_piece() {
    let form = Form::new(&[("scope", "a b"), ("token", "1//0é&=+")]);
    assert_eq!(
        form.into_text().as_str(),
        "scope=a+b&token=1%2F%2F0%C3%A9%26%3D%2B"
    );
    let capacity = Form::new(&[("token", &"/".repeat(1000))]).into_text().capacity();
    assert_eq!(capacity, 3 * 1005 + 2, "it never grew");
}

#[test]
fn dates_are_those_of_http() {
    let date = |text| http_date(&HeaderValue::from_static(text));
    assert_eq!(
        date("Sun, 06 Nov 1994 08:49:37 GMT"),
        Some("1994-11-06T08:49:37Z".parse().unwrap())
    );
    for odd in [
        "",
        "yesterday",
        "Mon, 06 Nov 1994 08:49:37 GMT",
        "1994-11-06T08:49:37Z",
    ] {
        assert_eq!(date(odd), None, "{odd}");
    }
}

/// Tells when it is looked at.
struct Watched {
    clock: ManualClock,
    looks: tokio::sync::Notify,
}

impl Clock for Watched {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn uptime(&self) -> Uptime {
        self.looks.notify_one();
        self.clock.uptime()
    }

    fn boot(&self) -> Option<BootId> {
        self.clock.boot()
    }

    fn sleep_until(&self, deadline: Uptime) -> Sleep<'_> {
        self.clock.sleep_until(deadline)
    }

    fn until_set(&self) -> Sleep<'_> {
        self.clock.until_set()
    }
}

#[tokio::test]
async fn the_servers_time_is_heard_when_the_head_comes() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: Url = format!("http://{}/token", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    let clock = Arc::new(Watched {
        clock: ManualClock::new("2024-01-15T10:30:00Z".parse().unwrap()),
        looks: tokio::sync::Notify::new(),
    });
    let http = Http::with_clock(limits(), Egress::default(), clock.clone());
    let server = {
        let clock = clock.clone();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
            }
            let head = "HTTP/1.1 200 OK\r\ndate: Mon, 15 Jan 2024 10:30:00 GMT\r\ncontent-length: 2\r\n\r\n";
            stream.write_all(head.as_bytes()).await.unwrap();
            clock.looks.notified().await;
            clock.clock.advance(Duration::from_secs(25));
            stream.write_all(b"{}").await.unwrap();
        })
    };
    let reply = http.get(&url).await.ok().unwrap();
    server.await.unwrap();
    let heard = reply.date().unwrap();
    assert_eq!(heard.ahead_of(clock.clock.moment()), jiff::SignedDuration::ZERO);
}
