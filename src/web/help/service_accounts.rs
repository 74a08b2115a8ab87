//! What Google answers where a service account is concerned.

use super::{
    Actor::{Administrator, Operator},
    Meanwhile::Renewal,
    Topic, act, run, step,
};
use crate::broker::AgentState::Misconfigured;

/// The pages of the rows that only a service account meets.
pub(super) const TOPICS: &[Topic] = &[
    Topic {
        slug: "service-account-key-refused",
        title: "Google does not accept the service account's key",
        what: &[
            "A service account is an account for programs; it signs in with a key file. Google does not take this one: \
             the key or the account was deleted or disabled, or this machine's clock is off by minutes.",
        ],
        acts: &[act(
            Operator,
            &[
                run("Check the clock first.", "token-broker doctor"),
                step(
                    "In the Google Cloud console, under [IAM & Admin, Service \
                     accounts](https://console.cloud.google.com/iam-admin/serviceaccounts), see that the account is \
                     enabled, and make a new key: **Keys**, **Add key**, **JSON**.",
                ),
                run(
                    "Add the key; it takes the place of the old one without a gap.",
                    "token-broker service-account add --owner OWNER --key FILE",
                ),
            ],
        )],
        meanwhile: Renewal(Misconfigured),
        words: &[
            "Invalid JWT Signature.",
            "Invalid grant: account not found",
            "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe.",
        ],
    },
    Topic {
        slug: "service-account-not-allowed",
        title: "Google gives this service account no tokens",
        what: &[
            "The service account exists, and its key is good, but its project or its organisation does not let it do \
             this.",
        ],
        acts: &[
            act(
                Operator,
                &[
                    step(
                        "In the Google Cloud console, enable the APIs that the agents use, under [APIs & \
                         Services](https://console.cloud.google.com/apis/library), in the project of the service \
                         account.",
                    ),
                    run(
                        "Ask Google at once.",
                        "token-broker integrations check --owner OWNER",
                    ),
                ],
            ),
            act(
                Administrator,
                &[step(
                    "Look for a rule that forbids it, under [IAM & Admin, Organisation \
                     policies](https://console.cloud.google.com/iam-admin/orgpolicies).",
                )],
            ),
        ],
        meanwhile: Renewal(Misconfigured),
        words: &["Error 401: unauthorized_client", "Access denied"],
    },
    Topic {
        slug: "service-account-scope-unknown",
        title: "Google does not know what was asked for with this service account",
        what: &[
            "A capability that the configuration adds for service accounts names a scope that Google does not have.",
        ],
        acts: &[act(
            Operator,
            &[
                run(
                    "Compare the scopes with Google's list.",
                    "token-broker capabilities --long",
                ),
                step("Correct `[[capabilities]]` in the configuration, and start the daemon again."),
            ],
        )],
        meanwhile: Renewal(Misconfigured),
        words: &["Invalid OAuth scope or ID token audience provided."],
    },
    Topic {
        slug: "service-account-gone",
        title: "The service account is gone",
        what: &["Google does not know this service account: it, or its project, was deleted."],
        acts: &[act(
            Operator,
            &[
                step(
                    "Within 30 days a deleted service account can be brought back; `gcloud iam service-accounts \
                     undelete` does it. Otherwise make a new one under [IAM & Admin, Service \
                     accounts](https://console.cloud.google.com/iam-admin/serviceaccounts).",
                ),
                run(
                    "Add its key.",
                    "token-broker service-account add --owner OWNER --key FILE",
                ),
                step(
                    "Share with the new address what was shared with the old one: it is another account to Google.",
                ),
            ],
        )],
        meanwhile: Renewal(Misconfigured),
        words: &["Invalid grant: account not found"],
    },
    Topic {
        slug: "delegation-missing",
        title: "The service account may not act for this person",
        what: &[
            "A service account is to act for a person of an organisation. The organisation's administrator has to allow \
             that beforehand, for each permission, and has not, or not for all of them.",
        ],
        acts: &[
            act(
                Administrator,
                &[
                    step(
                        "In the [Admin console](https://admin.google.com/ac/owl/domainwidedelegation), under Security, \
                         Access and data control, API controls, **Domain-wide delegation**, press **Add new** or edit \
                         the entry.",
                    ),
                    step(
                        "Enter the service account's client id (a long number), and every scope that is asked for.",
                    ),
                ],
            ),
            act(
                Operator,
                &[
                    run(
                        "Tell the administrator the scopes; the client id is in the key file, `client_id`.",
                        "token-broker capabilities --long",
                    ),
                    run(
                        "When it is done (it can take minutes), ask Google at once.",
                        "token-broker integrations check --owner OWNER",
                    ),
                ],
            ),
        ],
        meanwhile: Renewal(Misconfigured),
        words: &[
            "Client is unauthorized to retrieve access tokens using this method, or client not authorized for any of \
             the scopes requested.",
        ],
    },
    Topic {
        slug: "delegated-key-refused",
        title: "Google does not accept who the service account wants to act for",
        what: &[
            "A service account is to act for a person. Either there is no such person in the organisation, or Google no \
             longer takes the service account's key, or this machine's clock is off by minutes.",
        ],
        acts: &[
            act(
                Operator,
                &[
                    step("Check the person's address: an alias, or somebody who left, will not do."),
                    run("Check the clock.", "token-broker doctor"),
                    run(
                        "Add the key anew, with the right address.",
                        "token-broker service-account add --owner OWNER --key FILE --subject ADDRESS",
                    ),
                ],
            ),
            act(
                Administrator,
                &[step(
                    "In the [Admin console](https://admin.google.com/ac/users), see whether the person's account is \
                     there and not suspended.",
                )],
            ),
        ],
        meanwhile: Renewal(Misconfigured),
        words: &["Invalid email or User ID", "Invalid JWT Signature."],
    },
];
