//! A provider that does what the scene says, and remembers what it was asked.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use token_broker::{
    capability::ScopeSet,
    cause::{Call, Refusal, UnusableAnswer},
    clock::{Clock, ManualClock, Moment},
    config::ClientType,
    dpop::{Possession, ProofKey},
    entropy::SystemEntropy,
    http_client::{Egress, Limits, TransportError},
    provider::{
        AccountKey, AssertionProvider, AssertionRequest, Consent, ConsentProvider, ConsentRequest,
        GrantFuture, Identity, InvalidGrantFile, InvalidKeyFile, NoToken, Profile, Provider, ProviderError,
        ProviderFuture, Remedy, TokenAnswer, TokenSource,
        failure::Said,
        google::{self, failure_table::FAILURES},
    },
    secret::{AccessToken, AuthorizationCode, PkceVerifier, RefreshToken},
};
use tokio::sync::watch;

use super::{
    key_file::key_file,
    script::{Asked, Asserted, Begun, CANARY, Fault, Habits, Person},
};

struct Grant {
    email: String,
    scopes: ScopeSet,
    /// The key that has to be proven.
    bound_to: Option<String>,
    /// Replaced by a rotated one.
    spent: bool,
    dead: bool,
}

#[derive(Default)]
struct Books {
    serial: u64,
    begun: Vec<Begun>,
    codes: BTreeMap<String, (Person, ScopeSet)>,
    grants: BTreeMap<String, Grant>,
    asked: Vec<Asked>,
    proofs: usize,
    answered: usize,
    exchanged: usize,
    revoked: Vec<String>,
    /// How the next exchanges end; the code is not spent by that.
    exchange_faults: VecDeque<Fault>,
    /// How the next questions end whose a grant is.
    identity_faults: VecDeque<Fault>,
    faults: BTreeMap<String, Fault>,
    once: BTreeMap<String, VecDeque<Fault>>,
    under_way: BTreeMap<String, usize>,
    most_under_way: usize,
    most_of_one: usize,
    spent_presented: usize,
    carries: Option<ScopeSet>,
    /// Whose an access token is, and what it carries.
    access_tokens: BTreeMap<String, (String, ScopeSet)>,
    /// Keys of service accounts that work, as `address/key`.
    keys: BTreeSet<String>,
    /// What a domain's administrator delegated to a service account.
    delegated: BTreeMap<String, ScopeSet>,
    assertions: Vec<Asserted>,
}

pub(crate) struct Google {
    clock: ManualClock,
    issuer_binding: String,
    /// Reads files as Google's own client does, and is never asked for anything else.
    real: google::Client,
    books: Mutex<Books>,
    habits: Mutex<Habits>,
    held: watch::Sender<BTreeSet<String>>,
    revoke_fault: Mutex<Option<Fault>>,
    revocations_held: watch::Sender<bool>,
}

impl Google {
    pub(crate) fn new(clock: ManualClock) -> Self {
        Self::with_issuer_binding(clock, "https://oauth2.example/token#client")
    }

    pub(crate) fn with_issuer_binding(clock: ManualClock, issuer_binding: &str) -> Self {
        let (token, client) = issuer_binding.split_once('#').unwrap();
        Self {
            real: real(token, client, &clock),
            clock,
            issuer_binding: issuer_binding.to_owned(),
            books: Mutex::default(),
            habits: Mutex::new(Habits {
                binds: false,
                lifetime: Duration::from_secs(3600),
                rotates: false,
                leeway: false,
                cumulative: true,
                grant_life: None,
                grant_rest: None,
                date: Some(SignedDuration::ZERO),
                judges_by: None,
            }),
            held: watch::Sender::default(),
            revoke_fault: Mutex::default(),
            revocations_held: watch::Sender::default(),
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap()
    }

    pub(crate) fn habits(&self) -> MutexGuard<'_, Habits> {
        self.habits.lock().unwrap()
    }

    /// Answers to refreshes of `email` wait until [`Self::let_go`].
    pub(crate) fn hold(&self, email: &str) {
        self.held.send_modify(|held| {
            held.insert(email.to_owned());
        });
    }

    pub(crate) fn let_go(&self, email: &str) {
        self.held.send_modify(|held| {
            held.remove(email);
        });
    }

