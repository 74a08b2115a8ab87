//! A KMS plugin that can be told to misbehave.

use std::{
    collections::{HashMap, VecDeque},
    future::pending,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status, transport::Server};

use crate::proto::kms::{
    DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, StatusRequest, StatusResponse,
    key_management_service_server::{KeyManagementService, KeyManagementServiceServer},
};

/// How it behaves. The default is as it should.
pub(crate) struct Behaviour {
    pub(crate) version: &'static str,
    pub(crate) healthz: &'static str,
    /// What Status says the key is, one after another; the last one stays.
    pub(crate) status_keys: VecDeque<&'static str>,
    /// The key that Encrypt uses, likewise.
    pub(crate) encrypt_keys: VecDeque<&'static str>,
    pub(crate) annotations: HashMap<String, Vec<u8>>,
    /// Put after each ciphertext.
    pub(crate) padding: usize,
    /// Decrypt gives something else.
    pub(crate) is_wrong: bool,
    /// Decrypt fails with this.
    pub(crate) refuses: Option<Status>,
    /// This call never ends.
    pub(crate) hangs: Option<&'static str>,
    /// The calls so far, with their uids.
    pub(crate) calls: Vec<(&'static str, String)>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            version: "v2",
            healthz: "ok",
            status_keys: ["key-1"].into(),
            encrypt_keys: ["key-1"].into(),
            annotations: HashMap::from([("version.kms.example".to_owned(), vec![1, 0, 2])]),
            padding: 0,
            is_wrong: false,
            refuses: None,
            hangs: None,
            calls: Vec::new(),
        }
    }
}

/// A plugin on a socket, in this process.
pub(crate) struct TestPlugin {
    folder: tempfile::TempDir,
    behaviour: Arc<Mutex<Behaviour>>,
}

impl TestPlugin {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let behaviour: Arc<Mutex<Behaviour>> = Arc::default();
        let listener = UnixListener::bind(folder.path().join("kms.sock")).unwrap();
        let service = KeyManagementServiceServer::new(Service(Arc::clone(&behaviour)));
        let server = Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(UnixListenerStream::new(listener)));
        Self { folder, behaviour }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("kms.sock")
    }

    /// Changes how it behaves from now on.
    pub(crate) fn set(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.behaviour.lock().unwrap());
    }

    /// The calls so far.
    pub(crate) fn calls(&self) -> Vec<&'static str> {
        self.behaviour
            .lock()
            .unwrap()
            .calls
            .iter()
            .map(|(call, _)| *call)
            .collect()
    }

    /// Their uids.
    pub(crate) fn uids(&self) -> Vec<String> {
        let behaviour = self.behaviour.lock().unwrap();
        behaviour.calls.iter().map(|(_, uid)| uid.clone()).collect()
    }
}

/// What listens on a socket and does not speak.
pub(crate) fn silent(socket: &Path) -> UnixListener {
    UnixListener::bind(socket).unwrap()
}

struct Service(Arc<Mutex<Behaviour>>);

impl Service {
    async fn begin(&self, call: &'static str, uid: &str) {
        let hangs = {
            let mut behaviour = self.0.lock().unwrap();
            behaviour.calls.push((call, uid.to_owned()));
            behaviour.hangs == Some(call)
        };
        if hangs {
            pending::<()>().await;
        }
    }
}

fn next(keys: &mut VecDeque<&'static str>) -> String {
    let next = if keys.len() > 1 {
        keys.pop_front()
    } else {
        keys.front().copied()
    };
    next.unwrap_or_default().to_owned()
}

fn turned(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| byte ^ 0x5a).collect()
}

#[tonic::async_trait]
impl KeyManagementService for Service {
    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        self.begin("Status", "").await;
        let mut behaviour = self.0.lock().unwrap();
        Ok(Response::new(StatusResponse {
            version: behaviour.version.to_owned(),
            healthz: behaviour.healthz.to_owned(),
            key_id: next(&mut behaviour.status_keys),
        }))
    }

    async fn encrypt(&self, request: Request<EncryptRequest>) -> Result<Response<EncryptResponse>, Status> {
        let request = request.into_inner();
        self.begin("Encrypt", &request.uid).await;
        let mut behaviour = self.0.lock().unwrap();
        let mut ciphertext = turned(&request.plaintext);
        ciphertext.resize(ciphertext.len() + behaviour.padding, 0);
        Ok(Response::new(EncryptResponse {
            ciphertext,
            key_id: next(&mut behaviour.encrypt_keys),
            annotations: behaviour.annotations.clone(),
        }))
    }

    async fn decrypt(&self, request: Request<DecryptRequest>) -> Result<Response<DecryptResponse>, Status> {
        let request = request.into_inner();
        self.begin("Decrypt", &request.uid).await;
        let behaviour = self.0.lock().unwrap();
        if let Some(status) = &behaviour.refuses {
            return Err(status.clone());
        }
        if request.annotations != behaviour.annotations {
            return Err(Status::invalid_argument("these are not the annotations of that"));
        }
        let mut plaintext = turned(&request.ciphertext[..request.ciphertext.len() - behaviour.padding]);
        if behaviour.is_wrong {
            plaintext[0] ^= 1;
        }
        Ok(Response::new(DecryptResponse { plaintext }))
    }
}
