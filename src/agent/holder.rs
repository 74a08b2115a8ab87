//! Who holds an agent: for whom it acts, and who may have what it is given.

use serde::{Deserialize, Serialize};

use super::{Manifest, PodIdentity};
use crate::{
    catalog::IntegrationKind,
    id::{AgentName, OwnerId},
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
            uid: self.uid,
            gid: self.gid,
            kubernetes: self.kubernetes.clone(),
            integrations: Vec::new(),
        }
    }

    /// Whose account the agent uses.
    pub fn owner(&self) -> &OwnerId {
        &self.owner
    }

    /// The address that names the account of this kind, where one does.
    pub fn account(&self, kind: IntegrationKind) -> Option<&str> {
        match kind {
            IntegrationKind::Google => self.account.as_deref(),
            IntegrationKind::GoogleServiceAccount => self.service_account.as_deref(),
        }
    }

    /// The manifest's fields that make `other` another holder; none when it is the same. Where the addresses of an
    /// account differ, `same_account` says whether the two mean the same one.
    pub fn differences(
        &self,
        other: &Self,
        same_account: impl Fn(IntegrationKind) -> bool,
    ) -> Vec<&'static str> {
        let same_owner = self.owner == other.owner;
        let named_alike = |kind| {
            let (a, b) = (self.account(kind), other.account(kind));
            a.map(str::to_ascii_lowercase) == b.map(str::to_ascii_lowercase)
        };
        let same = |kind| named_alike(kind) || (same_owner && same_account(kind));
        [
            ("owner", same_owner),
            ("account", same(IntegrationKind::Google)),
            ("service_account", same(IntegrationKind::GoogleServiceAccount)),
            ("uid", self.uid == other.uid),
            ("gid", self.gid == other.gid),
            ("kubernetes", self.kubernetes == other.kubernetes),
        ]
        .into_iter()
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
        assert!(
            differs(&full.replace("a@", "A@")).is_empty(),
            "addresses have no case"
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
        let google = |kind| kind == IntegrationKind::Google;
        assert!(old.differences(&new, google).is_empty());
        let mut of_bob = new.clone();
        of_bob.owner = "bob".parse().unwrap();
        assert_eq!(old.differences(&of_bob, google), ["owner", "account"]);
    }
}
