//! The audit trail: appended, read, filtered, pruned, verified.

use token_broker::{
    id::OwnerId,
    store::{RenewalHour, StoreError, TrailFilter, TrailPage, TrailPlace},
    telemetry::audit::{Actor, AuditEvent, ChainPoint, Concern, Decision},
};

use crate::support::{DAY, Scene, account, at, id, line, up};

fn event(number: u64) -> AuditEvent {
    AuditEvent {
        integration: number.is_multiple_of(2).then(|| id(1)),
        capabilities: ["google.gmail.send", "google.calendar"][..usize::try_from(number % 3).unwrap()]
            .iter()
            .map(|key| key.parse().unwrap())
            .collect(),
        detail: format!("number {number} — \"quoted\"\n"),
        ..line(number, Actor::Admin(1000), "integration.connected")
    }
}

async fn append(scene: &Scene, lines: u64) {
    let halves = (1..=lines / 2, lines / 2 + 1..=lines);
    scene
        .store
        .append_audit(halves.0.map(event).collect())
        .await
        .unwrap();
    scene
        .store
        .append_audit(halves.1.map(event).collect())
        .await
        .unwrap();
}

pub(crate) async fn a_trail_survives_a_restart_and_goes_on(scene: Scene) {
    append(&scene, 5).await;
    let scene = scene.restart().await;
    scene.store.append_audit(vec![event(6)]).await.unwrap();
    scene.store.append_audit(Vec::new()).await.unwrap();
    assert_eq!(scene.whole().await, 6);
    let lines = scene.store.audit(0, 100, false).await.unwrap();
    assert_eq!((lines.len(), lines[4].actor.as_str()), (6, "admin:uid=1000"));
    assert_eq!(lines[4].capabilities, ["google.gmail.send", "google.calendar"]);
    assert_eq!(
        (lines[4].integration.as_str(), lines[4].decision.as_str()),
        ("", "allowed")
    );
    assert_eq!(
        (lines[5].integration.as_str(), lines[5].time),
        (id(1).as_str(), at(6))
    );
    assert_eq!(lines[5].detail, "number 6 — \"quoted\"\n");
    let mut point = ChainPoint::default();
    for line in &lines {
        point = point.followed_by(line).unwrap();
    }
    assert_eq!(scene.store.trail_head().await.unwrap(), point);
}

pub(crate) async fn lines_come_from_either_end(scene: Scene) {
    append(&scene, 7).await;
    let sequences = async |after, limit, newest| {
        let lines = scene.store.audit(after, limit, newest).await.unwrap();
        lines.iter().map(|line| line.sequence).collect::<Vec<_>>()
    };
    assert_eq!(sequences(0, 3, false).await, [1, 2, 3]);
    assert_eq!(sequences(3, 2, false).await, [4, 5]);
    assert_eq!(sequences(0, 2, true).await, [6, 7]);
    assert_eq!(sequences(6, 5, true).await, [7]);
    assert_eq!(sequences(9, 5, false).await, [0; 0]);
}

pub(crate) async fn a_change_and_its_lines_are_one_commit(scene: Scene) {
    let store = &scene.store;
    store
        .put_integration(account(1), None, vec![event(1), event(2)])
        .await
        .unwrap();
    let refused = store.put_integration(account(1), None, vec![event(3)]).await;
    assert_eq!(refused, Err(StoreError::Conflict));
    assert!(!store.delete_integration(&id(2), vec![event(4)]).await.unwrap());
    assert_eq!(scene.whole().await, 2);
    assert!(
        store
            .enqueue_revocation(&id(1), at(1), vec![event(5)])
            .await
            .unwrap()
    );
    store.complete_revocation(&id(1), vec![event(6)]).await.unwrap();
    store
        .remember_event("one", None, at(0), vec![event(7)])
        .await
        .unwrap();
    assert_eq!(scene.whole().await, 5);
}

fn sequences(page: &TrailPage) -> Vec<u64> {
    page.lines.iter().map(|line| line.sequence).collect()
}

async fn page(scene: &Scene, place: TrailPlace, limit: u32) -> TrailPage {
    scene
        .store
        .trail(TrailFilter::default(), place, limit)
        .await
        .unwrap()
}

async fn fitting(scene: &Scene, filter: TrailFilter) -> Vec<u64> {
    sequences(&scene.store.trail(filter, TrailPlace::Newest, 100).await.unwrap())
}

