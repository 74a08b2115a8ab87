//! Faults on demand, the control address, and where the emulator listens.

use google_emulator::{Cut, Emulator, Endpoint, Fault, Options, Rotation};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::*;

fn token_url(google: &Google) -> String {
    format!("{}/token", google.handle.base_url())
}

async fn try_refresh(google: &Google, token: &str) -> Option<Answer> {
    let client_id = Options::default().client_id;
    let body = form(&[
        ("grant_type", "refresh_token"),
        ("client_id", &client_id),
        ("client_secret", "GOCSPX-emulator"),
        ("refresh_token", token),
    ]);
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    google
        .try_send(Method::POST, &token_url(google), &headers, body)
        .await
}

#[tokio::test]
async fn an_outage_is_ordered_over_the_control_address() {
    let google = google().await;
    let token = google.handle.seed_grant("alice@example.com", &[SEND]);
    let order = json!({
        "endpoint": "token", "grant_type": "refresh_token", "times": 2,
        "status": 503, "headers": { "Retry-After": "7" },
    });
    let ordered = google.control(Method::POST, "/faults", order).await.json();
    for _ in 0..2 {
        let answer = google.refresh(&token, &[]).await;
        assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, "7"));
    }
    assert_eq!(google.refresh(&token, &[]).await.status, 200, "it struck twice");
    let listed = google.control(Method::GET, "/faults", Value::Null).await.json();
    assert_eq!(
        (&listed[0]["id"], &listed[0]["hits"]),
        (&ordered["id"], &json!(2))
    );
    assert_eq!(google.handle.stats().faults_struck, 2);
}

#[tokio::test]
async fn a_fault_is_taken_back_by_its_id_or_with_all_others() {
    let google = google().await;
    let token = google.handle.seed_grant("alice@example.com", &[SEND]);
    let outage = json!({ "endpoint": "token", "status": 500 });
    let id = google
        .control(Method::POST, "/faults", outage.clone())
        .await
        .json()["id"]
        .clone();
    let path = format!("/faults/{id}");
    assert_eq!(
        google.control(Method::DELETE, &path, Value::Null).await.status,
        200
    );
    assert_eq!(
        google.control(Method::DELETE, &path, Value::Null).await.status,
        404
    );
    assert_eq!(google.refresh(&token, &[]).await.status, 200);
    google.control(Method::POST, "/faults", outage).await;
    google.control(Method::DELETE, "/faults", Value::Null).await;
    assert_eq!(google.refresh(&token, &[]).await.status, 200);
}

#[tokio::test]
async fn a_session_policy_asks_for_reauthentication() {
    let google = google().await;
    let token = google.handle.seed_grant("alice@example.com", &[SEND]);
    let fault = Fault {
        error: Some("invalid_grant".into()),
        error_subtype: Some("invalid_rapt".into()),
        ..Fault::on(Endpoint::Token)
    };
    google.handle.inject_fault(fault).unwrap();
    let answer = google.refresh(&token, &[]).await;
    assert_eq!(answer.refused(), (400, "invalid_grant".into()));
    assert_eq!(answer.json()["error_subtype"], "invalid_rapt");
}

#[tokio::test]
async fn a_body_is_sent_as_it_is() {
    let google = google().await;
    let token = google.handle.seed_grant("alice@example.com", &[SEND]);
    let fault = Fault {
        status: Some(200),
        body: Some("<html>".into()),
        ..Fault::on(Endpoint::Token)
    };
    google.handle.inject_fault(fault).unwrap();
    assert_eq!(google.refresh(&token, &[]).await.text(), "<html>");
}

