//! One connection's requests: each is let in, or refused, and then answered as on the agent's own socket.

use std::{convert::Infallible, pin::Pin, sync::Arc};

use http::{Request, Response};
use hyper::{body::Incoming, service::Service};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::caller::Caller;
use crate::{
    agent_api::{
        body::AgentBody,
        holder::Holder,
        refusal::Refusal,
        service::{AgentService, is_grpc},
    },
    net::guarded::Guarded,
    pod_api::authorize::Authorizer,
};

/// An answer's body, and what tells that it is over.
type AnswerBody = Guarded<AgentBody, Option<DropGuard>>;

/// Serves one connection.
pub(super) struct RemoteService {
    authorizer: Arc<Authorizer>,
    caller: Arc<Caller>,
    shutdown: CancellationToken,
}

impl RemoteService {
    pub(super) fn new(authorizer: Arc<Authorizer>, caller: Arc<Caller>, shutdown: CancellationToken) -> Self {
        Self {
            authorizer,
            caller,
            shutdown,
        }
    }
}

impl Service<Request<Incoming>> for RemoteService {
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let (authorizer, caller) = (Arc::clone(&self.authorizer), Arc::clone(&self.caller));
        let shutdown = self.shutdown.clone();
        let grpc = is_grpc(&request);
        // Here and not in the future: what is refused at once is dropped at once.
        let asked = match authorizer.ask(request.headers_mut(), &caller) {
            Ok(asked) => asked,
            Err(refusal) => {
                caller.note_refused();
                return Box::pin(std::future::ready(Ok(refused(refusal, grpc))));
            }
        };
        Box::pin(async move {
            let pass = match authorizer.admit(asked, &caller).await {
                Ok(pass) => pass,
                Err(refusal) => {
                    caller.note_refused();
                    return Ok(refused(refusal, grpc));
                }
            };
            let stop = shutdown.child_token();
            let endpoint =
                authorizer
                    .server
                    .endpoint(&pass.agent, Holder::Pod(Arc::clone(&pass.pod)), stop.clone());
            let Ok(response) = AgentService::new(endpoint, Arc::default(), None)
                .call(request)
                .await;
            // It may have been withdrawn while the answer was waited for.
            if let Err(refusal) = pass.check() {
                return Ok(refused(refusal, grpc));
            }
            let takes_time = !response.body().is_whole();
            if takes_time {
                let stop = stop.clone();
                tokio::spawn(async move { authorizer.reviews.watch_over(pass, stop).await });
            }
            let guard = takes_time.then(|| stop.drop_guard());
            Ok(response.map(|body| Guarded::new(body, guard)))
        })
    }
}

fn refused(refusal: Refusal, grpc: bool) -> Response<AnswerBody> {
    let response = if grpc {
        refusal.into_grpc().into_http().map(AgentBody::Grpc)
    } else {
        refusal.into_http()
    };
    response.map(|body| Guarded::new(body, None))
}
