//! What Google answers where a person's account is concerned.

use super::{
    Actor::{Administrator, Nobody, Operator, Owner},
    Meanwhile::{Renewal, Unchanged},
    Topic, act, either, run, step,
};
use crate::broker::AgentState::{Misconfigured, PermissionMissing, ProviderUnavailable, ReconnectRequired};

/// The pages of the rows of Google's failures that are not about service accounts, and of getting no answer.
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
    Topic {
        slug: "client-unknown",
        title: "Google does not know the app that runs here",
        what: &[
            "This program makes itself known to Google with a name and a password of its own (“OAuth client id” and \
             “client secret”). Google does not know the name, or the password is wrong. What you allowed is not lost.",
        ],
        acts: &[act(
            Operator,
            &[
                step(
                    "Open [Google Auth Platform, Clients](https://console.cloud.google.com/auth/clients) in the \
                         right project, and compare the client id with `google.client_id`.",
                ),
                step(
                    "Add a new secret there, put it into the file that `google.client_secret_file` names, and start \
                         the daemon again.",
                ),
                run(
                    "Ask Google at once.",
                    "token-broker integrations check --owner OWNER",
                ),
            ],
        )],
        meanwhile: Renewal(Misconfigured),
        words: &[
            "Error 401: invalid_client",
            "The OAuth client was not found.",
            "The provided client secret is invalid.",
        ],
    },
    Topic {
        slug: "client-deleted",
        title: "The app that runs here was deleted at Google",
        what: &[
            "The “OAuth client”, by which Google knew this program, was deleted in the Google Cloud project. What \
             people allowed it ended with it.",
        ],
        acts: &[
            act(
                Operator,
                &[
                    step(
                        "Under [Google Auth Platform, Clients](https://console.cloud.google.com/auth/clients) see \
                         whether it can still be restored: Google keeps deleted clients for a while (30 days, it says).",
                    ),
                    step(
                        "Otherwise create a new one there, set `google.client_id` and its secret, and start the daemon \
                         again.",
                    ),
                    run(
                        "Then connect each account anew.",
                        "token-broker connect --owner OWNER --capability KEY",
                    ),
                ],
            ),
            act(Owner, &[step("Wait for a new link, and connect once more.")]),
        ],
        meanwhile: Renewal(Misconfigured),
        words: &["Error 401: deleted_client", "The OAuth client was deleted."],
    },
    Topic {
        slug: "client-not-allowed",
        title: "The app that runs here may not do this",
        what: &[
            "Google knows the app, and does not let it do what it asked: what was allowed belongs to another app, or \
             the app is of another type than the configuration says.",
        ],
        acts: &[either(
            Operator,
            &[
                step(
                    "If `google.client_id` was changed, connect the accounts anew: what people allowed belongs to \
                         the client that they allowed it to.",
                ),
                step(
                    "Compare `google.client_type` with the type under [Google Auth Platform, \
                         Clients](https://console.cloud.google.com/auth/clients).",
                ),
            ],
        )],
        meanwhile: Renewal(Misconfigured),
        words: &["Error 401: unauthorized_client", "Unauthorized"],
    },
    Topic {
        slug: "redirect-address",
        title: "The way back from Google is not registered",
        what: &[
            "After you said yes, Google sends you back to an address, and only to one that was registered beforehand. \
             The address of this machine is not, or not letter by letter.",
        ],
        acts: &[act(
            Operator,
            &[
                step(
                    "The address is `<public_url>/oauth/callback`, unless `google.redirect_uri` says otherwise.",
                ),
                step(
                    "Under [Google Auth Platform, Clients](https://console.cloud.google.com/auth/clients) open the \
                         client and add it to **Authorized redirect URIs**: same `http` or `https`, same port, no slash \
                         at the end. It takes effect within minutes.",
                ),
            ],
        )],
        meanwhile: Renewal(Misconfigured),
        words: &[
            "Error 400: redirect_uri_mismatch",
            "Access blocked: This app's request is invalid",
        ],
    },
    Topic {
        slug: "internal-app",
        title: "The app is for another organisation",
        what: &[
            "The app that runs here is set to “Internal”: only accounts of the organisation that owns it may connect, \
             and the account that was chosen is not of it.",
        ],
        acts: &[
            act(
                Operator,
                &[step(
                    "If people from elsewhere are to connect, set the user type to **External** under [Google Auth \
                     Platform, Audience](https://console.cloud.google.com/auth/audience).",
                )],
            ),
            act(
                Owner,
                &[step(
                    "If you have an account of that organisation, ask for a new link and choose that one.",
                )],
            ),
        ],
        meanwhile: Renewal(Misconfigured),
        words: &[
            "Error 403: org_internal",
            "… can only be used within its organization",
        ],
    },
    Topic {
        slug: "embedded-browser",
        title: "Google wants a full browser",
        what: &[
            "The link was opened inside another app, such as a chat or a mail program, which shows pages in a window of \
             its own. Google does not let anybody sign in there, since such an app could read the password.",
        ],
        acts: &[
            act(
                Owner,
                &[step(
                    "Copy the link and open it in Chrome, Firefox, Safari or Edge. On a phone: **Open in browser** in \
                     the menu of that window. Nobody else has to do anything.",
                )],
            ),
            act(
                Operator,
                &[step(
                    "Do not show the link inside an embedded view (a “webview”) of a program of your own.",
                )],
            ),
        ],
        meanwhile: Renewal(Misconfigured),
        words: &["Error 403: disallowed_useragent", "Use secure browsers"],
    },
    Topic {
        slug: "request-refused",
        title: "Google does not accept the form of the request",
        what: &[
            "This program asked Google in a way that Google does not allow for this kind of app. Mostly the kind is set \
             wrong, or the app's secret is missing.",
        ],
        acts: &[act(
            Operator,
            &[
                step(
                    "Set `google.client_type` to the type under [Google Auth Platform, \
                         Clients](https://console.cloud.google.com/auth/clients): `web` for **Web application**, \
                         `desktop` for **Desktop app**.",
                ),
                step(
                    "See that `google.client_secret_file` names a file that holds the secret, and nothing else.",
                ),
                run("Let the program look for more.", "token-broker doctor"),
            ],
        )],
        meanwhile: Renewal(Misconfigured),
        words: &[
            "Error 400: invalid_request",
            "You can't sign in to this app because it doesn't comply with Google's OAuth 2.0 policy",
        ],
    },
    Topic {
        slug: "refused",
        title: "Google refused, and does not say why",
        what: &[
            "Google answered with a code that is in none of its documents. The message holds the code, and whatever \
             Google added to it.",
        ],
        acts: &[act(
            Operator,
            &[
                run(
                    "Read the message.",
                    "token-broker integrations show --owner OWNER",
                ),
                step(
                    "Look at the app under [Google Auth Platform, \
                         Clients](https://console.cloud.google.com/auth/clients), and search for the code in Google's \
                         help.",
                ),
                run(
                    "Ask Google once more.",
                    "token-broker integrations check --owner OWNER",
                ),
            ],
        )],
        meanwhile: Renewal(Misconfigured),
        words: &[],
    },
    Topic {
        slug: "google-busy",
        title: "Google is busy, or out of order",
        what: &[
            "Google's servers answered that they cannot serve anybody just now, or were asked too much at once.",
        ],
        acts: &[
            act(
                Nobody,
                &[step(
                    "Renewals are tried again by themselves. To connect, ask for a new link in a few minutes.",
                )],
            ),
            act(
                Operator,
                &[step(
                    "Look at [Google's status page](https://www.google.com/appsstatus) if it lasts. For a limit of the \
                     project's own, see [IAM & Admin, Quotas](https://console.cloud.google.com/iam-admin/quotas).",
                )],
            ),
        ],
        meanwhile: Renewal(ProviderUnavailable),
        words: &["The service is currently unavailable.", "Rate Limit Exceeded"],
    },
    Topic {
        slug: "no-connection",
        title: "Google cannot be reached from this machine",
        what: &[
            "No connection to Google came about, or it broke off: this machine has no way out just now, or something \
             on the way blocks it.",
        ],
        acts: &[
            act(
                Nobody,
                &[step(
                    "Renewals are tried again by themselves. To connect, ask for a new link in a few minutes.",
                )],
            ),
            act(
                Operator,
                &[run(
                    "Look at name service, routes and firewall: `accounts.google.com` and `oauth2.googleapis.com` have \
                     to be reachable on port 443.",
                    "token-broker doctor",
                )],
            ),
        ],
        meanwhile: Renewal(ProviderUnavailable),
        words: &["network", "timeout"],
    },
    Topic {
        slug: "certificate",
        title: "The connection to Google is not safe, so it was not used",
        what: &[
            "Whoever answered could not prove to be Google. Mostly a company's own proxy stands between, this machine's \
             list of authorities is missing, or its clock is wrong. Nothing secret was sent.",
        ],
        acts: &[
            act(
                Nobody,
                &[step(
                    "It is tried again by itself, and works as soon as the reason is gone.",
                )],
            ),
            either(
                Operator,
                &[
                    step(
                        "Install the system's `ca-certificates`, or name a bundle that holds your proxy's authority \
                         with `SSL_CERT_FILE`.",
                    ),
                    run("Then check the clock and the way out.", "token-broker doctor"),
                ],
            ),
        ],
        meanwhile: Renewal(ProviderUnavailable),
        words: &["certificate"],
    },
    Topic {
        slug: "answer-redirected",
        title: "Somebody on the way wants to send us elsewhere",
        what: &[
            "In place of Google's answer came the advice to ask somewhere else. Google never gives that here; the \
             sign-in page of a guest network does, or a proxy. It was not followed, since it would have taken secrets \
             along.",
        ],
        acts: &[
            act(Nobody, &[step("It is tried again by itself.")]),
            act(
                Operator,
                &[run(
                    "See what stands between this machine and Google, and whether `google.endpoint_base` is right.",
                    "token-broker doctor",
                )],
            ),
        ],
        meanwhile: Renewal(ProviderUnavailable),
        words: &[],
    },
    Topic {
        slug: "not-google",
        title: "What answered was not Google",
        what: &[
            "The answer has a form that Google does not use: a proxy's page, or another server. It was thrown away.",
        ],
        acts: &[
            act(Nobody, &[step("It is tried again by itself.")]),
            act(
                Operator,
                &[run(
                    "See what stands between this machine and Google, and whether `google.endpoint_base` is right.",
                    "token-broker doctor",
                )],
            ),
        ],
        meanwhile: Renewal(ProviderUnavailable),
        words: &["malformed_answer"],
    },
];
