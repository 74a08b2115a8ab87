use std::{
    convert::Infallible,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::*;
use crate::{
    agent::{Manifest, PodIdentity},
    broker::AgentHandle,
    clock::ManualClock,
    config::KubernetesApi,
    delivery::testing::{at, name, snapshot},
};

/// Answers reviews on loopback, without TLS.
#[derive(Default)]
struct Api {
    refuses: AtomicBool,
    reviews: AtomicUsize,
}

impl Api {
    fn answer(&self) -> Response<Full<Bytes>> {
        self.reviews.fetch_add(1, Ordering::Relaxed);
        let accepted = !self.refuses.load(Ordering::Relaxed);
        let answer = serde_json::json!({ "status": {
            "authenticated": accepted,
            "user": { "username": "system:serviceaccount:billing:bot" },
            "audiences": ["token-broker.dev"],
        }});
        Response::new(Full::from(answer.to_string()))
    }

    fn reviews(&self) -> usize {
        self.reviews.load(Ordering::Relaxed)
    }
}

struct Scene {
    api: Arc<Api>,
    clock: ManualClock,
    proofs: Arc<Proofs>,
    _folder: tempfile::TempDir,
}

async fn scene() -> Scene {
    let api = Arc::new(Api::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Arc::clone(&api);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let server = Arc::clone(&server);
            let service = service_fn(move |_| std::future::ready(Ok::<_, Infallible>(server.answer())));
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let token_file = folder.path().join("token");
    std::fs::write(&token_file, "own").unwrap();
    let section = KubernetesApi {
        url: format!("http://{address}").parse().unwrap(),
        ca_file: folder.path().join("none"),
        token_file,
    };
    let clock = ManualClock::new(at("2024-01-15T09:31:00Z"));
    let reviewer = Reviewer::new(&section, "token-broker.dev");
    Scene {
        api,
        proofs: Arc::new(Proofs::new(reviewer, Arc::new(clock.clone()))),
        clock,
        _folder: folder,
    }
}

fn given_to(service_account: &str) -> crate::broker::AgentSnapshot {
    let mut snapshot = snapshot("bot");
    let mut manifest = Manifest::clone(&snapshot.manifest);
    manifest.kubernetes = Some(Box::new(PodIdentity {
        namespace: "billing".into(),
        service_account: service_account.into(),
    }));
    snapshot.manifest = Arc::new(manifest);
    snapshot
}

impl Scene {
    async fn watched(&self) -> (Arc<AgentHandle>, CancellationToken, tokio::task::JoinHandle<()>) {
        let agent = AgentHandle::new(name("bot"), given_to("bot"));
        let token = AccessToken::from("token");
        let proof = self.proofs.prove(&token).await.unwrap();
        let pass = Pass {
            agent: Arc::clone(&agent),
            identity: proof.proven.identity.clone(),
            token,
            until: proof.until,
        };
        let (stop, proofs) = (CancellationToken::new(), Arc::clone(&self.proofs));
        let watched = stop.clone();
        let watch = tokio::spawn(async move { proofs.watch_over(pass, watched).await });
        (agent, stop, watch)
    }
}

#[tokio::test]
async fn a_verdict_holds_for_a_minute_and_a_refusal_for_a_moment() {
    let scene = scene().await;
    let token = AccessToken::from("token");
    for _ in 0..3 {
        assert!(scene.proofs.prove(&token).await.is_ok());
    }
    assert_eq!(scene.api.reviews(), 1);
    scene.clock.advance(GOOD);
    scene.api.refuses.store(true, Ordering::Relaxed);
    for _ in 0..3 {
        assert!(scene.proofs.prove(&token).await.is_err());
    }
    assert_eq!(scene.api.reviews(), 2);
    scene.api.refuses.store(false, Ordering::Relaxed);
    scene.clock.advance(BAD);
    assert!(scene.proofs.prove(&token).await.is_ok());
}

#[tokio::test]
async fn those_who_come_together_ask_once() {
    let scene = scene().await;
    let token = AccessToken::from("token");
    let asked = futures_util::future::join_all((0..20).map(|_| scene.proofs.prove(&token))).await;
    assert!(asked.into_iter().all(|proof| proof.is_ok()));
    assert_eq!(scene.api.reviews(), 1);
}

#[tokio::test]
async fn strangers_tokens_do_not_push_pods_own_out() {
    let scene = scene().await;
    let token = AccessToken::from("token");
    scene.proofs.prove(&token).await.unwrap();
    let bad = Verdict {
        result: Err(ReviewError::Refused(String::new())),
        until: BAD,
    };
    let bad = Arc::new(tokio::sync::Mutex::new(Some(bad)));
    for number in 0..VERDICTS as u64 {
        let mut hash = Digest::default();
        hash[..8].copy_from_slice(&number.to_le_bytes());
        scene.proofs.verdicts().insert(hash, Arc::clone(&bad));
    }
    scene.proofs.prove(&AccessToken::from("another")).await.unwrap();
    assert_eq!(scene.proofs.verdicts().len(), 2);
    scene.proofs.prove(&token).await.unwrap();
    assert_eq!(scene.api.reviews(), 2, "the pod's own is still known");
}

#[tokio::test]
async fn an_answer_goes_on_as_long_as_the_pod_proves_itself() {
    let scene = scene().await;
    let (_agent, stop, watch) = scene.watched().await;
    // The minute begins with the verdict, which is noted a little after the question was counted.
    while scene.api.reviews() < 4 {
        scene.clock.advance(GOOD);
        tokio::task::yield_now().await;
    }
    assert!(!stop.is_cancelled());
    scene.api.refuses.store(true, Ordering::Relaxed);
    while !stop.is_cancelled() {
        scene.clock.advance(GOOD);
        tokio::task::yield_now().await;
    }
    watch.await.unwrap();
}

#[tokio::test]
async fn an_answer_ends_with_the_permission() {
    let scene = scene().await;
    let (agent, stop, watch) = scene.watched().await;
    agent.publish(given_to("other"));
    watch.await.unwrap();
    assert!(stop.is_cancelled());
    assert_eq!(scene.api.reviews(), 1);
}
