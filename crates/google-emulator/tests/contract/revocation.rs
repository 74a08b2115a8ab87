//! Revocation, as Google means it: the account leaves the whole project.

use http::Method;

use crate::support::*;

#[tokio::test]
async fn any_token_ends_everything_of_the_account_on_every_client() {
    for by_access_token in [false, true] {
        let google = google().await;
        let web = google.connect(SEND, &[]).await;
        let desktop = google.connect_desktop(DRIVE_READONLY, &[]).await;
        let bob = google.handle.seed_grant("bob@example.com", &[SEND]);
        let pending = google
            .allow(&Google::consent_path(SEND, &[]), SEND)
            .await
            .sent_back_value("code");

        let token = if by_access_token {
            web.access_token()
        } else {
            web.refresh_token().unwrap()
        };
        assert_eq!(google.post("/revoke", &[("token", &token)]).await.status, 200);

        let desktop_client = [("client_id", DESKTOP), ("client_secret", "GOCSPX-desktop")];
        let dead = google
            .refresh(&desktop.refresh_token().unwrap(), &desktop_client)
            .await;
        assert_eq!(dead.refused(), (400, "invalid_grant".into()));
        let dead = google.refresh(&web.refresh_token().unwrap(), &[]).await;
        assert_eq!(dead.refused(), (400, "invalid_grant".into()));
        let access = desktop.access_token();
        assert_eq!(
            google
                .call(Method::GET, "/drive/v3/files", &access, None)
                .await
                .status,
            401
        );
        assert_eq!(
            google.exchange(&pending, &[]).await.refused(),
            (400, "invalid_grant".into())
        );
        assert_eq!(google.refresh(&bob, &[]).await.status, 200, "another account");
    }
}

#[tokio::test]
async fn a_dead_or_unknown_token_is_an_invalid_token() {
    let google = google().await;
    let token = google.connect(SEND, &[]).await.refresh_token().unwrap();
    google.post("/revoke", &[("token", &token)]).await;
    for token in [token.as_str(), "ya29.unknown"] {
        assert_eq!(
            google.post("/revoke", &[("token", token)]).await.refused(),
            (400, "invalid_token".into())
        );
    }
    assert_eq!(
        google.post("/revoke", &[]).await.refused(),
        (400, "invalid_request".into())
    );
}

#[tokio::test]
async fn the_token_may_stand_in_the_query() {
    let google = google().await;
    let token = google.connect(SEND, &[]).await.refresh_token().unwrap();
    let path = format!("/revoke?{}", form(&[("token", &token)]));
    assert_eq!(google.post(&path, &[]).await.status, 200);
}

#[tokio::test]
async fn after_a_revocation_the_next_consent_is_a_first_one() {
    let google = google().await;
    let token = google.connect(SEND, &[]).await.refresh_token().unwrap();
    google.post("/revoke", &[("token", &token)]).await;
    let answer = google
        .connect(CALENDAR, &[("include_granted_scopes", "true")])
        .await;
    assert_eq!(answer.scopes(), [CALENDAR], "what was granted before is gone");
    let token = answer
        .refresh_token()
        .expect("a refresh token without prompt=consent");
    assert_eq!(google.refresh(&token, &[]).await.status, 200);
}
