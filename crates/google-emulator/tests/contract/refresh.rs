//! Refresh tokens: narrowing, rotation, and the ways in which they die.

use google_emulator::{Options, Rotation};
use http::Method;
use std::time::Duration;

use crate::support::*;

const DAY: u64 = 86_400;

#[tokio::test]
async fn a_refresh_gives_a_new_access_token_and_no_refresh_token() {
    let google = google().await;
    let token = google.connect(SEND, &[]).await.refresh_token().unwrap();
    let first = google.refresh(&token, &[]).await;
    let second = google.refresh(&token, &[]).await;
    assert_eq!(first.refresh_token(), None);
    assert_eq!(first.json()["expires_in"], 3599);
    assert_eq!(first.scopes(), [SEND]);
    assert_ne!(first.access_token(), second.access_token());
    assert!(first.access_token().starts_with("ya29."));
}

#[tokio::test]
async fn id_tokens_come_on_refresh_where_they_are_switched_on() {
    let google = google_with(Options {
        id_token_on_refresh: true,
        ..options()
    })
    .await;
    let signed_in = google
        .connect(&format!("openid {SEND}"), &[])
        .await
        .refresh_token()
        .unwrap();
    assert!(google.refresh(&signed_in, &[]).await.token("id_token").is_some());
    assert_eq!(
        google
            .refresh(&signed_in, &[("scope", SEND)])
            .await
            .token("id_token"),
        None
    );
}

#[tokio::test]
async fn an_access_token_lives_as_long_as_it_is_said_to() {
    let google = google().await;
    google.handle.set_token_lifetime(Duration::from_secs(60));
    let refresh = google.handle.seed_grant("alice@example.com", &[DRIVE_READONLY]);
    let answer = google.refresh(&refresh, &[]).await;
    assert_eq!(answer.json()["expires_in"], 60);
    let token = answer.access_token();
    google.advance(59);
    assert!(google.handle.is_alive(&token));
    assert_eq!(
        google
            .call(Method::GET, "/drive/v3/files", &token, None)
            .await
            .status,
        200
    );
    google.advance(1);
    assert!(!google.handle.is_alive(&token));
    assert_eq!(
        google
            .call(Method::GET, "/drive/v3/files", &token, None)
            .await
            .status,
        401
    );
}

#[tokio::test]
async fn a_refresh_may_ask_for_less() {
    let google = google().await;
    let token = google.handle.seed_grant("alice@example.com", &[SEND, CALENDAR]);
    assert_eq!(google.refresh(&token, &[("scope", SEND)]).await.scopes(), [SEND]);
    assert_eq!(
        google.refresh(&token, &[]).await.scopes(),
        [CALENDAR, SEND],
        "the grant stays whole"
    );
}

#[tokio::test]
async fn scopes_are_compared_literally_even_where_a_wider_one_was_granted() {
    let google = google().await;
    let token = google
        .handle
        .seed_grant("alice@example.com", &[CALENDAR, "email"]);
    for scope in [
        CALENDAR_READONLY.to_owned(),
        format!("{CALENDAR} {SEND}"),
        "email".to_owned(),
    ] {
        let answer = google.refresh(&token, &[("scope", &scope)]).await;
        assert_eq!(answer.refused(), (400, "invalid_scope".into()), "{scope}");
        assert_eq!(answer.json()["error_description"], "Bad Request");
    }
    let nonsense = google.refresh(&token, &[("scope", "nonsense")]).await.json();
    let description = nonsense["error_description"].as_str().unwrap();
    assert!(
        description.starts_with("Some requested scopes were invalid."),
        "{description}"
    );
}

#[tokio::test]
async fn the_grant_is_judged_before_the_scope() {
    let google = google().await;
    let token = google.handle.seed_grant("alice@example.com", &[CALENDAR]);
    google.handle.revoke_account("alice@example.com").unwrap();
    let answer = google.refresh(&token, &[("scope", SEND)]).await;
    assert_eq!(answer.refused(), (400, "invalid_grant".into()));
    assert_eq!(
        answer.json()["error_description"],
        "Token has been expired or revoked."
    );
}

#[tokio::test]
async fn a_refused_scope_does_not_rotate_the_token() {
    let google = google_with(Options {
        rotation: Rotation::Strict,
        ..options()
    })
    .await;
    let token = google.handle.seed_grant("alice@example.com", &[CALENDAR]);
    assert_eq!(google.refresh(&token, &[("scope", SEND)]).await.status, 400);
    assert!(google.refresh(&token, &[]).await.refresh_token().is_some());
}

#[tokio::test]
async fn a_refresh_token_belongs_to_its_client() {
    let google = google().await;
    let token = google.handle.seed_grant("alice@example.com", &[SEND]);
    let other = [("client_id", DESKTOP), ("client_secret", "GOCSPX-desktop")];
    assert_eq!(
        google.refresh(&token, &other).await.refused(),
        (401, "unauthorized_client".into())
    );
    assert_eq!(
        google.refresh("1//never-issued", &[]).await.refused(),
        (400, "invalid_grant".into())
    );
}

