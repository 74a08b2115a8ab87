//! What an agent declared against what its owner granted.
//!
//! Google narrows a token by literal scope strings: one that was not literally granted fails the whole
//! request, even where a wider one was granted. So a resolution names only scopes that are in the grant.

use super::document::Requirement;
use crate::{
    capability::{Catalog, Coverage, ScopeSet, UnknownCapability},
    id::{CapabilityKey, ProviderId},
};

/// How one requirement stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedCapability {
    /// The declared key.
    pub key: CapabilityKey,
    /// The grant covers it.
    pub granted: bool,
    /// The agent works without it.
    pub optional: bool,
    /// The wider key that satisfies it, when its own scopes were not granted.
    pub satisfied_by: Option<CapabilityKey>,
    /// The literally granted scopes that it is exercised with; empty when it is not granted.
    pub scopes: ScopeSet,
}

/// How an agent's requirements of one provider stand.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resolution {
    /// Each requirement of this provider, in the order it was declared.
    pub capabilities: Vec<ResolvedCapability>,
    /// The literally granted scopes that the granted ones need, and no others.
    pub scopes: ScopeSet,
    /// Required and not granted. While there is one, the agent gets no token.
    pub missing_required: Vec<CapabilityKey>,
    /// Optional and not granted.
    pub missing_optional: Vec<CapabilityKey>,
    /// Not in the catalogue (any more), so no consent can help. They are also among the missing.
    pub unknown: Vec<CapabilityKey>,
}

/// Some of an agent's capabilities, and the scopes for just those.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Narrowed {
    /// The capabilities, in the order they were declared.
    pub capabilities: Vec<CapabilityKey>,
    /// The literally granted scopes that they need, and no others.
    pub scopes: ScopeSet,
}

/// Why a token cannot be narrowed to the capabilities that were asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NarrowError {
    /// The catalogue has no such key.
    #[error(transparent)]
    Unknown(#[from] UnknownCapability),
    /// The agent did not declare it.
    #[error("`{0}` is not among the integrations that this agent's manifest declares")]
    NotDeclared(CapabilityKey),
    /// The agent declared it and its owner did not grant it.
    #[error("`{0}` is declared, but the owner has not granted it")]
    NotGranted(CapabilityKey),
}

/// Compares what an agent declared of one provider with the scopes that an account there has.
///
/// A capability's own scopes are preferred; where only a wider capability's were granted, those stand in.
/// What is exercised with another provider's account is left out: neither can stand for the other.
pub fn resolve(
    provider: &ProviderId,
    catalog: &Catalog,
    requirements: &[Requirement],
    granted: &ScopeSet,
) -> Resolution {
    let mut resolution = Resolution::default();
    for requirement in requirements
        .iter()
        .filter(|r| catalog.provider_of(&r.key) == provider)
    {
        let capability = catalog.get(&requirement.key);
        if capability.is_none() {
            resolution.unknown.push(requirement.key.clone());
        }
        let (scopes, satisfied_by) = match capability {
            Some(own) => match catalog.coverage(own, granted) {
                Coverage::Own => (own.scopes.clone(), None),
                Coverage::Wider(wider) => (wider.scopes.clone(), Some(wider.key.clone())),
                Coverage::None => (ScopeSet::default(), None),
            },
            None => (ScopeSet::default(), None),
        };
        let resolved = ResolvedCapability {
            key: requirement.key.clone(),
            // A capability has at least one scope, so no scopes means that nothing covers it.
            granted: !scopes.is_empty(),
            optional: requirement.optional,
            satisfied_by,
            scopes,
        };
        if !resolved.granted {
            let missing = if resolved.optional {
                &mut resolution.missing_optional
            } else {
                &mut resolution.missing_required
            };
            missing.push(resolved.key.clone());
        }
        resolution.capabilities.push(resolved);
    }
    resolution.scopes = union(resolution.capabilities.iter());
    resolution
}

impl Resolution {
    /// The declared keys that are granted, in the order they were declared.
    pub fn granted(&self) -> impl Iterator<Item = &CapabilityKey> {
        self.capabilities.iter().filter(|c| c.granted).map(|c| &c.key)
    }

