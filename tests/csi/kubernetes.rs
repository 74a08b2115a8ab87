//! A server that answers `TokenReview` as the Kubernetes API does: over TLS with an authority of its own, to whoever
//! has a token that it knows.

use std::{
    collections::HashMap,
    convert::Infallible,
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_rustls::TlsAcceptor;

use crate::support::{block_on, runtime};

/// The audience of the tokens that the kubelet asks for.
pub(crate) const AUDIENCE: &str = "token-broker.dev";

/// What a token is to the server.
#[derive(Clone)]
struct Issued {
    username: String,
    pod_uid: String,
    audience: String,
    expired: bool,
}

#[derive(Default)]
struct State {
    issued: HashMap<String, Issued>,
    /// What the daemon has to prove itself with.
    own: String,
    /// Answers every review like this.
    status: Option<StatusCode>,
    /// Does not answer about tokens that it never issued.
    holds_strangers: bool,
    reviews: usize,
    node: Node,
}

/// The object `nodes/node-1`, and what is to happen to requests for it.
#[derive(Default)]
struct Node {
    taints: Vec<Value>,
    version: u64,
    reads: usize,
    patches: usize,
    forbidden: bool,
    /// What others write between a read and the patch that follows it.
    others: Vec<Value>,
    /// So many patches meet somebody else's write.
    conflicts: usize,
}

/// The API server, and the files that a pod of the cluster has; it ends with this value.
pub(crate) struct Kubernetes {
    folder: TempDir,
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    server: Mutex<JoinHandle<()>>,
}

impl Drop for Kubernetes {
    fn drop(&mut self) {
        self.server.lock().unwrap().abort();
    }
}

impl Kubernetes {
    pub(crate) fn start() -> Self {
        let kubernetes = Self {
            folder: tempfile::tempdir().unwrap(),
            address: block_on(async {
                let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
                free.local_addr().unwrap()
            }),
            state: Arc::default(),
            server: Mutex::new(runtime().spawn(async {})),
        };
        kubernetes.rotate_own_token();
        kubernetes.begin();
        kubernetes
    }

    /// A new authority, a new certificate, and a server that has it.
    pub(crate) fn begin(&self) {
        let (tls, authority) = certificate();
        fs::write(self.ca_file(), authority).unwrap();
        let (state, address) = (Arc::clone(&self.state), self.address);
        let listener = block_on(async {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.set_reuseaddr(true).unwrap();
            socket.bind(address).unwrap();
            socket.listen(64).unwrap()
        });
        let mut server = self.server.lock().unwrap();
        *server = runtime().spawn(serve(listener, tls, state));
    }

    /// It cannot be reached until [`Kubernetes::begin`].
    pub(crate) fn end(&self) {
        let mut server = self.server.lock().unwrap();
        server.abort();
        // The port is free again when the task is gone.
        let _ = block_on(&mut *server);
    }

    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }

    pub(crate) fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.crt")
    }

    pub(crate) fn token_file(&self) -> PathBuf {
        self.folder.path().join("token")
    }

    /// The daemon's own token becomes another one, as it does every hour.
    pub(crate) fn rotate_own_token(&self) -> String {
        let token = unique("own");
        fs::write(self.token_file(), &token).unwrap();
        self.state().own.clone_from(&token);
        token
    }

    /// A token for a pod, as the kubelet gets it.
    pub(crate) fn issue(
        &self,
        namespace: &str,
        service_account: &str,
        pod_uid: &str,
        audience: &str,
    ) -> String {
        let token = unique("pod");
        let issued = Issued {
            username: format!("system:serviceaccount:{namespace}:{service_account}"),
            pod_uid: pod_uid.to_owned(),
            audience: audience.to_owned(),
            expired: false,
        };
        self.state().issued.insert(token.clone(), issued);
        token
    }

    /// This token's time is over.
    pub(crate) fn expire(&self, token: &str) {
        self.state().issued.get_mut(token).unwrap().expired = true;
    }

    /// Answers reviews with this status from now on.
    pub(crate) fn answer_with(&self, status: Option<StatusCode>) {
        self.state().status = status;
    }

    /// Questions about tokens that it never issued are not answered from now on, or are again.
    pub(crate) fn hold_strangers(&self, holds: bool) {
        self.state().holds_strangers = holds;
    }

    /// The node's taints become these.
    pub(crate) fn taint(&self, taints: &[Value]) {
        self.state().node.taints = taints.to_vec();
    }

    /// The node's taints now.
    pub(crate) fn taints(&self) -> Vec<Value> {
        self.state().node.taints.clone()
    }

    /// How often the node was read, and how often it was asked to be changed.
    pub(crate) fn node_requests(&self) -> (usize, usize) {
        let state = self.state();
        (state.node.reads, state.node.patches)
    }

    /// Nobody may ask for nodes, or everybody again.
    pub(crate) fn forbid_nodes(&self, forbidden: bool) {
        self.state().node.forbidden = forbidden;
    }

    /// After the next read somebody puts this taint first, and then so many patches are in conflict with a write.
    pub(crate) fn disturb(&self, other: Value, conflicts: usize) {
        let mut state = self.state();
        state.node.others.push(other);
        state.node.conflicts = conflicts;
    }

    /// How many reviews were asked for.
    pub(crate) fn reviews(&self) -> usize {
        self.state().reviews
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

/// A server's certificate, and its authority in PEM.
fn certificate() -> (rustls::ServerConfig, String) {
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::<String>::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_certificate = authority.self_signed(&authority_key).unwrap();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        )
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let authority = STANDARD.encode(authority_certificate.der());
    let pem = format!("-----BEGIN CERTIFICATE-----\n{authority}\n-----END CERTIFICATE-----\n");
    (config, pem)
}

