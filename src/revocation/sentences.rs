//! What people are told of revocations that are not done, and what the trail says of those that have ended.

use crate::revocation::fault::{RevocationEnding, RevocationFault, RevocationProblem};

/// What is said where a renewal that is under way may bring the grant that is to be revoked.
pub(crate) const AFTER_RENEWAL: &str = "the grant is revoked at the provider when a renewal that is under way has \
                                        ended (`token-broker integrations list` shows it until then)";

/// Why a grant could not be revoked.
fn fault(fault: &RevocationFault) -> String {
    match fault {
        RevocationFault::OtherBinding(binding) => {
            format!("it belongs to {binding}, which is not the client and endpoint in the configuration")
        }
        RevocationFault::UnreadableRecord => "its record could not be read".to_owned(),
        RevocationFault::Sealed(error) => error.to_string(),
        RevocationFault::NotText => "the grant is not text".to_owned(),
        RevocationFault::Provider(fault) => fault.to_string(),
    }
}

/// How a revocation ended.
pub(crate) fn ending(ending: &RevocationEnding) -> String {
    match ending {
        RevocationEnding::Revoked => "revoked at the provider".to_owned(),
        RevocationEnding::ConnectedAgain => "given up: the account was connected again".to_owned(),
        RevocationEnding::GivenUp(why) => {
            format!(
                "given up ({}): the owner can remove it at the provider",
                fault(why)
            )
        }
    }
}

/// Why a revocation is still owed.
pub(crate) fn problem(problem: &RevocationProblem) -> String {
    match problem {
        RevocationProblem::Fault(why) => fault(why),
        RevocationProblem::NotDeleted { ending: how, error } => {
            format!("{}, which the database does not take: {error}", ending(how))
        }
    }
}

/// What somebody who disconnects is told of a grant that is to be revoked later.
pub(crate) fn not_yet(why: &RevocationProblem) -> String {
    format!(
        "the grant could not be revoked at the provider yet, which is tried until it is done (`token-broker integrations \
         list` shows it): {}",
        problem(why)
    )
}

/// What somebody who disconnects is told of a grant that cannot be revoked from here. `connections` is where its owner
/// can remove it.
pub(crate) fn unrevoked(why: &RevocationFault, connections: Option<&str>) -> String {
    let place = connections.map_or_else(|| "there".to_owned(), |page| format!("at {page}"));
    format!(
        "the grant could not be revoked at the provider ({}): the owner can remove it {place}",
        fault(why)
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{cause::UnusableAnswer, provider::ProviderError, store::StoreError, vault::VaultError};

    fn no_endpoint() -> ProviderError {
        ProviderError::unusable(UnusableAnswer::NoRevocation {
            host: "h".to_owned(),
            status: 204,
        })
    }

    #[test]
    fn what_is_owed_says_why() {
        let sealed = VaultError::Outdated {
            what: "the grant of int_1".to_owned(),
        };
        for (why, sentence) in [
            (
                RevocationFault::OtherBinding("https://a.example/token#client".into()),
                "it belongs to https://a.example/token#client, which is not the client and endpoint in the configuration",
            ),
            (
                RevocationFault::Sealed(sealed),
                "the grant of int_1 is sealed as it was before rows were bound to the master key: it was put there from \
                 an old copy of the database",
            ),
            (
                no_endpoint().into(),
                "What answered for h (status 204) is no revocation endpoint. A proxy may stand between. It is tried again.",
            ),
        ] {
            assert_eq!(problem(&why.clone().into()), sentence);
            assert_eq!(
                not_yet(&why.into()),
                format!(
                    "the grant could not be revoked at the provider yet, which is tried until it is done (`token-broker \
                     integrations list` shows it): {sentence}"
                )
            );
        }
        let error = Arc::new(StoreError::Closed);
        let not_deleted = |ending| {
            let error = error.clone();
            problem(&RevocationProblem::NotDeleted { ending, error })
        };
        assert_eq!(
            not_deleted(RevocationEnding::Revoked),
            "revoked at the provider, which the database does not take: the store is closed"
        );
        assert_eq!(
            not_deleted(RevocationEnding::GivenUp(RevocationFault::NotText)),
            "given up (the grant is not text): the owner can remove it at the provider, which the database does not \
             take: the store is closed"
        );
    }

    #[test]
    fn what_cannot_be_revoked_says_where_its_owner_can_remove_it() {
        assert_eq!(
            unrevoked(&RevocationFault::UnreadableRecord, None),
            "the grant could not be revoked at the provider (its record could not be read): the owner can remove it there"
        );
        assert_eq!(
            unrevoked(&RevocationFault::NotText, Some("https://a.example/connections")),
            "the grant could not be revoked at the provider (the grant is not text): the owner can remove it at \
             https://a.example/connections"
        );
        assert_eq!(
            ending(&RevocationEnding::ConnectedAgain),
            "given up: the account was connected again"
        );
    }
}
