//! The metadata protocol on a port, for the one agent that has the network namespace to itself.

use std::{net::IpAddr, sync::Arc};

use http::{Request, Response, header, uri::Authority};
use tokio_util::sync::CancellationToken;

use super::metadata::{self, Desk};
use crate::{
    broker::{AgentState, Broker, Problem, ProblemCode},
    delivery::{
        body::AgentBody,
        refusal::{Reason, Refusal},
        tcp::TcpServer,
    },
    id::AgentName,
};

/// Serves `agent`'s tokens until `shutdown`, from whenever there is an agent of that name.
pub async fn serve(
    server: TcpServer,
    broker: Arc<Broker>,
    agent: AgentName,
    project_id: &str,
    shutdown: CancellationToken,
) {
    let project_id: Arc<str> = project_id.into();
    let answer = move |request: Request<_>| {
        let answered = match desk(&broker, &agent, &project_id, &request) {
            Ok(desk) => Ok(metadata::answer(&desk, &request)),
            Err(refusal) => Err(metadata::refused(refusal)),
        };
        async move {
            match answered {
                Ok(answer) => {
                    let Ok(response) = answer.await;
                    alone(response)
                }
                Err(response) => alone(response),
            }
        }
    };
    server.serve("the metadata server", answer, shutdown).await;
}

/// What a port of one agent's own answers by itself, whoever has the tokens: `None` for a question of this protocol
/// that may go on to them.
pub fn turned_away<B>(request: &Request<B>) -> Option<Response<AgentBody>> {
    let refusal = if metadata::is_meant(request) {
        unfit(request)?
    } else {
        Refusal::new(Reason::NotFound, "Only /computeMetadata is served here.")
    };
    Some(alone(metadata::refused(refusal)))
}

/// The answer while those who have the tokens cannot be reached: 503, which libraries repeat.
pub fn unreachable(message: String) -> Response<AgentBody> {
    let problem = Problem {
        code: ProblemCode::State(AgentState::ProviderUnavailable),
        message,
        action_url: None,
        retry_after: None,
    };
    alone(metadata::refused(problem.into()))
}

fn desk<B>(
    broker: &Arc<Broker>,
    agent: &AgentName,
    project_id: &Arc<str>,
    request: &Request<B>,
) -> Result<Desk, Refusal> {
    if let Some(refusal) = unfit(request) {
        return Err(refusal);
    }
    let handle = broker.handle(agent).ok_or_else(|| unknown(agent))?;
    Ok(Desk {
        broker: broker.clone(),
        agent: handle,
        project_id: project_id.clone(),
    })
}

/// Why a request on a port is not for the agent that the port speaks for.
fn unfit<B>(request: &Request<B>) -> Option<Refusal> {
    let detail = "The request names a host that this is not. In GCE_METADATA_HOST, use the loopback address.";
    let elsewhere = || (!names_this_machine(request)).then(|| Refusal::new(Reason::NotOurs, detail));
    metadata::objection(request).or_else(elsewhere)
}

/// It may come at any time, so that asking again makes sense.
fn unknown(agent: &AgentName) -> Refusal {
    Refusal::from(Problem {
        code: ProblemCode::State(AgentState::ProviderUnavailable),
        message: format!(
            "There is no agent `{agent}`, which metadata.agent names in the broker's configuration: add its manifest."
        ),
        action_url: None,
        retry_after: None,
    })
}

/// A browser that was led here by a name of somebody else's says that name (DNS rebinding); libraries say what
/// they were given, an address or the name that Google's own server has.
fn names_this_machine<B>(request: &Request<B>) -> bool {
    let Some(host) = request.headers().get(header::HOST) else {
        return false;
    };
    let Ok(authority) = Authority::try_from(host.as_bytes()) else {
        return false;
    };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    name.parse::<IpAddr>().is_ok() || ["localhost", "metadata.google.internal"].contains(&name)
}

/// One request for each connection: they are rare, and none idles in a place that others need.
fn alone(mut response: Response<AgentBody>) -> Response<AgentBody> {
    let close = http::HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_googles_own_name_are_this_machine() {
        let named = |host: &str| {
            let request = Request::get("/").header("host", host).body(()).unwrap();
            names_this_machine(&request)
        };
        for host in [
            "127.0.0.1:8422",
            "127.0.0.1",
            "[::1]:8422",
            "localhost:8422",
            "metadata.google.internal",
        ] {
            assert!(named(host), "{host}");
        }
        for host in ["evil.example:8422", "127.0.0.1.evil.example", "a@b@c", ""] {
            assert!(!named(host), "{host}");
        }
        assert!(!names_this_machine(&Request::get("/").body(()).unwrap()));
    }
}
