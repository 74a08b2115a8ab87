//! A grant that a platform holds already: it is tried, and kept when it works and says whose it is.

use std::sync::Arc;

use crate::{
    accounts::{
        commit_grant::{Grants, Telling},
        connect_error::ConnectError,
        connect_target::{Aim, ConnectTarget, Targets},
        first_use::{FirstGrant, FirstUse},
        grant_request::{GrantCommitted, GrantRequest},
        list::{AccountList, AccountView},
        not_kept::NotKept,
    },
    capability::ScopeSet,
    id::{CapabilityKey, OwnerId, ProviderId},
    policy::{
        context::{PolicyContext, list},
        select_account::{AccountRef, UnknownAccount},
    },
    provider::{ConsentProvider, InvalidGrantFile, Provider, ProviderError, Retried, TokenAnswer},
    registry::{keys::TokenKey, time::BrokerClock},
    renewal::{outcome::Renewed, services::Services, single_flight::SingleFlight},
    secret::RefreshToken,
    telemetry::audit::{Actor, Decision},
};

/// A grant that was imported.
pub struct Imported {
    /// The account.
    pub account: AccountView,
    /// It takes the place of the grant that was here.
    pub replaced: bool,
}

/// Why a grant was not imported. Holds no secret.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ImportError {
    /// What was given is no grant, or not one for here.
    #[error("the grant cannot be imported: {0}. Nothing was stored")]
    File(#[from] InvalidGrantFile),
    /// The provider does not take it, or does not say whose it is.
    #[error("{} Nothing was stored", .0.sentence(Retried::ByHand))]
    Provider(ProviderError),
    /// It covers nothing that an agent could ask for.
    #[error(
        "the grant covers no capability of the catalogue (its scopes: {0}): have the owner connect here instead. Nothing \
         was stored"
    )]
    Useless(ScopeSet),
    /// It has less than the grant that is in force.
    #[error(
        "{account} is connected already with a grant that works and covers more: this one lacks {lost}. Disconnect the \
         account first to replace it all the same. Nothing was changed",
        lost = list(lost)
    )]
    Narrower {
        /// The account.
        account: String,
        /// What would be lost.
        lost: Vec<CapabilityKey>,
    },
    /// It is of another account than it should, or could not be kept.
    #[error(transparent)]
    Connect(ConnectError),
    /// It was refused after it had been replaced.
    #[error(
        "{0}. The provider replaced the refresh token when it was tried: the one that was given works no more, and the \
         owner has to connect again"
    )]
    Spent(Box<ImportError>),
}

impl From<ConnectError> for ImportError {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Narrower { account, lost } => Self::Narrower { account, lost },
            ConnectError::Provider(error, _) => Self::Provider(error),
            other => Self::Connect(other),
        }
    }
}

/// Takes over grants that a platform obtained elsewhere.
pub struct Import {
    clock: Arc<BrokerClock>,
    context: Arc<PolicyContext>,
    single_flight: Arc<SingleFlight<TokenKey, Renewed>>,
    account_list: Arc<AccountList>,
    first_use: Arc<FirstUse>,
    grants: Arc<Grants>,
    targets: Arc<Targets>,
}

impl Import {
    /// With what it needs of the parts before it.
    pub(crate) fn new(
        services: &Services,
        account_list: &Arc<AccountList>,
        first_use: &Arc<FirstUse>,
        grants: &Arc<Grants>,
        targets: &Arc<Targets>,
    ) -> Arc<Self> {
        Arc::new(Self {
            clock: services.clock.clone(),
            context: services.context.clone(),
            single_flight: services.single_flight.clone(),
            account_list: account_list.clone(),
            first_use: first_use.clone(),
            grants: grants.clone(),
            targets: targets.clone(),
        })
    }

