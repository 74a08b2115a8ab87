//! A GCE metadata server for the command: Google's own libraries ask it, and the agent's socket answers.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::Empty;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::super::{
    agent_client::AgentSocket,
    exit::{Exit, Failure},
    library_variables::{Variables, for_metadata_at},
};
use crate::delivery::{
    AgentBody, TcpServer,
    libraries::{metadata_turned_away, metadata_unreachable},
};

/// What a request brings along; the rest is between the library and this process.
const PASSED_ON: [&str; 3] = ["metadata-flavor", "accept", "user-agent"];
/// Programs are told by these which addresses are reached without a proxy; some read the one, some the other.
const NO_PROXY: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// Reads the address of `--metadata`.
pub(in crate::cli) fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    let listen: Option<SocketAddr> = text.parse().ok();
    listen.filter(|listen| listen.ip().is_loopback()).ok_or_else(|| {
        "write a loopback address and a port, such as 127.0.0.1:8422: whoever reaches it gets the agent's tokens"
            .to_owned()
    })
}

/// A server that runs until this value goes.
pub(in crate::cli) struct MetadataServer {
    address: SocketAddr,
    _running: DropGuard,
}

impl MetadataServer {
    /// Binds `listen`, and passes on to `socket` what is asked there.
    ///
    /// # Errors
    /// When the system refuses the address.
    pub(in crate::cli) async fn start(listen: SocketAddr, socket: AgentSocket) -> Result<Self, Failure> {
        let server = TcpServer::bind(listen).await.map_err(|error| {
            let message = format!("--metadata {listen} cannot be bound: {error}");
            Failure::new(Exit::Failed, message)
        })?;
        let address = server.address();
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        tokio::spawn(async move {
            let answer = move |request| answer(socket.clone(), request);
            server.serve("the metadata server", answer, stop).await;
        });
        Ok(Self {
            address,
            _running: shutdown.drop_guard(),
        })
    }

    /// The variables that lead the libraries here. Where some addresses need no proxy already, they go on to need none.
    pub(in crate::cli) fn variables(&self) -> Variables {
        let mut variables = for_metadata_at(self.address);
        let given = NO_PROXY.map(|name| (name, std::env::var(name).ok()));
        bypass_proxies(&mut variables, given);
        variables
    }
}

fn bypass_proxies(variables: &mut Variables, given: [(&'static str, Option<String>); 2]) {
    let Some(ours) = variables.iter().position(|(name, _)| *name == NO_PROXY[0]) else {
        return;
    };
    let (_, address) = variables.swap_remove(ours);
    for (name, given) in given {
        match given.filter(|given| !given.is_empty()) {
            Some(given) => variables.push((name, format!("{given},{address}"))),
            None => variables.push((name, address.clone())),
        }
    }
}

async fn answer<B>(socket: AgentSocket, request: Request<B>) -> Response<AgentBody> {
    if let Some(refusal) = metadata_turned_away(&request) {
        return refusal;
    }
    match socket.forward(passed_on(&request)).await {
        Ok(response) => passed_back(response),
        Err(failure) => metadata_unreachable(failure.message),
    }
}

fn passed_on<B>(request: &Request<B>) -> Request<Empty<Bytes>> {
    let mut forwarded = Request::new(Empty::new());
    // Path and query: a request that names the whole address is one to a proxy.
    if let Some(target) = request.uri().path_and_query() {
        *forwarded.uri_mut() = target.clone().into();
    }
    let headers = forwarded.headers_mut();
    headers.insert(header::HOST, header::HeaderValue::from_static("broker"));
    for name in PASSED_ON {
        if let Some(value) = request.headers().get(name) {
            headers.insert(name, value.clone());
        }
    }
    forwarded
}

fn passed_back(response: Response<Bytes>) -> Response<AgentBody> {
    let mut response = response.map(AgentBody::from);
    let headers = response.headers_mut();
    headers.remove(header::TRANSFER_ENCODING);
    // One request for each connection: they are rare, and none idles in a place that others need.
    headers.insert(header::CONNECTION, header::HeaderValue::from_static("close"));
    response
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use http_body_util::BodyExt;

    use super::{super::super::testing::FakeBroker, *};

    const TOKEN: &str = "/computeMetadata/v1/instance/service-accounts/default/token";

    fn asked(target: &str) -> Request<()> {
        Request::get(target)
            .header("host", "127.0.0.1:8422")
            .header("metadata-flavor", "Google")
            .body(())
            .unwrap()
    }

    async fn text(response: Response<AgentBody>) -> String {
        let body = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[test]
    fn only_a_loopback_address_is_taken() {
        for good in ["127.0.0.1:8422", "[::1]:8422", "127.0.0.1:0"] {
            assert!(parse_listen(good).is_ok(), "{good}");
        }
        for bad in ["0.0.0.0:8422", "10.0.0.1:8422", "127.0.0.1", "8422", ""] {
            assert!(parse_listen(bad).unwrap_err().contains("loopback"), "{bad}");
        }
    }

    #[tokio::test]
    async fn questions_of_the_protocol_alone_reach_the_agents_socket() {
        let broker = FakeBroker::start().await;
        answer(broker.client(), asked(&format!("{TOKEN}?scopes=a"))).await;
        assert_eq!(broker.requests(), [format!("{TOKEN}?scopes=a")]);
        for target in ["/v1/token", "/v1/env", "/computeMetadataX", "/"] {
            let mut request = asked(target);
            request.headers_mut().remove("metadata-flavor");
            let status = answer(broker.client(), request).await.status();
            assert_eq!(status, StatusCode::NOT_FOUND, "{target}");
        }
        for (name, value) in [
            ("host", "evil.example"),
            ("x-forwarded-for", "10.0.0.1"),
            ("metadata-flavor", "other"),
        ] {
            let mut request = asked(TOKEN);
            request.headers_mut().insert(name, value.parse().unwrap());
            let status = answer(broker.client(), request).await.status();
            assert_eq!(status, StatusCode::FORBIDDEN, "{name}");
        }
        assert_eq!(broker.requests().len(), 1, "nothing else was passed on");
    }

    #[tokio::test]
    async fn a_socket_that_is_away_is_passing_trouble() {
        let broker = FakeBroker::absent();
        let response = answer(broker.client(), asked(TOKEN)).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()["metadata-flavor"], "Google");
        let text = text(response).await;
        assert!(
            text.starts_with("provider_unavailable: there is no socket"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn an_address_that_is_taken_is_named() {
        let first = MetadataServer::start(([127, 0, 0, 1], 0).into(), FakeBroker::absent().client());
        let first = first.await.ok().unwrap();
        let taken = MetadataServer::start(first.address, FakeBroker::absent().client()).await;
        let failure = taken.err().unwrap();
        assert!(failure.message.contains(&first.address.to_string()), "{failure}");
    }

    #[test]
    fn what_needed_no_proxy_before_needs_none_now() {
        let mut variables = for_metadata_at("127.0.0.1:8422".parse().unwrap());
        let given = [("NO_PROXY", Some(".corp.example".to_owned())), ("no_proxy", None)];
        bypass_proxies(&mut variables, given);
        let value = |name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| value.as_str())
        };
        assert_eq!(value("NO_PROXY"), Some(".corp.example,127.0.0.1"));
        assert_eq!(value("no_proxy"), Some("127.0.0.1"));
        assert_eq!(value("GCE_METADATA_HOST"), Some("127.0.0.1:8422"));
    }
}
