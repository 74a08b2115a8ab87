//! `NodeService`: one stream for each node.

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status, Streaming};

use super::{
    feed::Feed,
    node::Node,
    parts::{Parts, status, stopping},
};
use crate::{
    agent_api::endpoint::Server,
    budget::table::NODE_STREAMS,
    proto::v1::{SyncRequest, SyncResponse, node_service_server::NodeService, sync_request::Message},
};

/// How long a node may take to say what it has.
const RESUME: Duration = Duration::from_secs(10);
/// Messages that wait to be sent: what is sent later says what is so then.
const WAITING: usize = 4;

/// The service.
pub(super) struct SyncService(Arc<Parts>);

impl SyncService {
    pub(super) fn new(server: Arc<Server>, shutdown: CancellationToken) -> Self {
        Self(Arc::new(Parts::new(server, shutdown)))
    }
}

#[tonic::async_trait]
impl NodeService for SyncService {
    type SyncStream = ReceiverStream<Result<SyncResponse, Status>>;

    async fn sync(
        &self,
        request: Request<Streaming<SyncRequest>>,
    ) -> Result<Response<Self::SyncStream>, Status> {
        let node = request.extensions().get::<Arc<Node>>().cloned();
        let node = node.ok_or_else(|| Status::internal("the connection has no certificate"))?;
        if node.names.is_empty() {
            return Err(status(
                Code::Unauthenticated,
                "unknown_node",
                "the certificate is accepted, and names no node: it has no URI and no DNS name among its subject \
                 alternative names",
            ));
        }
        let held = self.0.streams.take(&node.names).map_err(|_| {
            let message = format!(
                "{node} has as many streams as one may ({}): close some",
                NODE_STREAMS.each
            );
            status(Code::ResourceExhausted, "rate_limited", message)
        })?;
        let (out, answers) = mpsc::channel(WAITING);
        let (parts, requests) = (Arc::clone(&self.0), request.into_inner());
        tokio::spawn(async move {
            let ended = serve(parts, node, requests, &out).await;
            // Who is gone need not be told.
            let _ = out.send(Err(ended)).await;
            drop(held);
        });
        Ok(Response::new(ReceiverStream::new(answers)))
    }
}

/// Serves a stream to its end; returns why it ended.
async fn serve(
    parts: Arc<Parts>,
    node: Arc<Node>,
    mut requests: Streaming<SyncRequest>,
    out: &mpsc::Sender<Result<SyncResponse, Status>>,
) -> Status {
    let first = tokio::select! {
        first = tokio::time::timeout(RESUME, requests.message()) => first,
        () = parts.shutdown.cancelled() => return stopping(),
    };
    let resume = match first {
        Ok(Ok(Some(SyncRequest {
            message: Some(Message::Resume(resume)),
        }))) => resume,
        Ok(Ok(_)) => {
            return status(
                Code::InvalidArgument,
                "invalid_request",
                "the first message of a node has to be `resume`",
            );
        }
        Ok(Err(error)) => return error,
        Err(_) => {
            let message = format!("the node did not say what it has within {} s", RESUME.as_secs());
            return status(Code::DeadlineExceeded, "silent", message);
        }
    };
    // Before anything is looked at: what is added from here on is heard of.
    let events = parts.server.broker.events();
    let mut feed = Feed::new(parts, node, &resume, out.clone());
    match feed.begin().await {
        Ok(()) => feed.follow(requests, events).await,
        Err(ended) => ended,
    }
}
