//! `AdminService` with answers that a test chooses.

use std::{
    path::PathBuf,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Code, Request, Response, Status, transport::Server};
use tonic_types::{ErrorDetails, StatusExt};

use crate::proto::v1::{
    self,
    admin_service_server::{AdminService, AdminServiceServer},
};

use super::fixtures::{agent_of_alice, alice, noon};

type Answer<T> = Result<Response<T>, Status>;
type Pieces<T> = tokio_stream::Iter<std::vec::IntoIter<Result<T, Status>>>;

fn pieces<T: Clone>(messages: &[T]) -> Pieces<T> {
    let messages: Vec<_> = messages.iter().cloned().map(Ok).collect();
    tokio_stream::iter(messages)
}

/// What the daemon answers, and what it was asked.
pub(crate) struct FakeAdmin {
    pub(crate) integration: v1::Integration,
    pub(crate) agents: Vec<v1::Agent>,
    pub(crate) problems: Vec<String>,
    pub(crate) unusable_records: Vec<String>,
    pub(crate) configuration_changes: Vec<String>,
    pub(crate) unmet_conditions: Vec<v1::UnmetCondition>,
    pub(crate) agents_short_of_token: u64,
    pub(crate) agents_waiting_for_people: u64,
    pub(crate) renewals_refused_by_store: u64,
    pub(crate) bindable_accounts: u64,
    /// How a consent ends; `None` for never.
    pub(crate) consent: Option<Result<(), Status>>,
    pub(crate) missing: Vec<String>,
    pub(crate) agents_in_doubt: Vec<String>,
    pub(crate) disconnect_problem: String,
    pub(crate) audit: Vec<v1::AuditEvent>,
    pub(crate) audit_problem: String,
    pub(crate) keys: v1::GetKeysResponse,
    /// What a rotation and a verification of the keyring tell, one message after the other.
    pub(crate) rotation: Vec<v1::RotateKeyResponse>,
    pub(crate) verification: Vec<v1::VerifyKeysResponse>,
    /// The pieces of a backup, and the size that is told of it.
    pub(crate) backup: Vec<Vec<u8>>,
    pub(crate) backup_size: u64,
    /// It never says how the daemon is.
    pub(crate) hangs: bool,
    pub(crate) calls: Arc<Mutex<Vec<String>>>,
}

impl Default for FakeAdmin {
    fn default() -> Self {
        Self {
            integration: alice(),
            agents: Vec::new(),
            problems: Vec::new(),
            unusable_records: Vec::new(),
            configuration_changes: Vec::new(),
            unmet_conditions: Vec::new(),
            agents_short_of_token: 0,
            agents_waiting_for_people: 0,
            renewals_refused_by_store: 0,
            bindable_accounts: 0,
            consent: Some(Ok(())),
            missing: Vec::new(),
            agents_in_doubt: Vec::new(),
            disconnect_problem: String::new(),
            audit: Vec::new(),
            audit_problem: String::new(),
            keys: v1::GetKeysResponse::default(),
            rotation: Vec::new(),
            verification: Vec::new(),
            backup: Vec::new(),
            backup_size: 0,
            hangs: false,
            calls: Arc::default(),
        }
    }
}

/// A served [`FakeAdmin`]; it ends with the test's runtime.
pub(crate) struct FakeServer {
    dir: TempDir,
    pub(crate) calls: Arc<Mutex<Vec<String>>>,
}

impl FakeServer {
    /// What it was asked, in order.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("admin.sock")
    }
}

impl FakeAdmin {
    /// A refusal as the daemon sends it.
    pub(crate) fn refusal(reason: &str, message: &str, action_url: &str) -> Status {
        let metadata = [("action_url".to_owned(), action_url.to_owned())];
        let details = ErrorDetails::with_error_info(reason, "token-broker", metadata);
        Status::with_error_details(Code::FailedPrecondition, message, details)
    }

    /// Serves it on a socket of its own.
    pub(crate) async fn serve(self) -> FakeServer {
        let server = FakeServer {
            dir: tempfile::tempdir().unwrap(),
            calls: Arc::clone(&self.calls),
        };
        let listener = UnixListener::bind(server.socket()).unwrap();
        let service = Server::builder().add_service(AdminServiceServer::new(self));
        tokio::spawn(service.serve_with_incoming(UnixListenerStream::new(listener)));
        tokio::task::yield_now().await;
        server
    }

    fn call(&self, text: impl Into<String>) {
        self.calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(text.into());
    }

