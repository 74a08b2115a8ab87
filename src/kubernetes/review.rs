//! Asks the Kubernetes API whose token it is (`authentication.k8s.io/v1`, `TokenReview`).

use std::collections::HashMap;

use http::StatusCode;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::api::Api;
use crate::{
    budget::Refusals, config::KubernetesApi, http_client::Reply, manifest::PodIdentity, secret::AccessToken,
};

const API_VERSION: &str = "authentication.k8s.io/v1";
const PATH: &str = "apis/authentication.k8s.io/v1/tokenreviews";
/// How Kubernetes names a service account as a user.
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";
/// Whom a token is bound to; always there for the tokens that the kubelet asks for.
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";

/// Asks the Kubernetes API about tokens.
pub(crate) struct Reviewer {
    api: Api,
    audience: String,
    unavailable: Refusals,
}

/// Whose token it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Proven {
    /// The service account that it is of.
    pub(crate) identity: PodIdentity,
    /// The pod that it is bound to; `None` where it is bound to none, or to several.
    pub(crate) pod_uid: Option<String>,
}

/// Why nothing is proven. No sentence holds the token or what the API said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ReviewError {
    /// The token is no proof.
    Refused(String),
    /// Nobody can say.
    Unavailable(String),
}

#[derive(Serialize)]
struct Question<'a> {
    #[serde(rename = "apiVersion")]
    api_version: &'a str,
    kind: &'a str,
    spec: Spec<'a>,
}

#[derive(Serialize)]
struct Spec<'a> {
    token: &'a str,
    audiences: [&'a str; 1],
}

#[derive(Deserialize)]
struct Answer {
    status: Verdict,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Verdict {
    authenticated: bool,
    user: User,
    audiences: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct User {
    username: String,
    extra: HashMap<String, Vec<String>>,
}

impl Reviewer {
    /// Reads nothing yet. Tokens have to be for `audience`.
    pub(crate) fn new(api: &KubernetesApi, audience: &str) -> Self {
        Self {
            api: Api::new(api),
            audience: audience.to_owned(),
            unavailable: Refusals::new("pods' tokens could not be reviewed"),
        }
    }

    /// The audience that tokens have to be for.
    pub(crate) fn audience(&self) -> &str {
        &self.audience
    }

    /// Asks whose token it is.
    pub(crate) async fn review(&self, token: &AccessToken) -> Result<Proven, ReviewError> {
        let unavailable = |what: String| {
            self.unavailable.count(&what);
            ReviewError::Unavailable(what)
        };
        let reply = self.api.post(PATH, self.question(token)).await;
        let verdict = reply.and_then(|reply| verdict(&reply)).map_err(unavailable)?;
        self.judge(verdict).map_err(ReviewError::Refused)
    }

    fn judge(&self, verdict: Verdict) -> Result<Proven, String> {
        if !verdict.authenticated {
            return Err("the Kubernetes API does not accept it: it has expired or is forged".to_owned());
        }
        // A server that knows of no audiences names none, and has not checked that it is for us.
        if !verdict.audiences.contains(&self.audience) {
            return Err(format!("it is not for the audience {}", self.audience));
        }
        let User { username, mut extra } = verdict.user;
        let identity = service_account(&username).ok_or("it is of no service account")?;
        let bound: Option<[String; 1]> = extra.remove(POD_UID).and_then(|uids| uids.try_into().ok());
        Ok(Proven {
            identity,
            pod_uid: bound.map(|[uid]| uid),
        })
    }

    fn question(&self, token: &AccessToken) -> Zeroizing<Vec<u8>> {
        let question = Question {
            api_version: API_VERSION,
            kind: "TokenReview",
            spec: Spec {
                token: token.expose(),
                audiences: [&self.audience],
            },
        };
        // Room for every character to be escaped: growing would leave copies of the token behind.
        let room = 6 * (token.expose().len() + self.audience.len()) + 256;
        let mut json = Zeroizing::new(Vec::with_capacity(room));
        serde_json::to_writer(&mut *json, &question).expect("texts can be written to memory");
        json
    }
}

/// What the API answered.
fn verdict(reply: &Reply) -> Result<Verdict, String> {
    match reply.status {
        StatusCode::OK | StatusCode::CREATED => serde_json::from_slice::<Answer>(&reply.body)
            .map(|answer| answer.status)
            .map_err(|_| "the Kubernetes API's answer is no TokenReview".to_owned()),
        StatusCode::FORBIDDEN => Err(
            "the daemon may not create `tokenreviews`: bind the ClusterRole system:auth-delegator to its service \
             account"
                .to_owned(),
        ),
        status => Err(format!("the Kubernetes API answered with HTTP {}", status.as_u16())),
    }
}

/// Whom `system:serviceaccount:NAMESPACE:NAME` names.
fn service_account(username: &str) -> Option<PodIdentity> {
    let (namespace, service_account) = username.strip_prefix(SERVICE_ACCOUNT)?.split_once(':')?;
    Some(PodIdentity {
        namespace: namespace.into(),
        service_account: service_account.into(),
    })
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;

    fn reviewer() -> Reviewer {
        let api = KubernetesApi {
            url: Url::parse("https://api.example").unwrap(),
            ca_file: "/nowhere/ca.crt".into(),
            token_file: "/nowhere/token".into(),
        };
        Reviewer::new(&api, "token-broker.dev")
    }

    fn verdict(json: &str) -> Verdict {
        serde_json::from_str::<Answer>(json).unwrap().status
    }

    const GOOD: &str = r#"{"status":{"authenticated":true,"audiences":["token-broker.dev"],"user":{
        "username":"system:serviceaccount:billing:invoice-bot",
        "extra":{"authentication.kubernetes.io/pod-uid":["uid-1"]}}}}"#;

    fn judged(replaced: &str, by: &str) -> Result<Proven, String> {
        let changed = GOOD.replace(replaced, by);
        assert_ne!(changed, GOOD);
        reviewer().judge(verdict(&changed))
    }

    #[test]
    fn a_token_proves_a_service_account_and_a_pod() {
        let proven = reviewer().judge(verdict(GOOD)).unwrap();
        assert_eq!(proven.identity.to_string(), "billing/invoice-bot");
        assert_eq!(proven.pod_uid.as_deref(), Some("uid-1"));
        for unbound in [("pod-uid", "pod-name"), (r#"["uid-1"]"#, r#"["uid-1","uid-2"]"#)] {
            assert_eq!(judged(unbound.0, unbound.1).unwrap().pod_uid, None);
        }
    }

    #[test]
    fn what_the_api_does_not_vouch_for_proves_nothing() {
        for (wrong, instead, reason) in [
            ("true", "false", "does not accept it"),
            (r#"["token-broker.dev"]"#, "[]", "not for the audience"),
            (
                r#"["token-broker.dev"]"#,
                r#"["https://kubernetes.default.svc"]"#,
                "not for the audience",
            ),
            (
                "system:serviceaccount:billing:invoice-bot",
                "alice",
                "of no service account",
            ),
        ] {
            let refused = judged(wrong, instead).unwrap_err();
            assert!(refused.contains(reason), "{refused}");
        }
    }

    #[test]
    fn the_question_is_a_token_review_for_the_audience() {
        let question = reviewer().question(&AccessToken::from("a.b.c"));
        assert_eq!(
            std::str::from_utf8(&question).unwrap(),
            r#"{"apiVersion":"authentication.k8s.io/v1","kind":"TokenReview","spec":{"token":"a.b.c","audiences":["token-broker.dev"]}}"#
        );
    }
}
