//! What Google answers about the app that asks: the OAuth client, and the project that it is in.

use super::{
    Actor::{Operator, Owner},
    Meanwhile::Renewal,
    Topic, act, either, run, step,
};
use crate::broker::AgentState::Misconfigured;

/// What only the operator can set right, in the Google Cloud project or the configuration.
pub(super) const TOPICS: &[Topic] = &[
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
        slug: "client-disabled",
        title: "The app that runs here is disabled at Google",
        what: &[
            "The “OAuth client”, by which Google knows this program, is switched off in the Google Cloud project, by \
             somebody there or by Google. What people allowed is not lost.",
        ],
        acts: &[act(
            Operator,
            &[
                step(
                    "Open [Google Auth Platform, Clients](https://console.cloud.google.com/auth/clients) in the right \
                     project and enable the client. Where Google disabled it, the page and an e-mail to the project's \
                     owners say why.",
                ),
                run(
                    "Ask Google at once.",
                    "token-broker integrations check --owner OWNER",
                ),
            ],
        )],
        meanwhile: Renewal(Misconfigured),
        words: &["Error 401: disabled_client", "The OAuth client was disabled."],
    },
    Topic {
        slug: "service-disabled",
        title: "Something in the Google Cloud project is switched off",
        what: &[
            "Google answered that an interface which was asked is not enabled in the project that this program belongs \
             to, or that the project is suspended. What people allowed is not lost.",
        ],
        acts: &[act(
            Operator,
            &[
                step(
                    "Open [APIs & Services](https://console.cloud.google.com/apis/dashboard) in the right project and \
                     enable what the answer names; look at the project's billing as well.",
                ),
                run(
                    "Ask Google at once; a change takes a few minutes.",
                    "token-broker integrations check --owner OWNER",
                ),
            ],
        )],
        meanwhile: Renewal(Misconfigured),
        words: &["SERVICE_DISABLED", "has not been used in project"],
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
];
