//! A store in a place of its own, and the records that scenes put there.

use std::{pin::Pin, sync::Arc, time::Duration};

use jiff::Timestamp;
use token_broker::{
    capability::ScopeSet,
    clock::{self, BootId, BootMoment, Uptime},
    entropy::SystemEntropy,
    id::{AgentName, IntegrationId},
    seal::WrappedKey,
    secret::Key,
    store::{
        Health, HolderRecord, IntegrationRecord, KeyRecord, KeyState, KeyStore, RenewalOutcome, StoreError,
        StoredKeyring, TokenRecord, UnusableRecord,
    },
    telemetry::audit::{Actor, AuditEvent, Decision},
    vault::{Binding, KeyId, Keyring, Sealed, Vault},
};

pub(crate) const DAY: u64 = 24 * 3600;

/// What a home's methods return.
pub(crate) type Doing<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where a store lives, for the time of a scene.
pub(crate) trait Home: Send + Sync {
    /// Opens the store; a new one gets this keyring.
    fn open<'a>(
        &'a self,
        vault: &'a Arc<Vault>,
        keyring: &'a StoredKeyring,
    ) -> Doing<'a, Result<Arc<dyn KeyStore>, StoreError>>;

    /// Does this to the database, as somebody would who can write it and has no key.
    fn meddle<'a>(&'a self, sql: &'a str) -> Doing<'a, ()>;

    /// The table of grants, and the condition for a row of it that is one.
    fn grants(&self) -> (&'static str, &'static str);

    /// The same of access tokens.
    fn tokens(&self) -> (&'static str, &'static str);
}

/// A store that is open.
pub(crate) struct Scene {
    pub(crate) store: Arc<dyn KeyStore>,
    pub(crate) home: Box<dyn Home>,
    pub(crate) vault: Arc<Vault>,
}

impl Scene {
    pub(crate) async fn begin(home: impl Home + 'static) -> Self {
        let vault = vault_of(1, &[]);
        let store = home.open(&vault, &first_keyring()).await.unwrap();
        Self {
            store,
            home: Box::new(home),
            vault,
        }
    }

