//! The authorization endpoint and the exchange of its codes.

use base64::{Engine, prelude::BASE64_STANDARD};
use google_emulator::{Account, AutoApprove, Endpoint, Fault, Options};
use http::{Method, StatusCode};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, jwk::JwkSet};
use serde_json::Value;

use crate::support::*;

#[tokio::test]
async fn the_page_offers_accounts_and_a_box_per_scope_in_human_words() {
    let google = google().await;
    let page = google
        .get(&Google::consent_path(
            &format!("openid {SEND} {CALENDAR_READONLY}"),
            &[],
        ))
        .await;
    assert_eq!(page.status, StatusCode::OK);
    let text = page.text();
    for part in [
        "alice@example.com",
        "bob@example.com",
        "Send email on your behalf",
        "See and download any calendar you can access",
        "Associate you with your personal info on Google",
        &format!(r#"<input type="checkbox" name="scope" value="{SEND}" checked>"#),
    ] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    assert_eq!(
        text.matches(r#"type="checkbox""#).count(),
        2,
        "sign-in scopes cannot be unticked"
    );
    assert!(
        !text.contains("https://fonts") && !text.contains("<script"),
        "nothing from elsewhere"
    );
    assert!(
        page.header("content-security-policy")
            .contains("default-src 'none'")
    );
}

#[tokio::test]
async fn what_an_app_sends_is_shown_as_text() {
    let google = google().await;
    let scope = "https://example.com/\"><script>alert(1)</script>";
    let page = google
        .get(&Google::consent_path(scope, &[("login_hint", "\"><b>")]))
        .await;
    assert!(!page.text().contains("<script>") && !page.text().contains("<b>"));
}

#[tokio::test]
async fn a_login_hint_selects_the_account_by_address_or_sub() {
    let google = google().await;
    let bob = google
        .handle
        .accounts()
        .into_iter()
        .find(|a| a.email == "bob@example.com")
        .unwrap();
    for hint in [&bob.email, &bob.sub] {
        let page = google
            .get(&Google::consent_path(SEND, &[("login_hint", hint)]))
            .await;
        assert!(
            page.text()
                .contains(r#"value="bob@example.com" required checked>"#),
            "{hint}"
        );
        assert!(
            page.text().contains("alice@example.com"),
            "another account can be chosen"
        );
    }
}

#[tokio::test]
async fn consent_goes_back_with_code_state_scope_and_issuer() {
    let google = google().await;
    let back = google.allow(&Google::consent_path(SEND, &[]), SEND).await;
    assert!(back.sent_back_value("code").starts_with("4/"));
    assert_eq!(back.sent_back_value("state"), "st4te");
    assert_eq!(back.sent_back_value("scope"), SEND);
    assert_eq!(back.sent_back_value("iss"), "https://accounts.google.com");
    assert_eq!(back.sent_back_value("authuser"), "0");
    assert_eq!(back.sent_back_value("prompt"), "consent");
}

#[tokio::test]
async fn a_person_can_untick_a_scope() {
    let google = google().await;
    let path = Google::consent_path(&format!("{SEND} {CALENDAR_READONLY}"), &[]);
    let back = google.allow(&path, SEND).await;
    assert_eq!(back.sent_back_value("scope"), SEND);
    let answer = google.exchange(&back.sent_back_value("code"), &[]).await;
    assert_eq!(answer.scopes(), [SEND]);
}

#[tokio::test]
async fn a_person_cannot_add_a_scope_that_was_not_asked_for() {
    let google = google().await;
    let back = google
        .allow(&Google::consent_path(SEND, &[]), &format!("{SEND} {CALENDAR}"))
        .await;
    assert_eq!(back.sent_back_value("scope"), SEND);
}

#[tokio::test]
async fn cancel_and_an_empty_choice_are_a_denial() {
    let google = google().await;
    let path = Google::consent_path(SEND, &[]);
    let cancelled = google.post(&path, &[("decision", "deny")]).await;
    let nothing = google.allow(&path, "").await;
    for back in [cancelled, nothing] {
        let expected = [("error", "access_denied"), ("state", "st4te")].map(|(k, v)| (k.into(), v.into()));
        assert_eq!(back.sent_back(), expected);
    }
}

#[tokio::test]
async fn a_form_without_an_account_shows_the_page_again() {
    let google = google().await;
    let page = google
        .post(
            &Google::consent_path(SEND, &[]),
            &[("decision", "allow"), ("scope", SEND)],
        )
        .await;
    assert_eq!(page.status, StatusCode::BAD_REQUEST);
    assert!(page.text().contains("Choose an account."));
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_shown_and_not_sent_back() {
    let google = google_with(Options {
        redirect_uris: vec![CALLBACK.into()],
        ..options()
    })
    .await;
    let cases: &[(Changes<'_>, u16, &str)] = &[
        (
            &[("redirect_uri", "http://127.0.0.1:8420/oauth/callback/")],
            400,
            "redirect_uri_mismatch",
        ),
        (&[("client_id", "nobody")], 401, "invalid_client"),
        (&[("client_id", "")], 400, "invalid_request"),
        (&[("scope", "")], 400, "invalid_request"),
        (&[("scope", "gmail")], 400, "invalid_scope"),
        (&[("response_type", "token")], 400, "unsupported_response_type"),
        (&[("code_challenge", "")], 400, "invalid_request"),
        (&[("code_challenge_method", "plain")], 400, "invalid_request"),
        (&[("code_challenge_method", "")], 400, "invalid_request"),
        (&[("code_challenge", "tooshort")], 400, "invalid_request"),
        (&[("state", "a"), ("state", "b")], 400, "invalid_request"),
    ];
    for (changes, status, error) in cases {
        let page = google.get(&Google::consent_path(SEND, changes)).await;
        assert_eq!(page.status.as_u16(), *status, "{changes:?}");
        assert!(
            page.text().contains(&format!("Error {status}: {error}")),
            "{changes:?}: {}",
            page.text()
        );
        assert_eq!(page.header("location"), "", "{changes:?}");
    }
}

#[tokio::test]
async fn pkce_can_be_made_optional() {
    let google = google_with(Options {
        require_pkce: false,
        ..options()
    })
    .await;
    let bare = [("code_challenge", ""), ("code_challenge_method", "")];
    let back = google.allow(&Google::consent_path(SEND, &bare), SEND).await;
    let code = back.sent_back_value("code");
    assert_eq!(
        google.exchange(&code, &[("code_verifier", "")]).await.scopes(),
        [SEND]
    );
    let back = google.allow(&Google::consent_path(SEND, &bare), SEND).await;
    let needless = google.exchange(&back.sent_back_value("code"), &[]).await;
    assert_eq!(needless.refused(), (400, "invalid_grant".into()));
}

#[tokio::test]
async fn errors_of_googles_own_page_come_on_demand() {
    let google = google().await;
    for error in [
        "admin_policy_enforced",
        "org_internal",
        "disallowed_useragent",
        "deleted_client",
    ] {
        let fault = Fault {
            error: Some(error.into()),
            times: Some(1),
            ..Fault::on(Endpoint::Authorize)
        };
        google.handle.inject_fault(fault).unwrap();
        let page = google.get(&Google::consent_path(SEND, &[])).await;
        assert_eq!(
            (page.status.as_u16(), page.header("location")),
            (400, ""),
            "{error}"
        );
        assert!(page.text().contains(error));
    }
    let fault = Fault {
        error: Some("temporarily_unavailable".into()),
        ..Fault::on(Endpoint::Authorize)
    };
    google.handle.inject_fault(fault).unwrap();
    let back = google.get(&Google::consent_path(SEND, &[])).await;
    assert_eq!(back.sent_back_value("error"), "temporarily_unavailable");
}

#[tokio::test]
async fn prompt_none_asks_nobody() {
    let google = google().await;
    let silent = [("prompt", "none"), ("login_hint", "alice@example.com")];
    let path = Google::consent_path(SEND, &silent);
    assert_eq!(
        google.get(&path).await.sent_back_value("error"),
        "interaction_required"
    );
    google.connect(SEND, &[]).await;
    assert_eq!(google.get(&path).await.sent_back_value("scope"), SEND);
    let more = Google::consent_path(CALENDAR, &silent);
    assert_eq!(
        google.get(&more).await.sent_back_value("error"),
        "interaction_required"
    );
}

#[tokio::test]
async fn scripts_consent_without_a_page() {
    let google = google().await;
    let policy = AutoApprove {
        account: None,
        untick: vec![CALENDAR.into()],
    };
    google.handle.set_auto_approve(Some(policy));
    let scope = format!("openid email {SEND} {CALENDAR}");
    let back = google
        .get(&Google::consent_path(
            &scope,
            &[("login_hint", "bob@example.com")],
        ))
        .await;
    let answer = google.exchange(&back.sent_back_value("code"), &[]).await;
    assert_eq!(answer.scopes(), [SEND, EMAIL, "openid"]);
    let consented: Vec<String> = google
        .handle
        .accounts()
        .into_iter()
        .filter(|a| !a.consents.is_empty())
        .map(|a| a.email)
        .collect();
    assert_eq!(consented, ["bob@example.com"]);
}

#[tokio::test]
async fn the_id_token_says_who_it_is_and_is_signed_with_the_published_key() {
    let google = google().await;
    let answer = google
        .connect(&format!("openid email {SEND}"), &[("nonce", "n0nce")])
        .await;
    assert_eq!(answer.scopes(), [SEND, EMAIL, "openid"]);

    let keys: JwkSet = serde_json::from_slice(&google.get("/oauth2/v3/certs").await.body).unwrap();
    let token = answer.token("id_token").unwrap();
    let kid = jsonwebtoken::decode_header(&token).unwrap().kid.unwrap();
    let key = DecodingKey::from_jwk(keys.find(&kid).unwrap()).unwrap();
    let mut rules = Validation::new(Algorithm::RS256);
    rules.validate_exp = false;
    rules.set_audience(&[Options::default().client_id]);
    rules.set_issuer(&["https://accounts.google.com"]);
    let claims = jsonwebtoken::decode::<Value>(&token, &key, &rules)
        .unwrap()
        .claims;
    let alice = google.handle.accounts().remove(0);
    assert_eq!(claims["sub"], alice.sub.as_str());
    assert_eq!(claims["email"], "alice@example.com");
    assert_eq!(claims["email_verified"], true);
    assert_eq!(claims["nonce"], "n0nce");
    assert_eq!(claims["iat"], google.now());
    assert_eq!(claims["exp"], google.now() + 3600);
}

#[tokio::test]
async fn after_a_change_of_keys_the_last_one_is_still_published() {
    let google = google().await;
    let before = google.connect("openid", &[]).await.token("id_token").unwrap();
    google.control(Method::POST, "/signing-key", Value::Null).await;
    let after = google.connect("openid", &[]).await.token("id_token").unwrap();
    let keys: JwkSet = serde_json::from_slice(&google.get("/oauth2/v3/certs").await.body).unwrap();
    let kid = |token: &str| jsonwebtoken::decode_header(token).unwrap().kid.unwrap();
    assert_ne!(kid(&before), kid(&after));
    assert_eq!(keys.keys.len(), 2);
    assert!(keys.find(&kid(&before)).is_some() && keys.find(&kid(&after)).is_some());
}

#[tokio::test]
async fn without_openid_there_is_no_id_token() {
    let google = google().await;
    assert_eq!(
        google
            .connect(&format!("email {SEND}"), &[])
            .await
            .token("id_token"),
        None
    );
}

#[tokio::test]
async fn userinfo_shows_what_was_granted() {
    let google = google().await;
    let token = google.connect("openid email", &[]).await.access_token();
    let person = google
        .call(Method::GET, "/v1/userinfo", &token, None)
        .await
        .json();
    assert_eq!(person["email"], "alice@example.com");
    assert_eq!(person["name"], Value::Null);
    let token = google.connect(SEND, &[]).await.access_token();
    assert_eq!(
        google
            .call(Method::GET, "/v1/userinfo", &token, None)
            .await
            .status,
        403
    );
    assert_eq!(google.get("/v1/userinfo").await.status, 401);
}

#[tokio::test]
async fn accounts_are_added_while_it_runs() {
    let google = google().await;
    let carol = Account {
        email: "carol@example.com".into(),
        sub: "123".into(),
    };
    google.handle.add_account(carol.clone());
    google.handle.add_account(Account {
        sub: "456".into(),
        ..carol
    });
    let policy = AutoApprove {
        account: Some("Carol@Example.com".into()),
        untick: Vec::new(),
    };
    google.handle.set_auto_approve(Some(policy));
    let back = google.get(&Google::consent_path("openid", &[])).await;
    let token = google
        .exchange(&back.sent_back_value("code"), &[])
        .await
        .access_token();
    let person = google
        .call(Method::GET, "/v1/userinfo", &token, None)
        .await
        .json();
    assert_eq!(person["sub"], "123", "an account that is there stays as it is");
}

#[tokio::test]
async fn discovery_names_this_origin() {
    let google = google().await;
    let document = google.get("/.well-known/openid-configuration").await.json();
    assert_eq!(
        document["token_endpoint"],
        format!("{}/token", google.handle.base_url())
    );
    assert_eq!(document["issuer"], "https://accounts.google.com");
}

#[tokio::test]
async fn a_code_is_good_once_for_ten_minutes() {
    let google = google().await;
    let path = Google::consent_path(SEND, &[]);
    let code = google.allow(&path, SEND).await.sent_back_value("code");
    let answer = google.exchange(&code, &[]).await;
    assert_eq!(
        (
            answer.json()["token_type"].as_str(),
            answer.json()["expires_in"].as_u64()
        ),
        (Some("Bearer"), Some(3599))
    );
    assert_eq!(
        answer.header("cache-control"),
        "no-cache, no-store, max-age=0, must-revalidate"
    );
    assert_eq!(
        google.exchange(&code, &[]).await.refused(),
        (400, "invalid_grant".into())
    );

    let code = google.allow(&path, SEND).await.sent_back_value("code");
    google.advance(600);
    assert_eq!(
        google.exchange(&code, &[]).await.refused(),
        (400, "invalid_grant".into())
    );
}

#[tokio::test]
async fn a_code_is_bound_to_client_redirect_and_verifier() {
    let google = google().await;
    let other = "x".repeat(43);
    let cases: &[(Changes<'_>, u16, &str, &str)] = &[
        (
            &[("redirect_uri", "http://127.0.0.1:1/")],
            400,
            "redirect_uri_mismatch",
            "Bad Request",
        ),
        (
            &[("code_verifier", "")],
            400,
            "invalid_grant",
            "Missing code verifier.",
        ),
        (
            &[("code_verifier", &other)],
            400,
            "invalid_grant",
            "Invalid code verifier.",
        ),
        (
            &[("client_id", DESKTOP), ("client_secret", "GOCSPX-desktop")],
            400,
            "invalid_grant",
            "Bad Request",
        ),
    ];
    for (changes, status, error, description) in cases {
        let code = google
            .allow(&Google::consent_path(SEND, &[]), SEND)
            .await
            .sent_back_value("code");
        let answer = google.exchange(&code, changes).await;
        assert_eq!(answer.refused(), (*status, (*error).into()), "{changes:?}");
        assert_eq!(answer.json()["error_description"], *description, "{changes:?}");
    }
}

#[tokio::test]
async fn the_token_endpoint_tells_bad_requests_apart() {
    let google = google().await;
    let cases: &[(Changes<'_>, u16, &str, &str)] = &[
        (
            &[("code", "nonsense")],
            400,
            "invalid_grant",
            "Malformed auth code.",
        ),
        (&[("code", "4/unknown")], 400, "invalid_grant", "Bad Request"),
        (
            &[("client_id", "nobody")],
            401,
            "invalid_client",
            "The OAuth client was not found.",
        ),
        (
            &[("client_secret", "wrong")],
            401,
            "invalid_client",
            "The provided client secret is invalid.",
        ),
        (
            &[("client_secret", "")],
            400,
            "invalid_request",
            "client_secret is missing.",
        ),
        (
            &[("client_id", "")],
            400,
            "invalid_request",
            "Could not determine client ID from request.",
        ),
        (
            &[("grant_type", "password")],
            400,
            "unsupported_grant_type",
            "Invalid grant_type: password",
        ),
        (
            &[("grant_type", "")],
            400,
            "invalid_request",
            "Missing required parameter: grant_type",
        ),
        (
            &[("code", "4/a"), ("code", "4/b")],
            400,
            "invalid_request",
            "OAuth 2 parameters can only have a single value: code",
        ),
    ];
    for (changes, status, error, description) in cases {
        let answer = google.exchange("4/x", changes).await;
        assert_eq!(answer.refused(), (*status, (*error).into()), "{changes:?}");
        assert_eq!(answer.json()["error_description"], *description, "{changes:?}");
    }
    assert_eq!(google.get("/token").await.status, 405);
}

#[tokio::test]
async fn a_client_may_authenticate_with_http_basic() {
    let google = google().await;
    let token = google.handle.seed_grant("alice@example.com", &[SEND]);
    let pair = format!("{}:GOCSPX-emulator", Options::default().client_id);
    let basic = format!("Basic {}", BASE64_STANDARD.encode(pair));
    let headers = [
        ("authorization", basic.as_str()),
        ("content-type", "application/x-www-form-urlencoded"),
    ];
    let body = form(&[("grant_type", "refresh_token"), ("refresh_token", &token)]);
    assert_eq!(
        google.send(Method::POST, "/token", &headers, body).await.scopes(),
        [SEND]
    );
}

#[tokio::test]
async fn a_web_client_gets_a_refresh_token_at_first_and_then_with_prompt_consent_only() {
    let google = google().await;
    assert_eq!(
        google.connect(SEND, &[("access_type", "")]).await.refresh_token(),
        None,
        "online"
    );
    let first = google.connect(SEND, &[]).await.refresh_token();
    assert!(first.is_some_and(|token| token.starts_with("1//")));
    assert_eq!(google.connect(SEND, &[]).await.refresh_token(), None, "again");
    assert!(
        google
            .connect(SEND, &[("prompt", "consent")])
            .await
            .refresh_token()
            .is_some()
    );
}

#[tokio::test]
async fn a_desktop_client_always_gets_a_refresh_token() {
    let google = google().await;
    for _ in 0..2 {
        assert!(
            google
                .connect_desktop(SEND, &[("access_type", "")])
                .await
                .refresh_token()
                .is_some()
        );
    }
}

#[tokio::test]
async fn include_granted_scopes_unites_the_clients_of_the_project() {
    let google = google().await;
    google.connect_desktop(DRIVE_READONLY, &[]).await;
    google.connect(SEND, &[]).await;
    assert_eq!(
        google.connect(CALENDAR, &[]).await.scopes(),
        [CALENDAR],
        "not unless it is asked for"
    );
    let answer = google
        .connect(MAIL_READONLY, &[("include_granted_scopes", "true")])
        .await;
    assert_eq!(answer.scopes(), [CALENDAR, DRIVE_READONLY, MAIL_READONLY, SEND]);
}

#[tokio::test]
async fn include_granted_scopes_does_nothing_for_a_desktop_client() {
    let google = google().await;
    google.connect_desktop(SEND, &[]).await;
    let answer = google
        .connect_desktop(CALENDAR, &[("include_granted_scopes", "true")])
        .await;
    assert_eq!(answer.scopes(), [CALENDAR]);
}
