//! What Google's two kinds of accounts are called, and where their tokens go.

use crate::{
    id::ProviderId,
    provider::{
        google::failure_table::DECLINED,
        help_topics::HelpTopics,
        profile::{AccountField, EnvNames, Listed, Origin, Profile},
    },
};

/// Where a person sees which apps have access, and takes it from them.
const CONNECTIONS: &str = "https://myaccount.google.com/connections";

/// What Google's pages say in the browser alone, because there is nobody that it trusts enough to tell.
const UNANSWERED: &str = "If Google showed a page of its own instead, it names the reason: access blocked by an administrator \
    (admin_policy_enforced), an internal-only app (org_internal), a deleted or unknown client (deleted_client, \
    invalid_client), an embedded browser (disallowed_useragent), a redirect address that is not registered \
    (redirect_uri_mismatch), or an invalid request (invalid_request)";

/// What people read where it goes wrong.
static TOPICS: HelpTopics = HelpTopics {
    declined: "consent-denied",
    nothing_granted: "nothing-granted",
    no_refresh_token: "no-refresh-token",
    identity_unproven: "identity-unproven",
    unusable_answer: "not-google",
    no_connection: "no-connection",
    certificate: "certificate",
    proxy_credentials: "proxy-credentials",
};

fn id(text: &str) -> ProviderId {
    text.parse().expect("a constant, as a test shows")
}

/// A person's account (`google`).
pub fn account() -> Profile {
    Profile {
        id: id("google"),
        name: "Google".to_owned(),
        account: "Google account".to_owned(),
        any_account: "a Google account".to_owned(),
        accounts: "Google accounts".to_owned(),
        described: "a person's Google account".to_owned(),
        account_field: AccountField::Account,
        env: EnvNames::oauth("GOOGLE"),
        declined: DECLINED.to_owned(),
        topics: &TOPICS,
        unanswered: UNANSWERED.to_owned(),
        serves_google_libraries: true,
        origin: Origin::Consent {
            connections: Some(CONNECTIONS.to_owned()),
        },
    }
}

/// A service account (`google-sa`).
pub fn service_account() -> Profile {
    Profile {
        id: id("google-sa"),
        name: "Google".to_owned(),
        account: "service account".to_owned(),
        any_account: "a service account".to_owned(),
        accounts: "service accounts".to_owned(),
        described: "a service account, such as `google.sa`".to_owned(),
        account_field: AccountField::ServiceAccount,
        env: EnvNames {
            access_token: "GOOGLE_SA_ACCESS_TOKEN".to_owned(),
            expires_at: "GOOGLE_SA_TOKEN_EXPIRES_AT".to_owned(),
            capabilities: Listed::With(id("google")),
            account: Some("GOOGLE_SA_EMAIL".to_owned()),
        },
        declined: DECLINED.to_owned(),
        topics: &TOPICS,
        unanswered: UNANSWERED.to_owned(),
        serves_google_libraries: true,
        origin: Origin::Key {
            command: "token-broker service-account add".to_owned(),
            allowing: "the domain's administrator has to delegate the scopes to it".to_owned(),
            made_at: "https://console.cloud.google.com/iam-admin/serviceaccounts".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_constants_are_keys() {
        assert_eq!(account().id.as_str(), "google");
        assert_eq!(service_account().id.as_str(), "google-sa");
    }
}
