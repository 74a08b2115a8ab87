//! The providers' servers, reached from here, and the time that they say it is.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, header};
use http_body_util::Empty;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use url::Url;

use super::{daemon, finding::Finding};
use crate::{
    clock::SharedClock,
    config::Config,
    http_client::{Egress, http_date, innermost, proxy::Connector},
    provider::{google::Endpoints, kinds},
};

const CHECK: &str = "endpoints";
const LIMIT: Duration = Duration::from_secs(5);

/// Asks each server for anything at all.
pub(super) async fn check(
    config: &Config,
    clock: &SharedClock,
    variable: impl Fn(&str) -> Option<String>,
) -> Vec<Finding> {
    let egress = match Egress::from_environment(variable) {
        Ok(egress) => egress,
        Err(error) => {
            let advice = "the daemon refuses to start with such a value in its own environment";
            return vec![Finding::fail(CHECK, error.to_string(), advice)];
        }
    };
    if let Err(reason) = egress.authorities().current().await {
        let advice = "install the system's CA certificates (the package ca-certificates), or name a bundle with SSL_CERT_FILE";
        return vec![Finding::fail(
            CHECK,
            format!("no certificate authority is trusted: {reason}"),
            advice,
        )];
    }
    let connector = Connector::new(egress.clone(), LIMIT);
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let asked = addresses(config).into_iter().map(|url| {
        let client = &client;
        // What its clock shows is compared with what ours shows at that moment, however long the others take.
        async move {
            let answer = reach(client, &url).await;
            (answer.map(|headers| (headers, clock.now())), url)
        }
    });
    let mut findings = Vec::new();
    let mut ahead: Vec<i64> = Vec::new();
    for (answer, url) in futures_util::future::join_all(asked).await {
        let host = url.origin().ascii_serialization();
        findings.push(match answer {
            Ok((headers, now)) => {
                let date = headers.get(header::DATE).and_then(http_date);
                ahead.extend(date.map(|date| date.as_second() - now.as_second()));
                let through = egress.proxy_before(url.as_str());
                let through = through.map_or_else(String::new, |proxy| format!(", through {proxy}"));
                Finding::ok(CHECK, format!("{host} answers{through}"))
            }
            Err(reason) => Finding::fail(
                CHECK,
                format!("{host} cannot be reached: {reason}"),
                "check name resolution and firewall; a proxy is named by HTTPS_PROXY in the daemon's own environment",
            ),
        });
    }
    // Where one of several shows another time, it is that one's clock which is wrong.
    if let Some(ahead) = ahead.into_iter().min_by_key(|ahead| ahead.abs()) {
        let off = daemon::clock(ahead, "by its Date header");
        findings.push(off.unwrap_or_else(|| Finding::ok("clock", "within 30s of the provider's")));
    }
    findings
}

fn addresses(config: &Config) -> Vec<Url> {
    let google = match &config.google.endpoint_base {
        Some(base) => Endpoints::with_base(base.as_str()).ok(),
        None => Some(Endpoints::google()),
    };
    // Entries that cannot be used are told of by the check of the configuration.
    let added = kinds::added(&config.providers, &config.google.redirect_uri).unwrap_or_default();
    let servers = google.iter().flat_map(Endpoints::servers);
    servers
        .chain(added.into_iter().flat_map(|provider| provider.servers))
        .collect()
}

type HttpClient = Client<Connector, Empty<Bytes>>;

/// Whatever the answer is, it shows that name resolution, network and TLS work.
async fn reach(client: &HttpClient, url: &Url) -> Result<HeaderMap, String> {
    let request = Request::get(url.as_str())
        .body(Empty::new())
        .map_err(|error| error.to_string())?;
    match tokio::time::timeout(LIMIT, client.request(request)).await {
        Ok(Ok(response)) => Ok(response.into_parts().0.headers),
        Ok(Err(error)) => Err(innermost(&error)),
        Err(_elapsed) => Err(format!("no answer within {} s", LIMIT.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::Arc};

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::{super::finding::Verdict, *};
    use crate::clock::ManualClock;

    /// Noon.
    fn clock() -> ManualClock {
        ManualClock::new("2024-01-15T12:00:00Z".parse().unwrap())
    }

    fn with_base(base: &str) -> Config {
        with_more(base, "")
    }

    fn with_more(base: &str, more: &str) -> Config {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.toml");
        fs::write(&file, format!("[google]\nendpoint_base = \"{base}\"\n{more}")).unwrap();
        Config::load(Some(&file), std::iter::empty()).ok().unwrap()
    }

    async fn server(date: &'static str) -> String {
        slow_server(date, clock(), Duration::ZERO).await
    }

    /// Its answers take that long by this clock.
    async fn slow_server(date: &'static str, clock: ManualClock, takes: Duration) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.read(&mut [0; 1024]).await;
                clock.advance(takes);
                let answer = format!("HTTP/1.1 404 Not Found\r\nDate: {date}\r\nContent-Length: 0\r\n\r\n");
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        base
    }

    #[tokio::test]
    async fn any_answer_is_good_and_tells_the_time() {
        let noon: SharedClock = Arc::new(clock());
        let config = with_base(&server("Mon, 15 Jan 2024 12:01:40 GMT").await);
        let found = check(&config, &noon, |_| None).await;
        assert_eq!(found[0].verdict, Verdict::Ok, "{found:?}");
        assert_eq!(found[1].verdict, Verdict::Fail);
        assert!(found[1].message.contains("100s behind"), "{found:?}");
        let config = with_base(&server("Mon, 15 Jan 2024 12:00:10 GMT").await);
        assert_eq!(check(&config, &noon, |_| None).await[1].verdict, Verdict::Ok);
    }

    #[tokio::test]
    async fn the_time_that_an_answer_takes_is_no_difference_of_clocks() {
        let clock = clock();
        let date = "Mon, 15 Jan 2024 12:00:44 GMT";
        let config = with_base(&slow_server(date, clock.clone(), Duration::from_secs(44)).await);
        let found = check(&config, &(Arc::new(clock) as SharedClock), |_| None).await;
        assert_eq!(found[1].verdict, Verdict::Ok, "{found:?}");
    }

    #[tokio::test]
    async fn a_provider_of_the_configuration_is_reached_too() {
        let google = server("Mon, 15 Jan 2024 12:00:00 GMT").await;
        let acme = server("Mon, 15 Jan 2024 13:00:00 GMT").await;
        let entry = format!(
            "[[providers]]\nid = \"acme\"\ntype = \"oidc\"\nissuer = \"{acme}\"\nclient_id = \"me\"\n"
        );
        let config = with_more(&google, &entry);
        let found = check(&config, &(Arc::new(clock()) as SharedClock), |_| None).await;
        let said: Vec<_> = found.iter().map(|found| found.message.as_str()).collect();
        assert_eq!(
            said,
            [
                format!("{google} answers").as_str(),
                format!("{acme} answers").as_str(),
                "within 30s of the provider's"
            ]
        );
    }

    #[tokio::test]
    async fn an_endpoint_that_refuses_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let found = check(&with_base(&base), &(Arc::new(clock()) as SharedClock), |_| None).await;
        assert_eq!((found.len(), found[0].verdict), (1, Verdict::Fail));
        assert!(found[0].message.starts_with(&base), "{found:?}");
        assert!(found[0].message.contains("refused"), "{found:?}");
    }
}