async fn serve(listener: TcpListener, tls: rustls::ServerConfig, state: Arc<Mutex<State>>) {
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (acceptor, state) = (acceptor.clone(), Arc::clone(&state));
        connections.spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let service = service_fn(|request| {
                let state = Arc::clone(&state);
                async move { Ok::<_, Infallible>(answer(request, &state).await) }
            });
            let builder = auto::Builder::new(TokioExecutor::new());
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(request: Request<Incoming>, state: &Mutex<State>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await else {
        return Response::default();
    };
    let body = body.to_bytes();
    while is_held(&body, &state.lock().unwrap()) {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let mut state = state.lock().unwrap();
    let bearer = head
        .headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let (status, answer) = if bearer != Some(&format!("Bearer {}", state.own)) {
        failure(StatusCode::UNAUTHORIZED, "Unauthorized")
    } else if let Some(name) = head.uri.path().strip_prefix("/api/v1/nodes/") {
        state.node.answer(name, &head, &body)
    } else if head.uri.path() == "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews" {
        access(&state, serde_json::from_slice(&body).unwrap())
    } else if (&head.method, head.uri.path())
        != (&Method::POST, "/apis/authentication.k8s.io/v1/tokenreviews")
    {
        failure(
            StatusCode::NOT_FOUND,
            "the server could not find the requested resource",
        )
    } else if head
        .headers
        .get(header::CONTENT_TYPE)
        .is_none_or(|kind| kind != "application/json")
    {
        failure(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the body of the request was in an unknown format",
        )
    } else if let Some(status) = state.status {
        failure(status, "tokenreviews.authentication.k8s.io is forbidden")
    } else {
        state.reviews += 1;
        review(&state, serde_json::from_slice(&body).unwrap())
    };
    let mut response = Response::new(Full::new(answer.to_string().into()));
    *response.status_mut() = status;
    response
}

fn is_held(question: &[u8], state: &State) -> bool {
    let Ok(question) = serde_json::from_slice::<Value>(question) else {
        return false;
    };
    let token = question["spec"]["token"].as_str();
    state.holds_strangers && token.is_some_and(|token| !state.issued.contains_key(token))
}

impl Node {
    fn answer(&mut self, name: &str, head: &http::request::Parts, body: &[u8]) -> (StatusCode, Value) {
        let forbidden = |verb: &str| {
            let user = "system:serviceaccount:token-broker:token-broker";
            failure(
                StatusCode::FORBIDDEN,
                &format!("nodes \"{name}\" is forbidden: User \"{user}\" cannot {verb} resource \"nodes\""),
            )
        };
        if self.forbidden {
            return forbidden(head.method.as_str());
        }
        if name != "node-1" {
            return failure(StatusCode::NOT_FOUND, &format!("nodes \"{name}\" not found"));
        }
        match head.method {
            Method::GET => {
                self.reads += 1;
                let seen = self.object();
                self.taints.splice(0..0, self.others.drain(..));
                (StatusCode::OK, seen)
            }
            Method::PATCH => {
                assert_eq!(head.headers[header::CONTENT_TYPE], "application/json-patch+json");
                self.patches += 1;
                if self.conflicts > 0 {
                    self.conflicts -= 1;
                    let message =
                        "Operation cannot be fulfilled on nodes \"node-1\": the object has been modified";
                    return failure(StatusCode::CONFLICT, message);
                }
                self.patch(&serde_json::from_slice(body).unwrap())
            }
            _ => failure(
                StatusCode::METHOD_NOT_ALLOWED,
                "the server does not allow this method",
            ),
        }
    }

    /// JSON Patch (RFC 6902), as far as it is about single taints; all of it or nothing.
    fn patch(&mut self, steps: &Value) -> (StatusCode, Value) {
        let mut taints = self.taints.clone();
        for step in steps.as_array().unwrap() {
            let path = step["path"].as_str().unwrap();
            let index: usize = path.strip_prefix("/spec/taints/").unwrap().parse().unwrap();
            match (step["op"].as_str().unwrap(), taints.get(index)) {
                ("test", Some(taint)) if *taint == step["value"] => {}
                ("remove", Some(_)) => drop(taints.remove(index)),
                _ => {
                    let message = "the server rejected our request due to an error in our request";
                    return failure(StatusCode::UNPROCESSABLE_ENTITY, message);
                }
            }
        }
        self.taints = taints;
        self.version += 1;
        (StatusCode::OK, self.object())
    }

    fn object(&self) -> Value {
        let mut spec = json!({ "podCIDR": "10.244.0.0/24", "providerID": "test://node-1" });
        // An empty list is left out.
        if !self.taints.is_empty() {
            spec["taints"] = self.taints.clone().into();
        }
        json!({
            "kind": "Node", "apiVersion": "v1",
            "metadata": { "name": "node-1", "resourceVersion": self.version.to_string() },
            "spec": spec,
            // The largest part of a real one.
            "status": { "images": [{ "names": ["registry.example/image@sha256:0".repeat(5000)], "sizeBytes": 1 }] },
        })
    }
}

/// `SelfSubjectAccessReview`: whether the daemon may do what it asks about, by the rules that it has here.
fn access(state: &State, mut question: Value) -> (StatusCode, Value) {
    assert_eq!(question["apiVersion"], "authorization.k8s.io/v1");
    assert_eq!(question["kind"], "SelfSubjectAccessReview");
    let deed = &question["spec"]["resourceAttributes"];
    let [verb, group, resource] = ["verb", "group", "resource"].map(|field| deed[field].as_str().unwrap());
    let allowed = match (verb, group, resource) {
        ("create", "authentication.k8s.io", "tokenreviews") => state.status.is_none(),
        ("get" | "patch", "", "nodes") => !state.node.forbidden,
        _ => false,
    };
    question["status"] = json!({ "allowed": allowed, "reason": "RBAC" });
    (StatusCode::CREATED, question)
}

/// `TokenReview`, as `staging/src/k8s.io/api/authentication/v1/types.go` documents it: the answer repeats the question.
fn review(state: &State, mut question: Value) -> (StatusCode, Value) {
    assert_eq!(question["apiVersion"], "authentication.k8s.io/v1");
    assert_eq!(question["kind"], "TokenReview");
    let spec = &question["spec"];
    let audiences: Vec<String> = serde_json::from_value(spec["audiences"].clone()).unwrap();
    let issued = state.issued.get(spec["token"].as_str().unwrap());
    let good = issued.filter(|issued| !issued.expired && audiences.contains(&issued.audience));
    question["status"] = match good {
        Some(issued) => json!({
            "authenticated": true,
            "user": {
                "username": issued.username,
                "uid": "b3c1d1f0-0000-4000-8000-000000000000",
                "groups": ["system:serviceaccounts", "system:authenticated"],
                "extra": {
                    "authentication.kubernetes.io/pod-name": ["a-pod"],
                    "authentication.kubernetes.io/pod-uid": [issued.pod_uid],
                },
            },
            "audiences": [issued.audience],
        }),
        None => json!({ "user": {}, "error": "[invalid bearer token, service account token has expired]" }),
    };
    question["metadata"] = json!({ "creationTimestamp": null });
    (StatusCode::CREATED, question)
}

fn failure(status: StatusCode, message: &str) -> (StatusCode, Value) {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
        "code": status.as_u16(),
    });
    (status, body)
}

/// A token that no other test and no other run has, and that the search for secrets would find.
fn unique(kind: &str) -> String {
    let name = tempfile::Builder::new()
        .prefix("")
        .rand_bytes(24)
        .tempdir()
        .unwrap();
    let random = name.path().file_name().unwrap().to_str().unwrap();
    format!("eyJhbGciOiJSUzI1NiJ9.canary-{kind}-{random}")
}
