//! `tokenbroker.v1.AdminService`.

use std::{mem, pin::Pin, sync::Arc};

use futures_util::{Stream, StreamExt};
use tokio_stream::wrappers::{BroadcastStream, errors::BroadcastStreamRecvError};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status};

use super::{
    backup::{Backups, Pieces},
    confined::Confined,
    convert,
    daemon_status::{self, Facts},
    keys, own_trail,
    principal::Principal,
    request::{
        account_of, admission, agent_name, audit_head, console_page, owner, reference, revocation, target,
    },
    status::{account, agent, connect, import, invalid, service_account, status, store},
};
use crate::{
    broker::{AccountRef, Broker, Connected, NewServiceAccount, OwnersCaller},
    budget::Budget,
    id::AgentName,
    keyring::KeyringCases,
    proto::{
        timestamp,
        v1::{self, admin_service_server::AdminService},
    },
    session::{LINK_LIFE, Sessions},
    telemetry::audit::{AuditEvent, Decision},
};

/// The service.
pub(super) struct Service {
    pub(super) broker: Arc<Broker>,
    pub(super) backups: Backups,
    pub(super) keyring: Arc<KeyringCases>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) facts: Facts,
    /// Streams of events.
    pub(super) streams: Budget<Principal>,
    pub(super) shutdown: CancellationToken,
}

const AUDIT_PAGE: u32 = 1000;
const AUDIT_PAGE_MOST: u32 = 10_000;

impl Service {
    /// The broker, as far as it is the caller's.
    fn confined<'a>(&'a self, caller: &'a Principal) -> Confined<'a> {
        Confined::new(&self.broker, caller)
    }

    fn agent_directory(&self, name: &AgentName) -> String {
        self.facts
            .runtime_dir
            .join("agents")
            .join(name.as_str())
            .display()
            .to_string()
    }