/// Two owners with an account each, and an agent of both in turn.
async fn of_two_owners(scene: &Scene) {
    let (alice, bob): (OwnerId, OwnerId) = ("alice".parse().unwrap(), "bob".parse().unwrap());
    let about = |seconds, actor, owner: &OwnerId, account| AuditEvent {
        integration: Some(id(account)),
        capabilities: ["google.gmail.send", "google.calendar"]
            .map(|key| key.parse().unwrap())
            .into(),
        concern: Concern::owner(owner),
        ..line(seconds, actor, "integration.connected")
    };
    let of_bot = |seconds, owner: &OwnerId| AuditEvent {
        concern: Concern::agent(owner, &"bot".parse().unwrap()),
        ..line(seconds, Actor::Agent("bot".into()), "token.denied")
    };
    let events = vec![
        about(1, Actor::Person("alice".into()), &alice, 1),
        about(2, Actor::Admin(0), &bob, 2),
        of_bot(3, &alice),
        of_bot(4, &bob),
        line(5, Actor::Daemon, "agent.refused"),
        about(6, Actor::Daemon, &alice, 1),
    ];
    scene.store.append_audit(events).await.unwrap();
}

pub(crate) async fn filters_hold_together(scene: Scene) {
    of_two_owners(&scene).await;
    let of = |name: &str| TrailFilter {
        owner: Some(name.parse().unwrap()),
        ..TrailFilter::default()
    };
    let bot = || Some("bot".parse().unwrap());
    let with = |key: &str| TrailFilter {
        capability: Some(key.parse().unwrap()),
        ..TrailFilter::default()
    };
    let about = |accounts: &[u32]| TrailFilter {
        integrations: accounts.iter().map(|number| id(*number)).collect(),
        ..TrailFilter::default()
    };
    let by = |actor: &str| Some(actor.to_owned());
    assert_eq!(fitting(&scene, TrailFilter::default()).await, [6, 5, 4, 3, 2, 1]);
    assert_eq!(fitting(&scene, of("alice")).await, [6, 3, 1]);
    assert_eq!(fitting(&scene, of("alic")).await, [0; 0]);
    assert_eq!(
        fitting(
            &scene,
            TrailFilter {
                agent: bot(),
                ..of("bob")
            }
        )
        .await,
        [4]
    );
    assert_eq!(fitting(&scene, about(&[1])).await, [6, 1]);
    assert_eq!(fitting(&scene, about(&[2, 1])).await, [6, 2, 1]);
    assert_eq!(
        fitting(
            &scene,
            TrailFilter {
                actor: by("person:alice"),
                ..about(&[1])
            }
        )
        .await,
        [1]
    );
    assert_eq!(
        fitting(
            &scene,
            TrailFilter {
                actor: by("person:alice"),
                ..of("bob")
            }
        )
        .await,
        [0; 0]
    );
    for (key, lines) in [
        ("google.gmail.send", 3),
        ("google.calendar", 3),
        ("google.gmail", 0),
        ("gmail.send", 0),
    ] {
        assert_eq!(fitting(&scene, with(key)).await.len(), lines, "{key}");
    }
}

pub(crate) async fn pages_lead_to_the_past_and_back(scene: Scene) {
    assert_eq!(page(&scene, TrailPlace::Newest, 3).await, TrailPage::default());
    append(&scene, 7).await;
    let around = |page: &TrailPage| (sequences(page), page.older, page.newer);
    let first = page(&scene, TrailPlace::Newest, 3).await;
    assert_eq!(around(&first), (vec![7, 6, 5], Some(5), None));
    assert!(!first.cut_short);
    let second = page(&scene, TrailPlace::Before(5), 3).await;
    assert_eq!(around(&second), (vec![4, 3, 2], Some(2), Some(4)));
    let third = page(&scene, TrailPlace::Before(2), 3).await;
    assert_eq!(around(&third), (vec![1], None, Some(1)));
    let back = page(&scene, TrailPlace::After(1), 3).await;
    assert_eq!(around(&back), (vec![4, 3, 2], Some(2), Some(4)));
    for place in [TrailPlace::Before(0), TrailPlace::After(u64::MAX)] {
        assert_eq!(sequences(&page(&scene, place, 3).await), [0; 0], "{place:?}");
    }
}