    /// The next exchange ends like this, and the code stays good.
    pub(crate) fn fail_exchange_once(&self, fault: Fault) {
        self.books().exchange_faults.push_back(fault);
    }

    /// Codes that were given are good no more.
    pub(crate) fn forget_codes(&self) {
        self.books().codes.clear();
    }

    /// The next question whose a grant is ends like this.
    pub(crate) fn fail_identity_once(&self, fault: Fault) {
        self.books().identity_faults.push_back(fault);
    }

    /// Refreshes of `email` end like this until [`Self::heal`].
    pub(crate) fn fail(&self, email: &str, fault: Fault) {
        self.books().faults.insert(email.to_owned(), fault);
    }

    /// The next refresh of `email` ends like this.
    pub(crate) fn fail_once(&self, email: &str, fault: Fault) {
        self.books()
            .once
            .entry(email.to_owned())
            .or_default()
            .push_back(fault);
    }

    pub(crate) fn heal(&self, email: &str) {
        self.books().faults.remove(email);
    }

    pub(crate) fn heal_all(&self) {
        self.books().faults.clear();
    }

    pub(crate) fn fail_revocation(&self, fault: Fault) {
        *self.revoke_fault.lock().unwrap() = Some(fault);
    }

    /// Revocations get no answer.
    pub(crate) fn hold_revocations(&self, held: bool) {
        self.revocations_held.send_replace(held);
    }

    pub(crate) fn heal_revocation(&self) {
        *self.revoke_fault.lock().unwrap() = None;
    }

    /// Every answer says that the token carries only this.
    pub(crate) fn carry_only(&self, scopes: ScopeSet) {
        self.books().carries = Some(scopes);
    }

    /// Answers carry what is asked for again.
    pub(crate) fn carry_what_is_asked(&self) {
        self.books().carries = None;
    }

    /// The person takes everything back in the account's settings, and nobody is told.
    pub(crate) fn forget(&self, email: &str) {
        let mut books = self.books();
        for grant in books.grants.values_mut().filter(|grant| grant.email == email) {
            grant.dead = true;
        }
    }