    fn integration_of(&self, connected: &Connected) -> Result<v1::Integration, Status> {
        self.broker
            .connect
            .connected_account(connected)
            .map(|view| convert::integration(&view))
            .ok_or_else(|| {
                status(
                    Code::NotFound,
                    "not_found",
                    "the account was disconnected meanwhile",
                )
            })
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl AdminService for Service {
    async fn list_capabilities(
        &self,
        _: Request<v1::ListCapabilitiesRequest>,
    ) -> Answer<v1::ListCapabilitiesResponse> {
        let capabilities = self.broker.catalog().iter().map(convert::capability).collect();
        Ok(Response::new(v1::ListCapabilitiesResponse { capabilities }))
    }

    async fn begin_connect(
        &self,
        request: Request<v1::BeginConnectRequest>,
    ) -> Answer<v1::BeginConnectResponse> {
        let caller = Principal::of(request.extensions())?;
        let request = request.into_inner();
        let target = target(&request)?;
        self.confined(&caller).target(&target)?;
        let return_url = Some(request.return_url.as_str()).filter(|url| !url.is_empty());
        let started = self
            .broker
            .connect
            .begin_connect(&target, &request.capabilities, return_url)
            .await
            .map_err(|error| connect(&error))?;
        Ok(Response::new(v1::BeginConnectResponse {
            authorization_url: started.authorization_url.into(),
            connect_id: started.connect_id,
            expires_at: Some(timestamp(started.expires_at)),
            agents_in_doubt: started.agents_in_doubt.iter().map(ToString::to_string).collect(),
            provider_name: self.broker.providers().name_of(&started.provider),
            provider: started.provider.to_string(),
        }))
    }

    async fn complete_connect(
        &self,
        request: Request<v1::CompleteConnectRequest>,
    ) -> Answer<v1::CompleteConnectResponse> {
        let caller = Principal::of(request.extensions())?;
        let request = request.into_inner();
        let query = request
            .redirect_url
            .split_once('?')
            .map_or("", |(_, query)| query);
        let query = query.split_once('#').map_or(query, |(query, _)| query);
        self.confined(&caller).redirect(query)?;
        let connected = self
            .broker
            .connect
            .complete_connect(query, Some(caller.actor()))
            .await
            .map_err(|error| connect(&error))?;
        Ok(Response::new(v1::CompleteConnectResponse {
            integration: Some(self.integration_of(&connected)?),
            capabilities_missing: connected.missing.iter().map(ToString::to_string).collect(),
        }))
    }

    async fn wait_connect(
        &self,
        request: Request<v1::WaitConnectRequest>,
    ) -> Answer<v1::WaitConnectResponse> {
        let caller = Principal::of(request.extensions())?;
        let connect_id = request.into_inner().connect_id;
        self.confined(&caller).consent(&connect_id)?;
        let connected = tokio::select! {
            ending = self.broker.connect.wait_connect(&connect_id) => ending.map_err(|error| connect(&error))?,
            () = self.shutdown.cancelled() => {
                return Err(status(Code::Unavailable, "shutting_down", "the daemon is going down"));
            }
        };
        Ok(Response::new(v1::WaitConnectResponse {
            integration: Some(self.integration_of(&connected)?),
            capabilities_missing: connected.missing.iter().map(ToString::to_string).collect(),
        }))
    }

    async fn add_service_account(
        &self,
        request: Request<v1::AddServiceAccountRequest>,
    ) -> Answer<v1::AddServiceAccountResponse> {
        let caller = Principal::of(request.extensions())?;
        let mut request = request.into_inner();
        let file = mem::take(&mut request.key_file).into();
        let new = NewServiceAccount {
            owner: request.owner.parse().map_err(|error| invalid(&error))?,
            file,
            subject: Some(mem::take(&mut request.subject)).filter(|subject| !subject.is_empty()),
        };
        self.confined(&caller).owner(&new.owner)?;
        let added = self
            .broker
            .service_accounts
            .add_service_account(new, caller.actor())
            .await
            .map_err(|error| service_account(&error))?;
        Ok(Response::new(v1::AddServiceAccountResponse {
            integration: Some(convert::integration(&added.account)),
            key_id: added.key_id,
            replaced: added.replaced,
        }))
    }

    async fn import_integration(
        &self,
        request: Request<v1::ImportIntegrationRequest>,
    ) -> Answer<v1::ImportIntegrationResponse> {
        let caller = Principal::of(request.extensions())?;
        let mut request = request.into_inner();
        let grant = mem::take(&mut request.grant).into();
        let target = account_of(&request.owner, &request.account)?;
        self.confined(&caller).target(&target)?;
        let imported = self
            .broker
            .import
            .import(&target, &request.integration, grant, caller.actor())
            .await
            .map_err(|error| import(&error))?;
        Ok(Response::new(v1::ImportIntegrationResponse {
            integration: Some(convert::integration(&imported.account)),
            replaced: imported.replaced,
        }))
    }

    async fn list_integrations(
        &self,
        request: Request<v1::ListIntegrationsRequest>,
    ) -> Answer<v1::ListIntegrationsResponse> {
        let caller = Principal::of(request.extensions())?;
        let owner = self
            .confined(&caller)
            .listed(owner(&request.into_inner().owner)?)?;
        let now = self.broker.moment();
        let integrations = self
            .broker
            .accounts
            .accounts(owner.as_ref())
            .iter()
            .map(convert::integration)
            .collect();
        let pending_revocations = self
            .broker
            .revocations
            .pending_revocations()
            .into_iter()
            .filter(|pending| owner.as_ref().is_none_or(|owner| pending.record.owner == *owner))
            .map(|pending| convert::pending_revocation(pending, self.broker.providers(), now))
            .collect();
        Ok(Response::new(v1::ListIntegrationsResponse {
            integrations,
            pending_revocations,
        }))
    }

    async fn get_integration(
        &self,
        request: Request<v1::GetIntegrationRequest>,
    ) -> Answer<v1::GetIntegrationResponse> {
        let caller = Principal::of(request.extensions())?;
        let which = reference(request.into_inner().integration)?;
        self.confined(&caller).account(&which)?;
        let view = self
            .broker
            .accounts
            .account(&which)
            .map_err(|error| account(&error))?;
        Ok(Response::new(v1::GetIntegrationResponse {
            integration: Some(convert::integration(&view)),
        }))
    }

    async fn check_integration(
        &self,
        request: Request<v1::CheckIntegrationRequest>,
    ) -> Answer<v1::CheckIntegrationResponse> {
        let caller = Principal::of(request.extensions())?;
        let which = reference(request.into_inner().integration)?;
        self.confined(&caller).account(&which)?;
        let view = self
            .broker
            .account_checks
            .check_account_for(&which, caller.asker())
            .await
            .map_err(|error| account(&error))?;
        Ok(Response::new(v1::CheckIntegrationResponse {
            integration: Some(convert::integration(&view)),
        }))
    }

    async fn disconnect(&self, request: Request<v1::DisconnectRequest>) -> Answer<v1::DisconnectResponse> {
        let caller = Principal::of(request.extensions())?;
        let request = request.into_inner();
        let which = reference(request.integration)?;
        self.confined(&caller).account(&which)?;
        let actor = caller.actor();
        let revocation = revocation(request.revocation);
        if let AccountRef::Id(id) = &which
            && let Some(problem) = self.broker.unusable.unusable_account(id)
        {
            if !request.dry_run {
                let removed = self.broker.unusable.remove_unusable_account(id, &problem, actor);
                removed.await.map_err(|error| account(&error.into()))?;
            }
            return Ok(Response::new(convert::without_account(id, &problem)));
        }
        let done = if request.dry_run {
            self.broker.disconnect.preview_disconnect(&which, revocation)
        } else {
            self.broker.disconnect.disconnect(&which, revocation, actor).await
        };
        let done = done.map_err(|error| account(&error))?;
        Ok(Response::new(v1::DisconnectResponse {
            integration: Some(convert::integration(&done.account)),
            agents: done.agents.iter().map(ToString::to_string).collect(),
            revoked: done.revoked,
            problem: done.problem().unwrap_or_default(),
        }))
    }

    async fn put_agent(&self, request: Request<v1::PutAgentRequest>) -> Answer<v1::PutAgentResponse> {
        let caller = Principal::of(request.extensions())?;
        let spec = request.into_inner().spec.unwrap_or_default();
        let manifest = convert::manifest(spec).map_err(|error| invalid(&error))?;
        self.confined(&caller).owner(&manifest.owner)?;
        let within = caller.owner().map(|owner| OwnersCaller {
            owner: owner.clone(),
            most_agents: self.facts.in_force.agents_per_owner(),
        });
        let view = self
            .broker
            .agents
            .put_agent_within(within, manifest, caller.actor())
            .await
            .map_err(|error| agent(&error))?;
        let directory = self.agent_directory(&view.snapshot.manifest.agent);
        Ok(Response::new(v1::PutAgentResponse {
            agent: Some(convert::agent(&view, directory, self.broker.moment())),
        }))
    }

    async fn get_agent(&self, request: Request<v1::GetAgentRequest>) -> Answer<v1::GetAgentResponse> {
        let caller = Principal::of(request.extensions())?;
        let name = agent_name(&request.into_inner().agent)?;
        self.confined(&caller).agent(&name)?;
        let view = self
            .broker
            .agent_list
            .agent(&name)
            .ok_or_else(|| agent(&crate::broker::AgentError::Unknown(name.clone())))?;
        let directory = self.agent_directory(&name);
        Ok(Response::new(v1::GetAgentResponse {
            agent: Some(convert::agent(&view, directory, self.broker.moment())),
        }))
    }

    async fn list_agents(&self, request: Request<v1::ListAgentsRequest>) -> Answer<v1::ListAgentsResponse> {
        let caller = Principal::of(request.extensions())?;
        let owner = self
            .confined(&caller)
            .listed(owner(&request.into_inner().owner)?)?;
        let now = self.broker.moment();
        let views = self.broker.agent_list.agents(owner.as_ref());
        let one = |view: &crate::broker::AgentView| {
            convert::agent(view, self.agent_directory(&view.snapshot.manifest.agent), now)
        };
        Ok(Response::new(v1::ListAgentsResponse {
            agents: views.iter().map(one).collect(),
            problems: match caller.owner() {
                // They name everybody's files.
                Some(_) => Vec::new(),
                None => self.broker.agents.manifest_problems(),
            },
        }))
    }

    async fn delete_agent(
        &self,
        request: Request<v1::DeleteAgentRequest>,
    ) -> Answer<v1::DeleteAgentResponse> {
        let caller = Principal::of(request.extensions())?;
        let name = agent_name(&request.into_inner().agent)?;
        self.broker
            .agents
            .delete_agent_within(caller.owner().cloned(), &name, caller.actor())
            .await
            .map_err(|error| agent(&error))?;
        Ok(Response::new(v1::DeleteAgentResponse {}))
    }

    type WatchEventsStream = Pin<Box<dyn Stream<Item = Result<v1::WatchEventsResponse, Status>> + Send>>;

    async fn watch_events(
        &self,
        request: Request<v1::WatchEventsRequest>,
    ) -> Answer<Self::WatchEventsStream> {
        let caller = Principal::of(request.extensions())?;
        let held = self.streams.take(&caller).map_err(|_| {
            let message = format!("{caller} watches as many streams of events as one may: close some");
            status(Code::ResourceExhausted, "rate_limited", message)
        })?;
        let events = BroadcastStream::new(self.broker.events());
        let viewer = caller.owner().cloned();
        let events = events.filter_map(move |event| {
            // Until the stream ends.
            let _ = &held;
            std::future::ready(match event {
                Ok(event) => event
                    .concerns(viewer.as_ref())
                    .then(|| Ok(convert::event(&event))),
                Err(BroadcastStreamRecvError::Lagged(missed)) => {
                    let message = format!("{missed} events were missed: read them faster");
                    Some(Err(status(Code::DataLoss, "lagged", message)))
                }
            })
        });
        let shutdown = self.shutdown.clone();
        Ok(Response::new(Box::pin(
            events.take_until(shutdown.cancelled_owned()),
        )))
    }

    async fn list_audit_events(
        &self,
        request: Request<v1::ListAuditEventsRequest>,
    ) -> Answer<v1::ListAuditEventsResponse> {
        let caller = Principal::of(request.extensions())?;
        let request = request.into_inner();
        let limit = if request.limit == 0 {
            AUDIT_PAGE
        } else {
            request.limit.min(AUDIT_PAGE_MOST)
        };
        self.broker.flush_audit().await;
        let (after, newest) = (request.after_sequence, request.newest);
        let lines = match self.confined(&caller).trail() {
            None => self.broker.store().audit(after, limit, newest).await,
            Some(filter) => own_trail::lines(self.broker.store(), filter, after, limit, newest).await,
        };
        let lines = lines.map_err(|error| store(&error))?;
        let events = lines.into_iter().map(convert::audit_line).collect();
        Ok(Response::new(v1::ListAuditEventsResponse { events }))
    }

    async fn verify_audit(
        &self,
        request: Request<v1::VerifyAuditRequest>,
    ) -> Answer<v1::VerifyAuditResponse> {
        let head = request.into_inner().head.as_ref().map(audit_head).transpose()?;
        self.broker.flush_audit().await;
        let kept = self.broker.store();
        // Read first: what is verified then leads through it.
        let end = kept.trail_head().await.map_err(|error| store(&error))?;
        let report = kept.verify_audit(head).await.map_err(|error| store(&error))?;
        Ok(Response::new(v1::VerifyAuditResponse {
            intact: report.problem.is_none(),
            events: report.lines,
            problem: report.problem.map(|fault| fault.to_string()).unwrap_or_default(),
            head: Some(convert::audit_head(end)),
        }))
    }

    type BackupDatabaseStream = Pieces;

    async fn backup_database(
        &self,
        request: Request<v1::BackupDatabaseRequest>,
    ) -> Answer<Self::BackupDatabaseStream> {
        let caller = Principal::of(request.extensions())?;
        // So that the copy has the trail as far as it goes.
        self.broker.flush_audit().await;
        let event = AuditEvent::new(
            self.broker.now(),
            caller.actor(),
            "database.backed_up",
            Decision::Allowed,
        );
        self.backups.begin(event).await.map(Response::new)
    }

    async fn begin_session(
        &self,
        request: Request<v1::BeginSessionRequest>,
    ) -> Answer<v1::BeginSessionResponse> {
        let caller = Principal::of(request.extensions())?;
        let request = request.into_inner();
        let owner = self.confined(&caller).sessions(owner(&request.owner)?)?;
        let actor = caller.actor();
        let admission = admission(&self.broker, owner, &request.return_url, actor.clone())?;
        let page = console_page(&request.page)?;
        let invitation = self
            .broker
            .journal
            .invite(&self.sessions, actor, admission, LINK_LIFE, page)
            .map_err(|error| status(Code::ResourceExhausted, "rate_limited", error.to_string()))?;
        self.broker.flush_audit().await;
        Ok(Response::new(v1::BeginSessionResponse {
            url: invitation.url,
            expires_at: Some(timestamp(invitation.expires_at)),
        }))
    }

    async fn end_sessions(
        &self,
        request: Request<v1::EndSessionsRequest>,
    ) -> Answer<v1::EndSessionsResponse> {
        let caller = Principal::of(request.extensions())?;
        let owner = self
            .confined(&caller)
            .sessions(owner(&request.into_inner().owner)?)?;
        let ended = self.sessions.end(owner.as_ref());
        self.broker
            .journal
            .note_sessions_ended(caller.actor(), owner.as_ref(), ended);
        self.broker.flush_audit().await;
        Ok(Response::new(v1::EndSessionsResponse {
            sessions: ended.sessions as u64,
            links: ended.links as u64,
        }))
    }

    async fn get_keys(&self, _: Request<v1::GetKeysRequest>) -> Answer<v1::GetKeysResponse> {
        keys::get(&self.keyring).await.map(Response::new)
    }

    type RotateKeyStream = keys::Answers<v1::RotateKeyResponse>;

    async fn rotate_key(&self, request: Request<v1::RotateKeyRequest>) -> Answer<Self::RotateKeyStream> {
        let actor = Principal::of(request.extensions())?.actor();
        let rotating = keys::rotate(&self.keyring, actor, self.shutdown.clone());
        rotating.await.map(Response::new)
    }

    async fn reseal_keys(&self, request: Request<v1::ResealKeysRequest>) -> Answer<v1::ResealKeysResponse> {
        let caller = Principal::of(request.extensions())?;
        let resealing = keys::reseal(&self.keyring, &self.facts.in_force, request.into_inner(), &caller);
        resealing.await.map(Response::new)
    }

    type VerifyKeysStream = keys::Answers<v1::VerifyKeysResponse>;

    async fn verify_keys(&self, _: Request<v1::VerifyKeysRequest>) -> Answer<Self::VerifyKeysStream> {
        Ok(Response::new(keys::verify(&self.keyring, self.shutdown.clone())))
    }

    async fn get_daemon_status(
        &self,
        _: Request<v1::GetDaemonStatusRequest>,
    ) -> Answer<v1::GetDaemonStatusResponse> {
        let status = daemon_status::of(&self.broker, &self.keyring, &self.facts).await;
        Ok(Response::new(status))
    }
}
