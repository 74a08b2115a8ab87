//! How connecting an account can end.

use super::{
    Actor::{Administrator, Author, Nobody, Operator, Owner},
    Meanwhile::{Ended, Unchanged},
    Topic, act, either, run, step,
};

/// Each way in which a consent ends badly, but for what Google answers.
pub(super) const TOPICS: &[Topic] = &[
    Topic {
        slug: "consent-denied",
        title: "Nothing was connected: the permission was not given",
        what: &[
            "On Google's page **Cancel** was pressed, or Google itself did not let this account in. The second happens \
             while the operator's app is in Google's Testing mode and your address is not on its list of testers.",
        ],
        acts: &[
            either(
                Owner,
                &[
                    step(
                        "If that was a mistake, ask for a new link and press **Continue** (or **Allow**) this time.",
                    ),
                    step("If you did not want it, nothing has to be done."),
                    step(
                        "If Google said that the app “has not completed the Google verification process”, tell whoever \
                         runs this machine which address you used.",
                    ),
                ],
            ),
            act(
                Operator,
                &[step(
                    "In the Google Cloud console, under \
                     [Google Auth Platform, Audience](https://console.cloud.google.com/auth/audience), add the address \
                     to **Test users**, or press **Publish app**.",
                )],
            ),
        ],
        meanwhile: Unchanged,
        words: &[
            "Error 403: access_denied",
            "Access blocked: … has not completed the Google verification process",
        ],
    },
    Topic {
        slug: "nothing-granted",
        title: "No permission was ticked",
        what: &[
            "Google's page shows a box beside each permission, and all of them were empty when you went on. An account \
             without any permission is of no use to an agent, so it was not connected.",
        ],
        acts: &[act(
            Owner,
            &[
                step("Ask for a new link, and tick at least one box on Google's page."),
                step("The agent's page says what each permission is for."),
            ],
        )],
        meanwhile: Unchanged,
        words: &["Select what … can access"],
    },
    Topic {
        slug: "no-refresh-token",
        title: "Google gave no lasting permission",
        what: &[
            "Google let this program in for an hour only, without the key that lasts (a “refresh token”). It does that \
             where the account said yes to the same app before and the first key was lost.",
        ],
        acts: &[
            act(
                Owner,
                &[
                    step(
                        "Open [your Google Account, Third-party apps & \
                         services](https://myaccount.google.com/connections), choose this app, and press **Delete all \
                         connections**.",
                    ),
                    step("Ask for a new link and connect again."),
                ],
            ),
            act(
                Operator,
                &[step(
                    "If it happens to everybody, compare `google.client_type` in the configuration with the type that \
                     [Google Auth Platform, Clients](https://console.cloud.google.com/auth/clients) shows.",
                )],
            ),
        ],
        meanwhile: Unchanged,
        words: &["refresh_token is missing"],
    },
    Topic {
        slug: "other-account",
        title: "That is another account",
        what: &[
            "One Google account is connected already, or was named beforehand, and a different one was chosen on \
             Google's page. So that agents do not suddenly read somebody else's mail, that is not taken for the same.",
        ],
        acts: &[
            act(
                Owner,
                &[
                    step("Open a new link, and choose the account that the message names."),
                    step(
                        "If Google does not offer it, press **Use another account** there, or open the link in a \
                         private window.",
                    ),
                ],
            ),
            either(
                Operator,
                &[
                    run(
                        "If the owner wants the second account beside the first, say so.",
                        "token-broker connect --owner OWNER --account new --capability KEY",
                    ),
                    run(
                        "If it shall take the place of the first, disconnect that one; what agents would lose is shown \
                         before anything is done.",
                        "token-broker integrations disconnect --owner OWNER",
                    ),
                ],
            ),
        ],
        meanwhile: Unchanged,
        words: &[],
    },
    Topic {
        slug: "connected-already",
        title: "That account is connected already",
        what: &["The link was for one more account, and one was chosen that is connected already."],
        acts: &[
            act(
                Owner,
                &[step(
                    "Open a new link and choose another account: **Use another account** on Google's page.",
                )],
            ),
            act(
                Operator,
                &[run(
                    "If the account that is there only lacks a permission, ask for that.",
                    "token-broker integrations add-permissions --owner OWNER --account ADDRESS --capability KEY",
                )],
            ),
        ],
        meanwhile: Unchanged,
        words: &[],
    },
    Topic {
        slug: "revoked-meanwhile",
        title: "The account was disconnected meanwhile",
        what: &[
            "While the account was being connected, it was being disconnected here as well, and that takes back at Google \
             everything that this program was allowed there: also what was allowed a moment ago.",
        ],
        acts: &[act(Owner, &[step("Connect the account once more.")])],
        meanwhile: Unchanged,
        words: &["was being disconnected at that moment"],
    },
    Topic {
        slug: "narrower-grant",
        title: "Something that was granted was left unticked",
        what: &[
            "You had allowed more before than this time. With the kind of app that is used here the new answer would \
             take the place of the old one, and agents would lose what they work with. So the old one was kept.",
        ],
        acts: &[
            either(
                Owner,
                &[
                    step("Open a new link and tick again what was ticked before; the message names it."),
                    step(
                        "If you want to take it back, ask whoever runs this machine to disconnect the account first.",
                    ),
                ],
            ),
            act(
                Operator,
                &[run(
                    "Disconnect, if the owner wants to give less; then make a new link.",
                    "token-broker integrations disconnect --owner OWNER --account ADDRESS",
                )],
            ),
        ],
        meanwhile: Unchanged,
        words: &[],
    },
    Topic {
        slug: "link-used",
        title: "This link is no longer good",
        what: &[
            "Each link works once, for a few minutes, so that nobody can use it after you. This one was used already, \
             or it is too old.",
        ],
        acts: &[
            either(
                Owner,
                &[
                    step("Ask for a new link, and open it soon."),
                    step("If you have used it before, look at the agent's page: perhaps it worked already."),
                ],
            ),
            act(
                Operator,
                &[run(
                    "Make a new link; `--timeout` says how long it is good.",
                    "token-broker connect --owner OWNER --capability KEY --timeout 30m",
                )],
            ),
        ],
        meanwhile: Unchanged,
        words: &[],
    },
    Topic {
        slug: "ended-already",
        title: "This was ended already",
        what: &[
            "This address, with Google's answer in it, was opened before, and each answer is taken once. How it ended is \
             shown in the browser that opened it first, and in no other.",
        ],
        acts: &[
            either(
                Owner,
                &[
                    step(
                        "Look at the agent's page, or at your accounts in the console: most likely everything went well.",
                    ),
                    step("If nothing is connected there, ask for a new link."),
                    step(
                        "If you did not open it before, somebody else did: tell whoever runs this machine, who can \
                         disconnect the account again.",
                    ),
                ],
            ),
            act(
                Operator,
                &[run(
                    "See how it ended: the line of `integration.connected` at that time.",
                    "token-broker audit list",
                )],
            ),
        ],
        meanwhile: Ended,
        words: &[],
    },
    Topic {
        slug: "other-session",
        title: "This was begun somewhere else",
        what: &[
            "Connecting was begun in the console in one browser and ended in another, or you were signed out in \
             between. So that nobody can slip you an account of theirs, both have to be the same visit.",
        ],
        acts: &[act(
            Owner,
            &[
                step("Open the console in this browser, and begin there once more."),
                step("Finish it in the same browser, without a private window in between."),
            ],
        )],
        meanwhile: Unchanged,
        words: &[],
    },
    Topic {
        slug: "incomplete-address",
        title: "This address is incomplete",
        what: &[
            "The page that Google sends you back to was opened without what Google adds to it: from a bookmark, from \
             the history, or cut off while it was copied.",
        ],
        acts: &[act(
            Owner,
            &[step(
                "Ask for a new link, and let Google's page bring you back by itself.",
            )],
        )],
        meanwhile: Unchanged,
        words: &[],
    },
    Topic {
        slug: "consent-timed-out",
        title: "Nobody came back from Google in time",
        what: &[
            "A link was made, and nobody finished it: it was not opened, Google's page was closed, or Google showed a \
             page of its own with an error and sent nobody back.",
        ],
        acts: &[
            either(
                Owner,
                &[
                    step("If you closed the page, ask for a new link."),
                    step(
                        "If Google showed an error, look for its last line, such as “Error 400: \
                         redirect_uri_mismatch”, in [the list of Google's error pages](/help/google-error-page).",
                    ),
                ],
            ),
            act(
                Operator,
                &[run(
                    "Make a new link with more time.",
                    "token-broker connect --owner OWNER --capability KEY --timeout 30m",
                )],
            ),
        ],
        meanwhile: Unchanged,
        words: &[],
    },
    Topic {
        slug: "too-many-connections",
        title: "Too many connections are being made at once",
        what: &["Many links were made and none was finished. Each ends by itself after a few minutes."],
        acts: &[
            act(
                Nobody,
                &[step(
                    "Try it again in a few minutes, when the unfinished ones have ended.",
                )],
            ),
            act(
                Operator,
                &[run(
                    "If nobody made so many, see who asked for them.",
                    "token-broker audit list",
                )],
            ),
        ],
        meanwhile: Unchanged,
        words: &[],
    },
    Topic {
        slug: "return-address",
        title: "The way back to your platform is not allowed",
        what: &[
            "The platform that sent you here wants to have you back at an address that the configuration does not \
             name. It was refused, so that nobody can send you to a place of their own.",
        ],
        acts: &[act(
            Operator,
            &[step(
                "Add the origin of the address (`https://platform.example`) to `return_url_origins` in the section \
                 `[connect]`, and start the daemon again.",
            )],
        )],
        meanwhile: Unchanged,
        words: &[],
    },
    Topic {
        slug: "several-accounts",
        title: "Several accounts fit",
        what: &[
            "The owner has connected more than one Google account, and it was not said which of them is meant.",
        ],
        acts: &[act(
            Operator,
            &[
                run(
                    "See which there are.",
                    "token-broker integrations list --owner OWNER",
                ),
                run(
                    "Name the one that is meant.",
                    "token-broker integrations add-permissions --owner OWNER --account ADDRESS --capability KEY",
                ),
            ],
        )],
        meanwhile: Unchanged,
        words: &[],
    },
    Topic {
        slug: "no-such-account",
        title: "There is no such account",
        what: &[
            "An account was named that is not connected: it was disconnected, or its address or id is misspelled.",
        ],
        acts: &[act(
            Operator,
            &[run("See which there are.", "token-broker integrations list")],
        )],
        meanwhile: Unchanged,
        words: &[],
    },
    Topic {
        slug: "nobody-consents",
        title: "Nobody can say yes for a service account",
        what: &[
            "A service account is an account for programs: nobody signs in to it, so there is no page on which to tick \
             anything. What it may see is decided where somebody shares a file or a calendar with its address.",
        ],
        acts: &[
            act(
                Owner,
                &[step(
                    "Share the file with the service account's address, as with a colleague: **Share** in Google \
                     Drive, Docs or Sheets.",
                )],
            ),
            act(
                Administrator,
                &[step(
                    "If it is to act for people of your organisation, list its client id under \
                     [Domain-wide delegation](https://admin.google.com/ac/owl/domainwidedelegation).",
                )],
            ),
            act(Author, &[step("Declare `google.sa` in the agent's manifest.")]),
        ],
        meanwhile: Unchanged,
        words: &[],
    },
    Topic {
        slug: "account-not-kept",
        title: "The account could not be kept",
        what: &[
            "Google said yes, and this machine could not write that down: its disk is full or broken, or its database \
             is locked by something else.",
        ],
        acts: &[
            act(
                Operator,
                &[
                    run(
                        "See what the daemon says of its database, and make room.",
                        "token-broker doctor",
                    ),
                    step("Then make a new link for the owner."),
                ],
            ),
            act(Owner, &[step("Ask for a new link when that is done.")]),
        ],
        meanwhile: Unchanged,
        words: &[],
    },
];