    /// The refreshes that were asked for, answered or not.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.books().asked.clone()
    }

    pub(crate) fn asked_for(&self, email: &str) -> Vec<Asked> {
        self.asked()
            .into_iter()
            .filter(|asked| asked.email == email)
            .collect()
    }

    pub(crate) fn requests(&self) -> usize {
        self.books().asked.len()
    }

    /// A number that grows with whatever happens here.
    pub(crate) fn activity(&self) -> usize {
        let books = self.books();
        books.asked.len()
            + books.assertions.len()
            + books.answered
            + books.exchanged
            + books.revoked.len()
            + books.begun.len()
    }

    /// The most refreshes that were under way at once, of all accounts and of a single one.
    pub(crate) fn most_under_way(&self) -> (usize, usize) {
        let books = self.books();
        (books.most_under_way, books.most_of_one)
    }

    pub(crate) fn forget_most_under_way(&self) {
        let mut books = self.books();
        (books.most_under_way, books.most_of_one) = (0, 0);
    }

    /// How often a refresh token was presented that had been replaced.
    pub(crate) fn spent_presented(&self) -> usize {
        self.books().spent_presented
    }

    /// A refresh token of `email` that somebody else obtained, for the same OAuth client.
    pub(crate) fn held_elsewhere(&self, email: &str, scopes: ScopeSet) -> String {
        self.books().issue(email, scopes, None)
    }

    /// A service account's new key: its key file. The keys before it go on working.
    pub(crate) fn new_key(&self, email: &str, key: &str) -> String {
        self.books().keys.insert(format!("{email}/{key}"));
        key_file(email, key, self.issuer_binding.split_once('#').unwrap().0)
    }

    /// A key is deleted in the console.
    pub(crate) fn delete_key(&self, email: &str, key: &str) {
        self.books().keys.remove(&format!("{email}/{key}"));
    }

    /// The domain's administrator lets a service account act for people.
    pub(crate) fn delegate(&self, email: &str, scopes: ScopeSet) {
        self.books().delegated.insert(email.to_owned(), scopes);
    }

    /// The assertions that were presented.
    pub(crate) fn asserted(&self) -> Vec<Asserted> {
        self.books().assertions.clone()
    }

    /// The accounts that were revoked.
    pub(crate) fn revoked(&self) -> Vec<String> {
        self.books().revoked.clone()
    }

    pub(crate) fn exchanged(&self) -> usize {
        self.books().exchanged
    }

    /// The refresh tokens of `email` that work.
    pub(crate) fn living(&self, email: &str) -> Vec<String> {
        let books = self.books();
        let living = books
            .grants
            .iter()
            .filter(|(_, grant)| grant.email == email && !grant.dead && !grant.spent);
        living.map(|(token, _)| token.clone()).collect()
    }

    /// What the last consent was begun with.
    pub(crate) fn begun(&self) -> Begun {
        self.books().begun.last().cloned().expect("a consent was begun")
    }

    /// The person decides on the page that `authorization_url` leads to; the code that comes back.
    pub(crate) fn decide(&self, scopes: ScopeSet, person: Person) -> String {
        let mut books = self.books();
        books.serial += 1;
        let code = format!("4/{CANARY}-{}", books.serial);
        books.codes.insert(code.clone(), (person, scopes));
        code
    }

    fn error(&self, fault: &Fault) -> ProviderError {
        ProviderError {
            kind: fault.kind,
            retry_after: fault.retry_after,
            server_time: self.server_time().map(Box::new),
            ..happened(fault.code)
        }
    }

    fn identity_fault(&self) -> Option<ProviderError> {
        let fault = self.books().identity_faults.pop_front()?;
        Some(self.error(&fault))
    }

    fn server_time(&self) -> Option<Moment> {
        let ahead = self.habits().date?;
        Some(Moment {
            wall: self.clock.now() + ahead,
            uptime: self.clock.uptime(),
        })
    }

    /// What says that it is `now` is not accepted.
    fn is_out_of_time(&self, now: Timestamp) -> bool {
        let habits = self.habits();
        let ahead = habits.judges_by.or(habits.date);
        ahead.is_some_and(|ahead| {
            let late = (self.clock.now() + ahead).duration_since(now).abs();
            late > SignedDuration::from_secs(300)
        })
    }

    async fn held(&self, email: &str) {
        let mut held = self.held.subscribe();
        let _ = held.wait_for(|held| !held.contains(email)).await;
    }

    /// The key that a request proves.
    fn proven(&self, proven: Option<Possession<'_>>) -> Result<Option<String>, NoToken> {
        let Some(Possession { key, now }) = proven else {
            return Ok(None);
        };
        if self.is_out_of_time(now) {
            let refused = Fault::new(Remedy::Operator, "invalid_dpop_proof");
            return Err(self.error(&refused).into());
        }
        let mut books = self.books();
        books.proofs += 1;
        Ok(Some(key.thumbprint()))
    }

    /// Proofs that were accepted.
    pub(crate) fn proofs(&self) -> usize {
        self.books().proofs
    }

    /// What a refresh with this token alone comes to: it was stolen.
    pub(crate) async fn refresh_without_proof(&self, token: &str) -> Result<TokenAnswer, NoToken> {
        let (token, scopes) = (token.into(), ScopeSet::default());
        self.refresh(&token, &scopes, None).await
    }

    fn arrive(&self, token: &str, scopes: &ScopeSet) -> String {
        let mut books = self.books();
        let grant = &books.grants[token];
        let (email, spent) = (grant.email.clone(), grant.spent);
        books.spent_presented += usize::from(spent);
        let asked = Asked {
            email: email.clone(),
            refresh_token: token.to_owned(),
            scopes: scopes.clone(),
            at: self.clock.now(),
        };
        books.asked.push(asked);
        *books.under_way.entry(email.clone()).or_default() += 1;
        books.most_of_one = books.most_of_one.max(books.under_way[&email]);
        books.most_under_way = books.most_under_way.max(books.under_way.values().sum());
        email
    }

    /// What an assertion is worth.
    fn redeem(&self, asserted: &Asserted) -> Result<TokenAnswer, ProviderError> {
        let habits = self.habits().clone();
        let server_time = self.server_time();
        let refused = |code| Err(self.error(&Fault::new(Remedy::Operator, code)));
        let mut books = self.books();
        books.answered += 1;
        let email = &asserted.email;
        let once = books.once.get_mut(email).and_then(VecDeque::pop_front);
        if let Some(fault) = once.or_else(|| books.faults.get(email).cloned()) {
            drop(books);
            return Err(self.error(&fault));
        }
        if self.is_out_of_time(asserted.now) || !books.keys.contains(&format!("{email}/{}", asserted.key)) {
            drop(books);
            return refused("invalid_grant");
        }
        let delegated = books.delegated.get(email).cloned().unwrap_or_default();
        if asserted.subject.is_some() && !asserted.scopes.is_subset(&delegated) {
            drop(books);
            return refused("unauthorized_client");
        }
        let access_token = books.access_token(asserted.subject.as_ref().unwrap_or(email), &asserted.scopes);
        Ok(TokenAnswer {
            access_token: access_token.into(),
            expires_in: habits.lifetime,
            scopes: books.carries.clone(),
            // Nobody ever saw one here; it must not take the key's place.
            refresh_token: Some(format!("1//{CANARY}-of-a-robot").into()),
            refresh_token_expires_in: None,
            id_token: None,
            server_time,
        })
    }

    fn answer(&self, email: &str, token: &str, scopes: &ScopeSet) -> Result<TokenAnswer, NoToken> {
        let habits = self.habits().clone();
        let server_time = self.server_time();
        let mut books = self.books();
        books.answered += 1;
        *books.under_way.get_mut(email).unwrap() -= 1;
        let once = books.once.get_mut(email).and_then(VecDeque::pop_front);
        if let Some(fault) = once.or_else(|| books.faults.get(email).cloned()) {
            let refresh_token = fault.rotates.then(|| books.rotate(token));
            drop(books);
            return Err(NoToken {
                refresh_token: refresh_token.map(Into::into),
                ..self.error(&fault).into()
            });
        }
        let grant = books.grants.get_mut(token).unwrap();
        if grant.dead || (grant.spent && !habits.leeway) {
            drop(books);
            return Err(self.error(&Fault::invalid_grant()).into());
        }
        let scopes = &if scopes.is_empty() {
            grant.scopes.clone()
        } else {
            scopes.clone()
        };
        if !scopes.is_subset(&grant.scopes) {
            drop(books);
            return Err(self
                .error(&Fault::new(Remedy::Permission, "invalid_scope"))
                .into());
        }
        let refresh_token = habits.rotates.then(|| books.rotate(token));
        let access_token = books.access_token(email, scopes);
        Ok(TokenAnswer {
            access_token: access_token.into(),
            expires_in: habits.lifetime,
            scopes: Some(books.carries.clone().unwrap_or_else(|| scopes.clone())),
            refresh_token: refresh_token.map(Into::into),
            refresh_token_expires_in: habits.grant_rest,
            id_token: None,
            server_time,
        })
    }
}

