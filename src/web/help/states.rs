//! How an agent can stand, and what it is told when it asks for what it cannot have.

use super::{
    Actor::{Author, Nobody, Operator, Owner},
    Meanwhile::{Answer, State},
    Topic, act, either, run, step,
};
use crate::broker::{AgentState, ProblemCode};

/// Each state but `active`.
pub(super) const TOPICS: &[Topic] = &[
    Topic {
        slug: "not-connected",
        title: "No Google account is connected",
        what: &[
            "The agent works for somebody, and nobody has connected a Google account for it yet, or the account was \
             disconnected again. Until one is connected there is nothing that the agent could use.",
            "The same is said of an agent that works with a service account (an account made for programs, with an \
             address of its own) which was not added yet.",
        ],
        acts: &[
            act(
                Owner,
                &[
                    step(
                        "Open the agent's page: its address came with the message. It lists what the agent asks for, \
                         and why.",
                    ),
                    step("Ask whoever runs this machine for a link, and open it in your browser."),
                    step(
                        "Choose your Google account, leave the boxes ticked that the agent needs, and press \
                         **Continue**. The agent starts by itself.",
                    ),
                ],
            ),
            either(
                Operator,
                &[
                    run(
                        "Make the link, and give it to nobody but the owner: whoever has it can finish it.",
                        "token-broker connect --owner OWNER --capability KEY",
                    ),
                    run(
                        "Or let the owner do it themselves: this makes a link that signs them in to their own page of the \
                         console, once.",
                        "token-broker console --owner OWNER",
                    ),
                    run(
                        "Where the agent works with a service account instead, add its key.",
                        "token-broker service-account add --owner OWNER --key FILE",
                    ),
                ],
            ),
        ],
        meanwhile: State(AgentState::NotConnected),
        words: &[],
    },
    Topic {
        slug: "permission-missing",
        title: "The agent lacks a permission that it needs",
        what: &[
            "Your Google account is connected, but something that this agent cannot work without was not allowed: its \
             box was left unticked on Google's page, or the agent began to ask for it later.",
            "It gets nothing at all meanwhile, so that it does not do half of its work and fail in the middle.",
        ],
        acts: &[
            act(
                Owner,
                &[
                    step(
                        "Open the agent's page: its address came with the message. What says “not granted” is what \
                         is missing, with the reason why the agent wants it.",
                    ),
                    step("Decide whether you want to allow that. If you do not, nothing has to be done."),
                    step(
                        "Ask whoever runs this machine for a link, open it, and tick the new boxes. What you allowed \
                         before stays.",
                    ),
                ],
            ),
            act(
                Operator,
                &[run(
                    "Make the link. Only what is named there is asked for anew.",
                    "token-broker integrations add-permissions --owner OWNER --capability KEY",
                )],
            ),
            act(
                Author,
                &[step(
                    "If the agent can work without it, mark it `optional: true` in the agent's manifest: then its \
                     other permissions serve meanwhile.",
                )],
            ),
        ],
        meanwhile: State(AgentState::PermissionMissing),
        words: &[],
    },
    Topic {
        slug: "reconnect-required",
        title: "The Google account has to be connected again",
        what: &[
            "The account was connected, and Google no longer honours it. That happens when its password was changed, \
             when access was taken back in the account's settings, after six months without use, or when an \
             organisation's rules end it. Your data is as it was.",
        ],
        acts: &[
            act(
                Owner,
                &[
                    step("Ask whoever runs this machine for a link, and open it in your browser."),
                    step(
                        "Choose the same Google account as before, and leave every box ticked that was ticked then. \
                         All agents go on by themselves.",
                    ),
                ],
            ),
            either(
                Operator,
                &[
                    run(
                        "Read why Google ended it: the message names the reason.",
                        "token-broker integrations show --owner OWNER",
                    ),
                    run(
                        "Make the link for the owner.",
                        "token-broker connect --owner OWNER --capability KEY",
                    ),
                    run(
                        "Or let the owner do it themselves: this makes a link that signs them in to their own page of the \
                         console, once.",
                        "token-broker console --owner OWNER",
                    ),
                    step("If it happens every week, see [It works for a week](/help/ends-after-a-week)."),
                ],
            ),
        ],
        meanwhile: State(AgentState::ReconnectRequired),
        words: &[],
    },
    Topic {
        slug: "revoked",
        title: "Access was taken back",
        what: &[
            "Somebody ended the connection on purpose: you, in your Google account's settings, or Google, because it \
             saw something that put the account in danger.",
        ],
        acts: &[
            either(
                Owner,
                &[
                    step(
                        "If you did not do it, look at your account first: \
                         [Google's security check-up](https://myaccount.google.com/security-checkup) shows what \
                         happened there.",
                    ),
                    step(
                        "If agents shall work for you again, ask whoever runs this machine for a link and open it.",
                    ),
                ],
            ),
            act(
                Operator,
                &[
                    run("See when it ended, and who ended it.", "token-broker audit list"),
                    run(
                        "Make the link, if the owner wants one.",
                        "token-broker connect --owner OWNER --capability KEY",
                    ),
                ],
            ),
        ],
        meanwhile: State(AgentState::Revoked),
        words: &[],
    },
    Topic {
        slug: "provider-unavailable",
        title: "Google cannot be reached just now",
        what: &[
            "Google does not answer, or is too busy. Nothing is wrong with your account, and nothing was lost.",
        ],
        acts: &[
            act(
                Nobody,
                &[step(
                    "It is tried again by itself, at growing intervals, until Google answers.",
                )],
            ),
            act(
                Operator,
                &[run(
                    "If it lasts longer than [Google's own status page](https://www.google.com/appsstatus) says, \
                         look at this machine's way out: name service, proxy, firewall, clock.",
                    "token-broker doctor",
                )],
            ),
        ],
        meanwhile: State(AgentState::ProviderUnavailable),
        words: &[],
    },
    Topic {
        slug: "misconfigured",
        title: "This machine, or its Google project, is not set up right",
        what: &[
            "Something that only whoever runs this machine can change keeps Google from giving a token: the settings \
             with which this program makes itself known to Google, a service account's key, or the agent's manifest. \
             You did nothing wrong, and need not connect again unless they say so.",
        ],
        acts: &[act(
            Operator,
            &[
                run("Read what is wrong: the message names it.", "token-broker status"),
                run(
                    "Let the program look for the usual mistakes.",
                    "token-broker doctor",
                ),
                run(
                    "After the repair, ask Google at once rather than at the next renewal.",
                    "token-broker integrations check --owner OWNER",
                ),
            ],
        )],
        meanwhile: State(AgentState::Misconfigured),
        words: &[],
    },
];

