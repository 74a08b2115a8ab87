//! What people see, in their own words or Google's.

use super::{
    Actor::{Administrator, Author, Nobody, Operator, Owner},
    Meanwhile::{HasToken, Renewal, Unchanged},
    Topic, act, either, run, step,
};
use crate::{broker::AgentState, google::classify::TESTING_MODE};

/// What people say, with the usual reason.
pub(super) const TOPICS: &[Topic] = &[
    Topic {
        slug: "expired-credentials",
        title: "“Expired or invalid credentials”, HTTP 401 `UNAUTHENTICATED` from an API",
        what: &[
            "A token is a key that lives for an hour. The program goes on with one that it read long ago, or the grant \
             behind it has ended ([invalid_grant](/help/grant-ended)).",
        ],
        acts: &[
            either(
                Author,
                &[
                    step(
                        "Read the file `env` again, or ask the socket, before each piece of work rather than once at \
                         the start.",
                    ),
                    run(
                        "In a container whose program cannot do that, let it be restarted or signalled.",
                        "token-broker exec --on-renewal restart -- PROGRAM",
                    ),
                ],
            ),
            act(
                Operator,
                &[run(
                    "Ask Google whether the grant still holds. One that ended shows as `reconnect_required`, with the \
                     address where its owner connects again.",
                    "token-broker integrations check --owner OWNER",
                )],
            ),
        ],
        meanwhile: HasToken,
        words: &[
            "Request had invalid authentication credentials. Expected OAuth 2 access token",
            "Invalid Credentials",
            "ACCESS_TOKEN_EXPIRED",
        ],
    },
    Topic {
        slug: "insufficient-permission",
        title: "“Insufficient permission”, HTTP 403 `ACCESS_TOKEN_SCOPE_INSUFFICIENT` from an API",
        what: &[
            "The agent did not declare the capability, so its token does not carry it; or its owner did not grant it. \
             Where only one file is refused, the account itself may not see that file.",
        ],
        acts: &[
            act(
                Author,
                &[
                    step("Compare `GOOGLE_OAUTH_CAPABILITIES` in the file `env` with what the call needs."),
                    step(
                        "Declare the capability in the manifest; then its owner grants it (`permission_missing` names \
                         it).",
                    ),
                ],
            ),
            act(
                Owner,
                &[step(
                    "Open the agent's page, and see whether something says “not granted” there.",
                )],
            ),
        ],
        meanwhile: HasToken,
        words: &[
            "Request had insufficient authentication scopes.",
            "insufficientPermissions",
            "PERMISSION_DENIED",
        ],
    },
    Topic {
        slug: "access-blocked",
        title: "“Access blocked: this app's request is invalid”, on Google's own page",
        what: &[
            "What this program says of itself does not fit what the Google Cloud project says of it: mostly \
             [redirect_uri_mismatch](/help/redirect-address) or [invalid_request](/help/request-refused). Google \
             shows it to the person and sends nobody back, so the connection times out.",
        ],
        acts: &[
            act(
                Operator,
                &[
                    step(
                        "Add `<public_url>/oauth/callback` to the client's **Authorized redirect URIs**, under \
                         [Google Auth Platform, Clients](https://console.cloud.google.com/auth/clients).",
                    ),
                    step(
                        "Check `google.client_type`: **Web application** there is `web`, **Desktop app** is `desktop`.",
                    ),
                ],
            ),
            act(
                Owner,
                &[step(
                    "Show Google's page to whoever runs this machine: its last line names the reason. Then ask for a \
                     new link.",
                )],
            ),
        ],
        meanwhile: Unchanged,
        words: &["Error 400: redirect_uri_mismatch", "Error 400: invalid_request"],
    },
    Topic {
        slug: "google-error-page",
        title: "Google's page was closed, or showed an error of its own",
        what: &[
            "Nobody came back from Google, so the connection [ended by itself](/help/consent-timed-out), and whoever began it \
             was told `consent_timed_out`. If Google showed a page of its own, the last line on it \
             names the reason.",
        ],
        acts: &[
            either(
                Owner,
                &[
                    step("If the page was closed, ask for a new link."),
                    step(
                        "**Error 403: access_denied** or “has not completed the Google verification process”: see \
                         [The permission was not given](/help/consent-denied).",
                    ),
                    step(
                        "**Error 400: admin_policy_enforced** or “Your institution's admin needs to review”: see \
                         [Your organisation does not allow this app](/help/blocked-by-organisation).",
                    ),
                    step(
                        "**Error 403: org_internal** or “can only be used within its organization”: see \
                         [The app is for another organisation](/help/internal-app).",
                    ),
                    step(
                        "**Error 403: disallowed_useragent**: open the link in [a full browser](/help/embedded-browser).",
                    ),
                ],
            ),
            either(
                Operator,
                &[
                    step(
                        "**Error 400: redirect_uri_mismatch**: [the way back is not registered](/help/redirect-address).",
                    ),
                    step(
                        "**Error 401: invalid_client**: [Google does not know the app](/help/client-unknown).",
                    ),
                    step(
                        "**Error 401: deleted_client**: [the app's client was deleted](/help/client-deleted).",
                    ),
                    step(
                        "**Error 400: invalid_request**: [the request has the wrong form](/help/request-refused).",
                    ),
                ],
            ),
        ],
        meanwhile: Unchanged,
        words: &["Access blocked", "Authorization Error"],
    },
    Topic {
        slug: "unverified-app",
        title: "“Google hasn't verified this app”",
        what: &[
            "Google has not looked at the operator's app yet, and says so before it lets anybody in. That is usual for \
             an app that a company or a person made for themselves. It says nothing about what the app does, so go on \
             only if you know who runs it.",
        ],
        acts: &[
            act(
                Owner,
                &[
                    step(
                        "Ask whoever sent you the link whether the name of the app on Google's page is theirs.",
                    ),
                    step(
                        "If it is, press **Advanced**, then **Go to … (unsafe)**. If it is not, close the page.",
                    ),
                ],
            ),
            act(
                Operator,
                &[step(
                    "Have the app verified under [Google Auth Platform, Verification \
                     center](https://console.cloud.google.com/auth/verification), or, within one Google Workspace \
                     organisation, set its user type to **Internal**: then nobody is warned.",
                )],
            ),
        ],
        meanwhile: Unchanged,
        words: &[
            "The app is requesting access to sensitive info in your Google Account",
            "Back to safety",
        ],
    },
    Topic {
        slug: "gmail-alone-fails",
        title: "Gmail does not work while Calendar and Drive do",
        what: &[
            "The box of Gmail was unticked on the consent page; or the Gmail API is not enabled in the Google Cloud \
             project (HTTP 403 `accessNotConfigured` from the API); or an administrator switched Gmail off for the \
             account.",
            "A change of the account's password ends grants that carry Gmail's permissions, and only those: then the \
             agent's state is [reconnect_required](/help/reconnect-required).",
        ],
        acts: &[
            act(
                Owner,
                &[step(
                    "Open the agent's page. If it says “not granted” beside a permission for Gmail, ask for a link and \
                     tick its box; if everything is granted, turn to the others below.",
                )],
            ),
            either(
                Operator,
                &[
                    run(
                        "See which capabilities were granted, and ask for the missing one with `add-permissions`.",
                        "token-broker integrations show --owner OWNER",
                    ),
                    step(
                        "Enable the API on the project's \
                         [APIs page](https://console.cloud.google.com/apis/library/gmail.googleapis.com).",
                    ),
                ],
            ),
            act(
                Administrator,
                &[step(
                    "In the [Admin console](https://admin.google.com), under Apps, Google Workspace, see whether Gmail \
                     is **On** for this person.",
                )],
            ),
        ],
        meanwhile: HasToken,
        words: &[
            "accessNotConfigured",
            "SERVICE_DISABLED",
            "Gmail API has not been used in project … before or it is disabled",
            "Mail service not enabled",
        ],
    },
    Topic {
        slug: "ends-after-a-week",
        title: "It works for a week, then every account has to be connected again",
        what: &[
            "The app is in Google's Testing mode: what people allow there ends after seven days. That is Google's rule \
             for apps that are being tried out.",
        ],
        acts: &[
            act(
                Operator,
                &[
                    step(
                        "In the Google Cloud console, under \
                         [Google Auth Platform, Audience](https://console.cloud.google.com/auth/audience) (formerly \
                         “OAuth consent screen”), press **Publish app**, or set the user type to **Internal** where \
                         everybody is of your organisation.",
                    ),
                    step(
                        "Then have each owner connect once more: what was allowed in Testing mode still ends.",
                    ),
                ],
            ),
            act(
                Owner,
                &[step(
                    "Wait until whoever runs this machine has published the app, then connect once more.",
                )],
            ),
        ],
        meanwhile: Renewal(AgentState::ReconnectRequired),
        words: &[TESTING_MODE, "Publishing status: Testing"],
    },
    Topic {
        slug: "agent-stopped-for-a-moment",
        title: "An agent stops now and then, and goes on by itself",
        what: &[
            "Google does not answer for a while now and then. A token that is at hand is used until it ends, so that \
             only a longer time without Google is felt.",
        ],
        acts: &[
            act(
                Nobody,
                &[step("The agent gets a new token as soon as Google answers.")],
            ),
            act(
                Operator,
                &[run(
                    "If it happens often, look at this machine's way out and at its clock.",
                    "token-broker doctor",
                )],
            ),
        ],
        meanwhile: Renewal(AgentState::ProviderUnavailable),
        words: &[],
    },
];