#[tokio::test]
async fn a_right_answer_comes_in_another_form() {
    let google = google().await;
    let token = google.handle.seed_grant("alice@example.com", &[SEND]);
    google.handle.set_rotation(Rotation::Leeway);
    let order = json!({ "endpoint": "token", "times": 1, "without": ["scope"], "fields": { "expires_in": "soon", "x": null } });
    google.control(Method::POST, "/faults", order).await.json();
    let answer = google.refresh(&token, &[]).await.json();
    assert_eq!(
        (&answer["expires_in"], &answer["x"], &answer["scope"]),
        (&json!("soon"), &Value::Null, &Value::Null)
    );
    assert!(answer.as_object().unwrap().contains_key("x"));
    assert!(answer["refresh_token"].is_string(), "the work was done");

    google
        .control(
            Method::POST,
            "/faults",
            json!({ "endpoint": "token", "times": 1, "bom": true }),
        )
        .await
        .json();
    let answer = google.refresh(&token, &[]).await;
    assert!(answer.text().starts_with("\u{feff}{\"access_token\""));

    google
        .control(
            Method::POST,
            "/faults",
            json!({ "endpoint": "token", "times": 1, "gzip": true }),
        )
        .await
        .json();
    let answer = google.refresh(&token, &[]).await;
    assert_eq!(answer.header("content-encoding"), "gzip");

    let asked = google.handle.stats().refresh;
    google
        .control(
            Method::POST,
            "/faults",
            json!({ "endpoint": "token", "times": 1, "drop": "within" }),
        )
        .await
        .json();
    assert!(try_refresh(&google, &token).await.is_none(), "it breaks off");
    assert_eq!(google.handle.stats().refresh, asked + 1);
}

#[tokio::test]
async fn one_account_that_hangs_does_not_hold_up_another() {
    let google = google().await;
    let alice = google.handle.seed_grant("alice@example.com", &[SEND]);
    let bob = google.handle.seed_grant("bob@example.com", &[SEND]);
    let held = Fault {
        account: Some("alice@example.com".into()),
        hold: true,
        ..Fault::on(Endpoint::Token)
    };
    google.handle.inject_fault(held).unwrap();
    let slow = google.refresh(&alice, &[]);
    tokio::pin!(slow);
    let other = async {
        google.handle.wait_until(|stats| stats.refresh == 1).await;
        google.refresh(&bob, &[]).await
    };
    tokio::select! {
        _ = &mut slow => panic!("it was not held"),
        answer = other => assert_eq!(answer.status, 200),
    }
    google.handle.clear_faults();
    assert_eq!(slow.await.status, 200, "once released, it does its work");
}

#[tokio::test]
async fn an_answer_that_is_held_back_comes_when_the_work_is_done() {
    let google = google().await;
    let token = google.handle.seed_grant("alice@example.com", &[SEND]);
    let held = Fault {
        hold_answer: true,
        ..Fault::on(Endpoint::Token)
    };
    google.handle.inject_fault(held).unwrap();
    let slow = google.refresh(&token, &[]);
    tokio::pin!(slow);
    tokio::select! {
        _ = &mut slow => panic!("it was not held"),
        _ = google.handle.wait_until(|stats| stats.refresh == 1) => {}
    }
    google.handle.clear_faults();
    assert_eq!(slow.await.status, 200);
}

#[tokio::test]
async fn a_delay_delays() {
    let google = google().await;
    let token = google.handle.seed_grant("alice@example.com", &[SEND]);
    google
        .handle
        .inject_fault(Fault {
            delay_ms: 50,
            ..Fault::on(Endpoint::Token)
        })
        .unwrap();
    let before = std::time::Instant::now();
    assert_eq!(google.refresh(&token, &[]).await.status, 200);
    assert!(before.elapsed().as_millis() >= 50);
}

#[tokio::test]
async fn a_connection_can_be_cut_before_the_work() {
    let google = google_with(Options {
        rotation: Rotation::Strict,
        ..options()
    })
    .await;
    let token = google.handle.seed_grant("alice@example.com", &[SEND]);
    google
        .control(
            Method::POST,
            "/faults",
            json!({ "endpoint": "token", "times": 1, "drop": true }),
        )
        .await;
    assert!(try_refresh(&google, &token).await.is_none());
    assert_eq!(
        google.refresh(&token, &[]).await.status,
        200,
        "nothing had been done"
    );
}

