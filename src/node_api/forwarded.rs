//! An agent's request that its node sends on: answered as on the agent's own socket.

use std::sync::Arc;

use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::{body::Incoming, service::Service};
use tokio_util::sync::CancellationToken;

use super::{
    answering::{Answering, Body},
    node::Node,
};
use crate::{
    agent_api::{
        body::AgentBody,
        endpoint::Server,
        holder::Holder,
        named::agent_name,
        refusal::{Reason, Refusal},
        service::{AgentService, is_grpc},
    },
    broker::AgentHandle,
    id::AgentName,
    net::guarded::Guarded,
};

/// Answers what nodes send on.
pub(super) struct Forwarded {
    server: Arc<Server>,
}

impl Forwarded {
    pub(super) fn new(server: Arc<Server>) -> Self {
        Self { server }
    }

    /// Answers one request.
    pub(super) fn answer(self: Arc<Self>, node: &Arc<Node>, request: Request<Incoming>) -> Answering {
        let grpc = is_grpc(&request);
        let agent = agent_name(request.headers()).and_then(|name| self.agent(&name, node));
        let agent = match agent {
            Ok(agent) => agent,
            Err(refusal) => return Box::pin(std::future::ready(Ok(refused(refusal, grpc)))),
        };
        let node = Arc::clone(node);
        Box::pin(async move {
            let stop = self.server.stop();
            let holder = Holder::Node(Arc::clone(&node.names), agent.name().clone());
            let endpoint = self.server.endpoint(&agent, holder, stop.clone());
            let Ok(response) = AgentService::new(endpoint, Arc::default(), None)
                .call(request)
                .await;
            // It may have been taken away while the answer was waited for.
            if let Err(refusal) = check(&agent, &node) {
                return Ok(refused(refusal, grpc));
            }
            let takes_time = !response.body().is_whole();
            if takes_time {
                tokio::spawn(watch_over(agent, node, stop.clone()));
            }
            let guard = takes_time.then(|| stop.drop_guard());
            Ok(response.map(|body| Guarded::new(body, guard).boxed_unsync()))
        })
    }

    fn agent(&self, name: &AgentName, node: &Node) -> Result<Arc<AgentHandle>, Refusal> {
        let agents = &self.server.broker.agent_list;
        let agent = agents.handle(name).ok_or_else(|| {
            if agents.is_arriving(name) {
                let detail =
                    format!("The agent {name} is being given to another holder. Ask again in a moment.");
                return Refusal::new(Reason::Unverified, detail);
            }
            let detail =
                format!("The broker knows no agent {name}, for which {node} asks: add its manifest.");
            Refusal::new(Reason::UnknownAgent, detail)
        })?;
        check(&agent, node).inspect_err(|refusal| {
            let detail = format!("at {}: {}", node.from, refusal.diagnosis());
            let journal = &self.server.broker.journal;
            journal.note_node_refused(name, &node.names.to_string(), &detail);
        })?;
        Ok(agent)
    }
}

/// Whether the agent is the node's, as its manifest is now.
fn check(agent: &AgentHandle, node: &Node) -> Result<(), Refusal> {
    if node.serves(&agent.peek().manifest) {
        return Ok(());
    }
    Err(Refusal::new(Reason::WrongNode, node.not_its_own(agent.name())))
}

/// Ends an answer that takes its time when the agent is not the node's any more.
async fn watch_over(agent: Arc<AgentHandle>, node: Arc<Node>, stop: CancellationToken) {
    loop {
        let snapshot = agent.snapshot();
        if agent.is_removed() {
            // Which the answer says by itself.
            return;
        }
        if check(&agent, &node).is_err() {
            return stop.cancel();
        }
        tokio::select! {
            () = stop.cancelled() => return,
            _ = agent.next_snapshot(&snapshot) => {}
        }
    }
}

fn refused(refusal: Refusal, grpc: bool) -> Response<Body> {
    let response = if grpc {
        refusal.into_grpc().into_http().map(AgentBody::Grpc)
    } else {
        refusal.into_http()
    };
    response.map(BodyExt::boxed_unsync)
}