    fn find(&self, reference: Option<v1::IntegrationRef>) -> Result<v1::Integration, Status> {
        let reference = reference.unwrap_or_default();
        let ours = &self.integration;
        let found = reference.id == ours.id || reference.owner == ours.owner;
        found.then(|| ours.clone()).ok_or_else(|| {
            Status::not_found(format!(
                "no account is connected for {}{}",
                reference.id, reference.owner
            ))
        })
    }

    fn agent(&self, name: &str) -> Result<v1::Agent, Status> {
        let named = |agent: &&v1::Agent| agent.spec.as_ref().is_some_and(|spec| spec.agent == name);
        let found = self.agents.iter().find(named).cloned();
        found.ok_or_else(|| Status::not_found(format!("there is no agent `{name}`")))
    }
}

#[tonic::async_trait]
impl AdminService for FakeAdmin {
    type WatchEventsStream =
        Pin<Box<dyn tokio_stream::Stream<Item = Result<v1::WatchEventsResponse, Status>> + Send>>;

    async fn list_capabilities(
        &self,
        _: Request<v1::ListCapabilitiesRequest>,
    ) -> Answer<v1::ListCapabilitiesResponse> {
        Ok(Response::new(v1::ListCapabilitiesResponse {
            capabilities: vec![v1::Capability {
                key: "google.gmail.send".to_owned(),
                title: "Send emails".to_owned(),
                r#use: "Replies".to_owned(),
                scopes: vec!["https://www.googleapis.com/auth/gmail.send".to_owned()],
                satisfied_by: Vec::new(),
                group: "Gmail".to_owned(),
                verification: v1::Verification::Sensitive.into(),
            }],
        }))
    }

    async fn begin_connect(
        &self,
        request: Request<v1::BeginConnectRequest>,
    ) -> Answer<v1::BeginConnectResponse> {
        let request = request.into_inner();
        let words = [&request.owner, &request.account, &request.integration_id];
        let words = words.into_iter().chain(&request.capabilities);
        let words: Vec<_> = words
            .filter(|word| !word.is_empty())
            .map(String::as_str)
            .collect();
        self.call(format!("begin {}", words.join(" ")));
        Ok(Response::new(v1::BeginConnectResponse {
            authorization_url: format!(
                "https://accounts.google.com/o/oauth2/v2/auth?owner={}",
                request.owner
            ),
            connect_id: "con_1".to_owned(),
            expires_at: Some(noon(600)),
            agents_in_doubt: self.agents_in_doubt.clone(),
            provider: "google".to_owned(),
            provider_name: "Google".to_owned(),
        }))
    }

    async fn complete_connect(
        &self,
        _: Request<v1::CompleteConnectRequest>,
    ) -> Answer<v1::CompleteConnectResponse> {
        Err(Status::unimplemented("the command line never asks for it"))
    }

    async fn wait_connect(
        &self,
        request: Request<v1::WaitConnectRequest>,
    ) -> Answer<v1::WaitConnectResponse> {
        self.call(format!("wait {}", request.into_inner().connect_id));
        match &self.consent {
            None => std::future::pending().await,
            Some(Err(status)) => Err(status.clone()),
            Some(Ok(())) => Ok(Response::new(v1::WaitConnectResponse {
                integration: Some(self.integration.clone()),
                capabilities_missing: self.missing.clone(),
            })),
        }
    }

    async fn add_service_account(
        &self,
        request: Request<v1::AddServiceAccountRequest>,
    ) -> Answer<v1::AddServiceAccountResponse> {
        let request = request.into_inner();
        let subject = Some(&request.subject).filter(|subject| !subject.is_empty());
        let subject = subject.map_or_else(String::new, |subject| format!(" for {subject}"));
        self.call(format!(
            "add service account {} {}{subject}",
            request.owner, request.key_file
        ));
        Ok(Response::new(v1::AddServiceAccountResponse {
            integration: Some(self.integration.clone()),
            key_id: "key-1".to_owned(),
            replaced: false,
        }))
    }

    async fn import_integration(
        &self,
        request: Request<v1::ImportIntegrationRequest>,
    ) -> Answer<v1::ImportIntegrationResponse> {
        let request = request.into_inner();
        self.call(format!(
            "import {} {} {}",
            request.owner, request.account, request.grant
        ));
        Ok(Response::new(v1::ImportIntegrationResponse {
            integration: Some(self.integration.clone()),
            replaced: false,
        }))
    }

