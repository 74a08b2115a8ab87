//! What Google answers about what a person allowed.

use super::{
    Actor::{Administrator, Operator, Owner},
    Meanwhile::{Renewal, Unchanged},
    Topic, act, either, run, step,
};
use crate::broker::AgentState::{PermissionMissing, ReconnectRequired};

/// A grant that ended, was refused, or says less than it should.
pub(super) const TOPICS: &[Topic] = &[
    Topic {
        slug: "grant-ended",
        title: "Google no longer honours what you allowed",
        what: &[
            "You had connected this account, and Google has ended that. The usual reasons: you, or somebody with your \
             password, removed the app in your account; your password changed and the app could read Gmail; nothing \
             used it for six months; an administrator took it away; or the app is in Testing mode, where everything \
             ends after [seven days](/help/ends-after-a-week).",
        ],
        acts: &[
            either(
                Owner,
                &[
                    step(
                        "Ask for a new link, open it, and choose the same account. Everything goes on by itself.",
                    ),
                    step(
                        "If you want to know what happened: [your Google Account, Third-party apps & \
                         services](https://myaccount.google.com/connections) shows which apps have access, and \
                         [recent security activity](https://myaccount.google.com/notifications) what changed.",
                    ),
                ],
            ),
            act(
                Operator,
                &[run(
                    "Make the link for the owner.",
                    "token-broker connect --owner OWNER --capability KEY",
                )],
            ),
        ],
        meanwhile: Renewal(ReconnectRequired),
        words: &["Token has been expired or revoked.", "Bad Request"],
    },
    Topic {
        slug: "session-ended",
        title: "Your organisation wants you to sign in again",
        what: &[
            "Your organisation has set how long anybody may stay signed in to Google Cloud. That time is over, and \
             with it ended what you had allowed.",
        ],
        acts: &[
            act(
                Owner,
                &[step(
                    "Ask for a new link, and sign in. Without a change by your administrator it ends again after the \
                     same time.",
                )],
            ),
            act(
                Administrator,
                &[step(
                    "In the [Admin console](https://admin.google.com), under Security, Access and data control, \
                     **Google Cloud session control**, exempt this app (“Exempt trusted apps”), after it was marked as \
                     trusted under API controls.",
                )],
            ),
        ],
        meanwhile: Renewal(ReconnectRequired),
        words: &[
            "reauth related error (invalid_rapt)",
            "reauth related error (rapt_required)",
        ],
    },
    Topic {
        slug: "blocked-by-organisation",
        title: "Your organisation does not allow this app",
        what: &[
            "Your Google account belongs to a company or a school, and its administrator decides which apps may use \
             it. This one is not among them, or not with these permissions.",
        ],
        acts: &[
            act(
                Administrator,
                &[step(
                    "In the [Admin console](https://admin.google.com/ac/owl/list?tab=configuredApps), under Security, \
                     Access and data control, API controls, **Manage app access** (formerly “third-party app access”), add the app by \
                     its OAuth client id and set it to **Trusted** or to the services that it asks for.",
                )],
            ),
            act(
                Owner,
                &[
                    step(
                        "Send your administrator this page and the app's client id, which whoever runs this machine can \
                         tell you.",
                    ),
                    step("When the app is allowed, ask for a new link."),
                ],
            ),
        ],
        meanwhile: Renewal(ReconnectRequired),
        words: &[
            "Error 400: admin_policy_enforced",
            "Access blocked: Your institution's admin needs to review …",
            "Account restricted",
        ],
    },
    Topic {
        slug: "scope-not-granted",
        title: "More was asked for than you allowed",
        what: &[
            "A key was asked for that opens more than what you ticked on Google's page, so Google gave none. It happens \
             where a permission was taken back later, at Google.",
        ],
        acts: &[
            act(
                Owner,
                &[step(
                    "Open the agent's page to see which permission is missing, then ask for a link and tick it.",
                )],
            ),
            act(
                Operator,
                &[run(
                    "Make the link; what was granted before is kept.",
                    "token-broker integrations add-permissions --owner OWNER --capability KEY",
                )],
            ),
        ],
        meanwhile: Renewal(PermissionMissing),
        words: &["Some requested scopes were invalid.", "Error 400: invalid_scope"],
    },
    Topic {
        slug: "scope-unknown",
        title: "Google does not know this permission",
        what: &[
            "The link asked for a permission (Google says “scope”) that Google does not have, or that this app may not \
             ask for.",
        ],
        acts: &[act(
            Operator,
            &[
                run(
                    "Compare the scopes of the capability with Google's list; those that the configuration adds are \
                         the likeliest to be misspelled.",
                    "token-broker capabilities --long",
                ),
                step(
                    "See whether the scope is listed under [Google Auth Platform, Data \
                         access](https://console.cloud.google.com/auth/scopes).",
                ),
            ],
        )],
        meanwhile: Unchanged,
        words: &["Error 400: invalid_scope", "Some requested scopes were invalid."],
    },
    Topic {
        slug: "code-refused",
        title: "Google's answer came too late, or twice",
        what: &[
            "After you said yes, Google sent a code along that can be used once, within minutes. It was used already, \
             it was too old, or it was made for another app.",
        ],
        acts: &[
            act(
                Owner,
                &[step(
                    "Ask for a new link, and connect without going back or reloading the page.",
                )],
            ),
            act(
                Operator,
                &[run(
                    "If it happens each time, this machine's clock, `google.client_id` or the redirect address does not \
                     fit.",
                    "token-broker doctor",
                )],
            ),
        ],
        meanwhile: Unchanged,
        words: &["Malformed auth code.", "Missing code verifier.", "Bad Request"],
    },
    Topic {
        slug: "identity-missing",
        title: "Google does not say whose account this is",
        what: &[
            "An account is kept under the number that Google gave it. What was allowed here does not include telling \
             that number: it was taken over from elsewhere without it.",
        ],
        acts: &[
            act(
                Owner,
                &[step("Ask for a new link and connect: that asks for it as well.")],
            ),
            act(
                Operator,
                &[run(
                    "Make the link, rather than taking over the old grant.",
                    "token-broker connect --owner OWNER --capability KEY",
                )],
            ),
        ],
        meanwhile: Renewal(ReconnectRequired),
        words: &["Request is missing required authentication credential."],
    },
    Topic {
        slug: "identity-unproven",
        title: "Google's word on who you are does not hold",
        what: &[
            "With its yes Google sends a signed note that says whose account it is. This one was not signed by Google, \
             was made for another app, or was out of date by this machine's clock, so nothing was connected on it.",
        ],
        acts: &[
            act(Owner, &[step("Ask for a new link and try it once more.")]),
            act(
                Operator,
                &[run(
                    "If it happens again, check this machine's clock, and whether a proxy stands between it and Google.",
                    "token-broker doctor",
                )],
            ),
        ],
        meanwhile: Unchanged,
        words: &["invalid_id_token"],
    },
];
