//! Service accounts: key files and assertions.

use http::Method;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::support::*;

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

fn assertion(google: &Google, file: &Value, changes: &Value) -> String {
    let mut claims = json!({
        "iss": file["client_email"],
        "scope": DRIVE_READONLY,
        "aud": "https://oauth2.googleapis.com/token",
        "iat": google.now(),
        "exp": google.now() + 3600,
    });
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    let key = EncodingKey::from_rsa_pem(file["private_key"].as_str().unwrap().as_bytes()).unwrap();
    let kid = file["private_key_id"].as_str().map(str::to_owned);
    jsonwebtoken::encode(
        &Header {
            kid,
            ..Header::new(Algorithm::RS256)
        },
        &claims,
        &key,
    )
    .unwrap()
}

async fn present(google: &Google, assertion: &str) -> Answer {
    google
        .post("/token", &[("grant_type", JWT_BEARER), ("assertion", assertion)])
        .await
}

#[tokio::test]
async fn a_key_file_is_all_that_a_service_account_needs() {
    let google = google().await;
    let file = google.handle.create_service_account("robot").unwrap();
    assert_eq!(file["type"], "service_account");
    assert_eq!(
        file["client_email"],
        "robot@google-emulator.iam.gserviceaccount.com"
    );
    assert_eq!(file["token_uri"], format!("{}/token", google.handle.base_url()));

    let own_audience = json!({ "aud": file["token_uri"] });
    for changes in [json!({}), own_audience] {
        let answer = present(&google, &assertion(&google, &file, &changes)).await;
        assert_eq!(answer.json()["expires_in"], 3599);
        assert_eq!((answer.refresh_token(), answer.token("scope")), (None, None));
        let files = google
            .call(Method::GET, "/drive/v3/files", &answer.access_token(), None)
            .await;
        assert_eq!(files.status, 200);
    }
    assert_eq!(google.handle.stats().assertion, 2);
}

#[tokio::test]
async fn a_wrong_assertion_is_told_apart() {
    let google = google().await;
    let file = google.handle.create_service_account("robot").unwrap();
    let stranger = google.handle.create_service_account("stranger").unwrap();
    let now = google.now();
    let cases = [
        (
            json!({ "iss": "nobody@example.com" }),
            400,
            "invalid_grant",
            "account not found",
        ),
        (
            json!({ "iss": stranger["client_email"] }),
            400,
            "invalid_grant",
            "Invalid JWT Signature.",
        ),
        (
            json!({ "exp": now + 3601 }),
            400,
            "invalid_grant",
            "short-lived token",
        ),
        (
            json!({ "iat": now - 7200, "exp": now - 3600 }),
            400,
            "invalid_grant",
            "short-lived token",
        ),
        (
            json!({ "aud": "https://example.com/" }),
            400,
            "invalid_grant",
            "audience",
        ),
        (
            json!({ "scope": "" }),
            400,
            "invalid_scope",
            "Invalid OAuth scope",
        ),
        (
            json!({ "sub": "alice@example.com" }),
            401,
            "unauthorized_client",
            "unauthorized",
        ),
    ];
    for (changes, status, error, description) in cases {
        let answer = present(&google, &assertion(&google, &file, &changes)).await;
        assert_eq!(answer.refused(), (status, error.into()), "{changes}");
        let said = answer.json()["error_description"].as_str().unwrap().to_owned();
        assert!(said.contains(description), "{changes}: {said}");
    }
    assert_eq!(
        present(&google, "a.b.c").await.refused(),
        (400, "invalid_grant".into())
    );
}

#[tokio::test]
async fn an_assertion_names_the_key_that_signed_it() {
    let google = google().await;
    let mut file = google.handle.create_service_account("robot").unwrap();
    file["private_key_id"] = "another".into();
    let answer = present(&google, &assertion(&google, &file, &json!({}))).await;
    assert_eq!(answer.refused(), (400, "invalid_grant".into()));
    let file = google.handle.create_service_account("robot").unwrap();
    assert_eq!(
        present(&google, &assertion(&google, &file, &json!({})))
            .await
            .status,
        200,
        "a new key"
    );
}

#[tokio::test]
async fn delegation_lets_it_act_for_a_person_within_the_delegated_scopes() {
    let google = google().await;
    let order = json!({ "name": "robot", "delegated_scopes": [MAIL_READONLY] });
    let file = google
        .control(Method::POST, "/service-accounts", order)
        .await
        .json();
    let for_alice = json!({ "sub": "alice@example.com", "scope": MAIL_READONLY });
    let token = present(&google, &assertion(&google, &file, &for_alice))
        .await
        .access_token();
    let profile = google
        .call(Method::GET, "/gmail/v1/users/me/profile", &token, None)
        .await
        .json();
    assert_eq!(profile["emailAddress"], "alice@example.com");
    let too_much = json!({ "sub": "alice@example.com", "scope": SEND });
    let answer = present(&google, &assertion(&google, &file, &too_much)).await;
    assert_eq!(answer.refused(), (401, "unauthorized_client".into()));
}
