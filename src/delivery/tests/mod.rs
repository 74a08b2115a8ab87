//! Delivery as a whole, on real directories and sockets.

mod directories;
mod grpc;
mod http;
mod libraries;
mod sockets;
mod vanished;

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use ::http::{Request, Response, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

use super::{Delivery, DeliveryOptions};
use crate::{
    broker::{self, AgentHandle, AgentSnapshot, ChangeSender, handle::changes},
    clock::ManualClock,
    health::Readiness,
    testing::{at, in_memory, name},
};

/// Long enough for a slow machine; only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// A daemon's delivery with a clock that stands at 09:31, while [`crate::testing::token`] lives to 10:30.
struct Scene {
    temp: tempfile::TempDir,
    clock: ManualClock,
    changes: ChangeSender,
    delivery: Delivery,
    readiness: Arc<Readiness>,
    shutdown: CancellationToken,
}

impl Scene {
    fn new() -> Self {
        Self::at(in_memory())
    }

    fn at(temp: tempfile::TempDir) -> Self {
        Self::in_folder(temp, "")
    }

    /// With a runtime folder within `temp`.
    fn in_folder(temp: tempfile::TempDir, folder: &str) -> Self {
        let clock = ManualClock::new(at("2024-01-15T09:31:00Z").wall);
        let (changes, receiver) = changes();
        let readiness = Arc::new(Readiness::default());
        readiness.started();
        let shutdown = CancellationToken::new();
        let options = DeliveryOptions {
            runtime_dir: temp.path().join(folder),
            token_url: Some("http://127.0.0.1:8421/sts/v1/token".parse().unwrap()),
            project_id: "token-broker".to_owned(),
            volumes: None,
            readiness: Arc::clone(&readiness),
        };
        let broker = broker::testing::idle(Arc::new(clock.clone()));
        let delivery = Delivery::start(
            &options,
            broker,
            Arc::new(clock.clone()),
            receiver,
            shutdown.clone(),
        )
        .unwrap();
        Self {
            temp,
            clock,
            changes,
            delivery,
            readiness,
            shutdown,
        }
    }

    /// Adds an agent and waits until it has been delivered.
    async fn add(&self, snapshot: AgentSnapshot) -> Arc<AgentHandle> {
        let agent = AgentHandle::new(snapshot.manifest.agent.clone(), snapshot);
        self.changes.changed(&agent);
        self.settled().await;
        agent
    }

    async fn publish(&self, agent: &Arc<AgentHandle>, snapshot: AgentSnapshot) {
        agent.publish(snapshot);
        self.changes.changed(agent);
        self.settled().await;
    }

    async fn remove(&self, agent: &Arc<AgentHandle>) {
        let farewell = crate::testing::snapshot(agent.name().as_str());
        agent.mark_removed(farewell, false);
        self.changes.changed(agent);
        in_time(agent.delivered(agent.revision())).await;
    }

    async fn settled(&self) {
        in_time(self.delivery.settled()).await;
    }

    fn path(&self, agent: &str, entry: &str) -> PathBuf {
        self.delivery.directory(&name(agent)).join(entry)
    }

    fn read(&self, agent: &str, entry: &str) -> String {
        fs::read_to_string(self.path(agent, entry)).unwrap()
    }

    fn socket(&self, agent: &str) -> PathBuf {
        self.path(agent, "broker.sock")
    }

    async fn connect(&self, agent: &str) -> UnixStream {
        UnixStream::connect(self.socket(agent)).await.unwrap()
    }

    /// One request on a connection of its own.
    async fn get(&self, agent: &str, path: &str) -> (Response<()>, String) {
        self.send(agent, Request::get(path), false).await
    }

    async fn send(
        &self,
        agent: &str,
        request: ::http::request::Builder,
        http2: bool,
    ) -> (Response<()>, String) {
        let io = TokioIo::new(self.connect(agent).await);
        let request = request.header("host", "broker");
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let response = if http2 {
            let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
                .await
                .unwrap();
            tokio::spawn(connection);
            in_time(sender.send_request(request)).await.unwrap()
        } else {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
            tokio::spawn(connection);
            in_time(sender.send_request(request)).await.unwrap()
        };
        let (parts, body) = response.into_parts();
        let body = in_time(body.collect()).await.unwrap().to_bytes();
        (
            Response::from_parts(parts, ()),
            String::from_utf8(body.to_vec()).unwrap(),
        )
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// Fails the test instead of waiting for ever.
async fn in_time<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("it happens in time")
}

/// Waits for `condition`.
async fn until(condition: impl Fn() -> bool) {
    in_time(async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

fn code(response: &Response<()>) -> u16 {
    let status: StatusCode = response.status();
    status.as_u16()
}
