//! Refresh tokens: who holds them, when they die, and how they rotate.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;

use crate::{
    ids::{AccountId, ClientId},
    mint::RefreshClaims,
    options::Rotation,
    proofs::Thumbprint,
    scope::{self, ScopeSet},
    time::after,
};

/// How long a refresh token lives that nobody uses.
const UNUSED: Duration = Duration::from_secs(180 * 86_400);

/// What one refresh token, or a family of rotated ones, stands for.
pub(crate) struct Grant {
    pub(crate) account: AccountId,
    pub(crate) client: ClientId,
    pub(crate) scopes: Arc<ScopeSet>,
    /// The key that has to be proven with each use, where one was at the exchange.
    bound_to: Option<Thumbprint>,
    /// When the grant ends by itself (Testing mode).
    pub(crate) expires: Option<Timestamp>,
    last_used: Timestamp,
    /// The oldest generation that is still accepted, and the newest one that was handed out. All between
    /// are live: none of them has been used yet.
    base: u32,
    latest: u32,
}

impl Grant {
    /// Whether a request that proves this key may use it.
    pub(crate) fn is_proven_by(&self, proven: Option<&Thumbprint>) -> bool {
        self.bound_to.is_none() || self.bound_to.as_ref() == proven
    }
}

/// Why a refresh token is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Revoked, expired, displaced by the cap, or never issued.
    Dead,
    /// Rotated out, and its successor was used.
    Spent,
    /// Issued to another client.
    OtherClient,
    /// Bound to a key that the request does not prove.
    OtherKey,
}

/// All live grants.
#[derive(Default)]
pub(crate) struct Grants {
    by_id: HashMap<u64, Grant>,
    live: HashMap<(AccountId, ClientId), VecDeque<u64>>,
    next: u64,
}

impl Grants {
    /// Records a new grant; the oldest beyond `cap` of the same account and client goes, silently.
    pub(crate) fn add(
        &mut self,
        (account, client): (AccountId, ClientId),
        scopes: Arc<ScopeSet>,
        bound_to: Option<Thumbprint>,
        expires: Option<Timestamp>,
        cap: usize,
        now: Timestamp,
    ) -> RefreshClaims {
        let id = self.next;
        self.next += 1;
        self.by_id.insert(
            id,
            Grant {
                account,
                client,
                scopes,
                bound_to,
                expires,
                last_used: now,
                base: 0,
                latest: 0,
            },
        );
        let live = self.live.entry((account, client)).or_default();
        live.push_back(id);
        while live.len() > cap.max(1) {
            if let Some(oldest) = live.pop_front() {
                self.by_id.remove(&oldest);
            }
        }
        RefreshClaims {
            grant: id,
            generation: 0,
        }
    }

    /// Looks a refresh token up without using it.
    pub(crate) fn get(&self, token: RefreshClaims, now: Timestamp) -> Result<&Grant, Refusal> {
        let grant = self.by_id.get(&token.grant).ok_or(Refusal::Dead)?;
        let unused_too_long = after(grant.last_used, UNUSED) <= now;
        if unused_too_long || grant.expires.is_some_and(|end| end <= now) {
            return Err(Refusal::Dead);
        }
        if token.generation < grant.base {
            return Err(Refusal::Spent);
        }
        Ok(grant)
    }

    /// Uses a refresh token that [`Grants::get`] has accepted; the successor is there when it rotates.
    pub(crate) fn renew(
        &mut self,
        token: RefreshClaims,
        rotation: Rotation,
        now: Timestamp,
    ) -> Option<RefreshClaims> {
        let grant = self.by_id.get_mut(&token.grant)?;
        grant.last_used = now;
        // Its first use retires every older token of the family.
        grant.base = grant.base.max(token.generation);
        if rotation == Rotation::Off {
            return None;
        }
        grant.latest += 1;
        if rotation == Rotation::Strict {
            grant.base = grant.latest;
        }
        Some(RefreshClaims {
            grant: token.grant,
            generation: grant.latest,
        })
    }