/// What an agent is told when its request is at fault.
pub(super) const PROBLEMS: &[Topic] = &[
    Topic {
        slug: "unknown-capability",
        title: "There is no such permission",
        what: &[
            "A permission was asked for by a name that the catalogue does not have: mostly a slip in the spelling, or \
             one that the operator has not added yet.",
        ],
        acts: &[
            act(
                Author,
                &[run(
                    "Compare the name with the catalogue; the message suggests the nearest.",
                    "token-broker capabilities",
                )],
            ),
            act(
                Operator,
                &[step(
                    "Add what is missing to the configuration under `[[capabilities]]`, and start the daemon again.",
                )],
            ),
        ],
        meanwhile: Answer(ProblemCode::UnknownCapability),
        words: &[],
    },
    Topic {
        slug: "not-declared",
        title: "The agent asked for more than it declared",
        what: &[
            "Each agent says beforehand what it needs, so that its owner can decide. This one asked for something that \
             its manifest does not name, and nobody gets what was not declared.",
        ],
        acts: &[
            act(
                Author,
                &[step(
                    "Add the capability to the agent's manifest under `integrations`, with a `description` that tells \
                     the owner why.",
                )],
            ),
            act(
                Operator,
                &[run(
                    "Check the manifest before it is put in place.",
                    "token-broker agents validate FILE",
                )],
            ),
            act(
                Owner,
                &[step(
                    "You are asked when the agent declares it; until then nothing has to be done.",
                )],
            ),
        ],
        meanwhile: Answer(ProblemCode::NotDeclared),
        words: &[],
    },
    Topic {
        slug: "rate-limited",
        title: "The agent asks too often",
        what: &[
            "The agent asked for new tokens faster than Google would bear from anybody. What it has still works.",
        ],
        acts: &[
            act(
                Nobody,
                &[step(
                    "It passes within the time that the answer names in `Retry-After`.",
                )],
            ),
            act(
                Author,
                &[step(
                    "Keep the token until shortly before it expires, or read the file `env` anew, which costs nothing. \
                     Ask for a fresh one (`refresh=true`) only when an API of Google's answered 401.",
                )],
            ),
        ],
        meanwhile: Answer(ProblemCode::RateLimited),
        words: &[],
    },
    Topic {
        slug: "invalid-request",
        title: "The question to token-broker was wrong",
        what: &[
            "A request to this program has a form that it does not know. The message names the field, and what is \
             expected there.",
        ],
        acts: &[act(
            Author,
            &[step(
                "Correct the field that the message names. `GET /v1/token` takes `capability`, `min_ttl`, \
                 `integration` and `refresh`.",
            )],
        )],
        meanwhile: Answer(ProblemCode::InvalidRequest),
        words: &[],
    },
];
