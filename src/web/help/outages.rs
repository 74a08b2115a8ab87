//! When Google does not answer, or somebody else does.

use super::{
    Act,
    Actor::{Nobody, Operator},
    Meanwhile::Renewal,
    Topic, act, either, run, step,
};
use crate::broker::AgentState::{Misconfigured, ProviderUnavailable};

/// What passes, mostly.
pub(super) const TOPICS: &[Topic] = &[
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
                     to be reachable on port 443, or through the proxy that `HTTPS_PROXY` names in the daemon's \
                     environment.",
                    "token-broker doctor",
                )],
            ),
        ],
        meanwhile: Renewal(ProviderUnavailable),
        words: &["network", "timeout"],
    },
    Topic {
        slug: "proxy-credentials",
        title: "The proxy on the way to Google wants a name and a password",
        what: &[
            "This machine reaches Google through a proxy, and the proxy does not let it through without a name and a \
             password, or does not take those that it was given. Google was not asked.",
        ],
        acts: &[act(
            Operator,
            &[
                step(
                    "Set `HTTPS_PROXY` in the daemon's environment to `http://NAME:PASSWORD@HOST:PORT`, with `%` signs \
                     for special characters, and start the daemon again.",
                ),
                run("Then look whether the way out is open.", "token-broker doctor"),
            ],
        )],
        meanwhile: Renewal(Misconfigured),
        words: &["proxy_authentication", "407 Proxy Authentication Required"],
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
        acts: LOOK_BETWEEN,
        meanwhile: Renewal(ProviderUnavailable),
        words: &[],
    },
    Topic {
        slug: "not-google",
        title: "What answered was not Google",
        what: &[
            "The answer has a form that Google does not use: a proxy's page, or another server. It was thrown away.",
        ],
        acts: LOOK_BETWEEN,
        meanwhile: Renewal(ProviderUnavailable),
        words: &["malformed_answer"],
    },
];

/// Where something else than Google answered.
const LOOK_BETWEEN: &[Act] = &[
    act(Nobody, &[step("It is tried again by itself.")]),
    act(
        Operator,
        &[run(
            "See what stands between this machine and Google, and whether `google.endpoint_base` is right.",
            "token-broker doctor",
        )],
    ),
];