    /// Opens it anew, with the same keys.
    pub(crate) async fn restart(self) -> Self {
        let vault = self.vault.clone();
        self.restart_with(vault)
            .await
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// Opens it anew, with other keys.
    pub(crate) async fn restart_with(self, vault: Arc<Vault>) -> Result<Self, StoreError> {
        let Self { store, home, .. } = self;
        drop(store);
        let store = home.open(&vault, &first_keyring()).await?;
        Ok(Self { store, home, vault })
    }

    pub(crate) async fn put(&self, record: IntegrationRecord) -> u64 {
        self.store
            .put_integration(record, None, Vec::new())
            .await
            .unwrap()
    }

    /// The account as it is now, which is there.
    pub(crate) async fn account(&self, number: u32) -> IntegrationRecord {
        self.store.integration(&id(number)).await.unwrap().unwrap()
    }

    /// What the account's refresh token opens to.
    pub(crate) async fn grant(&self, number: u32) -> String {
        let secret = self.account(number).await.secret;
        let opened = self.vault.open(&Binding::RefreshToken(&id(number)), &secret);
        String::from_utf8(opened.unwrap().to_vec()).unwrap()
    }

    /// The scopes that there are access tokens for, sorted.
    pub(crate) async fn tokens(&self) -> Vec<String> {
        let tokens = self.store.load().await.unwrap().tokens;
        let mut requested: Vec<_> = tokens.iter().map(|token| token.requested.to_string()).collect();
        requested.sort();
        requested
    }

    pub(crate) async fn unusable(&self) -> Vec<UnusableRecord> {
        self.store.load().await.unwrap().unusable
    }

    /// How many lines the trail has, which is whole.
    pub(crate) async fn whole(&self) -> u64 {
        let report = self.store.verify_audit(None).await.unwrap();
        assert_eq!(report.problem, None);
        report.lines
    }

    /// What is wrong with the trail.
    pub(crate) async fn problem(&self) -> Option<String> {
        let problem = self.store.verify_audit(None).await.unwrap().problem;
        problem.map(|fault| fault.to_string())
    }
}

fn key(byte: u8) -> Key {
    Key::new([byte; 32])
}

pub(crate) fn key_id(byte: u8) -> KeyId {
    KeyId::of(&key(byte))
}

pub(crate) fn activate(vault: &Vault, byte: u8) {
    vault.activate(&key(byte));
}

/// A vault whose active key consists of one byte; the others open.
pub(crate) fn vault_of(active: u8, retiring: &[u8]) -> Arc<Vault> {
    let retiring = retiring.iter().map(|byte| key(*byte)).collect();
    let keyring = Keyring::new(key(active), retiring);
    Arc::new(Vault::new(keyring, Arc::new(SystemEntropy)))
}

/// A keyring of these keys, the active one first.
pub(crate) fn keyring(keys: &[(u8, KeyState)]) -> StoredKeyring {
    let record = |(byte, state): &(u8, KeyState)| {
        let wrapped = WrappedKey {
            seal: "file:/k".to_owned(),
            seal_key: "0011223344556677".to_owned(),
            bytes: vec![*byte],
        };
        KeyRecord::new(
            "a store",
            &key(*byte),
            *state,
            at(0),
            at(u64::from(*byte)),
            wrapped,
        )
    };
    let mut keyring = StoredKeyring {
        store: "a store".to_owned(),
        keys: keys.iter().map(record).collect(),
    };
    keyring.confirm(&key(keys[0].0));
    keyring.sort();
    keyring
}

fn first_keyring() -> StoredKeyring {
    keyring(&[(1, KeyState::Active)])
}

pub(crate) fn id(number: u32) -> IntegrationId {
    format!("int_{number:020x}").parse().unwrap()
}

pub(crate) fn agent(name: &str) -> AgentName {
    name.parse().unwrap()
}

pub(crate) fn scopes(text: &str) -> ScopeSet {
    ScopeSet::parse(text).unwrap()
}

/// Half past ten, and that many seconds.
pub(crate) fn at(seconds: u64) -> Timestamp {
    clock::after(
        "2024-01-15T10:30:00.000001Z".parse().unwrap(),
        Duration::from_secs(seconds),
    )
}

/// The same boot, so many days after its start.
pub(crate) fn up(days: u64) -> BootMoment {
    BootMoment {
        boot: BootId::from_bytes([1; 16]),
        uptime: Uptime::START.after(Duration::from_secs(days * DAY)),
    }
}

pub(crate) fn account(number: u32) -> IntegrationRecord {
    let id = id(number);
    let proof_key = vault_of(1, &[]).seal(&Binding::ProofKey(&id), format!("key {number}").as_bytes());
    IntegrationRecord {
        provider: "google".parse().unwrap(),
        owner: "alice".parse().unwrap(),
        subject: format!("10{number}"),
        account: "alice@example.com".to_owned(),
        former: Arc::default(),
        issuer_binding: "https://oauth2.example.com/token#client".into(),
        scopes: scopes("a b"),
        health: Health::Active,
        version: 0,
        connected_at: at(0),
        renewed_at: None,
        grant_expires_at: Some(at(604_799)),
        renewal: None,
        declined: Arc::default(),
        secret: refresh_token(number, "grant"),
        proof_key: Some(proof_key),
        id,
    }
}

pub(crate) fn refresh_token(number: u32, text: &str) -> Sealed {
    vault_of(1, &[]).seal(&Binding::RefreshToken(&id(number)), text.as_bytes())
}

pub(crate) fn token(number: u32, requested: &str, seconds: u64) -> TokenRecord {
    let (integration, requested) = (id(number), scopes(requested));
    let binding = Binding::AccessToken {
        integration: &integration,
        requested: &requested,
    };
    TokenRecord {
        secret: vault_of(1, &[]).seal(&binding, b"token"),
        granted: requested.clone(),
        issued_at: at(seconds),
        issued_in_boot: Some(up(0)),
        expires_at: at(seconds + 3599),
        requested,
        integration,
    }
}

/// A renewal that obtained `token` and rotated nothing.
pub(crate) fn renewed(token: TokenRecord) -> RenewalOutcome {
    RenewalOutcome {
        grant_expires_at: None,
        rotated: None,
        health: Health::Active,
        renewed_at: Some(token.issued_at),
        token: Some(token),
    }
}

pub(crate) fn holder(name: &str, of: &str) -> HolderRecord {
    let (agent, holder) = (agent(name), format!("\"{of}\""));
    let binding = Binding::AgentSecret {
        agent: &agent,
        holder: Some(&holder),
    };
    HolderRecord {
        secret: Some(vault_of(1, &[]).seal(&binding, b"a secret")),
        holder: Some(holder),
        agent,
    }
}

/// A line about nobody in particular.
pub(crate) fn line(seconds: u64, actor: Actor, action: &'static str) -> AuditEvent {
    AuditEvent::new(at(seconds), actor, action, Decision::Allowed)
}