    /// Imports a refresh token, or an `authorized_user` file that holds one, for one of an owner's accounts. Runs to
    /// its end even when the caller goes away. `provider` names whose grant it is; it may be empty where there is one
    /// provider alone that people consent at.
    pub async fn import(
        self: &Arc<Self>,
        target: &ConnectTarget,
        provider: &str,
        grant: RefreshToken,
        actor: Actor,
    ) -> Result<Imported, ImportError> {
        let provider = self.targets.provider_of(target, provider)?;
        let aim = self.targets.aim(target, provider)?;
        let (this, owner, provider) = (self.clone(), aim.owner.clone(), provider.clone());
        let work = async move {
            let ending = this.import_grant(&provider, aim, &grant, &actor).await;
            this.note_imported(&owner, &ending, actor);
            ending
        };
        let lost = |_| Err(ImportError::Connect(NotKept::Interrupted.into()));
        self.single_flight.spawn(work).await.unwrap_or_else(lost)
    }

    async fn import_grant(
        self: &Arc<Self>,
        provider: &Provider,
        aim: Aim,
        grant: &RefreshToken,
        actor: &Actor,
    ) -> Result<Imported, ImportError> {
        let consents = provider
            .consent()
            .ok_or_else(|| InvalidGrantFile::NoGrants(provider.id().clone()))?;
        let given = consents.read_grant(grant.expose())?;
        let mut grant = FirstGrant::held_elsewhere(given, self.clock.uptime());
        let kept = match self.first_use.first_answer(provider.id(), &mut grant).await {
            Ok(answer) => {
                self.keep_imported((provider.id(), &**consents), aim, answer, &mut grant, actor)
                    .await
            }
            Err(error) => Err(ImportError::Provider(error)),
        };
        kept.map_err(|error| {
            if grant.only_here {
                ImportError::Spent(Box::new(error))
            } else {
                error
            }
        })
    }

    async fn keep_imported(
        self: &Arc<Self>,
        (provider, consents): (&ProviderId, &dyn ConsentProvider),
        aim: Aim,
        mut answer: TokenAnswer,
        grant: &mut FirstGrant,
        actor: &Actor,
    ) -> Result<Imported, ImportError> {
        let identity = self
            .first_use
            .whose((provider, consents), &answer, None)
            .await
            .map_err(ImportError::Provider)?;
        let granted = answer.scopes.take().unwrap_or_default();
        let covered = self.context.catalog.covered_by(provider, &granted);
        if covered.is_empty() {
            return Err(ImportError::Useless(granted));
        }
        let grant_request = GrantRequest {
            owner: aim.owner,
            provider: provider.clone(),
            expected: aim.expected,
            assumed: granted.clone(),
            cumulative: false,
            capabilities: Vec::new(),
        };
        let tell = |kept: &GrantCommitted| Telling {
            actor: actor.clone(),
            capabilities: covered,
            detail: told_of(&grant_request.owner, kept),
        };
        let kept = self
            .grants
            .commit_grant(&grant_request, identity, granted, grant, tell)
            .await?;
        let replaced = kept.replaced;
        let account = self
            .account_list
            .account(&AccountRef::Id(kept.account.clone()))
            // It was disconnected at that very moment.
            .map_err(|_| {
                ImportError::Connect(ConnectError::UnknownAccount(UnknownAccount::Id(kept.account)))
            })?;
        Ok(Imported { account, replaced })
    }

    /// Records why nothing was imported. A grant that was kept has its line already.
    fn note_imported(&self, owner: &OwnerId, ending: &Result<Imported, ImportError>, actor: Actor) {
        let Err(error) = ending else {
            return tracing::info!(%owner, "imported");
        };
        let detail = format!("an import for {owner}: {error}");
        tracing::info!(%owner, message = detail, "not imported");
        self.grants
            .note_unconnected(actor, owner, Vec::new(), Decision::Failed, detail);
    }
}

fn told_of(owner: &OwnerId, kept: &GrantCommitted) -> String {
    let what = if kept.replaced {
        "in place of the grant before"
    } else {
        "a new account"
    };
    let renamed = kept.renamed_from.as_ref();
    let renamed = renamed.map_or_else(String::new, |before| {
        format!(", whose address was {before} before,")
    });
    format!(
        "imported the grant of {}{renamed} for {owner}: {what}",
        kept.address
    )
}