    /// The newest refresh token of an account, over all clients.
    pub(crate) fn newest(&self, account: AccountId) -> Option<RefreshClaims> {
        let of_account = self.by_id.iter().filter(|(_, grant)| grant.account == account);
        let (id, grant) = of_account.max_by_key(|(id, _)| **id)?;
        Some(RefreshClaims {
            grant: *id,
            generation: grant.latest,
        })
    }

    /// Ends one grant.
    pub(crate) fn remove(&mut self, id: u64) {
        if let Some(grant) = self.by_id.remove(&id)
            && let Some(live) = self.live.get_mut(&(grant.account, grant.client))
        {
            live.retain(|other| *other != id);
        }
    }

    /// Ends the grants of an account, on every one of `clients` clients, that `which` names.
    pub(crate) fn remove_of(
        &mut self,
        account: AccountId,
        clients: usize,
        which: impl Fn(&ScopeSet) -> bool,
    ) {
        for client in (0..clients).map(ClientId) {
            let Some(live) = self.live.get_mut(&(account, client)) else {
                continue;
            };
            live.retain(|id| {
                let goes = self.by_id.get(id).is_none_or(|grant| which(&grant.scopes));
                if goes {
                    self.by_id.remove(id);
                }
                !goes
            });
        }
    }

    /// How many grants of an account and client are on record.
    pub(crate) fn count(&self, account: AccountId, client: ClientId) -> usize {
        self.live.get(&(account, client)).map_or(0, VecDeque::len)
    }
}

/// Whether a password change ends a grant with these scopes.
pub(crate) fn ends_with_password(scopes: &ScopeSet) -> bool {
    scopes.iter().any(scope::is_gmail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scope::ScopeTable;

    const WHO: (AccountId, ClientId) = (AccountId(0), ClientId(0));

    fn now() -> Timestamp {
        "2024-01-15T10:30:00Z".parse().unwrap()
    }

    fn one() -> (Grants, RefreshClaims) {
        let mut grants = Grants::default();
        let token = grants.add(WHO, ScopeTable::default().intern(["a"]), None, None, 100, now());
        (grants, token)
    }

    #[test]
    fn with_leeway_the_old_token_lives_until_the_new_one_is_used() {
        let (mut grants, first) = one();
        let lost = grants.renew(first, Rotation::Leeway, now()).unwrap();
        assert!(grants.get(first, now()).is_ok());
        let kept = grants.renew(first, Rotation::Leeway, now()).unwrap();
        assert!(
            grants.get(lost, now()).is_ok(),
            "answers may arrive in either order"
        );
        grants.renew(kept, Rotation::Leeway, now());
        assert_eq!(grants.get(first, now()).err(), Some(Refusal::Spent));
        assert_eq!(grants.get(lost, now()).err(), Some(Refusal::Spent));
        assert!(grants.get(kept, now()).is_ok());
    }

    #[test]
    fn without_leeway_the_old_token_is_spent_at_once() {
        let (mut grants, first) = one();
        let second = grants.renew(first, Rotation::Strict, now()).unwrap();
        assert_eq!(grants.get(first, now()).err(), Some(Refusal::Spent));
        assert!(grants.get(second, now()).is_ok());
    }

    #[test]
    fn the_oldest_beyond_the_cap_goes() {
        let (mut grants, first) = one();
        let scopes = ScopeTable::default().intern(["a"]);
        let second = grants.add(WHO, scopes.clone(), None, None, 2, now());
        assert!(grants.get(first, now()).is_ok());
        let other = grants.add((AccountId(0), ClientId(1)), scopes.clone(), None, None, 2, now());
        grants.add(WHO, scopes, None, None, 2, now());
        assert_eq!(grants.get(first, now()).err(), Some(Refusal::Dead));
        assert!(grants.get(second, now()).is_ok() && grants.get(other, now()).is_ok());
        assert_eq!(grants.count(WHO.0, WHO.1), 2);
    }

    #[test]
    fn six_months_unused_end_a_grant() {
        let (mut grants, token) = one();
        let later = after(now(), UNUSED / 2);
        grants.renew(token, Rotation::Off, later);
        assert!(grants.get(token, after(now(), UNUSED)).is_ok());
        assert_eq!(grants.get(token, after(later, UNUSED)).err(), Some(Refusal::Dead));
    }
}