pub(crate) async fn renewals_are_counted_by_the_hour_and_by_owner(scene: Scene) {
    let renewal = |seconds, action, owner: &str| AuditEvent {
        concern: Concern::owner(&owner.parse().unwrap()),
        ..line(seconds, Actor::Daemon, action)
    };
    let events = vec![
        renewal(0, "token.renewed", "alice"),
        renewal(3599, "token.renewed", "bob"),
        renewal(3600, "token.renewal_failed", "alice"),
        renewal(3601, "token.used", "alice"),
        renewal(7200, "token.renewed", "alice"),
    ];
    scene.store.append_audit(events).await.unwrap();
    let hours = async |name: Option<&str>| {
        let owner = name.map(|name| name.parse().unwrap());
        scene.store.renewals(owner.as_ref(), at(0), 2).await.unwrap()
    };
    let hour = |begin, renewed, failed| RenewalHour {
        from: at(begin),
        renewed,
        failed,
    };
    assert_eq!(hours(None).await, [hour(0, 2, 0), hour(3600, 0, 1)]);
    assert_eq!(hours(Some("alice")).await, [hour(0, 1, 0), hour(3600, 0, 1)]);
    assert_eq!(hours(Some("carol")).await, [hour(0, 0, 0), hour(3600, 0, 0)]);
}

pub(crate) async fn a_head_that_was_noted_down_is_a_part_of_the_trail(scene: Scene) {
    append(&scene, 4).await;
    let head = scene.store.trail_head().await.unwrap();
    append(&scene, 3).await;
    let through = async |head| scene.store.verify_audit(Some(head)).await.unwrap();
    assert_eq!(through(head.clone()).await.problem, None);
    let other = ChainPoint {
        hash: "f".repeat(64),
        ..head
    };
    let problem = through(other).await.problem.unwrap().to_string();
    assert!(problem.contains("line 4"), "{problem}");
    let beyond = ChainPoint {
        sequence: 100,
        hash: "f".repeat(64),
    };
    assert!(through(beyond).await.problem.is_some());
}

pub(crate) async fn old_lines_go_and_the_rest_is_whole(scene: Scene) {
    let mut told = Vec::new();
    for day in 0..6 {
        told.push(
            scene
                .store
                .tick_trail(at(day * DAY), Some(up(day)))
                .await
                .unwrap(),
        );
        scene
            .store
            .append_audit(vec![event(day * DAY), event(day * DAY)])
            .await
            .unwrap();
    }
    assert_eq!(told[5], at(5 * DAY));
    // A clock that is set years ahead makes nothing old.
    let ahead = scene.store.tick_trail(at(4000 * DAY), Some(up(5))).await.unwrap();
    assert_eq!(ahead, at(5 * DAY));
    let scene = scene.restart().await;
    assert_eq!(scene.store.prune_audit(at(3 * DAY)).await.unwrap(), 6);
    assert_eq!(scene.store.prune_audit(at(3 * DAY)).await.unwrap(), 0);
    assert_eq!(scene.whole().await, 6);
    let lines = scene.store.audit(0, 100, false).await.unwrap();
    assert_eq!((lines.len(), lines[0].sequence), (6, 7));
    let oldest = page(&scene, TrailPlace::Before(8), 3).await;
    assert_eq!((sequences(&oldest), oldest.older), (vec![7], None));
    append(&scene, 1).await;
    assert_eq!(scene.whole().await, 7);
}

pub(crate) async fn what_is_too_much_goes_from_the_start(scene: Scene) {
    const LINES: u64 = 4000;
    for first in (1..=LINES).step_by(500) {
        let lines = (first..first + 500).map(|number| AuditEvent {
            detail: format!("number {number} {}", "x".repeat(200)),
            ..AuditEvent::new(at(number), Actor::Daemon, "token.renewed", Decision::Allowed)
        });
        scene.store.append_audit(lines.collect()).await.unwrap();
    }
    let size = scene.store.trail_size().await.unwrap();
    assert_eq!(size.limit, None);
    assert!(size.bytes > LINES * 200, "{}", size.bytes);
    let most = size.bytes / 2;
    let gone = scene.store.bound_audit(most).await.unwrap();
    let after = scene.store.trail_size().await.unwrap();
    assert_eq!(after.limit.unwrap().bytes, most);
    assert!(
        after.bytes <= most && after.bytes > most / 2,
        "{} of {most}",
        after.bytes
    );
    assert!(gone > LINES / 3 && gone < LINES * 3 / 4, "{gone}");
    assert_eq!(scene.whole().await, LINES - gone);
    assert_eq!(
        scene.store.audit(0, 1, false).await.unwrap()[0].sequence,
        gone + 1
    );
    assert_eq!(scene.store.bound_audit(most).await.unwrap(), 0);
}