impl Books {
    fn access_token(&mut self, email: &str, scopes: &ScopeSet) -> String {
        self.serial += 1;
        let token = format!("ya29.{CANARY}-{}", self.serial);
        let whose = (email.to_owned(), scopes.clone());
        self.access_tokens.insert(token.clone(), whose);
        token
    }

    /// The grant that takes the place of another.
    fn rotate(&mut self, token: &str) -> String {
        let grant = self.grants.get_mut(token).unwrap();
        grant.spent = true;
        let (email, scopes) = (grant.email.clone(), grant.scopes.clone());
        let bound_to = grant.bound_to.clone();
        self.issue(&email, scopes, bound_to)
    }

    fn issue(&mut self, email: &str, scopes: ScopeSet, bound_to: Option<String>) -> String {
        self.serial += 1;
        let token = format!("1//{:04}-{CANARY}-grant", self.serial);
        let grant = Grant {
            email: email.to_owned(),
            scopes,
            bound_to,
            spent: false,
            dead: false,
        };
        self.grants.insert(token.clone(), grant);
        token
    }
}

/// Google's own client, for this token endpoint.
fn real(token_endpoint: &str, client_id: &str, clock: &ManualClock) -> google::Client {
    let options = google::ClientOptions {
        client_id: client_id.to_owned(),
        client_secret: None,
        client_type: ClientType::Web,
        dpop: false,
        redirect_uri: "http://127.0.0.1:1/oauth/callback".parse().unwrap(),
        endpoints: google::Endpoints {
            token: token_endpoint.parse().unwrap(),
            ..google::Endpoints::google()
        },
        limits: Limits::default(),
        egress: Egress::default(),
    };
    google::Client::new(options, Arc::new(clock.clone()), Arc::new(SystemEntropy))
}

