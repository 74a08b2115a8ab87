//! An account's names: its id here, its address, and those that it had before. What it is, is its `sub`.

use std::sync::Arc;

use crate::{store::IntegrationRecord, text::same_address};

/// So many former addresses are kept, the latest.
const MOST_FORMER: usize = 16;

/// Those of `accounts` that go by `name`: their id, their address as it is now, or, where none is, as it was before. An
/// address that somebody else has by now means them.
pub fn going_by<T>(
    accounts: impl Iterator<Item = T>,
    name: &str,
    record: impl Fn(&T) -> &IntegrationRecord,
) -> Vec<T> {
    let is_now = |account: &T| is_called(record(account), name);
    let was_once = |account: &T| is_among(&record(account).former, name);
    let (now, others): (Vec<T>, Vec<T>) = accounts.partition(is_now);
    if now.is_empty() {
        others.into_iter().filter(was_once).collect()
    } else {
        now
    }
}

/// True where this is the account's id, or its address as it is now.
pub(crate) fn is_called(record: &IntegrationRecord, name: &str) -> bool {
    record.id.as_str() == name || same_address(&record.account, name)
}

fn is_among(addresses: &[String], address: &str) -> bool {
    addresses.iter().any(|one| same_address(one, address))
}

/// The former addresses of an account that was `before` and has the address `now`.
pub(crate) fn former(before: Option<&IntegrationRecord>, now: &str) -> Arc<[String]> {
    let Some(before) = before else {
        return Arc::default();
    };
    let mut former: Vec<String> = before.former.to_vec();
    former.retain(|one| !same_address(one, &before.account));
    former.push(before.account.clone());
    former.retain(|one| !same_address(one, now));
    let surplus = former.len().saturating_sub(MOST_FORMER);
    former.drain(..surplus);
    former.into()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::{capability::ScopeSet, store::Health, vault::Sealed};

    fn record() -> IntegrationRecord {
        IntegrationRecord {
            id: "int_00000000000000000000".parse().unwrap(),
            provider: "google".parse().unwrap(),
            owner: "alice".parse().unwrap(),
            subject: "1098".to_owned(),
            account: "alice@x".to_owned(),
            former: Arc::default(),
            issuer_binding: "https://oauth2.example/token#client".into(),
            scopes: ScopeSet::default(),
            declined: Arc::default(),
            health: Health::Active,
            version: 1,
            connected_at: Timestamp::UNIX_EPOCH,
            renewed_at: None,
            grant_expires_at: None,
            renewal: None,
            secret: Sealed::from_bytes(Vec::new()),
            proof_key: None,
        }
    }

    #[test]
    fn a_present_address_wins_over_a_former_one() {
        let named = |now: &str, before: &[&str]| IntegrationRecord {
            account: now.to_owned(),
            former: before.iter().map(ToString::to_string).collect(),
            ..record()
        };
        let found = |accounts: &[IntegrationRecord], address: &str| -> Vec<String> {
            let found = going_by(accounts.iter(), address, |record| record);
            found.into_iter().map(|record| record.account.clone()).collect()
        };
        let renamed = named("new@x", &["older@x", "old@x"]);
        let other = named("old@x", &[]);
        assert_eq!(found(std::slice::from_ref(&renamed), "OLD@x"), ["new@x"]);
        assert_eq!(found(std::slice::from_ref(&renamed), "older@x"), ["new@x"]);
        assert_eq!(found(&[renamed.clone(), other.clone()], "old@x"), ["old@x"]);
        assert_eq!(found(&[renamed.clone(), other.clone()], "new@x"), ["new@x"]);
        let both = [renamed.clone(), named("third@x", &["old@x"])];
        assert_eq!(found(&both, "old@x"), ["new@x", "third@x"]);
        assert!(found(&both, "nobody@x").is_empty());
        let twin = IntegrationRecord {
            id: "int_00000000000000000001".parse().unwrap(),
            ..other.clone()
        };
        let twins = [other, twin];
        assert_eq!(found(&twins, "old@x").len(), 2);
        let by_id = going_by(twins.iter(), "int_00000000000000000001", |record| record);
        assert!(by_id.len() == 1 && std::ptr::eq(by_id[0], &raw const twins[1]));
    }

    #[test]
    fn former_addresses_are_kept_once_and_not_without_end() {
        let mut account = record();
        account.account = "a0@x".to_owned();
        assert!(
            former(Some(&account), "A0@X").is_empty(),
            "the same in another case"
        );
        for number in 1..40 {
            let now = format!("a{number}@x");
            account.former = former(Some(&account), &now);
            account.account = now;
        }
        assert_eq!(account.former.len(), MOST_FORMER);
        assert_eq!(account.former.last().unwrap(), "a38@x");
        // Back to one of before.
        let back = former(Some(&account), "a38@x");
        assert_eq!(
            (back.len(), back.last().unwrap().as_str()),
            (MOST_FORMER, "a39@x")
        );
        assert!(former(None, "a@x").is_empty());
    }
}
