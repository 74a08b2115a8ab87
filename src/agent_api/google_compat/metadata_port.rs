//! The metadata protocol on a port, for the one agent that has the network namespace to itself.

use std::{net::IpAddr, sync::Arc};

use http::{Request, Response, header, uri::Authority};
use tokio_util::sync::CancellationToken;

use super::metadata::{self, Desk};
use crate::{
    agent_api::{
        body::for_method,
        holding::Holdings,
        refusal::{Reason, Refusal},
    },
    broker::{AgentState, Broker, ProblemCode},
    id::AgentName,
    net::{host::named_hosts, tcp::TcpServer},
};

/// Whose tokens a port serves, and what the answers need.
pub struct MetadataSource {
    /// Where tokens come from.
    pub broker: Arc<Broker>,
    /// What the agent holds open, here and elsewhere.
    pub holdings: Arc<Holdings>,
    /// The one agent.
    pub agent: AgentName,
    /// The project that is told.
    pub project_id: Arc<str>,
}

/// Serves the agent's tokens until `shutdown`, from whenever there is an agent of that name.
pub async fn serve(server: TcpServer, source: MetadataSource, shutdown: CancellationToken) {
    let source = Arc::new(source);
    let answer = move |request: Request<_>| {
        let answered = match source.desk(&request) {
            Ok(desk) => Ok(metadata::answer(&desk, &request)),
            Err(refusal) => Err(metadata::refused(refusal)),
        };
        let method = request.method().clone();
        async move {
            let response = match answered {
                Ok(answer) => {
                    let Ok(response) = answer.await;
                    response
                }
                Err(response) => response,
            };
            alone(for_method(&method, response))
        }
    };
    server.serve("the metadata server", answer, shutdown).await;
}

impl MetadataSource {
    fn desk<B>(&self, request: &Request<B>) -> Result<Desk, Refusal> {
        if let Some(refusal) = port_objection(request) {
            return Err(refusal);
        }
        let agent = self.broker.agent_list.handle(&self.agent);
        Ok(Desk {
            broker: Arc::clone(&self.broker),
            agent: agent.ok_or_else(|| unknown(&self.agent))?,
            project_id: Arc::clone(&self.project_id),
            holdings: Arc::clone(&self.holdings),
        })
    }
}

/// Why a request to such a port is none of this protocol; `None` when it is one.
pub(crate) fn port_objection<B>(request: &Request<B>) -> Option<Refusal> {
    let misled = || {
        let detail =
            "The request names a host that this is not. In GCE_METADATA_HOST, use the loopback address.";
        Refusal::new(Reason::NotOurs, detail)
    };
    let hosts = match named_hosts(request.version(), request.uri(), request.headers()) {
        Ok(hosts) => hosts,
        Err(unclear) => return Some(Refusal::invalid(unclear.to_string())),
    };
    metadata::objection(request).or_else(|| (!hosts.iter().all(is_this_machine)).then(misled))
}

/// It may come at any time, so that asking again makes sense.
fn unknown(agent: &AgentName) -> Refusal {
    let reason = Reason::Broker(ProblemCode::State(AgentState::ProviderUnavailable));
    let detail = format!(
        "There is no agent `{agent}`, which metadata.agent names in the broker's configuration: add its manifest."
    );
    Refusal::new(reason, detail)
}

/// A browser that was led here by a name of somebody else's says that name (DNS rebinding); libraries say what
/// they were given, an address or the name that Google's own server has.
fn is_this_machine(authority: &Authority) -> bool {
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    // gRPC's C core writes the name with the dot of the root at its end.
    let name = name.strip_suffix('.').unwrap_or(name);
    name.parse::<IpAddr>().is_ok()
        || ["localhost", "metadata.google.internal"]
            .iter()
            .any(|own| name.eq_ignore_ascii_case(own))
}

/// One request for each connection: they are rare, and none idles in a place that others need.
pub(crate) fn alone<B>(mut response: Response<B>) -> Response<B> {
    let close = http::HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_googles_own_name_are_this_machine() {
        let refused = |target: &str, hosts: &[&str]| {
            let mut request = Request::get(target).header(metadata::FLAVOR, "Google");
            for host in hosts {
                request = request.header("host", *host);
            }
            let objection = port_objection(&request.body(()).unwrap());
            objection.map(|refusal| refusal.status().as_u16())
        };
        for host in [
            "127.0.0.1:8422",
            "127.0.0.1",
            "[::1]:8422",
            "localhost:8422",
            "metadata.google.internal",
            "metadata.google.internal.",
            "Metadata.Google.Internal.:80",
        ] {
            assert_eq!(refused("/", &[host]), None, "{host}");
            assert_eq!(refused(&format!("http://{host}/"), &[host]), None, "{host}");
        }
        for host in [
            "evil.example:8422",
            "127.0.0.1.evil.example",
            "metadata.google.internal.evil",
        ] {
            assert_eq!(refused("/", &[host]), Some(403), "{host}");
            assert_eq!(
                refused(&format!("http://{host}/"), &["localhost"]),
                Some(403),
                "{host}"
            );
        }
        for hosts in [&["a@b@c"][..], &[""], &[], &["localhost", "localhost"]] {
            assert_eq!(refused("/", hosts), Some(400), "{hosts:?}");
        }
    }
}
