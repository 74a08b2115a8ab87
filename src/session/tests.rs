//! Links are good once, sessions end in time, and neither can be guessed from what is kept.

use std::{sync::Arc, time::Duration};

use super::*;
use crate::{
    budget::table::{CONSOLE_LINKS, CONSOLE_SESSIONS},
    clock::ManualClock,
    entropy::SystemEntropy,
    telemetry::audit::Actor,
};

const LIMITS: SessionLimits = SessionLimits {
    idle: Duration::from_secs(1800),
    whole: Duration::from_secs(12 * 3600),
};

fn sessions() -> (Arc<ManualClock>, Sessions) {
    let clock = Arc::new(ManualClock::new("2026-01-01T00:00:00Z".parse().unwrap()));
    let sessions = Sessions::new(clock.clone(), Arc::new(SystemEntropy), LIMITS);
    (clock, sessions)
}

fn alice() -> Admission {
    Admission {
        viewer: Viewer::Owner("alice".parse().unwrap()),
        actor: Actor::Person("alice".to_owned()),
        return_url: None,
    }
}

#[test]
fn a_link_opens_one_session_once() {
    let (_, sessions) = sessions();
    let link = sessions.invite(alice(), LINK_LIFE).unwrap();
    assert!(sessions.invited(&link.token).is_some());
    assert!(sessions.invited(&link.token).is_some(), "looking uses nothing up");
    let (token, session) = sessions.open(&link.token).unwrap();
    assert_eq!(*session.admission, alice());
    assert!(sessions.find(&token, true).is_some());
    assert!(sessions.open(&link.token).is_none());
    assert!(sessions.invited(&link.token).is_none());
}

#[test]
fn a_link_ends_after_five_minutes() {
    let (clock, sessions) = sessions();
    let link = sessions.invite(alice(), LINK_LIFE).unwrap();
    clock.advance(Duration::from_secs(299));
    assert!(sessions.invited(&link.token).is_some());
    clock.advance(Duration::from_secs(1));
    assert!(sessions.invited(&link.token).is_none());
    assert!(sessions.open(&link.token).is_none());
}

#[test]
fn a_session_ends_when_nobody_looks() {
    let (clock, sessions) = sessions();
    let (token, session) = sessions.admit(Arc::new(alice()));
    clock.advance(Duration::from_secs(1700));
    assert!(sessions.find(&token, true).is_some());
    clock.advance(Duration::from_secs(1700));
    assert!(sessions.find(&token, false).is_some());
    assert!(sessions.is_open(session.id));
    clock.advance(Duration::from_secs(100));
    assert!(
        sessions.find(&token, true).is_none(),
        "a page that looks by itself keeps nothing open"
    );
    assert!(!sessions.is_open(session.id));
}

#[test]
fn a_session_ends_after_twelve_hours_whoever_looks() {
    let (clock, sessions) = sessions();
    let (token, _) = sessions.admit(Arc::new(alice()));
    for _ in 0..48 {
        assert!(sessions.find(&token, true).is_some());
        clock.advance(Duration::from_secs(15 * 60));
    }
    assert!(sessions.find(&token, true).is_none());
}

#[test]
fn a_session_that_was_closed_is_gone() {
    let (_, sessions) = sessions();
    let (token, session) = sessions.admit(Arc::new(alice()));
    let (other, _) = sessions.admit(Arc::new(alice()));
    sessions.close(session.id);
    assert!(sessions.find(&token, true).is_none());
    assert!(sessions.find(&other, true).is_some());
}

#[test]
fn each_session_has_a_form_token_of_its_own() {
    let (_, sessions) = sessions();
    let (_, one) = sessions.admit(Arc::new(alice()));
    let (_, other) = sessions.admit(Arc::new(alice()));
    assert!(one.sent(one.form_token.expose()));
    assert!(!one.sent(other.form_token.expose()));
    assert!(!one.sent(""));
}

fn of(owner: &str) -> Admission {
    Admission {
        viewer: Viewer::Owner(owner.parse().unwrap()),
        actor: Actor::Person(owner.to_owned()),
        return_url: None,
    }
}

fn operator(name: &str) -> Admission {
    Admission {
        viewer: Viewer::Operator,
        actor: Actor::Person(name.to_owned()),
        return_url: None,
    }
}

