//! One connection's requests: each is let in, or refused, and then answered as on the agent's own socket.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use hyper::{
    body::{Body, Frame, Incoming, SizeHint},
    service::Service,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{caller::Caller, gate::Gate};
use crate::delivery::{
    body::AgentBody,
    refusal::Refusal,
    service::{AgentService, is_grpc},
};

/// Serves one connection.
pub(super) struct RemoteService {
    gate: Arc<Gate>,
    caller: Arc<Caller>,
    shutdown: CancellationToken,
}

impl RemoteService {
    pub(super) fn new(gate: Arc<Gate>, caller: Arc<Caller>, shutdown: CancellationToken) -> Self {
        Self {
            gate,
            caller,
            shutdown,
        }
    }
}

impl Service<Request<Incoming>> for RemoteService {
    type Response = Response<GuardedBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let (gate, caller) = (Arc::clone(&self.gate), Arc::clone(&self.caller));
        let shutdown = self.shutdown.clone();
        let grpc = is_grpc(&request);
        // Here and not in the future: what is refused at once is dropped at once.
        let asked = match gate.ask(request.headers_mut(), &caller) {
            Ok(asked) => asked,
            Err(refusal) => {
                caller.note_refused();
                return Box::pin(std::future::ready(Ok(refused(refusal, grpc))));
            }
        };
        Box::pin(async move {
            let pass = match gate.admit(asked, &caller).await {
                Ok(pass) => pass,
                Err(refusal) => {
                    caller.note_refused();
                    return Ok(refused(refusal, grpc));
                }
            };
            let stop = shutdown.child_token();
            let endpoint = gate.server.endpoint(&pass.agent, stop.clone());
            let Ok(response) = AgentService::new(endpoint, Arc::default(), None)
                .call(request)
                .await;
            // It may have been withdrawn while the answer was waited for.
            if let Err(refusal) = pass.check() {
                return Ok(refused(refusal, grpc));
            }
            let takes_time = !matches!(response.body(), AgentBody::Whole(_));
            if takes_time {
                let stop = stop.clone();
                tokio::spawn(async move { gate.proofs.watch_over(pass, stop).await });
            }
            let guard = takes_time.then(|| stop.drop_guard());
            Ok(response.map(|body| GuardedBody { body, _guard: guard }))
        })
    }
}

fn refused(refusal: Refusal, grpc: bool) -> Response<GuardedBody> {
    let response = if grpc {
        refusal.into_grpc().into_http().map(AgentBody::Grpc)
    } else {
        refusal.into_http()
    };
    response.map(|body| GuardedBody { body, _guard: None })
}

/// An answer's body, and what tells that it is over.
pub(super) struct GuardedBody {
    body: AgentBody,
    _guard: Option<DropGuard>,
}

impl Body for GuardedBody {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
