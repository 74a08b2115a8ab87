use std::{
    convert::Infallible,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::{
    broker::AgentHandle,
    budget::table::{REMOTE_QUESTIONS_PER_CONNECTION, REMOTE_UNPROVEN},
    clock::{Clock, ManualClock},
    config::KubernetesApi,
    manifest::{Manifest, PodIdentity},
    net::seats::Seats,
    pod_api::{caller::PodPlaces, token_review_cache::*},
    testing::{at, name, snapshot},
};

/// Answers reviews on loopback, without TLS.
#[derive(Default)]
struct Api {
    refuses: AtomicBool,
    reviews: AtomicUsize,
    /// No question about a stranger's token is answered before this.
    strangers: CancellationToken,
}

impl Api {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let question = request.into_body().collect().await.unwrap().to_bytes();
        let question = String::from_utf8(question.to_vec()).unwrap();
        if question.contains("stranger") {
            self.strangers.cancelled().await;
        }
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
    reviews: Arc<TokenReviewCache>,
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
            let service = service_fn(move |request| {
                let server = Arc::clone(&server);
                async move { Ok::<_, Infallible>(server.answer(request).await) }
            });
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
    let clock = ManualClock::new(at("2024-01-15T09:31:00Z").wall);
    let reviewer = Reviewer::new(&section, "token-broker.dev");
    Scene {
        api,
        reviews: Arc::new(TokenReviewCache::new(reviewer, Arc::new(clock.clone()))),
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

fn stranger(address: &str) -> Arc<Caller> {
    let from = address.parse::<std::net::IpAddr>().unwrap().into();
    let out = CancellationToken::new();
    let seat = Seats::new(REMOTE_UNPROVEN, "full").enter(from, &out).unwrap();
    Caller::new(from, seat, out, &CancellationToken::new())
}

impl Scene {
    /// A request on a connection of its own.
    async fn prove(&self, token: &AccessToken) -> Result<Proof, ReviewError> {
        let question = self.reviews.ask(token, &stranger("192.0.2.1"), 1000).unwrap();
        self.reviews.prove(token, question).await
    }

    /// The same of a pod that was let in then.
    async fn let_in(&self, token: &AccessToken) {
        self.prove(token).await.unwrap();
        self.reviews.note_let_in(token);
    }

    async fn watched(&self) -> (Arc<AgentHandle>, CancellationToken, tokio::task::JoinHandle<()>) {
        let agent = AgentHandle::new(name("bot"), given_to("bot"));
        let token = AccessToken::from("token");
        let proof = self.prove(&token).await.unwrap();
        let pass = Pass {
            agent: Arc::clone(&agent),
            pod: Arc::clone(&proof.proven),
            token,
            until: proof.until,
        };
        let (stop, reviews) = (CancellationToken::new(), Arc::clone(&self.reviews));
        let watched = stop.clone();
        let watch = tokio::spawn(async move { reviews.watch_over(pass, watched).await });
        (agent, stop, watch)
    }
}

#[tokio::test]
async fn a_verdict_holds_for_a_minute_and_a_refusal_for_a_moment() {
    let scene = scene().await;
    let token = AccessToken::from("token");
    for _ in 0..3 {
        assert!(scene.prove(&token).await.is_ok());
    }
    assert_eq!(scene.api.reviews(), 1);
    scene.clock.advance(GOOD);
    scene.api.refuses.store(true, Ordering::Relaxed);
    for _ in 0..3 {
        assert!(scene.prove(&token).await.is_err());
    }
    assert_eq!(scene.api.reviews(), 2);
    scene.api.refuses.store(false, Ordering::Relaxed);
    scene.clock.advance(BAD);
    assert!(scene.prove(&token).await.is_ok());
}

#[tokio::test]
async fn those_who_come_together_ask_once() {
    let scene = scene().await;
    let token = AccessToken::from("token");
    let asked = futures_util::future::join_all((0..20).map(|_| scene.prove(&token))).await;
    assert!(asked.into_iter().all(|proof| proof.is_ok()));
    assert_eq!(scene.api.reviews(), 1);
}

#[tokio::test]
async fn strangers_tokens_do_not_push_pods_own_out() {
    let scene = scene().await;
    let token = AccessToken::from("token");
    scene.let_in(&token).await;
    let until = scene.clock.uptime().after(GOOD);
    for number in 0..VERDICTS as u64 {
        let mut hash = Digest::default();
        hash[..8].copy_from_slice(&number.to_le_bytes());
        let result = Err(ReviewError::Refused(String::new()));
        let entry = Entry {
            slot: Arc::new(tokio::sync::Mutex::new(Some(Verdict { result, until }))),
            let_in: false,
        };
        scene.reviews.verdicts().insert(hash, entry);
    }
    scene.prove(&AccessToken::from("another")).await.unwrap();
    assert_eq!(scene.reviews.verdicts().len(), 2);
    scene.prove(&token).await.unwrap();
    assert_eq!(scene.api.reviews(), 2, "the pod's own is still known");
}

#[tokio::test]
async fn strangers_that_wait_are_few_and_the_others_are_told_at_once() {
    let scene = scene().await;
    let mut waiting = Vec::new();
    let mut ask = |number: usize, caller: &Arc<Caller>| {
        let token = AccessToken::from(format!("stranger {number}").as_str());
        let question = scene.reviews.ask(&token, caller, 1000)?;
        waiting.push(question);
        Some(())
    };
    // On one connection, from one address, and from everywhere.
    let caller = stranger("192.0.2.1");
    let on_one = (0..100).filter_map(|number| ask(number, &caller)).count();
    assert_eq!(on_one, REMOTE_QUESTIONS_PER_CONNECTION);
    let from_one = (100..200)
        .filter_map(|number| ask(number, &stranger("192.0.2.1")))
        .count();
    assert_eq!(on_one + from_one, REMOTE_QUESTIONS.each);
    let from_all = (0..200)
        .filter_map(|number| ask(200 + number, &stranger(&format!("192.0.3.{number}"))))
        .count();
    assert_eq!(on_one + from_one + from_all, REMOTE_QUESTIONS.all);
    // A large head takes the place of many small ones.
    waiting.clear();
    let large = REMOTE_QUESTION_BYTES.each + 1;
    assert!(
        scene
            .reviews
            .ask(&AccessToken::from("stranger"), &caller, large)
            .is_none()
    );
    assert_eq!(
        scene.reviews.strangers.waiting.used(),
        0,
        "nothing is kept of what was refused"
    );
}

#[tokio::test]
async fn pods_do_not_wait_behind_strangers() {
    let scene = scene().await;
    let token = AccessToken::from("token");
    scene.let_in(&token).await;
    let mut waiting = Vec::new();
    for number in 0..REMOTE_QUESTIONS.each {
        let token = AccessToken::from(format!("stranger {number}").as_str());
        let question = scene.reviews.ask(&token, &stranger("192.0.2.1"), 1000).unwrap();
        let reviews = Arc::clone(&scene.reviews);
        waiting.push(tokio::spawn(async move { reviews.prove(&token, question).await }));
    }
    while scene.reviews.strangers.under_way.available_permits() > 0 {
        tokio::task::yield_now().await;
    }
    // Known, over, and another token on the pod's own connection.
    scene.prove(&token).await.unwrap();
    scene.clock.advance(GOOD);
    scene.prove(&token).await.unwrap();
    let pod = stranger("192.0.2.1");
    let proven = scene.prove(&token).await.unwrap().proven;
    pod.let_in(&proven, &PodPlaces::new()).unwrap();
    let rotated = AccessToken::from("rotated");
    let question = scene.reviews.ask(&rotated, &pod, 1000).unwrap();
    scene.reviews.prove(&rotated, question).await.unwrap();
    assert_eq!(scene.api.reviews(), 3);
    assert!(waiting.iter().all(|waiting| !waiting.is_finished()));
    scene.api.strangers.cancel();
    for waiting in waiting {
        waiting.await.unwrap().unwrap();
    }
    assert_eq!(scene.reviews.strangers.waiting.used(), 0);
}

#[tokio::test]
async fn an_api_that_does_not_answer_is_not_asked_by_each_in_turn() {
    let scene = scene().await;
    let nowhere = KubernetesApi {
        url: "http://127.0.0.1:1".parse().unwrap(),
        ca_file: "none".into(),
        token_file: "/nowhere".into(),
    };
    let reviewer = Reviewer::new(&nowhere, "token-broker.dev");
    let reviews = TokenReviewCache::new(reviewer, Arc::new(scene.clock.clone()));
    let token = AccessToken::from("token");
    let ask = async || {
        let question = reviews.ask(&token, &stranger("192.0.2.1"), 1000).unwrap();
        let known = question.known.is_some();
        assert!(matches!(
            reviews.prove(&token, question).await,
            Err(ReviewError::Unavailable(_))
        ));
        known
    };
    assert!(!ask().await);
    assert!(ask().await);
    scene.clock.advance(NO_ANSWER);
    assert!(!ask().await);
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
