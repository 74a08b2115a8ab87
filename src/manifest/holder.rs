//! Who holds an agent: for whom it acts, and who may have what it is given.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Manifest, PodIdentity};
use crate::{
    id::{AgentName, OwnerId, ProviderId},
    provider::AccountField,
};

/// The part of a manifest that says whose agent it is. An agent with another holder is another agent, also where it has
/// the same name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    owner: OwnerId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    account: Option<Box<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    service_account: Option<Box<str>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    accounts: BTreeMap<ProviderId, Box<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gid: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kubernetes: Option<Box<PodIdentity>>,
}

impl Holder {
    /// Who holds the agent that this manifest declares.
    pub fn of(manifest: &Manifest) -> Self {
        Self {
            owner: manifest.owner.clone(),
            account: manifest.account.clone(),
            service_account: manifest.service_account.clone(),
            accounts: manifest.accounts.clone(),
            uid: manifest.uid,
            gid: manifest.gid,
            kubernetes: manifest.kubernetes.clone(),
        }
    }

    /// A manifest of this holder's agent that asks for nothing.
    pub fn undeclared(&self, agent: AgentName) -> Manifest {
        Manifest {
            agent,
            owner: self.owner.clone(),
            account: self.account.clone(),
            service_account: self.service_account.clone(),
            accounts: self.accounts.clone(),
            uid: self.uid,
            gid: self.gid,
            kubernetes: self.kubernetes.clone(),
            nodes: Vec::new(),
            integrations: Vec::new(),
        }
    }

    /// Whose account the agent uses.
    pub fn owner(&self) -> &OwnerId {
        &self.owner
    }

    /// The address in one of the fields that name accounts.
    pub fn account_in(&self, field: &AccountField) -> Option<&str> {
        match field {
            AccountField::Account => self.account.as_deref(),
            AccountField::ServiceAccount => self.service_account.as_deref(),
            AccountField::Accounts(provider) => self.accounts.get(provider).map(|address| &**address),
        }
    }

    /// The manifest's fields that make `other` another holder; none when it is the same. Where the addresses of an
    /// account differ, `same_account` says whether the two mean the same one.
    pub fn differences(&self, other: &Self, same_account: impl Fn(&AccountField) -> bool) -> Vec<String> {
        let same_owner = self.owner == other.owner;
        let same = |field: &AccountField| {
            let (a, b) = (self.account_in(field), other.account_in(field));
            let named_alike = a.map(str::to_ascii_lowercase) == b.map(str::to_ascii_lowercase);
            named_alike || (same_owner && same_account(field))
        };
        let named: BTreeSet<&ProviderId> = self.accounts.keys().chain(other.accounts.keys()).collect();
        let others = named.into_iter().cloned().map(AccountField::Accounts);
        let accounts = [AccountField::Account, AccountField::ServiceAccount]
            .into_iter()
            .chain(others)
            .map(|field| (field.to_string(), same(&field)));
        let rest = [
            ("uid", self.uid == other.uid),
            ("gid", self.gid == other.gid),
            ("kubernetes", self.kubernetes == other.kubernetes),
        ];
        std::iter::once(("owner".to_owned(), same_owner))
            .chain(accounts)
            .chain(rest.map(|(field, same)| (field.to_owned(), same)))
            .filter_map(|(field, same)| (!same).then_some(field))
            .collect()
    }

    /// This holder as one line of JSON: equal for equal holders.
    #[expect(clippy::missing_panics_doc, reason = "it cannot fail for texts and numbers")]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a holder is only texts and numbers")
    }

    /// Reads what [`Holder::to_json`] wrote; `None` for anything else.
    pub fn from_json(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(rest: &str) -> Holder {
        let text = format!(r#"{{"agent":"bot","owner":"alice"{rest}}}"#);
        Holder::of(&Manifest::from_json(&text).unwrap())
    }

    #[test]
    fn each_field_that_says_whose_it_is_makes_a_difference_and_what_it_needs_does_not() {
        let full = r#","account":"a@example.com","service_account":"r@p.iam.gserviceaccount.com","uid":1,"gid":2,
            "kubernetes":{"namespace":"n","serviceAccount":"s"}"#;
        let one = holder(full);
        let differs = |rest: &str| one.differences(&holder(rest), |_| false);
        assert!(differs(full).is_empty());
        assert!(differs(&format!(r#"{full},"integrations":[{{"key":"google.drive"}}]"#)).is_empty());
        assert!(differs(&format!(r#"{full},"nodes":["node-7"]"#)).is_empty());
        assert!(
            differs(&full.replace("a@", "A@")).is_empty(),
            "addresses have no case"
        );
        let with_accounts = |address: &str| format!(r#"{full},"accounts":{{"acme":"{address}"}}"#);
        assert_eq!(differs(&with_accounts("a@acme")), ["accounts.acme"]);
        assert!(
            holder(&with_accounts("a@acme"))
                .differences(&holder(&with_accounts("A@acme")), |_| false)
                .is_empty()
        );
        for (from, to, field) in [
            ("a@example", "b@example", "account"),
            ("r@p", "q@p", "service_account"),
            (r#""uid":1"#, r#""uid":3"#, "uid"),
            (r#""gid":2"#, r#""gid":3"#, "gid"),
            (r#""namespace":"n""#, r#""namespace":"m""#, "kubernetes"),
            (r#""serviceAccount":"s""#, r#""serviceAccount":"t""#, "kubernetes"),
        ] {
            assert_eq!(differs(&full.replace(from, to)), [field]);
        }
        assert_eq!(
            differs(""),
            ["account", "service_account", "uid", "gid", "kubernetes"]
        );
        assert_eq!(Holder::from_json(&one.to_json()), Some(one));
        assert_eq!(Holder::from_json("{}"), None);
    }

    #[test]
    fn two_addresses_of_one_account_are_the_same_for_one_owner_alone() {
        let (old, new) = (holder(r#","account":"old@x""#), holder(r#","account":"new@x""#));
        let google = |field: &AccountField| *field == AccountField::Account;
        assert!(old.differences(&new, google).is_empty());
        let mut of_bob = new.clone();
        of_bob.owner = "bob".parse().unwrap();
        assert_eq!(old.differences(&of_bob, google), ["owner", "account"]);
    }
}
