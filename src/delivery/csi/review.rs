//! Asks the Kubernetes API whose token it is (`authentication.k8s.io/v1`, `TokenReview`).

use std::{collections::HashMap, io, path::PathBuf, sync::Arc, time::Duration};

use http::StatusCode;
use rustls::{ClientConfig, RootCertStore, pki_types::CertificateDer, pki_types::pem::PemObject};
use serde::{Deserialize, Serialize};
use tonic::Status;
use url::Url;
use zeroize::Zeroizing;

use super::request::Pod;
use crate::{
    agent::PodIdentity,
    config::CsiSection,
    google::{
        Limits, ProviderError,
        http::{Http, Reply, tls_builder},
    },
    secret::AccessToken,
};

const API_VERSION: &str = "authentication.k8s.io/v1";
const PATH: &str = "apis/authentication.k8s.io/v1/tokenreviews";
/// How Kubernetes names a service account as a user.
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";
/// Whom a token is bound to; always there for the tokens that the kubelet asks for.
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";
/// Shorter than the kubelet's own patience of two minutes, so that the pod's events hold our sentence.
const ANSWER: Duration = Duration::from_secs(15);

/// Asks the Kubernetes API about tokens.
pub(super) struct Reviewer {
    url: Url,
    ca_file: PathBuf,
    token_file: PathBuf,
    audience: String,
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
    /// Reads nothing yet.
    pub(super) fn new(section: &CsiSection) -> Self {
        let mut url = section.api_url.clone();
        url.set_path(&format!("{}/{PATH}", url.path().trim_end_matches('/')));
        Self {
            url,
            ca_file: section.api_ca_file.clone(),
            token_file: section.api_token_file.clone(),
            audience: section.audience.clone(),
        }
    }

    /// The audience that tokens have to be for.
    pub(super) fn audience(&self) -> &str {
        &self.audience
    }

    /// Makes sure that `token` is that pod's.
    ///
    /// # Errors
    /// Where it is not, or nobody can say. No sentence holds the token or what the API said of it.
    pub(super) async fn prove(&self, pod: &Pod, token: &AccessToken) -> Result<(), Status> {
        let verdict = self.ask(token).await?;
        self.judge(&verdict, pod).map_err(|reason| {
            Status::permission_denied(format!(
                "the token that the kubelet sent does not prove the pod {pod}: {reason}"
            ))
        })
    }

    fn judge(&self, verdict: &Verdict, pod: &Pod) -> Result<(), String> {
        if !verdict.authenticated {
            return Err("the Kubernetes API does not accept it: it has expired or is forged".to_owned());
        }
        // A server that knows of no audiences names none, and has not checked that it is for us.
        if !verdict.audiences.contains(&self.audience) {
            return Err(format!("it is not for the audience {}", self.audience));
        }
        let user = service_account(&verdict.user.username);
        if user.as_ref() != Some(&pod.identity) {
            let user = user.map_or_else(|| "of no service account".to_owned(), |user| format!("of {user}"));
            return Err(format!("it is {user}"));
        }
        let bound = verdict
            .user
            .extra
            .get(POD_UID)
            .is_some_and(|uids| uids.as_slice() == [pod.uid.as_str()]);
        if !bound {
            return Err(format!("it is not bound to this pod (uid {})", pod.uid));
        }
        Ok(())
    }