#[test]
fn an_owners_links_make_room_for_each_other_and_for_nobody_elses() {
    let (clock, sessions) = sessions();
    let of_bob = sessions.invite(of("bob"), LINK_LIFE).unwrap();
    let first = sessions.invite(alice(), LINK_LIFE).unwrap();
    clock.advance(Duration::from_secs(1));
    let second = sessions.invite(alice(), LINK_LIFE).unwrap();
    for _ in 0..CONSOLE_LINKS.each - 1 {
        sessions.invite(alice(), INVITATION_LIFE).unwrap();
    }
    assert!(
        sessions.invited(&first.token).is_none(),
        "it would have ended first"
    );
    assert!(sessions.invited(&second.token).is_some() && sessions.invited(&of_bob.token).is_some());
    assert_eq!(sessions.end(alice().viewer.owner()).links, CONSOLE_LINKS.each);
}

#[test]
fn the_operator_gets_a_link_when_owners_have_all_of_them() {
    let (clock, sessions) = sessions();
    let owners = (0..10_000).map(|number| of(&format!("owner-{number}")));
    let refused = owners
        .map(|owner| sessions.invite(owner, LINK_LIFE))
        .filter(Result::is_err);
    assert_eq!(refused.count(), CONSOLE_LINKS.reserve);
    assert!(sessions.invite(of("late"), LINK_LIFE).is_err());
    assert!(sessions.invite(operator("ops"), LINK_LIFE).is_ok());
    clock.advance(LINK_LIFE);
    assert!(sessions.invite(of("late"), LINK_LIFE).is_ok());
}

#[test]
fn who_signs_in_again_and_again_signs_out_nobody_but_themselves() {
    let (clock, sessions) = sessions();
    let (ops, _) = sessions.admit(Arc::new(operator("ops")));
    let (bob, _) = sessions.admit(Arc::new(of("bob")));
    let (first, _) = sessions.admit(Arc::new(alice()));
    clock.advance(Duration::from_secs(1));
    let (used, _) = sessions.admit(Arc::new(alice()));
    for _ in 0..20_000 {
        clock.advance(Duration::from_millis(1));
        sessions.admit(Arc::new(alice()));
        sessions.find(&used, true).expect("it is used all the time");
    }
    assert!(sessions.find(&first, true).is_none());
    assert!(sessions.find(&ops, true).is_some() && sessions.find(&bob, true).is_some());
    // One operator takes nothing from another, either.
    for _ in 0..1000 {
        sessions.admit(Arc::new(operator("other")));
    }
    assert!(sessions.find(&ops, true).is_some());
    assert_eq!(
        sessions.end(alice().viewer.owner()).sessions,
        CONSOLE_SESSIONS.each
    );
}

#[test]
fn more_people_than_there_are_places_sign_out_no_operator() {
    let (clock, sessions) = sessions();
    let (ops, _) = sessions.admit(Arc::new(operator("ops")));
    clock.advance(Duration::from_secs(1));
    for number in 0..11_000 {
        sessions.admit(Arc::new(of(&format!("owner-{number}"))));
    }
    assert!(sessions.find(&ops, true).is_some());
    let (late, _) = sessions.admit(Arc::new(operator("late")));
    assert!(sessions.find(&late, true).is_some());
    let (owner, _) = sessions.admit(Arc::new(of("late")));
    assert!(sessions.find(&owner, true).is_some(), "the idlest made room");
    assert!(sessions.end(None).sessions <= CONSOLE_SESSIONS.all);
}

#[test]
fn an_owner_sees_their_own_alone() {
    let (alice, bob): (OwnerId, OwnerId) = ("alice".parse().unwrap(), "bob".parse().unwrap());
    assert!(Viewer::Operator.may_see(&alice));
    assert!(Viewer::Owner(alice.clone()).may_see(&alice));
    assert!(!Viewer::Owner(alice).may_see(&bob));
}

#[test]
fn an_owner_is_signed_out_everywhere_and_nobody_else_is() {
    let (_, sessions) = sessions();
    let bob = Admission {
        viewer: Viewer::Owner("bob".parse().unwrap()),
        actor: Actor::Person("bob".to_owned()),
        return_url: None,
    };
    let (token, session) = sessions.admit(Arc::new(alice()));
    let unused = sessions.invite(alice(), LINK_LIFE).unwrap();
    let (other, _) = sessions.admit(Arc::new(bob.clone()));
    let others = sessions.invite(bob.clone(), LINK_LIFE).unwrap();

    let ended = sessions.end(alice().viewer.owner());
    let one_each = Ended {
        sessions: 1,
        links: 1,
    };
    assert_eq!(ended, one_each);
    assert!(sessions.find(&token, true).is_none() && !sessions.is_open(session.id));
    assert!(sessions.open(&unused.token).is_none());
    assert!(!sessions.is_admitted(&alice()));
    assert!(sessions.find(&other, true).is_some() && sessions.invited(&others.token).is_some());
    assert!(sessions.is_admitted(&bob));

    assert_eq!(sessions.end(None), one_each, "what had ended is not counted");
    assert!(sessions.find(&other, true).is_none());
}