#[tokio::test]
async fn a_connection_can_be_cut_that_has_carried_a_request() {
    let google = google().await;
    let token = google.handle.seed_grant("alice@example.com", &[SEND]);
    google
        .control(
            Method::POST,
            "/faults",
            json!({ "endpoint": "token", "reused": true, "drop": true }),
        )
        .await;
    for fresh in [true, false, true] {
        let answered = try_refresh(&google, &token).await;
        assert_eq!(answered.is_some(), fresh);
    }
}

#[tokio::test]
async fn a_connection_can_be_cut_after_the_work() {
    let google = google_with(Options {
        rotation: Rotation::Strict,
        ..options()
    })
    .await;
    let token = google.handle.seed_grant("alice@example.com", &[SEND]);
    let cut = Fault {
        times: Some(1),
        cut: Cut::After,
        ..Fault::on(Endpoint::Token)
    };
    google.handle.inject_fault(cut).unwrap();
    assert!(try_refresh(&google, &token).await.is_none());
    let again = google.refresh(&token, &[]).await;
    assert_eq!(
        again.refused(),
        (400, "invalid_grant".into()),
        "the token had been rotated out"
    );
}

#[tokio::test]
async fn the_date_is_the_clocks_and_can_be_skewed() {
    let google = google().await;
    let date = google.get("/oauth2/v3/certs").await.header("date").to_owned();
    assert_eq!(date, "Mon, 15 Jan 2024 10:30:00 GMT");
    let skew = Fault {
        skew_seconds: 3600,
        ..Fault::on(Endpoint::Any)
    };
    google.handle.inject_fault(skew).unwrap();
    let answer = google.get("/oauth2/v3/certs").await;
    assert_eq!(
        (answer.status, answer.header("date")),
        (StatusCode::OK, "Mon, 15 Jan 2024 11:30:00 GMT")
    );
}

#[tokio::test]
async fn an_api_fails_in_its_own_shape() {
    let google = google().await;
    let token = google.access_token(&[DRIVE_READONLY]).await;
    let fault = Fault {
        status: Some(429),
        error: Some("rateLimitExceeded".into()),
        ..Fault::on(Endpoint::Api)
    };
    google.handle.inject_fault(fault).unwrap();
    let answer = google.call(Method::GET, "/drive/v3/files", &token, None).await;
    assert_eq!(answer.json()["error"]["status"], "RESOURCE_EXHAUSTED");
    assert_eq!(answer.json()["error"]["errors"][0]["reason"], "rateLimitExceeded");
}

#[tokio::test]
async fn the_control_address_does_what_a_handle_does() {
    let google = google().await;
    let order = json!({ "account": "carol@example.com", "scopes": [SEND] });
    let seeded = google.control(Method::POST, "/grants", order).await.json();
    let token = seeded["refresh_token"].as_str().unwrap();
    google
        .control(Method::POST, "/lifetime", json!({ "seconds": 60 }))
        .await;
    google
        .control(Method::POST, "/rotation", json!({ "mode": "strict" }))
        .await;
    let answer = google.refresh(token, &[]).await;
    assert_eq!(answer.json()["expires_in"], 60);
    let rotated = answer.refresh_token().unwrap();

    let state = google.control(Method::GET, "/state", Value::Null).await;
    assert!(!state.text().contains("1//"), "no token in sight");
    assert_eq!(state.json()[2]["email"], "carol@example.com");
    assert_eq!(state.json()[2]["refresh_tokens"], 1);
    assert_eq!(state.json()[2]["consents"][0]["scopes"][0], SEND);

    google
        .control(Method::POST, "/revoke", json!({ "account": "carol@example.com" }))
        .await;
    assert_eq!(
        google.refresh(&rotated, &[]).await.refused(),
        (400, "invalid_grant".into())
    );
    assert_eq!(
        google.control(Method::GET, "/stats", Value::Null).await.json()["refresh"],
        2
    );

    google
        .control(
            Method::POST,
            "/auto-approve",
            json!({ "account": "bob@example.com" }),
        )
        .await;
    let back = google.get(&Google::consent_path(SEND, &[])).await;
    assert!(back.sent_back_value("code").starts_with("4/"));
}