#[tokio::test]
async fn with_leeway_the_old_token_is_good_until_the_new_one_is_used() {
    let google = google_with(Options {
        rotation: Rotation::Leeway,
        ..options()
    })
    .await;
    let first = google.handle.seed_grant("alice@example.com", &[SEND]);
    let lost = google.refresh(&first, &[]).await.refresh_token().unwrap();
    let second = google.refresh(&first, &[]).await.refresh_token().unwrap();
    assert_ne!(lost, second);
    let third = google.refresh(&second, &[]).await.refresh_token().unwrap();
    assert_eq!(
        google.refresh(&first, &[]).await.refused(),
        (400, "invalid_grant".into())
    );
    assert_eq!(google.handle.stats().refresh_token_reuse, 1);
    assert_eq!(
        google.refresh(&third, &[]).await.status,
        200,
        "the family lives on"
    );
}

#[tokio::test]
async fn without_leeway_reuse_ends_the_family() {
    let google = google_with(Options {
        rotation: Rotation::Strict,
        ..options()
    })
    .await;
    let first = google.handle.seed_grant("alice@example.com", &[SEND]);
    let second = google.refresh(&first, &[]).await.refresh_token().unwrap();
    assert_eq!(
        google.refresh(&first, &[]).await.refused(),
        (400, "invalid_grant".into())
    );
    assert_eq!(google.handle.stats().refresh_token_reuse, 1);
    assert_eq!(
        google.refresh(&second, &[]).await.refused(),
        (400, "invalid_grant".into())
    );
}

#[tokio::test]
async fn in_testing_a_grant_dies_after_seven_days() {
    let google = google_with(Options {
        testing_mode: true,
        ..options()
    })
    .await;
    let answer = google.connect(&format!("openid {SEND}"), &[]).await;
    assert_eq!(answer.json()["refresh_token_expires_in"], 604_799);
    let token = answer.refresh_token().unwrap();
    google.advance(7 * DAY - 2);
    let late = google.refresh(&token, &[]).await;
    assert_eq!(late.json()["refresh_token_expires_in"], 1);
    google.advance(2);
    let dead = google.refresh(&token, &[]).await;
    assert_eq!(dead.refused(), (400, "invalid_grant".into()));
    assert_eq!(
        dead.json()["error_description"],
        "Token has been expired or revoked."
    );
}

#[tokio::test]
async fn in_testing_a_grant_that_only_signs_in_lives_on() {
    let google = google().await;
    google.handle.set_testing_mode(true);
    let answer = google.connect("openid email", &[]).await;
    assert!(answer.json().get("refresh_token_expires_in").is_none());
    google.advance(8 * DAY);
    assert_eq!(
        google.refresh(&answer.refresh_token().unwrap(), &[]).await.status,
        200
    );
}

#[tokio::test]
async fn six_months_unused_end_a_grant() {
    let google = google().await;
    let token = google.handle.seed_grant("alice@example.com", &[SEND]);
    google.advance(179 * DAY);
    assert_eq!(google.refresh(&token, &[]).await.status, 200);
    google.advance(180 * DAY);
    assert_eq!(
        google.refresh(&token, &[]).await.refused(),
        (400, "invalid_grant".into())
    );
}

#[tokio::test]
async fn the_hundred_and_first_token_displaces_the_oldest() {
    let google = google().await;
    let tokens: Vec<_> = (0..101)
        .map(|_| google.handle.seed_grant("alice@example.com", &[SEND]))
        .collect();
    let bobs = google.handle.seed_grant("bob@example.com", &[SEND]);
    assert_eq!(
        google.refresh(&tokens[0], &[]).await.refused(),
        (400, "invalid_grant".into())
    );
    for token in [&tokens[1], &tokens[100], &bobs] {
        assert_eq!(google.refresh(token, &[]).await.status, 200);
    }
    let other = google
        .handle
        .seed_grant_for(DESKTOP, "alice@example.com", &[SEND])
        .unwrap();
    let desktop = [("client_id", DESKTOP), ("client_secret", "GOCSPX-desktop")];
    assert_eq!(google.refresh(&other, &desktop).await.status, 200);
    assert_eq!(
        google.refresh(&tokens[1], &[]).await.status,
        200,
        "every client has its own hundred"
    );
}

#[tokio::test]
async fn a_new_password_ends_grants_with_gmail_scopes() {
    let google = google().await;
    let mail = google.handle.seed_grant("alice@example.com", &[SEND, CALENDAR]);
    let calendar = google.handle.seed_grant("alice@example.com", &[CALENDAR]);
    google.handle.change_password("alice@example.com").unwrap();
    assert_eq!(
        google.refresh(&mail, &[]).await.refused(),
        (400, "invalid_grant".into())
    );
    assert_eq!(google.refresh(&calendar, &[]).await.status, 200);
}

#[tokio::test]
async fn ten_thousand_synthetic_accounts_are_a_loop() {
    let google = google().await;
    let tokens: Vec<_> = (0..10_000)
        .map(|n| google.handle.seed_grant(&format!("user{n}@example.com"), &[SEND]))
        .collect();
    assert_eq!(google.refresh(&tokens[9_999], &[]).await.scopes(), [SEND]);
    assert_eq!(google.handle.accounts().len(), 10_002);
}