    /// Narrows to some of the declared capabilities. All of them must be granted; repetition is harmless.
    pub fn narrow(&self, catalog: &Catalog, keys: &[CapabilityKey]) -> Result<Narrowed, NarrowError> {
        for key in keys {
            match self.capabilities.iter().find(|c| c.key == *key) {
                Some(declared) if declared.granted => {}
                Some(_) => return Err(NarrowError::NotGranted(key.clone())),
                None => {
                    catalog.require(key)?;
                    return Err(NarrowError::NotDeclared(key.clone()));
                }
            }
        }
        let chosen: Vec<_> = self
            .capabilities
            .iter()
            .filter(|c| keys.contains(&c.key))
            .collect();
        Ok(Narrowed {
            capabilities: chosen.iter().map(|c| c.key.clone()).collect(),
            scopes: union(chosen.into_iter()),
        })
    }
}

fn union<'a>(capabilities: impl Iterator<Item = &'a ResolvedCapability>) -> ScopeSet {
    capabilities.flat_map(|c| c.scopes.iter()).cloned().collect()
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::subsequence};

    use super::*;

    fn google() -> ProviderId {
        "google".parse().unwrap()
    }

    fn key(text: &str) -> CapabilityKey {
        text.parse().unwrap()
    }

    fn required(text: &str) -> Requirement {
        Requirement {
            key: key(text),
            description: String::new(),
            optional: false,
        }
    }

    fn optional(text: &str) -> Requirement {
        Requirement {
            optional: true,
            ..required(text)
        }
    }

    fn scopes(names: &[&str]) -> ScopeSet {
        let full = |name: &&str| format!("https://www.googleapis.com/auth/{name}").parse().unwrap();
        names.iter().map(full).collect()
    }

    fn resolved(requirements: &[Requirement], granted: &[&str]) -> Resolution {
        resolve(&google(), &Catalog::builtin(), requirements, &scopes(granted))
    }

    #[test]
    fn an_agent_gets_what_it_declared_and_no_more() {
        let resolution = resolved(&[required("google.gmail.send")], &["gmail.send", "drive"]);
        assert_eq!(resolution.scopes, scopes(&["gmail.send"]));
        assert!(resolution.missing_required.is_empty());
    }

    #[test]
    fn a_wider_grant_stands_in_literally_and_is_named() {
        let resolution = resolved(&[required("google.calendar.readonly")], &["calendar"]);
        assert_eq!(resolution.scopes, scopes(&["calendar"]));
        assert_eq!(
            resolution.capabilities[0].satisfied_by,
            Some(key("google.calendar"))
        );
    }

    #[test]
    fn the_narrow_scope_is_preferred_where_it_was_granted() {
        let resolution = resolved(
            &[required("google.calendar.readonly")],
            &["calendar", "calendar.readonly"],
        );
        assert_eq!(resolution.scopes, scopes(&["calendar.readonly"]));
        assert_eq!(resolution.capabilities[0].satisfied_by, None);
    }

    #[test]
    fn what_is_missing_is_told_apart_by_need() {
        let wants = [
            required("google.gmail.send"),
            optional("google.drive"),
            required("google.docs"),
        ];
        let resolution = resolved(&wants, &["gmail.send"]);
        assert_eq!(resolution.missing_required, [key("google.docs")]);
        assert_eq!(resolution.missing_optional, [key("google.drive")]);
        assert_eq!(
            resolution.granted().collect::<Vec<_>>(),
            [&key("google.gmail.send")]
        );
    }

    #[test]
    fn a_key_that_left_the_catalogue_is_missing_and_unknown() {
        let resolution = resolved(&[required("google.tasks")], &["drive"]);
        assert_eq!(resolution.missing_required, [key("google.tasks")]);
        assert_eq!(resolution.unknown, [key("google.tasks")]);
    }

    #[test]
    fn a_person_and_a_service_account_are_resolved_apart() {
        let wants = [
            required("google.sa"),
            required("google.sheets"),
            required("google.tasks"),
        ];
        let all = ["spreadsheets", "documents", "drive"];
        let of_person = resolved(&wants, &all);
        assert_eq!(of_person.scopes, scopes(&["spreadsheets"]));
        // Nobody knows what it is for: it is the person's.
        assert_eq!(of_person.missing_required, [key("google.tasks")]);
        let of_account = resolve(
            &"google-sa".parse().unwrap(),
            &Catalog::builtin(),
            &wants,
            &scopes(&all),
        );
        assert_eq!(of_account.scopes, scopes(&all));
        assert_eq!(of_account.granted().collect::<Vec<_>>(), [&key("google.sa")]);
        assert_eq!(of_account.capabilities.len(), 1);
    }

    #[test]
    fn narrowing_keeps_to_what_is_declared_and_granted() {
        let catalog = Catalog::builtin();
        let wants = [
            required("google.gmail.send"),
            required("google.calendar.readonly"),
            optional("google.docs"),
        ];
        let resolution = resolved(&wants, &["gmail.send", "calendar", "drive"]);
        let narrow = |names: &[&str]| {
            let keys: Vec<_> = names.iter().map(|name| key(name)).collect();
            resolution.narrow(&catalog, &keys).map_err(|e| e.to_string())
        };
        let calendar = narrow(&["google.calendar.readonly", "google.calendar.readonly"]).unwrap();
        assert_eq!(calendar.scopes, scopes(&["calendar"]));
        assert_eq!(calendar.capabilities, [key("google.calendar.readonly")]);
        assert_eq!(
            narrow(&["google.drive"]).unwrap_err(),
            "`google.drive` is not among the integrations that this agent's manifest declares"
        );
        assert_eq!(
            narrow(&["google.docs"]).unwrap_err(),
            "`google.docs` is declared, but the owner has not granted it"
        );
        assert_eq!(
            narrow(&["google.gmail.sned"]).unwrap_err(),
            "`google.gmail.sned` is not in the catalogue: did you mean `google.gmail.send`?"
        );
    }

    fn any_requirements() -> impl Strategy<Value = Vec<Requirement>> {
        let keys: Vec<_> = Catalog::builtin().iter().map(|c| c.key.clone()).collect();
        let count = keys.len();
        (subsequence(keys, 0..=count), vec(any::<bool>(), count)).prop_map(|(keys, optional)| {
            let with_need = keys.into_iter().zip(optional);
            with_need
                .map(|(key, optional)| Requirement {
                    key,
                    optional,
                    description: String::new(),
                })
                .collect()
        })
    }

    fn any_grant() -> impl Strategy<Value = ScopeSet> {
        let catalog = Catalog::builtin();
        let mut all: Vec<_> = catalog.iter().flat_map(|c| c.scopes.iter().cloned()).collect();
        all.extend(scopes(&["userinfo.email", "tasks"]).iter().cloned());
        let count = all.len();
        subsequence(all, 0..=count).prop_map(|scopes| scopes.into_iter().collect())
    }

    proptest! {
        #[test]
        fn scopes_are_granted_and_within_the_declared_needs(wants in any_requirements(), grant in any_grant()) {
            let catalog = Catalog::builtin();
            let resolution = resolve(&google(), &catalog, &wants, &grant);
            prop_assert!(resolution.scopes.is_subset(&grant));
            // Independently of how it was resolved: what the declared keys and their wider keys need.
            let mut needs = ScopeSet::default();
            for want in &wants {
                let capability = catalog.get(&want.key).unwrap();
                needs = needs.union(&capability.scopes);
                for wider in &capability.satisfied_by {
                    needs = needs.union(&catalog.get(wider).unwrap().scopes);
                }
            }
            prop_assert!(resolution.scopes.is_subset(&needs));
        }

        #[test]
        fn missing_is_reported_exactly_when_nothing_covers_it(wants in any_requirements(), grant in any_grant()) {
            let catalog = Catalog::builtin();
            let resolution = resolve(&google(), &catalog, &wants, &grant);
            let covered = catalog.covered_by(&google(), &grant);
            let of_person = |want: &&Requirement| *catalog.provider_of(&want.key) == google();
            for want in wants.iter().filter(of_person) {
                let missing = !covered.contains(&want.key);
                prop_assert_eq!(resolution.missing_required.contains(&want.key), missing && !want.optional);
                prop_assert_eq!(resolution.missing_optional.contains(&want.key), missing && want.optional);
            }
            prop_assert_eq!(resolution.capabilities.len(), wants.iter().filter(of_person).count());
        }

        #[test]
        fn narrowing_to_all_that_is_granted_changes_nothing(wants in any_requirements(), grant in any_grant()) {
            let catalog = Catalog::builtin();
            let resolution = resolve(&google(), &catalog, &wants, &grant);
            let all: Vec<_> = resolution.granted().cloned().collect();
            let narrowed = resolution.narrow(&catalog, &all).unwrap();
            prop_assert_eq!(&narrowed.scopes, &resolution.scopes);
            for key in &all {
                let one = resolution.narrow(&catalog, std::slice::from_ref(key)).unwrap();
                prop_assert!(one.scopes.is_subset(&resolution.scopes));
                prop_assert!(!one.scopes.is_empty());
            }
        }
    }
}