    async fn list_integrations(
        &self,
        request: Request<v1::ListIntegrationsRequest>,
    ) -> Answer<v1::ListIntegrationsResponse> {
        let owner = request.into_inner().owner;
        let mut integrations = vec![self.integration.clone()];
        integrations.retain(|integration| owner.is_empty() || integration.owner == owner);
        Ok(Response::new(v1::ListIntegrationsResponse {
            integrations,
            pending_revocations: Vec::new(),
        }))
    }

    async fn get_integration(
        &self,
        request: Request<v1::GetIntegrationRequest>,
    ) -> Answer<v1::GetIntegrationResponse> {
        let integration = Some(self.find(request.into_inner().integration)?);
        Ok(Response::new(v1::GetIntegrationResponse { integration }))
    }

    async fn check_integration(
        &self,
        request: Request<v1::CheckIntegrationRequest>,
    ) -> Answer<v1::CheckIntegrationResponse> {
        let integration = Some(self.find(request.into_inner().integration)?);
        Ok(Response::new(v1::CheckIntegrationResponse { integration }))
    }

    async fn disconnect(&self, request: Request<v1::DisconnectRequest>) -> Answer<v1::DisconnectResponse> {
        let request = request.into_inner();
        let (revocation, dry_run) = (request.revocation(), request.dry_run);
        let integration = self.find(request.integration)?;
        self.call(format!(
            "disconnect {} {revocation:?} dry_run={dry_run}",
            integration.id
        ));
        let problem = if dry_run {
            String::new()
        } else {
            self.disconnect_problem.clone()
        };
        Ok(Response::new(v1::DisconnectResponse {
            agents: integration.agents.clone(),
            integration: Some(integration),
            revoked: revocation != v1::Revocation::Never && problem.is_empty(),
            problem,
        }))
    }

    async fn put_agent(&self, request: Request<v1::PutAgentRequest>) -> Answer<v1::PutAgentResponse> {
        let spec = request.into_inner().spec.unwrap_or_default();
        let keys = spec.integrations.iter();
        let keys: Vec<_> = keys
            .map(|r| format!("{}{}", r.key, if r.optional { "?" } else { "" }))
            .collect();
        self.call(format!(
            "put {} of {}: {}",
            spec.agent,
            spec.owner,
            keys.join(" ")
        ));
        let agent = v1::Agent {
            spec: Some(spec.clone()),
            ..agent_of_alice(&spec.agent)
        };
        Ok(Response::new(v1::PutAgentResponse { agent: Some(agent) }))
    }

    async fn get_agent(&self, request: Request<v1::GetAgentRequest>) -> Answer<v1::GetAgentResponse> {
        let agent = Some(self.agent(&request.into_inner().agent)?);
        Ok(Response::new(v1::GetAgentResponse { agent }))
    }

    async fn list_agents(&self, _: Request<v1::ListAgentsRequest>) -> Answer<v1::ListAgentsResponse> {
        let (agents, problems) = (self.agents.clone(), self.problems.clone());
        Ok(Response::new(v1::ListAgentsResponse { agents, problems }))
    }

    async fn delete_agent(
        &self,
        request: Request<v1::DeleteAgentRequest>,
    ) -> Answer<v1::DeleteAgentResponse> {
        let agent = request.into_inner().agent;
        self.agent(&agent)?;
        self.call(format!("delete {agent}"));
        Ok(Response::new(v1::DeleteAgentResponse {}))
    }

    type BackupDatabaseStream =
        tokio_stream::Iter<std::vec::IntoIter<Result<v1::BackupDatabaseResponse, Status>>>;

    async fn backup_database(
        &self,
        _: Request<v1::BackupDatabaseRequest>,
    ) -> Answer<Self::BackupDatabaseStream> {
        let size = self.backup_size;
        let piece = |data: &Vec<u8>| {
            let data = data.clone();
            Ok(v1::BackupDatabaseResponse { data, size })
        };
        let pieces: Vec<_> = self.backup.iter().map(piece).collect();
        Ok(Response::new(tokio_stream::iter(pieces)))
    }

    async fn watch_events(&self, _: Request<v1::WatchEventsRequest>) -> Answer<Self::WatchEventsStream> {
        Err(Status::unimplemented("the command line never asks for it"))
    }

    async fn list_audit_events(
        &self,
        request: Request<v1::ListAuditEventsRequest>,
    ) -> Answer<v1::ListAuditEventsResponse> {
        let request = request.into_inner();
        let v1::ListAuditEventsRequest {
            after_sequence,
            limit,
            newest,
        } = request;
        self.call(format!(
            "audit after={after_sequence} limit={limit} newest={newest}"
        ));
        Ok(Response::new(v1::ListAuditEventsResponse {
            events: self.audit.clone(),
        }))
    }

