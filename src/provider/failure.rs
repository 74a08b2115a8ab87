//! A failure of a provider's: what was asked, by what it is recognized, who can act, and what to say.

pub use crate::cause::Call;

use crate::cause::{ProviderCause, Refusal};

/// Who can do something about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Nobody has to: it passes, and is tried again.
    Retry,
    /// The owner has to connect again.
    Reconnect,
    /// The operator has to change the configuration, or the app at the provider.
    Operator,
    /// A scope was asked for that was not granted.
    Permission,
}

/// By what an answer is recognized. Descriptions are not enumerated, so they decide nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// HTTP 408, 429 or 5xx, whatever the answer says: a server out of order must not cost a grant.
    Busy,
    /// One of these HTTP statuses.
    Status(&'static [u16]),
    /// One of these in `error`.
    Error(&'static [&'static str]),
    /// One of these in `error`, or among the reasons that an API gives, in any spelling of theirs (`rateLimitExceeded`,
    /// `RATE_LIMIT_EXCEEDED`).
    Reason(&'static [&'static str]),
    /// This in `error`, and one of these in `error_subtype`.
    Subtype(&'static str, &'static [&'static str]),
    /// A redirect, and no `error`.
    Redirected,
    /// No `error`.
    Silent,
    /// Any other `error`.
    Other,
}

impl Sign {
    /// Whether an answer with this status that says this is recognized by it.
    fn is_in(self, status: u16, said: Said<'_>) -> bool {
        let Said {
            error,
            subtype,
            reasons,
        } = said;
        match self {
            Self::Busy => matches!(status, 408 | 429 | 500..),
            Self::Status(statuses) => statuses.contains(&status),
            Self::Error(codes) => codes.contains(&error),
            Self::Reason(codes) => {
                let all = || reasons.iter().map(String::as_str).chain([error]);
                codes.iter().any(|code| all().any(|said| same_reason(code, said)))
            }
            Self::Subtype(code, subtypes) => {
                error == code && subtype.is_some_and(|subtype| subtypes.contains(&subtype))
            }
            Self::Redirected => error.is_empty() && (300..400).contains(&status),
            Self::Silent => error.is_empty(),
            Self::Other => true,
        }
    }
}

/// Whether two spellings of a reason are the same: Google's older APIs write it in one way, the newer in another.
fn same_reason(a: &str, b: &str) -> bool {
    let letters = |text: &str| {
        text.bytes()
            .filter(|b| *b != b'_')
            .map(|b| b.to_ascii_lowercase())
            .collect::<Vec<_>>()
    };
    letters(a) == letters(b)
}

/// What an answer says of its failure.
#[derive(Debug, Clone, Copy, Default)]
pub struct Said<'a> {
    /// `error`; empty where the answer has none.
    pub error: &'a str,
    /// `error_subtype`.
    pub subtype: Option<&'a str>,
    /// What an API gives as reasons: `status`, and each `reason`.
    pub reasons: &'a [String],
}

impl<'a> Said<'a> {
    /// What a refusal says.
    pub fn of(refusal: &'a Refusal) -> Self {
        Self {
            error: refusal.error.as_deref().unwrap_or_default(),
            subtype: refusal.subtype.as_deref(),
            reasons: &refusal.reasons,
        }
    }

    /// An `error` and no more.
    pub fn code(error: &'a str) -> Self {
        Self {
            error,
            ..Self::default()
        }
    }
}

/// A row of a [`FailureTable`].
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    /// The page that explains it to people, `/help/<slug>`. Rows that come to the same share one.
    pub help: &'static str,
    /// What was asked; empty for whatever it was.
    pub calls: &'static [Call],
    /// What the answer looks like.
    pub sign: Sign,
    /// Who can act.
    pub kind: Remedy,
    /// What is wrong and what to do. Of what passes by itself, `sentences` adds who tries it again.
    pub sentence: &'static str,
}

impl Failure {
    pub(in crate::provider) const fn of(
        help: &'static str,
        calls: &'static [Call],
        sign: Sign,
        kind: Remedy,
        sentence: &'static str,
    ) -> Self {
        Self {
            help,
            calls,
            sign,
            kind,
            sentence,
        }
    }

    /// Whether an answer to `call` can be this row's.
    pub fn concerns(&self, call: Call) -> bool {
        self.calls.is_empty() || self.calls.contains(&call)
    }
}

/// What a provider may answer instead of what was asked for: the first row that fits counts, and the last one fits
/// always.
#[derive(Debug, Clone, Copy)]
pub struct FailureTable(&'static [Failure]);

impl FailureTable {
    /// Of these rows, of which there is at least one.
    ///
    /// # Panics
    /// Without any, where it is a constant already when it is compiled.
    pub const fn new(rows: &'static [Failure]) -> Self {
        assert!(!rows.is_empty(), "an answer that no row fits is the last row's");
        Self(rows)
    }

    /// The rows, the first that counts first.
    pub fn rows(self) -> &'static [Failure] {
        self.0
    }

    /// Says who can act and what they can do. For [`Call::Authorize`] the status is the redirect's.
    pub fn classify(self, call: Call, status: u16, said: Said<'_>) -> &'static Failure {
        self.0
            .iter()
            .find(|failure| failure.concerns(call) && failure.sign.is_in(status, said))
            .unwrap_or(&self.0[self.0.len() - 1])
    }

    /// The row that a refusal is recognized by, where the provider refused.
    pub fn row_of(self, cause: &ProviderCause) -> Option<&'static Failure> {
        match cause {
            ProviderCause::Refused(refusal) => {
                Some(self.classify(refusal.call, refusal.status, Said::of(refusal)))
            }
            ProviderCause::ConsentRefused { error, .. } => {
                Some(self.classify(Call::Authorize, 302, Said::code(error)))
            }
            _ => None,
        }
    }

    /// Whether there is a row for this `error` or `error_subtype`.
    pub(in crate::provider) fn knows(self, code: &str) -> bool {
        self.0.iter().any(|failure| match failure.sign {
            Sign::Error(codes) | Sign::Reason(codes) => codes.contains(&code),
            Sign::Subtype(error, subtypes) => error == code || subtypes.contains(&code),
            Sign::Busy | Sign::Status(_) | Sign::Redirected | Sign::Silent | Sign::Other => false,
        })
    }
}