/// What a fault's code stands for.
pub(crate) fn happened(code: &str) -> ProviderError {
    let host = "oauth2.example".to_owned();
    match code {
        "network" => ProviderError::transport(&host, TransportError::Network("it hung up".to_owned())),
        "timeout" => ProviderError::transport(&host, TransportError::NoConnection),
        "malformed_answer" => ProviderError::unusable(UnusableAnswer::NoOwner { host }),
        code => {
            let status = code
                .strip_prefix("http_")
                .map_or(400, |status| status.parse().unwrap());
            let refusal = Refusal {
                call: Call::Refresh,
                status,
                error: Some(code.to_owned()),
                subtype: None,
                reasons: Vec::new(),
                description: None,
            };
            let row = FAILURES.classify(refusal.call, refusal.status, Said::of(&refusal));
            ProviderError::refused(row, "Google", refusal)
        }
    }
}

impl Google {
    /// The providers that it plays.
    pub(crate) fn providers(self: &Arc<Self>) -> Vec<Provider> {
        let (token_endpoint, _) = self.issuer_binding.split_once('#').unwrap();
        let keys = Provider {
            profile: Arc::new(google::service_accounts()),
            issuer_binding: token_endpoint.into(),
            servers: Vec::new(),
            failures: FAILURES,
            tokens: TokenSource::Key(self.clone()),
        };
        vec![self.as_provider(google::account()), keys]
    }

    /// It, under another name: a provider whose people consent.
    pub(crate) fn as_provider(self: &Arc<Self>, profile: Profile) -> Provider {
        Provider {
            profile: Arc::new(profile),
            issuer_binding: self.issuer_binding.as_str().into(),
            servers: Vec::new(),
            failures: FAILURES,
            tokens: TokenSource::Consent(self.clone()),
        }
    }
}

impl ConsentProvider for Google {
    fn binds_grants(&self) -> bool {
        self.habits().binds
    }