    async fn verify_audit(
        &self,
        request: Request<v1::VerifyAuditRequest>,
    ) -> Answer<v1::VerifyAuditResponse> {
        if let Some(v1::AuditHead { sequence, hash }) = request.into_inner().head {
            self.call(format!("verify through {sequence}:{hash}"));
        }
        Ok(Response::new(v1::VerifyAuditResponse {
            intact: self.audit_problem.is_empty(),
            events: self.audit.len() as u64,
            problem: self.audit_problem.clone(),
            head: Some(audit_head()),
        }))
    }

    async fn begin_session(
        &self,
        request: Request<v1::BeginSessionRequest>,
    ) -> Answer<v1::BeginSessionResponse> {
        let request = request.into_inner();
        Ok(Response::new(v1::BeginSessionResponse {
            url: format!(
                "http://127.0.0.1:8420/console/sign-in?link=l1nk&owner={}&page={}",
                request.owner, request.page
            ),
            expires_at: Some(noon(300)),
        }))
    }

    async fn end_sessions(
        &self,
        request: Request<v1::EndSessionsRequest>,
    ) -> Answer<v1::EndSessionsResponse> {
        self.call(format!("end sessions of {:?}", request.into_inner().owner));
        Ok(Response::new(v1::EndSessionsResponse {
            sessions: 1,
            links: 2,
        }))
    }

    async fn get_keys(&self, _: Request<v1::GetKeysRequest>) -> Answer<v1::GetKeysResponse> {
        self.call("get keys");
        Ok(Response::new(self.keys.clone()))
    }

    type RotateKeyStream = Pieces<v1::RotateKeyResponse>;

    async fn rotate_key(&self, _: Request<v1::RotateKeyRequest>) -> Answer<Self::RotateKeyStream> {
        self.call("rotate key");
        Ok(Response::new(pieces(&self.rotation)))
    }

    async fn reseal_keys(&self, request: Request<v1::ResealKeysRequest>) -> Answer<v1::ResealKeysResponse> {
        let seal = request.into_inner().seal;
        self.call(format!("reseal {seal}"));
        Ok(Response::new(v1::ResealKeysResponse {
            seal: "file:/k2".to_owned(),
            seal_key: "00112233aabbccdd".to_owned(),
            keys: vec!["1111222233334444".to_owned()],
            advice: "set key.source".to_owned(),
        }))
    }

    type VerifyKeysStream = Pieces<v1::VerifyKeysResponse>;

    async fn verify_keys(&self, _: Request<v1::VerifyKeysRequest>) -> Answer<Self::VerifyKeysStream> {
        self.call("verify keys");
        Ok(Response::new(pieces(&self.verification)))
    }

    async fn get_daemon_status(
        &self,
        _: Request<v1::GetDaemonStatusRequest>,
    ) -> Answer<v1::GetDaemonStatusResponse> {
        if self.hangs {
            std::future::pending::<()>().await;
        }
        Ok(Response::new(v1::GetDaemonStatusResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: Some(noon(-7200)),
            runtime_dir: "/run/token-broker".to_owned(),
            public_url: "http://127.0.0.1:8420".to_owned(),
            integrations: 1,
            agents: self.agents.len() as u64,
            agents_active: self.agents.len() as u64,
            next_renewal_at: Some(noon(2400)),
            clock_skew_seconds: 7,
            problems: vec!["the disk is nearly full".to_owned()],
            unusable_records: self.unusable_records.clone(),
            configuration_changes: self.configuration_changes.clone(),
            google_client_id: "client-in-force".to_owned(),
            unmet_conditions: self.unmet_conditions.clone(),
            agents_short_of_token: self.agents_short_of_token,
            agents_waiting_for_people: self.agents_waiting_for_people,
            renewals_refused_by_store: self.renewals_refused_by_store,
            bindable_accounts: self.bindable_accounts,
            audit_head: Some(audit_head()),
            audit_size: Some(v1::AuditSize {
                bytes: 3 << 20,
                max_bytes: 512 << 20,
                limited_by_volume: true,
            }),
        }))
    }
}

fn audit_head() -> v1::AuditHead {
    v1::AuditHead {
        sequence: 1234,
        hash: "ab".repeat(32),
    }
}