    async fn ask(&self, token: &AccessToken) -> Result<Verdict, Status> {
        let unavailable = |what: String| {
            tracing::warn!("pods' tokens cannot be reviewed: {what}");
            Status::unavailable(format!(
                "nobody can say whether the pod's token is genuine: {what}"
            ))
        };
        // Both rotate, and a pod is started seldom enough to read them each time.
        let (roots, own) = self.credentials().await.map_err(unavailable)?;
        let tls = move || {
            let config: ClientConfig = tls_builder()?
                .with_root_certificates(roots.clone())
                .with_no_client_auth();
            Ok(config)
        };
        let limits = Limits {
            request: ANSWER,
            ..Limits::default()
        };
        let http = Http::new(limits, Arc::new(tls));
        let reply = http.post_json(&self.url, self.question(token), &own).await;
        let reply = reply.map_err(|error| {
            let host = self.url.host_str().unwrap_or_default();
            unavailable(ProviderError::transport(&format!("the Kubernetes API ({host})"), &error).message)
        })?;
        verdict(&reply).map_err(unavailable)
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

    async fn credentials(&self) -> Result<(RootCertStore, AccessToken), String> {
        let (ca_file, token_file) = (self.ca_file.clone(), self.token_file.clone());
        let https = self.url.scheme() == "https";
        let read = tokio::task::spawn_blocking(move || {
            let cannot =
                |file: &PathBuf, error: &io::Error| format!("{} cannot be read: {error}", file.display());
            let mut roots = RootCertStore::empty();
            if https {
                let pem = std::fs::read(&ca_file).map_err(|error| cannot(&ca_file, &error))?;
                let certificates = CertificateDer::pem_slice_iter(&pem).flatten();
                if roots.add_parsable_certificates(certificates).0 == 0 {
                    return Err(format!("{} holds no certificate", ca_file.display()));
                }
            }
            let token = std::fs::read_to_string(&token_file).map_err(|error| cannot(&token_file, &error))?;
            let token = Zeroizing::new(token);
            Ok((roots, AccessToken::from(token.trim())))
        });
        read.await.unwrap_or_else(|error| Err(error.to_string()))
    }
}

/// What the API answered.
fn verdict(reply: &Reply) -> Result<Verdict, String> {
    match reply.status {
        StatusCode::OK | StatusCode::CREATED => serde_json::from_slice::<Answer>(&reply.body)
            .map(|answer| answer.status)
            .map_err(|_| "the Kubernetes API's answer is no TokenReview".to_owned()),
        StatusCode::UNAUTHORIZED => {
            Err("the Kubernetes API does not accept the daemon's own token (csi.api_token_file)".to_owned())
        }
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
    use super::*;

    fn reviewer() -> Reviewer {
        Reviewer::new(&CsiSection {
            endpoint: "/csi.sock".into(),
            driver: "token-broker.dev".to_owned(),
            node_id: "node-1".to_owned(),
            audience: "token-broker.dev".to_owned(),
            api_url: Url::parse("https://api.example/prefix/").unwrap(),
            api_ca_file: "/nowhere/ca.crt".into(),
            api_token_file: "/nowhere/token".into(),
        })
    }

    fn pod() -> Pod {
        Pod {
            identity: PodIdentity {
                namespace: "billing".into(),
                service_account: "invoice-bot".into(),
            },
            name: "bot-1".to_owned(),
            uid: "uid-1".to_owned(),
        }
    }

    fn verdict(json: &str) -> Verdict {
        serde_json::from_str::<Answer>(json).unwrap().status
    }

    const GOOD: &str = r#"{"status":{"authenticated":true,"audiences":["token-broker.dev"],"user":{
        "username":"system:serviceaccount:billing:invoice-bot",
        "extra":{"authentication.kubernetes.io/pod-uid":["uid-1"]}}}}"#;

    #[test]
    fn only_that_pods_own_token_for_this_audience_proves_it() {
        let reviewer = reviewer();
        assert_eq!(reviewer.judge(&verdict(GOOD), &pod()), Ok(()));
        for (wrong, instead, reason) in [
            ("true", "false", "does not accept it"),
            (r#"["token-broker.dev"]"#, "[]", "not for the audience"),
            (
                r#"["token-broker.dev"]"#,
                r#"["https://kubernetes.default.svc"]"#,
                "not for the audience",
            ),
            (
                "billing:invoice-bot",
                "billing:default",
                "it is of billing/default",
            ),
            (
                "billing:invoice-bot",
                "other:invoice-bot",
                "it is of other/invoice-bot",
            ),
            (
                "system:serviceaccount:billing:invoice-bot",
                "alice",
                "of no service account",
            ),
            ("uid-1", "uid-2", "not bound to this pod"),
            (r#"["uid-1"]"#, r#"["uid-1","uid-2"]"#, "not bound to this pod"),
            ("pod-uid", "pod-name", "not bound to this pod"),
        ] {
            let changed = GOOD.replace(wrong, instead);
            assert_ne!(changed, GOOD);
            let refused = reviewer.judge(&verdict(&changed), &pod()).unwrap_err();
            assert!(refused.contains(reason), "{refused}");
        }
    }

    #[test]
    fn the_question_is_a_token_review_for_the_audience() {
        let reviewer = reviewer();
        assert_eq!(
            reviewer.url.as_str(),
            "https://api.example/prefix/apis/authentication.k8s.io/v1/tokenreviews"
        );
        let question = reviewer.question(&AccessToken::from("a.b.c"));
        assert_eq!(
            std::str::from_utf8(&question).unwrap(),
            r#"{"apiVersion":"authentication.k8s.io/v1","kind":"TokenReview","spec":{"token":"a.b.c","audiences":["token-broker.dev"]}}"#
        );
    }

    #[tokio::test]
    async fn credentials_that_cannot_be_read_are_named() {
        let refused = reviewer()
            .prove(&pod(), &AccessToken::from("x"))
            .await
            .unwrap_err();
        assert_eq!(refused.code(), tonic::Code::Unavailable);
        assert!(
            refused.message().contains("/nowhere/ca.crt cannot be read"),
            "{refused}"
        );
    }
}