    fn consent<'a>(&'a self, request: &'a ConsentRequest<'a>) -> ProviderFuture<'a, Consent> {
        let mut books = self.books();
        books.serial += 1;
        books.begun.push(Begun {
            scopes: request.scopes.clone(),
            granted: request.granted.cloned(),
            login_hint: request.login_hint.map(str::to_owned),
        });
        let state = format!("state-{CANARY}-{}", books.serial);
        let habits = self.habits().clone();
        let consent = Consent {
            authorization_url: format!("https://accounts.example/auth?state={state}")
                .parse()
                .unwrap(),
            state: state.into(),
            nonce: format!("nonce-{}", books.serial),
            verifier: format!("verifier-{CANARY}-{}", books.serial).into(),
            proof_key: habits.binds.then(ProofKey::generate),
            cumulative: habits.cumulative,
        };
        Box::pin(std::future::ready(Ok(consent)))
    }

    fn refused_consent(&self, error: &str, description: Option<&str>) -> ProviderError {
        self.real.refused_consent(error, description)
    }

    fn exchange<'a>(
        &'a self,
        code: &'a AuthorizationCode,
        verifier: &'a PkceVerifier,
        proven: Option<Possession<'a>>,
    ) -> GrantFuture<'a> {
        Box::pin(async move {
            let bound_to = self.proven(proven)?;
            let server_time = self.server_time();
            let mut books = self.books();
            books.exchanged += 1;
            if let Some(fault) = books.exchange_faults.pop_front() {
                drop(books);
                return Err(self.error(&fault).into());
            }
            let Some((person, asked)) = books.codes.remove(code.expose()) else {
                drop(books);
                return Err(self.error(&Fault::invalid_grant()).into());
            };
            // As with `include_granted_scopes`: what was granted before stays granted.
            let cumulative = self.habits().cumulative;
            let before = books
                .grants
                .values()
                .filter(|grant| cumulative && grant.email == person.email && !grant.dead);
            let before = before.fold(ScopeSet::default(), |all, grant| all.union(&grant.scopes));
            let scopes = person.ticks.unwrap_or(asked).union(&before);
            let refresh_token = person
                .lasting
                .then(|| books.issue(&person.email, scopes.clone(), bound_to));
            if let Some(fault) = &person.spoilt {
                drop(books);
                return Err(NoToken {
                    refresh_token: refresh_token.map(Into::into),
                    ..self.error(fault).into()
                });
            }
            let access_token = books.access_token(&person.email, &scopes);
            let nonce = verifier.expose().rsplit('-').next().unwrap();
            Ok(TokenAnswer {
                access_token: access_token.into(),
                expires_in: Duration::from_secs(3600),
                scopes: Some(scopes),
                refresh_token: refresh_token.map(Into::into),
                refresh_token_expires_in: self.habits().grant_life,
                id_token: person.named.then(|| {
                    let identity = person.formerly.as_ref().unwrap_or(&person.email);
                    format!("{} nonce-{nonce} {identity}", person.email)
                }),
                server_time,
            })
        })
    }

    fn identify<'a>(
        &'a self,
        id_token: &'a str,
        nonce: Option<&'a str>,
        _now: Timestamp,
    ) -> ProviderFuture<'a, Identity> {
        Box::pin(async move {
            if let Some(fault) = self.identity_fault() {
                return Err(fault);
            }
            let mut parts = id_token.split(' ');
            let mut part = || parts.next().unwrap();
            let (email, its_nonce, identity) = (part(), part(), part());
            assert_eq!(Some(its_nonce), nonce, "the nonce belongs to another consent");
            Ok(Identity {
                subject: format!("sub-of-{identity}"),
                email: email.to_owned(),
            })
        })
    }

    fn refresh<'a>(
        &'a self,
        token: &'a RefreshToken,
        scopes: &'a ScopeSet,
        proven: Option<Possession<'a>>,
    ) -> GrantFuture<'a> {
        Box::pin(async move {
            let proven = self.proven(proven)?;
            let accepted = |grant: &Grant| grant.bound_to.is_none() || grant.bound_to == proven;
            if !self.books().grants.get(token.expose()).is_some_and(accepted) {
                return Err(self.error(&Fault::invalid_grant()).into());
            }
            let email = self.arrive(token.expose(), scopes);
            self.held(&email).await;
            self.answer(&email, token.expose(), scopes)
        })
    }

    fn userinfo<'a>(&'a self, token: &'a AccessToken) -> ProviderFuture<'a, Identity> {
        Box::pin(async move {
            if let Some(fault) = self.identity_fault() {
                return Err(fault);
            }
            let (email, scopes) = self.books().access_tokens[token.expose()].clone();
            if !scopes.contains(&"openid".parse().unwrap()) {
                return Err(self.error(&Fault::new(Remedy::Reconnect, "no_openid")));
            }
            Ok(Identity {
                subject: format!("sub-of-{email}"),
                email,
            })
        })
    }

    fn revoke<'a>(&'a self, token: &'a RefreshToken) -> ProviderFuture<'a, ()> {
        Box::pin(async move {
            let mut held = self.revocations_held.subscribe();
            let _ = held.wait_for(|held| !held).await;
            if let Some(fault) = self.revoke_fault.lock().unwrap().clone() {
                return Err(self.error(&fault));
            }
            let mut books = self.books();
            let presented = &books.grants[token.expose()];
            if presented.spent {
                // Nothing is known of it any more (RFC 7009, section 2.2), and its successor lives on.
                return Ok(());
            }
            let email = presented.email.clone();
            for grant in books.grants.values_mut().filter(|grant| grant.email == email) {
                grant.dead = true;
            }
            books.revoked.push(email);
            Ok(())
        })
    }

    fn read_grant(&self, text: &str) -> Result<RefreshToken, InvalidGrantFile> {
        self.real.read_grant(text)
    }

    fn explain_end(&self, connected_at: Timestamp, refused_at: Timestamp) -> Option<&'static str> {
        self.real.explain_end(connected_at, refused_at)
    }
}

impl AssertionProvider for Google {
    fn read_key(&self, text: &str) -> Result<AccountKey, InvalidKeyFile> {
        self.real.read_key(text)
    }

    fn assert<'a>(&'a self, request: &'a AssertionRequest<'a>) -> ProviderFuture<'a, TokenAnswer> {
        Box::pin(async move {
            let email = request.key.address.clone();
            let asserted = Asserted {
                email: email.clone(),
                key: request.key.id.clone(),
                subject: request.subject.map(str::to_owned),
                scopes: request.scopes.clone(),
                now: request.now,
            };
            self.books().assertions.push(asserted.clone());
            self.held(&email).await;
            self.redeem(&asserted)
        })
    }
}