#[tokio::test]
async fn a_renamed_account_stays_the_same_by_its_sub() {
    let google = google().await;
    let order = json!({ "account": "alice@example.com", "email": "alicia@example.com" });
    let before = google.access_token(&["openid", EMAIL]).await;
    let whose = async || {
        let answer = google
            .call(Method::GET, "/v1/userinfo", &before, None)
            .await
            .json();
        (answer["sub"].clone(), answer["email"].clone())
    };
    let (sub, _) = whose().await;
    google.control(Method::POST, "/rename", order).await;
    assert_eq!(whose().await, (sub, json!("alicia@example.com")));
    let old = json!({ "account": "alice@example.com" });
    assert_eq!(google.control(Method::POST, "/revoke", old).await.status, 404);
}

#[tokio::test]
async fn a_wrong_order_is_refused_with_a_sentence() {
    let google = google().await;
    let cases = [
        ("/faults", json!({ "sttaus": 503 }), 400, "unknown field `sttaus`"),
        ("/faults", json!({ "status": 42 }), 400, "`status` is 42"),
        (
            "/revoke",
            json!({ "account": "nobody" }),
            404,
            "the emulator has no account `nobody`",
        ),
        ("/lifetime", json!({}), 400, "missing field `seconds`"),
        (
            "/nothing",
            json!({}),
            404,
            "the control address has no POST /nothing",
        ),
    ];
    for (path, order, status, sentence) in cases {
        let answer = google.control(Method::POST, path, order).await;
        assert_eq!(answer.status.as_u16(), status, "{path}");
        assert!(answer.text().contains(sentence), "{path}: {}", answer.text());
    }
}

#[tokio::test]
async fn orders_are_taken_on_the_control_address_alone() {
    let google = google().await;
    assert_eq!(google.get("/stats").await.status, 404);
    assert_eq!(google.post("/faults", &[]).await.status, 404);
}

#[tokio::test]
async fn it_never_listens_beyond_loopback_unless_told_to() {
    let open = "0.0.0.0:0".parse().unwrap();
    for options in [
        Options {
            listen: open,
            ..options()
        },
        Options {
            control: open,
            ..options()
        },
    ] {
        let error = Emulator::bind(options)
            .await
            .err()
            .expect("a refusal")
            .to_string();
        assert!(
            error.starts_with("the emulator refuses to listen on 0.0.0.0:0:"),
            "{error}"
        );
    }
    let emulator = Emulator::bind(Options {
        listen: open,
        allow_non_loopback: true,
        ..options()
    })
    .await
    .unwrap();
    assert!(emulator.base_url().starts_with("http://127.0.0.1:"));
}

#[tokio::test]
async fn it_stops_when_it_is_told_to_even_while_a_request_hangs() {
    let emulator = Emulator::bind(options()).await.unwrap();
    let handle = emulator.handle();
    handle
        .inject_fault(Fault {
            hold: true,
            ..Fault::on(Endpoint::Certs)
        })
        .unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(emulator.serve(async { drop(stopped.await) }));
    let google = google().await;
    let url = format!("{}/oauth2/v3/certs", handle.base_url());
    let request = google.try_send(Method::GET, &url, &[], String::new());
    let stop = async {
        handle.wait_until(|stats| stats.certs == 1).await;
        stop.send(()).unwrap();
        serving.await.unwrap();
    };
    let (answer, ()) = tokio::join!(request, stop);
    assert!(answer.is_none());
}
