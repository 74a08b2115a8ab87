use jiff::SignedDuration;

use super::*;

const BOTH: &str = "GOOGLE_OAUTH_ACCESS_TOKEN=ya29.person\nGOOGLE_OAUTH_TOKEN_EXPIRES_AT=2030-01-01T01:00:00Z\n\
                    GOOGLE_OAUTH_CAPABILITIES=a,b\nGOOGLE_SA_ACCESS_TOKEN=ya29.service\n\
                    GOOGLE_SA_TOKEN_EXPIRES_AT=2030-01-01T02:00:00Z\nGOOGLE_SA_EMAIL=sa@example\n\
                    TOKEN_BROKER_STATE=active\n";
const STATUS: &str = r#"{"agent":"bot","owner":"alice","state":"active","message":"","action_url":null}"#;

/// This time of a day on which the broker's clock and the machine's uptime go together.
fn at(time: &str) -> Uptime {
    let wall: Timestamp = format!("2030-01-01T{time}Z").parse().unwrap();
    midnight().uptime_at(wall)
}

fn midnight() -> Moment {
    Moment {
        uptime: Uptime::START,
        wall: "2030-01-01T00:00:00Z".parse().unwrap(),
    }
}

fn hand(env: &str) -> Hand {
    let hand = Hand::new(Zeroizing::new(env.to_owned()), STATUS.to_owned(), midnight());
    hand.with_rights(Some(Rights {
        scope: "scope".to_owned(),
        capabilities: vec!["a".to_owned(), "b".to_owned()],
    }))
}

#[test]
fn what_lives_is_shown_as_the_broker_wrote_it() {
    let away = Trouble::passing("The broker is away.");
    for trouble in [None, Some(&away)] {
        let shown = hand(BOTH).show(at("00:30:00"), trouble);
        assert_eq!((shown.env.as_str(), shown.status.as_str()), (BOTH, STATUS));
        assert_eq!(shown.access_token.as_ref().unwrap().as_str(), "ya29.person");
        assert_eq!(shown.expires_at, Some(at("01:00:00")));
    }
}

#[test]
fn a_token_that_expired_goes_and_the_other_stays() {
    let away = Trouble::passing("The broker is away.");
    let shown = hand(BOTH).show(at("01:00:00"), Some(&away));
    assert_eq!(
        shown.env.as_str(),
        "GOOGLE_SA_ACCESS_TOKEN=ya29.service\nGOOGLE_SA_TOKEN_EXPIRES_AT=2030-01-01T02:00:00Z\n\
         GOOGLE_SA_EMAIL=sa@example\nTOKEN_BROKER_STATE=provider_unavailable\n"
    );
    assert!(shown.status.contains("The broker is away.") && shown.status.contains("\"owner\": \"alice\""));
    assert_eq!(shown.expires_at, Some(at("02:00:00")));
    let shown = hand(BOTH).show(at("02:00:00"), None);
    assert_eq!(shown.env.as_str(), "TOKEN_BROKER_STATE=provider_unavailable\n");
    assert!(shown.status.contains(EXPIRED));
    assert!(shown.expires_at.is_none() && shown.access_token.is_none());
}

#[test]
fn a_refusal_takes_what_lives() {
    let refused = Trouble::refused("The agent is for other pods.");
    let shown = hand(BOTH).show(at("00:00:00"), Some(&refused));
    assert_eq!(shown.env.as_str(), "TOKEN_BROKER_STATE=misconfigured\n");
    assert!(shown.token_json(at("00:00:00")).is_none());
}

#[test]
fn a_token_whose_end_nobody_knows_is_none() {
    let env = "GOOGLE_OAUTH_ACCESS_TOKEN=ya29.a\nTOKEN_BROKER_STATE=active\n";
    let shown = hand(env).show(at("00:00:00"), None);
    assert_eq!(shown.env.as_str(), "TOKEN_BROKER_STATE=provider_unavailable\n");
}

#[test]
fn the_main_token_is_the_persons_where_one_is_declared() {
    let alone = "GOOGLE_SA_ACCESS_TOKEN=ya29.s\nGOOGLE_SA_TOKEN_EXPIRES_AT=2030-01-01T02:00:00Z\n";
    let main = |env: &str| {
        hand(env)
            .show(at("00:00:00"), None)
            .access_token
            .map(|token| token.to_string())
    };
    assert_eq!(main(alone).as_deref(), Some("ya29.s"));
    assert_eq!(main(&format!("GOOGLE_OAUTH_CAPABILITIES=\n{alone}")), None);
    assert_eq!(main(&format!("GOOGLE_OAUTH_CAPABILITIES=a\n{alone}")), None);
}

#[test]
fn tokens_are_answered_as_the_broker_answers_them() {
    let shown = hand(BOTH).show(at("00:30:00"), None);
    let json = |bytes: Option<Vec<u8>>| serde_json::from_slice::<Value>(&bytes.unwrap()).unwrap();
    assert_eq!(
        json(shown.token_json(at("00:30:00"))),
        json!({ "access_token": "ya29.person", "token_type": "Bearer", "expires_in": 1800, "scope": "scope",
                "expires_at": "2030-01-01T01:00:00Z", "capabilities": ["a", "b"] })
    );
    assert_eq!(json(shown.metadata_json(at("00:59:59")))["expires_in"], 1);
    // Shown before it expired, asked after.
    assert!(shown.token_json(at("01:00:00")).is_none());
}

#[test]
fn what_was_never_there_is_told_with_its_reason() {
    let away = Trouble::passing("The broker is away.");
    let shown = Hand::default().show(at("00:00:00"), Some(&away));
    assert_eq!(shown.env.as_str(), "TOKEN_BROKER_STATE=provider_unavailable\n");
    let status: Value = serde_json::from_str(&shown.status).unwrap();
    assert_eq!(
        (&status["message"], &status["owner"]),
        (&json!("The broker is away."), &json!(""))
    );
}

#[test]
fn the_ends_of_tokens_follow_this_machines_clock_when_it_is_set() {
    let mut hand = hand(BOTH);
    let after = |uptime: &str, set: i64| Moment {
        uptime: at(uptime),
        wall: midnight().wall_at(at(uptime)) + SignedDuration::from_secs(set),
    };
    hand.clock_shows(after("00:10:00", 2));
    assert_eq!(
        hand.show(at("00:10:00"), None).env.as_str(),
        BOTH,
        "NTP's steering"
    );
    for _ in 0..2 {
        hand.clock_shows(after("00:10:00", -5400));
        let shown = hand.show(at("00:10:00"), None);
        let set = BOTH
            .replace("01T01:00", "31T23:30")
            .replace("2030-01-31", "2029-12-31");
        assert_eq!(shown.env.as_str(), set.replace("01T02:00", "01T00:30"));
        assert_eq!(shown.expires_at, Some(at("01:00:00")), "no other end");
    }
}
